"""Plot: the figures, from the history, the weights and the evaluation."""

import csv
import logging
from pathlib import Path

import numpy as np

from pipeline import metrics
from pipeline.cli import app
from pipeline.data import arrays, description
from pipeline.files import reading, shown
from pipeline.learning import history
from pipeline.settings.inputs import Inputs
from pipeline.settings.schema import Config
from pipeline.tracking.run import Run

log = logging.getLogger(__name__)


def main(config: Config, inputs: Inputs) -> None:
    """Draw the five figures and log them."""
    paths, classes = config.paths, config.dataset.classes
    epochs = history.read(paths.metrics / "history.csv")
    predictions = read_csv(paths.metrics / "predictions.csv")[:, :2].astype(int)
    matrix = metrics.confusion_matrix(predictions[:, 0], predictions[:, 1], len(classes))
    x, _ = arrays.load(paths.processed, "test", config.dataset)
    described = description.read(paths.processed, config.dataset)
    wrong = read_csv(paths.metrics / "mistakes.csv")
    rows = [(int(row[0]), int(row[1]), int(row[2]), float(row[3])) for row in wrong[:20]]

    run = Run.look_up(config)
    from pipeline.report import figures

    figures.loss(paths.plots / "loss.png", epochs)
    figures.accuracy(paths.plots / "accuracy.png", epochs)
    figures.confusion_matrix(paths.plots / "confusion_matrix.png", matrix, classes)
    with (
        reading(paths.models / "weights.npz", "train") as path,
        np.load(path, allow_pickle=False) as file,
    ):
        first = file[file.files[0]]
    figures.weights(paths.plots / "weights.png", first, described.shape, classes)
    examples = [example for example, *_ in rows]
    images = dict(zip(examples, described.unscaled(x[examples]), strict=True))
    figures.mistakes(paths.plots / "mistakes.png", images, rows, classes)
    log.info("%s: loss, accuracy, confusion_matrix, weights, mistakes", shown(paths.plots))
    inputs.check()
    run.resume(config)
    run.figures(config)
    run.client.close()


def read_csv(path: Path) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return the rows of a CSV file of numbers, without its header.

    Raises
    ------
    UserError
        If the file is missing or not of numbers.
    """
    with reading(path, "evaluate"), path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
        return np.array(rows, np.float64).reshape(len(rows), len(header))


if __name__ == "__main__":
    app.run(main)
