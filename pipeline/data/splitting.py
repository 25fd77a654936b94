"""Which examples are the training part and the test part, and in which order they are written.

Both follow from the labels and a seed alone. NumPy's generators draw integers, and the only other
operation is a division, which is correctly rounded everywhere.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.data.examples import Examples
from pipeline.errors import UserError
from pipeline.settings.dataset import Dataset
from pipeline.settings.explain import where_set

Labels = NDArray[np.uint8]
Rows = NDArray[np.int64]


class Part(NamedTuple):
    """The examples of a source that become one array.

    Attributes
    ----------
    source : Examples
    rows : array of int64 (n,)
        The numbers of these examples in the source, in the order of the array.
    """

    source: Examples
    rows: Rows

    @property
    def labels(self) -> Labels:
        """Return the labels in the order of the array."""
        return self.source.labels[self.rows]


def split(found: dict[str, Examples], dataset: Dataset) -> dict[str, Part]:
    """Return the parts `train` and `test` of what a reader has found.

    Raises
    ------
    UserError
        If `split` is `files` and there is no test part, or a share and there is one, or if a class
        has too few examples to be split.
    """
    source, where = found["train"], where_set("dataset.split")
    if dataset.split == "files":
        if "test" not in found:
            raise UserError(
                f"{where} is files, but {source.place} has no test part: set a share, such as 0.2"
            )
        rows, test = np.arange(source.rows), Part(found["test"], np.arange(found["test"].rows))
    else:
        if "test" in found:
            raise UserError(
                f"{where} is a share, but {found['test'].place} is the test part: set it to files"
            )
        chosen = test_rows(source.labels, dataset.split, dataset.seed)
        lone = np.flatnonzero(np.bincount(source.labels) == 1)
        if len(lone):
            raise UserError(
                f"{source.place}: class {dataset.classes[lone[0]]} has one example, which cannot "
                "be both in the training and in the test part: leave the class out, or find more"
            )
        rows, test = np.flatnonzero(~chosen), Part(source, np.flatnonzero(chosen))
    if dataset.validation == "stratified":
        rows = rows[order(source.labels[rows], dataset.seed)]
    return {"train": Part(source, rows), "test": test}


def test_rows(labels: Labels, share: float, seed: int) -> NDArray[np.bool_]:
    """Return which examples are the test part, bool (rows,).

    Of the n examples of a class, floor(share n + 0.5) are drawn by the seed, but at least one and
    at most n - 1. A class of one example has none in the test part.
    """
    generator = np.random.default_rng([seed, 0])
    chosen = np.zeros(len(labels), bool)
    for number in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == number))
        count = max(int(np.floor(share * len(rows) + 0.5)), 1)
        chosen[rows[: min(count, len(rows) - 1)]] = True
    return chosen


def order(labels: Labels, seed: int) -> Rows:
    """Return an order of examples, int64 (rows,), whose last k are stratified, whatever k is.

    Among the last k, each class has as many examples as Webster's method gives it of k seats
    (Sainte-Lague, 1910). To this end, example j of the n of a class, counted from 0 in an order
    drawn by the seed, comes at (2 j + 1) / (2 n) of the way from the end to the start.
    """
    generator = np.random.default_rng([seed, 1])
    way = np.empty(len(labels))
    for number in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == number))
        way[rows] = (2 * np.arange(len(rows)) + 1) / (2 * len(rows))
    return np.lexsort((labels, way))[::-1]
