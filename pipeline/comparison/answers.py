"""The answers of a model to a set of examples, as predictions.csv holds them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError, first_line

UNIT = 1e-9  # nats: the last decimal of a loss in predictions.csv
MOST = 2.0**62  # units: sums below it fit into an int64

Numbers = NDArray[np.int64]


class Answers(NamedTuple):
    """Answers to the same examples in the same order.

    Attributes
    ----------
    actual, predicted : array of int64 (n,)
        Numbers of classes.
    losses : array of int64 (n,) or None
        In units of 1e-9 nats; None if they are not known, or too large to be added.
    """

    actual: Numbers
    predicted: Numbers
    losses: Numbers | None

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each answer is right."""
        return self.actual == self.predicted


def parse(text: str, name: str) -> Answers:
    """Return the answers in the text of a predictions.csv; those of earlier versions lack losses.

    Raises
    ------
    UserError
        If it is no such file.
    """
    try:
        header, *rows = text.splitlines()
        columns = np.loadtxt(rows, delimiter=",", ndmin=2).T
        named = dict(zip(header.split(","), columns, strict=True))
        actual, predicted = (named[key].astype(np.int64) for key in ("actual", "predicted"))
        return Answers(actual, predicted, in_units(named.get("loss")))
    except (ValueError, KeyError) as error:
        raise UserError(f"{name} cannot be read ({first_line(error)})") from None


def in_units(losses: NDArray[np.float64] | None) -> Numbers | None:
    """Return losses in nats as whole units."""
    if losses is None or not np.abs(losses).max(initial=0) * len(losses) < MOST * UNIT:
        return None
    return np.rint(losses / UNIT).astype(np.int64)
