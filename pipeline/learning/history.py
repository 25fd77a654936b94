"""history.csv: `epoch,loss,accuracy,val_loss,val_accuracy`, a row an epoch, from 1."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path

from pipeline.files import reading, write_csv

DIGITS = ".9g"


@dataclass(frozen=True)
class Epoch:
    """A row of the history.

    Attributes
    ----------
    epoch : int
        Counted from 1.
    loss : float
        The mean loss of the training examples, in nats unless the model has a loss of its own. Each
        example has the loss from before the update by its batch.
    accuracy : float
        The share of the training examples that were classified rightly, measured at the same time.
    val_loss, val_accuracy : float or None
        The same of the held-out examples, after the epoch; None if there are none.
    """

    epoch: int
    loss: float
    accuracy: float
    val_loss: float | None = None
    val_accuracy: float | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics that were measured, by name."""
        return {k: v for k, v in asdict(self).items() if k != "epoch" and v is not None}


def best(epochs: Sequence[Epoch], objective: str, direction: str) -> Epoch:
    """Return the epoch with the best objective, the first of those that history.csv has as equal.

    Parameters
    ----------
    epochs : sequence of Epoch
    objective : str
        The name of a metric.
    direction : "maximize" or "minimize"
    """
    find = max if direction == "maximize" else min
    return find(epochs, key=lambda epoch: float(f"{epoch.metrics[objective]:{DIGITS}}"))


def text(metric: str, value: float) -> str:
    """Return a metric as it is shown: a loss with four digits, an accuracy with four decimals."""
    return f"{value:.4g}" if metric.endswith("loss") else f"{value:.4f}"


def write(path: Path, epochs: Iterable[Epoch]) -> None:
    """Write the history: numbers with nine digits, an empty cell for what was not measured."""
    rows = [
        [epoch, *("" if value is None else f"{value:{DIGITS}}" for value in metrics)]
        for epoch, *metrics in map(astuple, epochs)
    ]
    write_csv(path, [[field.name for field in fields(Epoch)], *rows])


def read(path: Path) -> list[Epoch]:
    """Read a history back.

    Raises
    ------
    UserError
        If the file is missing, or is no history.
    """
    with reading(path, "train"), path.open(newline="", encoding="utf-8") as file:
        _, *rows = csv.reader(file)
        return [
            Epoch(
                int(epoch), float(loss), float(accuracy), *map(_optional, (val_loss, val_accuracy))
            )
            for epoch, loss, accuracy, val_loss, val_accuracy in rows
        ]


def _optional(text: str) -> float | None:
    return float(text) if text else None
