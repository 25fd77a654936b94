"""The model in MLflow's format, without a pickle: examples in, probabilities out."""

import json
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from numpy.typing import NDArray

from pipeline import own
from pipeline.data.description import NAME, Description
from pipeline.data.given import as_trained
from pipeline.errors import UserError
from pipeline.learning import determinism

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

SERVED = ("hydra-core", "keras", "mlflow", "numpy", "pydantic", "requests", "tensorflow", "tqdm")


def save(
    folder: Path, weights: Path, data: Path, choices: dict[str, Any], logged: "LoggedModel"
) -> Path:
    """Write the model below a folder, with an example of its input; return where.

    The signature names no input. Else MLflow would take float32 (n, features) alone, and would
    refuse the bytes, images and float64 that `as_trained` takes, in words of its own.

    Parameters
    ----------
    folder : Path
        An empty folder.
    weights : Path
        weights.npz.
    data : Path
        The folder of dataset.json and of x_train.npy, whose first rows are the example.
    choices : dict
        The model's name and options, and whether it is `exact`.
    logged : LoggedModel
        What MLflow has made for it.
    """
    import mlflow
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    contents, saved = folder / "contents", folder / "saved"
    contents.mkdir()
    shutil.copy(weights, contents)
    shutil.copy(data / NAME, contents)
    (contents / "model.json").write_text(json.dumps(choices, indent=2), encoding="utf-8")
    described = Description.model_validate_json((contents / NAME).read_bytes())
    x = np.load(data / "x_train.npy", mmap_mode="r")[:2]
    raw = described.unscaled(x)
    example = described.scaled(raw) if described.scale.kind == "bytes" else raw
    mlflow.pyfunc.save_model(
        saved,
        mlflow_model=Model(run_id=logged.source_run_id, model_id=logged.model_id),
        loader_module=__name__,
        data_path=str(contents),
        code_paths=[str(path) for path in (Path(__file__).parents[1], own.FOLDER) if path.is_dir()],
        pip_requirements=[f"{name}=={version(name)}" for name in SERVED],
        input_example=example,
        signature=ModelSignature(
            outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, len(described.classes)))])
        ),
    )
    return saved


class InputError(MlflowException):
    """What is wrong with the input, in a sentence; a server answers with it and the status 400."""

    def __init__(self, sentence: str):
        super().__init__(sentence, INVALID_PARAMETER_VALUE)

    def serialize_as_json(self) -> str:
        """Return the server's answer; MLflow would put the whole input before it."""
        self.message = str(self)
        return str(super().serialize_as_json())  # type: ignore[no-untyped-call]


class Classifier:
    """A trained model, read from the `contents` that `save` has written."""

    def __init__(self, folder: Path):
        self.described = Description.model_validate_json((folder / NAME).read_bytes())
        options = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        exact = options.pop("exact")
        if "tensorflow" not in sys.modules:
            determinism.enable(None, exact=exact, keras=False)  # a server's generators stay as is
        from pipeline.learning import weights
        from pipeline.models import make

        shape, classes = self.described.shape, len(self.described.classes)
        self.model = make(options.pop("name"), shape, classes, 0, options, exact=exact)
        weights.restore(self.model, folder / "weights.npz")

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> NDArray[np.float32]:
        """Return probabilities, float32 (n, classes), for what `as_trained` takes.

        Raises
        ------
        InputError
            If `as_trained` refuses the data.
        """
        from pipeline.learning.inference import probabilities

        try:
            x = as_trained(data, self.described, exact=self.model.exact)
        except UserError as error:
            raise InputError(str(error)) from None
        return probabilities(self.model, x)


def _load_pyfunc(path: str) -> Classifier:
    """Load what `save` has written; MLflow calls this by its name."""
    return Classifier(Path(path))
