"""What each stage puts on the pipeline's MLflow run."""

import logging
import re
import socket
import time
from typing import Any

from pipeline.learning import fingerprint, history
from pipeline.learning.checkpoint import Checkpoint
from pipeline.learning.history import Epoch
from pipeline.settings import workspace
from pipeline.settings.schema import Config
from pipeline.tracking import description, provenance
from pipeline.tracking.client import Record, ended

log = logging.getLogger(__name__)
NO_NAME = r"[^\w./ -]"  # which MLflow does not take in a name


def begin(
    config: Config,
    saved: Checkpoint | None = None,
    record: Record | None = None,
    **tags: str,
) -> Record:
    """Make a run for a training with this configuration: parameters, origin, data.

    A training that goes on from its checkpoint goes on with its run.
    """
    record = record or Record(config.tracking, config.paths.output)
    name, known = description.name(config), {"kind": "training", **provenance.tags()}
    if experiment := workspace.experiment():
        name, known["dvc_experiment"] = f"{experiment} {name}", experiment
    known |= {
        "mlflow.note.content": description.reproduction(description.overrides()),
        "pipeline.place": place(config),
    }
    record.send(
        "begin",
        name=name,
        tags=known | tags,
        started=time.time(),
        identity=fingerprint.identity(config),
        **(saved.run if saved else {}),
    )
    add_settings(record, config)
    return record


def add_settings(record: Record, config: Config) -> None:
    """Log the parameters, the configuration, and the training set by the hashes of its files."""
    record.send("params", params=description.parameters(config))
    unlogged = {"paths", "download", "tracking", "sweep"}
    values = config.model_dump(mode="json", exclude=unlogged, exclude_unset=True)
    record.send("config", config=values)
    files = {
        "data_sha256": str(config.paths.processed / "x_train.npy"),
        "labels_sha256": str(config.paths.processed / "y_train.npy"),
    }
    record.send("data", name=config.dataset.name, files=files)


def add_epochs(record: Record, epochs: list[Epoch]) -> None:
    """Log the metrics of epochs at once, with the epoch as the step."""
    now = time.time()
    record.send("metrics", points=[(epoch.metrics, epoch.epoch, now) for epoch in epochs])


def add_training(record: Record, config: Config) -> None:
    """Log weights, history and the servable model; tag the run with the weights' hash."""
    last = history.read(config.paths.metrics / "history.csv")[-1]
    record.send("result", line=description.result(last.metrics))
    weights = str(config.paths.models / "weights.npz")
    record.send("files", paths=[weights, str(config.paths.metrics / "history.csv")])
    model = config.model.model_dump() | {"classes": len(config.dataset.classes)}
    data = str(config.paths.processed / "x_train.npy")
    record.send("model", weights=weights, data=data, description=model)


def add_finished(record: Record, config: Config) -> None:
    """Log a training from its files, and end its run."""
    with ended(record):
        add_epochs(record, history.read(config.paths.metrics / "history.csv"))
        add_training(record, config)


def look_up(config: Config) -> Record:
    """Start to look for the run that made the weights; `resume` has the answer."""
    record = Record(config.tracking, config.paths.output)
    weights = str(config.paths.models / "weights.npz")
    record.send("find", ask=True, weights=weights, place=place(config))
    return record


def resume(record: Record, config: Config) -> dict[str, Any]:
    """Go on with the run that `look_up` found, or make it anew from the files; return what it has.

    Weights can come from elsewhere (`dvc pull`), and a store can be new or have been out of reach.
    """
    found = record.answer()
    if not found["problem"] and found["run"] is None:
        log.info("MLflow has no run with these weights: recording one from the files")
        begin(config, record=record, restored="true")
        add_finished(record, config)
        found = record.ask(
            "find", weights=str(config.paths.models / "weights.npz"), place=place(config)
        )
    return found


def add_evaluation(
    record: Record, config: Config, evaluation: dict[str, Any], known: dict[str, float]
) -> None:
    """Log the test metrics, unless they are known, and the files of the evaluation."""
    metrics = test_metrics(evaluation)
    new = {name: value for name, value in metrics.items() if known.get(name) != value}
    record.send("metrics", points=[(new, 0, time.time())])
    record.send("result", line=description.result(known | metrics))
    record.send("tags", tags={"kind": "pipeline"})  # until now it was a training
    names = ("evaluation.json", "classes.csv", "predictions.csv", "mistakes.csv")
    record.send("files", paths=[str(config.paths.metrics / name) for name in names])


def test_metrics(evaluation: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of an evaluation under the names that they have in MLflow."""
    return {
        f"test_{re.sub(NO_NAME, '_', name)}": value
        for name, value in evaluation.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def add_figures(record: Record, config: Config) -> None:
    """Log the figures."""
    pictures = sorted(str(path) for path in config.paths.plots.glob("*.png"))
    record.send("files", paths=pictures, folder="plots")


def place(config: Config) -> str:
    """Return the tag that tells this workspace's runs from those of others on the same server."""
    return f"{socket.gethostname()}:{workspace.place(config.paths.output)}"
