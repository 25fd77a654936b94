"""Evaluate: the trained model on every test example. No other stage touches the test set."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.cli import app
from pipeline.data import arrays
from pipeline.files import reading, write_csv, write_text
from pipeline.learning import determinism, weights
from pipeline.models import is_exact
from pipeline.report import scores
from pipeline.settings.inputs import Inputs
from pipeline.settings.schema import Config
from pipeline.tracking.run import Run

log = logging.getLogger(__name__)
MANY = 50_000  # examples for which it pays to make a graph


def main(config: Config, inputs: Inputs) -> None:
    """Write evaluation.json, classes.csv, predictions.csv and mistakes.csv, and log them."""
    x, y = arrays.load(config.paths.processed, "test", config.dataset)
    run = Run.look_up(config)
    exact = is_exact(config.determinism, config.model.name)
    determinism.enable(config.seed, config.determinism, exact=exact, keras=False)
    from pipeline.learning.inference import make_evaluate, predict, tensor_blocks

    model = weights.build(config, x.shape[1])
    weights.restore(model, config.paths.models / "weights.npz")
    answers = []

    def answered() -> Iterator[Any]:
        for block in tensor_blocks(model, x, y):
            answers.append(predict(model, block[0]))
            yield block

    loss, accuracy = make_evaluate(model, often=len(y) > MANY)(answered())
    predicted, probability = (np.concatenate(parts) for parts in zip(*answers, strict=True))
    matrix = scores.confusion_matrix(y, predicted, len(config.dataset.classes))
    of_classes = scores.per_class(matrix)
    evaluation = summary(loss, accuracy, len(y), of_classes)
    inputs.check()
    metrics = config.paths.metrics
    write_text(metrics / "evaluation.json", json.dumps(evaluation, indent=2) + "\n")
    names, columns = config.dataset.classes, (column.tolist() for column in of_classes.values())
    write_csv(metrics / "classes.csv", [("class", *of_classes), *zip(names, *columns, strict=True)])
    pairs = zip(y.tolist(), predicted.tolist(), strict=True)
    write_csv(metrics / "predictions.csv", [("actual", "predicted"), *pairs])
    header = "example", "actual", "predicted", "probability"
    write_csv(metrics / "mistakes.csv", [header, *mistakes(y, predicted, probability)])
    log.info("test_loss %.4g  test_accuracy %.4f  (%s examples)", loss, accuracy, f"{len(y):,}")
    run.resume(config)
    run.evaluation(config, evaluation)
    run.client.close()


def summary(
    loss: float, accuracy: float, examples: int, of_classes: dict[str, NDArray[np.float64]]
) -> dict[str, float]:
    """Return what evaluation.json holds: loss in nats, accuracy, scores averaged over classes."""
    macro = {f"macro_{name}": fmean(values.tolist()) for name, values in of_classes.items()}
    return {"loss": loss, "accuracy": accuracy, **macro, "examples": examples}


def mistakes(
    actual: NDArray[np.uint8], predicted: NDArray[np.int64], probability: NDArray[np.float32]
) -> Iterator[tuple[int, int, int, str]]:
    """Yield (example, actual, predicted, its probability) of mistakes, most confident first."""
    wrong = np.flatnonzero(predicted != actual)
    for k in wrong[np.lexsort((wrong, -probability[wrong]))]:
        yield int(k), int(actual[k]), int(predicted[k]), f"{probability[k]:.6f}"


def read_evaluation(path: Path) -> dict[str, Any]:
    """Read evaluation.json back.

    Raises
    ------
    UserError
        If the file is missing or not an evaluation.
    """
    with reading(path, "evaluate"):
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        float(values["loss"]), float(values["accuracy"])
    return values


if __name__ == "__main__":
    app.run(main)
