"""weights.npz: the named arrays of a trained model, the same bytes for the same values."""

import io
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

import numpy as np

from pipeline.data import npy
from pipeline.errors import UserError
from pipeline.files import reading, replacing, shown
from pipeline.modelling.model import Model
from pipeline.models import is_exact, make
from pipeline.settings.schema import Config

Header = tuple[tuple[int, ...], np.dtype[Any]]  # shape and type


def save(model: Model, path: Path) -> None:
    """Write the model's weights, with the same bytes in every version of Python.

    `np.savez` would not do: it reserves room for members beyond 4 GiB, for which Python since
    3.11.4 writes other bytes than before.
    """
    with replacing(path) as temporary, ZipFile(temporary, "w") as file:
        for name, variable in model.saved.items():
            content = io.BytesIO()
            np.save(content, variable.numpy(), allow_pickle=False)
            file.writestr(ZipInfo(f"{name}.npy"), content.getvalue())  # ZipInfo has a fixed date


def restore(model: Model, path: Path) -> None:
    """Put the weights of a file into a model of the same architecture.

    Raises
    ------
    UserError
        If the file is missing or damaged, its names, shapes or types are not those of the model, or
        a value is not finite.
    """
    expected = {
        name: (tuple(variable.shape), np.dtype(variable.dtype.as_numpy_dtype))
        for name, variable in model.saved.items()
    }
    with reading(path, "train"):
        with ZipFile(path) as members:  # a damaged header may ask for more memory than there is
            found = {
                name.removesuffix(".npy"): _header(members, name) for name in members.namelist()
            }
        if found == expected:
            with np.load(path) as file:
                arrays = dict(file)
    if found != expected:
        raise UserError(
            f"{shown(path)}: holds {_described(found)}, but the model and the data set "
            f"need {_described(expected)}: run `dvc repro train`"
        )
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise UserError(f"{shown(path)}: {name} is not finite: run `dvc repro train`")
    for name, variable in model.saved.items():
        variable.assign(arrays[name])


def build(config: Config, shape: tuple[int, ...]) -> Model:
    """Return the configured model for examples of a shape, with its initial weights."""
    name, options = config.model.name, config.model.options
    exact = is_exact(config.determinism, name)
    return make(name, shape, len(config.dataset.classes), config.seed, options, exact=exact)


def _header(members: ZipFile, name: str) -> Header:
    with members.open(name) as member:
        shape, _, dtype = npy.read_header(member)
    return shape, dtype


def _described(headers: dict[str, Header]) -> str:
    parts = (
        f"{name} {shape}" + ("" if dtype == np.float32 else f" {dtype}")
        for name, (shape, dtype) in headers.items()
    )
    return ", ".join(parts) or "nothing"
