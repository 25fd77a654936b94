"""Plot: the figures, from the history, the weights and the evaluation."""

import itertools
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import metrics
from pipeline.cli import app
from pipeline.data import arrays, description
from pipeline.files import reading, shown
from pipeline.learning import history
from pipeline.models import MODELS
from pipeline.settings.inputs import Inputs
from pipeline.settings.schema import Config
from pipeline.tracking.run import Run

log = logging.getLogger(__name__)
MISTAKES = 20  # so many are shown


def main(config: Config, inputs: Inputs) -> None:
    """Draw the five figures and log them."""
    paths, classes = config.paths, config.dataset.classes
    epochs = history.read(paths.metrics / "history.csv")
    predictions = read_csv(paths.metrics / "predictions.csv", 2).astype(int)
    matrix = metrics.confusion_matrix(predictions[:, 0], predictions[:, 1], len(classes))
    rows = read_csv(paths.metrics / "mistakes.csv", 4, MISTAKES)
    wrong = [(int(row[0]), int(row[1]), int(row[2]), float(row[3])) for row in rows]
    x, _ = arrays.load(paths.processed, "test", config.dataset)
    described = description.read(paths.processed, config.dataset)
    shape = described.shape
    with reading(paths.models / "weights.npz", "train") as path, np.load(path) as file:
        learned = dict(file)
    pictures = MODELS[config.model.name].pictures(learned, shape)

    run = Run.look_up(config)
    from pipeline.report import cells, figures
    from pipeline.report.matrix import confusion_matrix
    from pipeline.report.mistakes import mistakes
    from pipeline.report.weights import weights

    figures.curves(paths.plots / "loss.png", epochs, "loss")
    figures.curves(paths.plots / "accuracy.png", epochs, "accuracy")
    confusion_matrix(paths.plots / "confusion_matrix.png", matrix, classes)
    weights(paths.plots / "weights.png", pictures, shape, classes, described.features)
    images = described.unscaled(x[rows[:, 0].astype(int)]) if cells.is_image(shape) else None
    mistakes(paths.plots / "mistakes.png", wrong, classes, images)
    log.info("%s: loss, accuracy, confusion_matrix, weights, mistakes", shown(paths.plots))
    inputs.check()
    found, right = run.resume(config), int(np.trace(matrix))
    if found.problem or round(found.metrics.get("test_accuracy", -1) * len(predictions)) == right:
        run.figures(config)
    else:  # the predictions are of other weights, or the run was never evaluated
        log.info("MLflow: the run of these weights has no such evaluation, and gets no figures")
    run.client.close()


def read_csv(path: Path, columns: int, most: int | None = None) -> NDArray[Any]:
    """Return the first columns of a CSV file of numbers, without its header, up to `most` rows.

    Raises
    ------
    UserError
        If the file is missing or not of numbers.
    """
    with reading(path, "evaluate"), path.open(encoding="utf-8") as file:
        if not (file.readline() and (first := file.readline())):
            return np.empty((0, columns))
        lines = itertools.chain([first], file)
        return np.loadtxt(lines, delimiter=",", usecols=range(columns), max_rows=most, ndmin=2)


if __name__ == "__main__":
    app.run(main)
