"""Evaluate: asks the trained model about every test example, which no other stage does."""

import json
import logging
import math
from collections.abc import Iterator
from itertools import chain
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline import metrics
from pipeline.cli import app
from pipeline.data import arrays, description
from pipeline.errors import UserError
from pipeline.files import reading, write_csv, write_text
from pipeline.learning import determinism, weights
from pipeline.metrics import METRICS
from pipeline.models import is_exact
from pipeline.report.intervals import wilson
from pipeline.report.kept import kept
from pipeline.settings.inputs import Inputs
from pipeline.settings.schema import Config
from pipeline.tracking.run import Run

if TYPE_CHECKING:
    from pipeline.modelling.model import Model

log = logging.getLogger(__name__)


class Predictions(NamedTuple):
    """What a model says of n examples.

    Attributes
    ----------
    predicted : array of int64 (n,)
    probability : array of float32 (n,)
        Of the predicted class.
    losses : array of float64 (n,)
        In nats.
    probabilities : array of float64 (n, classes)
        Mapped from a file, as they may be many.
    """

    predicted: NDArray[np.int64]
    probability: NDArray[np.float32]
    losses: NDArray[np.float64]
    probabilities: NDArray[np.float64]


def main(config: Config, inputs: Inputs) -> None:
    """Evaluate the weights in the workspace; write the metrics and predictions, and log them."""
    x, y = arrays.load(config.paths.processed, "test", config.dataset)
    described = description.read(config.paths.processed, config.dataset)
    run = Run.look_up(config)
    predictions = predictions_of(trained(config, described.shape), x, y)
    inputs.check()
    evaluation = write(config, y, predictions)
    log.info("%s  (%s examples)", in_words(evaluation), f"{len(y):,}")
    run.resume(config)
    run.evaluation(config, evaluation)
    run.client.close()


def trained(config: Config, shape: tuple[int, ...]) -> "Model":
    """Return the configured model for examples of a shape, with the weights of `paths.models`."""
    exact = is_exact(config.determinism, config.model.name)
    determinism.enable(config.seed, config.determinism, exact=exact, keras=False)
    model = weights.build(config, shape)
    weights.restore(model, config.paths.models / "weights.npz")
    return model


def predictions_of(model: "Model", x: arrays.Features, y: NDArray[np.uint8]) -> Predictions:
    """Return what a model says of examples x (n, features) with the labels y (n,)."""
    from pipeline.learning.inference import judge, tensor_blocks

    losses = []

    def judged() -> Iterator[NDArray[np.float64]]:
        for block in tensor_blocks(model, x, y):
            probabilities, some = judge(model, *block)
            losses.append(some)
            yield probabilities

    probabilities = kept(judged())
    probability = probabilities.max(1).astype(np.float32)
    predicted = metrics.answers(probabilities)
    return Predictions(predicted, probability, np.concatenate(losses), probabilities)


def write(config: Config, y: NDArray[np.uint8], predictions: Predictions) -> dict[str, float]:
    """Write evaluation.json, which is returned, classes.csv, predictions.csv and mistakes.csv.

    Losses are in nats, with nine decimals, so that their mean is that of evaluation.json within
    1e-9. Mistakes are sorted by the probability of the predicted class, the most confident first.
    """
    predicted, probability, losses, probabilities = predictions
    evaluation = summary(losses, predicted == y, measure(config, y, probabilities))
    names, folder = config.dataset.classes, config.paths.metrics
    of_classes = metrics.per_class(metrics.confusion_matrix(y, predicted, len(names)))
    write_text(folder / "evaluation.json", json.dumps(evaluation, indent=2) + "\n")
    columns = (column.tolist() for column in of_classes.values())
    write_csv(folder / "classes.csv", [("class", *of_classes), *zip(names, *columns, strict=True)])

    labels, said = y.tolist(), predicted.tolist()
    shares = [f"{share:.6f}" for share in probability.tolist()]
    nats = (f"{loss:.9f}" for loss in losses.tolist())
    header = "actual", "predicted", "probability", "loss"
    rows = zip(labels, said, shares, nats, strict=True)
    write_csv(folder / "predictions.csv", chain([header], rows))
    wrong = np.flatnonzero(predicted != y)
    order = wrong[np.argsort(-probability[wrong], kind="stable")].tolist()
    mistakes = ((k, labels[k], said[k], shares[k]) for k in order)
    write_csv(folder / "mistakes.csv", chain([("example", *header[:3])], mistakes))
    return evaluation


def measure(
    config: Config, y: NDArray[np.uint8], probabilities: NDArray[np.float64]
) -> dict[str, float]:
    """Return the metrics of `config.metrics` by their titles, such as `accuracy` and `top_3`.

    A metric that does not apply, which returns None, is left out.

    Raises
    ------
    UserError
        If a metric returns anything else than a number or None.
    """
    found: dict[str, float] = {}
    for metric in config.metrics:
        value = METRICS[metric.name](y, probabilities, **metric.options)
        if not isinstance(value, Real | None):
            raise UserError(
                f"metric {metric.name}: should return a number or None, not {value!r:.80}"
            )
        if value is not None:
            found[metric.title] = float(value)
    return found


def summary(
    losses: NDArray[np.float64], correct: NDArray[np.bool_], measured: dict[str, float]
) -> dict[str, float]:
    """Return what evaluation.json holds.

    That is the mean loss in nats, which is infinite if it would not be a number, the accuracy with
    its 95 % interval, the chosen metrics, and the number of examples.
    """
    examples, right = len(losses), int(correct.sum())
    loss = math.fsum(losses.tolist()) / examples
    low, high = wilson(right, examples)
    return {
        "loss": math.inf if math.isnan(loss) else loss,
        "accuracy": right / examples,
        "accuracy_low": low,
        "accuracy_high": high,
        **measured,
        "examples": examples,
    }


def in_words(evaluation: dict[str, Any]) -> str:
    """Return the loss, and the accuracy with its 95 % interval, in a line."""
    line = "test_loss {loss:.4g}  test_accuracy {accuracy:.4f}"
    return (line + " ({accuracy_low:.4f} to {accuracy_high:.4f})").format(**evaluation)


def read_evaluation(path: Path) -> dict[str, Any]:
    """Read evaluation.json back.

    Raises
    ------
    UserError
        If the file is missing or not an evaluation.
    """
    with reading(path, "evaluate"):
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        in_words(values)
    return values


if __name__ == "__main__":
    app.run(main)
