"""What each stage puts on the pipeline's MLflow run."""

import json
import logging
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import history, provenance, tracking
from pipeline.config import Config
from pipeline.files import sha256
from pipeline.tracking import Record

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)
SERVED = ("hydra-core", "mlflow", "numpy", "pydantic", "requests", "tensorflow", "tqdm")


def begin(config: Config, **tags: str) -> Record:
    """Make a run for a training with this configuration, with its parameters and origin."""
    record = Record(config)
    name = (
        f"{config.dataset.name} {config.model.name} {config.optimizer.name} "
        f"lr={config.train.learning_rate:g} batch={config.train.batch_size or 'full'} "
        f"seed={config.seed}"
    )
    record.begin(name, provenance.tags() | {"place": tracking.place(config)} | tags)
    values = config.model_dump(
        mode="json", exclude={"paths", "download", "tracking"}, exclude_unset=True
    )
    record.params(values)
    record.call(lambda client, run: client.log_dict(run, values, "config.yaml"))
    add_data(record, config)
    return record


def add_data(record: Record, config: Config) -> None:
    """Log the training set as the run's input, named by the hashes of its files."""
    x, y = (config.paths.processed / f"{name}_train.npy" for name in "xy")
    hashes = {path.name: sha256(path) for path in (x, y)}
    record.tags({"data_sha256": hashes[x.name], "labels_sha256": hashes[y.name]})

    def log_input(client: "MlflowClient", run: str) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=config.dataset.name,
            digest=hashes[x.name][:36],
            source_type="local",
            source=json.dumps({"uri": str(config.paths.processed), "sha256": hashes}),
        )
        client.log_inputs(
            run, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])]
        )

    record.call(log_input)


def add_training(record: Record, config: Config) -> None:
    """Log weights, history and the servable model."""
    path = config.paths.models / "weights.npz"
    record.tags({"weights_sha256": sha256(path)})
    record.artifact(path)
    record.artifact(config.paths.metrics / "history.csv")
    record.call(lambda client, run: log_model(config, path, client, run))


def log_model(config: Config, path: Path, client: "MlflowClient", run: str) -> None:
    """Log a model that `mlflow models serve` can serve: code and arrays, no pickle."""
    import mlflow
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    example = np.load(config.paths.processed / "x_train.npy", mmap_mode="r")[:2]
    features, classes = example.shape[1], len(config.dataset.classes)
    code = Path(__file__).parent
    mlflow.set_tracking_uri(config.tracking.uri)
    mlflow.set_experiment(experiment_id=tracking.experiment_id(client, config))
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(path, folder)
        sizes = {"features": features, "classes": classes}
        description = json.dumps(sizes | config.model.model_dump(), indent=2)
        (Path(folder) / "model.json").write_text(description, encoding="utf-8")
        Model.log(
            artifact_path=None,
            name="model",
            flavor=mlflow.pyfunc,
            run_id=run,
            loader_module="pipeline.serving",
            data_path=folder,
            code_paths=[str(code)],
            pip_requirements=[f"{name}=={version(name)}" for name in SERVED],
            input_example=np.array(example),
            signature=ModelSignature(
                Schema([TensorSpec(np.dtype(np.float32), (-1, features))]),
                Schema([TensorSpec(np.dtype(np.float32), (-1, classes))]),
            ),
        )


def resume(config: Config) -> Record:
    """Return the run that made the weights, made anew from the files if the store has none.

    DVC restores a stage that it ran before from its cache without running it; a store may also be
    new, or have been out of reach.
    """
    path = config.paths.models / "weights.npz"
    record = Record(config)
    try:
        record.run_id = tracking.find(tracking.connect(config), config, path)
    except (
        Exception
    ) as error:  # whatever an unreachable store raises; `finish` says what is missing
        log.warning("MLflow at %s: %s", config.tracking.uri, tracking.short(error))
        return record
    if record.run_id is None:
        log.info(
            "No MLflow run has these weights (DVC restored them); recording one from the files"
        )
        record = begin(config, restored="true")
        for epoch in history.read(config.paths.metrics / "history.csv"):
            record.metrics(epoch.metrics, epoch.epoch)
        add_training(record, config)
        record.end("FINISHED")
    return record


def add_evaluation(record: Record, config: Config, evaluation: dict[str, Any]) -> None:
    """Log the test metrics and the files of the evaluation."""
    record.metrics({"test_loss": evaluation["loss"], "test_accuracy": evaluation["accuracy"]})
    for name in ("evaluation.json", "predictions.csv", "mistakes.csv"):
        record.artifact(config.paths.metrics / name)
    record.finish()


def add_figures(record: Record, config: Config) -> None:
    """Log the figures."""
    record.artifact(config.paths.plots, "plots")
    record.finish()
