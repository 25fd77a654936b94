"""The model in MLflow's format, code and arrays without a pickle: pixels in, probabilities out."""

import json
import math
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from numpy.typing import NDArray

from pipeline.learning import determinism

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

SERVED = ("hydra-core", "mlflow", "numpy", "pydantic", "requests", "tensorflow", "tqdm")
NUMBERS = "buif"  # kinds of NumPy's dtypes


def save(
    folder: Path, weights: Path, data: Path, description: dict[str, Any], logged: "LoggedModel"
) -> Path:
    """Write the model below a folder, with an example; return where.

    Its signature names no input: MLflow would take float32 (n, features) alone, and would refuse,
    in words of its own, the bytes, images and float64 that `pixels` takes.

    Parameters
    ----------
    weights, data : Path
        weights.npz, and the .npy of the training set, whose first rows are the example.
    description : dict
        The model's name and options, the number of classes, and whether it computes exactly.
    """
    import mlflow
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    example = np.load(data, mmap_mode="r")[:2]
    if example.dtype == np.uint8:
        example = example / np.float32(255)
    sizes = {"shape": example.shape[1:], "classes": description["classes"]}
    contents, saved = folder / "contents", folder / "saved"
    contents.mkdir()
    shutil.copy(weights, contents)
    (contents / "model.json").write_text(
        json.dumps(description | sizes, indent=2), encoding="utf-8"
    )
    mlflow.pyfunc.save_model(
        saved,
        mlflow_model=Model(run_id=logged.source_run_id, model_id=logged.model_id),
        loader_module=__name__,
        data_path=str(contents),
        code_paths=[str(Path(__file__).parents[1])],
        pip_requirements=[f"{name}=={version(name)}" for name in SERVED],
        input_example=np.array(example),
        signature=ModelSignature(
            outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, sizes["classes"]))])
        ),
    )
    return saved


class PixelError(MlflowException):
    """What is wrong with the pixels, in a sentence; a server answers with it and status 400."""

    def __init__(self, sentence: str):
        super().__init__(sentence, INVALID_PARAMETER_VALUE)

    def serialize_as_json(self) -> str:
        """Return the server's answer, without the whole input, which MLflow puts before it."""
        self.message = str(self)
        return str(super().serialize_as_json())  # type: ignore[no-untyped-call]


class Classifier:
    """Softmax probabilities of a trained model.

    Parameters
    ----------
    folder : Path
        Holds weights.npz, and model.json with `shape`, `classes`, the model's name and options,
        and whether it computes exactly.
    """

    def __init__(self, folder: Path):
        options = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        shape, classes = tuple(options.pop("shape")), options.pop("classes")
        self.features = math.prod(shape)
        exact = options.pop("exact")
        if "tensorflow" not in sys.modules:
            determinism.enable(None, exact=exact, keras=False)  # the generators are the caller's
        from pipeline.learning import weights
        from pipeline.models import MODELS

        self.model = MODELS[options.pop("name")](shape, classes, 0, **options)
        self.model.exact = exact
        weights.restore(self.model, folder / "weights.npz")

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> NDArray[np.float32]:
        """Return probabilities, float32 (n, classes), for what `pixels` takes."""
        from pipeline.learning.inference import probabilities

        return probabilities(self.model, pixels(data, self.features))


def pixels(data: Any, features: int) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Return examples as the model was trained on them: flat, bytes as uint8, the rest as float32.

    Parameters
    ----------
    data : array, DataFrame or list
        Of the shape (n, features), or images (n, rows, columns) of so many pixels: bytes as uint8,
        or other numbers in [0, 1].

    Raises
    ------
    PixelError
        If it is anything else, or empty.
    """
    try:
        array = np.asarray(data)
        if array.dtype == object:  # cells of several types, or each a list
            array = np.array(array.tolist(), np.float64)
    except (TypeError, ValueError, OverflowError):  # rows of different lengths, too
        array = np.array("")
    if array.dtype.kind not in NUMBERS:
        raise PixelError(f"The input must be numbers, each example {features} pixels.")
    if not array.size:
        raise PixelError("The input has no examples.")
    if array.ndim < 2 or math.prod(array.shape[1:]) != features:
        raise PixelError(
            f"The input has the shape {array.shape}, but must be (n, {features}), or images "
            f"(n, rows, columns) of {features} pixels each, also if n is 1."
        )
    array = array.reshape(len(array), features)
    if array.dtype == np.uint8:
        return array
    if (wrong := ~((array >= 0) & (array <= 1))).any():  # NaN is neither
        example, pixel = np.argwhere(wrong)[0]
        raise PixelError(
            f"Example {example} has the value {array[example, pixel]:g}, but pixels lie between 0 "
            "and 1: divide bytes by 255, or give them as an array of uint8."
        )
    return array.astype(np.float32)


def _load_pyfunc(path: str) -> Classifier:
    """Load what `save` has written; MLflow calls this by its name."""
    return Classifier(Path(path))
