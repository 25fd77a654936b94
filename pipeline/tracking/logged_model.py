"""The model in MLflow's format: code and arrays, no pickle, served by `tracking.serving`."""

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

SERVED = ("hydra-core", "mlflow", "numpy", "pydantic", "requests", "tensorflow", "tqdm")


def save(
    folder: Path, weights: Path, data: Path, description: dict[str, Any], logged: "LoggedModel"
) -> Path:
    """Write the model below a folder, with an example; return where.

    Its signature names no input: MLflow would take float32 (n, features) alone, and would refuse,
    in words of its own, the bytes, images and float64 that `pipeline.tracking.serving` takes.

    Parameters
    ----------
    weights, data : Path
        weights.npz, and the .npy of the training set, whose first rows are the example.
    description : dict
        The model's name and options, and the number of classes.
    """
    import mlflow
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    example = np.load(data, mmap_mode="r")[:2]
    if example.dtype == np.uint8:
        example = example / np.float32(255)
    sizes = {"features": example.shape[1], "classes": description["classes"]}
    contents, saved = folder / "contents", folder / "saved"
    contents.mkdir()
    shutil.copy(weights, contents)
    (contents / "model.json").write_text(
        json.dumps(description | sizes, indent=2), encoding="utf-8"
    )
    mlflow.pyfunc.save_model(
        saved,
        mlflow_model=Model(run_id=logged.source_run_id, model_id=logged.model_id),
        loader_module="pipeline.tracking.serving",
        data_path=str(contents),
        code_paths=[str(Path(__file__).parents[1])],
        pip_requirements=[f"{name}=={version(name)}" for name in SERVED],
        input_example=np.array(example),
        signature=ModelSignature(
            outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, sizes["classes"]))])
        ),
    )
    return saved
