"""dataset.json: what the arrays beside it hold, for the stages that read them."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.errors import UserError
from pipeline.files import reading, shown
from pipeline.settings.dataset import Dataset, Scaling, Section

NAME = "dataset.json"
UNUSED = {"max_bytes", "sources"}  # keys of a data set that do not decide its arrays


class Scale(Section):
    """How features are brought to a common size: (x - offset) / width.

    Attributes
    ----------
    kind : str
        `bytes`: x / 255. `none`: as they are. `minmax`: the smallest value of the training examples
        becomes 0, and the largest 1. `standardise`: their mean becomes 0, and their standard
        deviation 1.
    offset, width : list of float
        What was learned from the training examples: a number for each column of a table, or one for
        all values of an image. Empty for `bytes` and `none`.
    """

    kind: Scaling
    offset: list[float] = Field(default_factory=list)
    width: list[float] = Field(default_factory=list)


class Description(Section):
    """A data set as it lies in data/processed/.

    Attributes
    ----------
    name : str
    shape : tuple of int
        Of one example, which is a row of x.
    classes : list of str
    features : list of str or None
        Names of the columns of a table.
    scale : Scale
    hashes : dict of str to str
        SHA-256 of the labels, by the name of their array, and of the configuration.
    """

    name: str
    shape: tuple[int, ...]
    classes: list[str]
    features: list[str] | None
    scale: Scale
    hashes: dict[str, str]

    def scaled(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Return examples as a model takes them, float32 (n, features).

        All operations are correctly rounded, so the bits are the same everywhere.

        Parameters
        ----------
        x : array (n, features) or (n, *shape)
            Values as the raw files hold them.
        """
        flat = x.reshape(len(x), math.prod(self.shape))
        if self.scale.kind == "bytes":
            return np.divide(flat, np.float32(255), dtype=np.float32, casting="unsafe")
        if self.scale.kind == "none":
            return flat.astype(np.float32)
        offset, width = np.array(self.scale.offset), np.array(self.scale.width)
        return ((flat.astype(np.float64) - offset) / width).astype(np.float32)

    def unscaled(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return rows of x, (n, features), as the raw files had them, (n, *shape).

        Bytes are uint8 again. Other numbers are float64, but no more precise than the float32 of x.
        """
        if self.scale.kind == "bytes":
            values = x if x.dtype == np.uint8 else np.rint(x * np.float32(255)).astype(np.uint8)
        else:
            values = x.astype(np.float64)
            if self.scale.kind != "none":
                values = values * np.array(self.scale.width) + np.array(self.scale.offset)
        return values.reshape(len(x), *self.shape)

    def check(self, folder: Path, dataset: Dataset) -> None:
        """Raise a UserError if this is of another data set, or of the same with other settings."""
        if self.name != dataset.name:
            raise UserError(
                f"{shown(folder)}: holds another data set than conf/dataset/{dataset.name}.yaml: "
                f"run `dvc repro` with `dataset: {dataset.name}` in params.yaml"
            )
        if self.hashes.get("dataset") != digest(dataset):
            raise UserError(
                f"{shown(folder)}: was made with other settings than those of "
                f"conf/dataset/{dataset.name}.yaml: run `dvc repro preprocess`"
            )

    def text(self) -> str:
        """Return what dataset.json holds."""
        return json.dumps(self.model_dump(mode="json"), indent=1) + "\n"


def read(folder: Path, dataset: Dataset) -> Description:
    """Read the description of the arrays in a folder.

    Raises
    ------
    UserError
        If it is missing or damaged, or describes another data set.
    """
    with reading(folder / NAME, "preprocess") as path:
        description = Description.model_validate_json(path.read_bytes())
    description.check(folder, dataset)
    return description


def said_of(dataset: Dataset) -> dict[str, Any]:
    """Return what a file of conf/dataset/ says about the arrays."""
    return dataset.model_dump(mode="json", exclude=UNUSED, exclude_unset=True)


def digest(dataset: Dataset) -> str:
    """Return the SHA-256 of all that the configuration says about the arrays."""
    values = dataset.model_dump(mode="json", exclude=UNUSED)
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def sha256_of(labels: NDArray[np.uint8]) -> str:
    """Return the SHA-256 of labels."""
    return hashlib.sha256(labels.tobytes()).hexdigest()
