"""weights.npz: the named arrays of a trained model, the same bytes for the same values."""

import zlib
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.files import replacing, require, shown

if TYPE_CHECKING:
    from pipeline.models import Model

# what NumPy raises for a file that is not an archive of arrays; a lone array has no `with`
UNREADABLE = (ValueError, OSError, EOFError, KeyError, TypeError, BadZipFile, zlib.error)


def save(model: "Model", path: Path) -> None:
    """Write the model's weights; NumPy gives every member of the archive the same date."""
    arrays = {name: variable.numpy() for name, variable in model.weights.items()}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def restore(model: "Model", path: Path) -> None:
    """Put the weights of a file into a model of the same architecture.

    Raises
    ------
    UserError
        If the file is missing or damaged, or its names, shapes or types are not the model's.
    """
    expected = {name: tuple(variable.shape) for name, variable in model.weights.items()}
    try:
        with np.load(require(path, "train"), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except UNREADABLE as error:
        raise UserError(f"{shown(path)}: cannot be read ({error}): run `dvc repro train`") from None
    found = {name: array.shape for name, array in arrays.items()}
    if found != expected or any(array.dtype != np.float32 for array in arrays.values()):
        raise UserError(
            f"{shown(path)}: holds {_shapes(found)}, but the model and the data set "
            f"need {_shapes(expected)}: run `dvc repro train`"
        )
    for name, variable in model.weights.items():
        variable.assign(arrays[name])


def build(config: Config, features: int) -> "Model":
    """Return the configured model for x of so many columns, with its initial weights."""
    from pipeline.models import MODELS

    classes = len(config.dataset.classes)
    return MODELS[config.model.name](features, classes, config.seed, **config.model.options)


def _shapes(shapes: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "nothing"
