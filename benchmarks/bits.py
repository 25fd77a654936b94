"""Hashes of what the project's code computes; `benchmarks.processors` compares them.

`python -m benchmarks.bits NUMBER` trains in the first NUMBER of WAYS, on a few rows. Each line on
standard output names a way and the SHA-256 of its weights, losses, accuracies and probabilities.
"""

import hashlib
import itertools
import sys
from typing import Any

from benchmarks.peers import examples
from pipeline.data import arrays
from pipeline.learning import determinism

ROWS, HELD_OUT, EPOCHS = 2560, 640, 2
SIZES = (256, None, 1000, 100, 32)
WAYS = [  # the first rows try both models, both optimizers, and blocks of whole and of other sizes
    ("logistic_regression", "sgd", 256),
    ("mlp", "adam", 1000),
    ("logistic_regression", "adam", None),
    ("mlp", "sgd", 100),
]
WAYS += [
    way
    for way in itertools.product(("logistic_regression", "mlp"), ("sgd", "adam"), SIZES)
    if way not in WAYS
]


def trained(model: str, optimizer: str, size: int | None, split: Any) -> str:
    """Train and evaluate; return the hash of all that comes out."""
    from pipeline import models, optimizers
    from pipeline.learning import inference, training

    training_set, held_out = split
    options: dict[str, Any] = {"hidden": [128]} if model == "mlp" else {}
    made = models.MODELS[model](training_set[0].shape[1:], 10, 0, **options)
    epochs = training.train(
        made,
        optimizers.OPTIMIZERS[optimizer](0.01),
        training_set,
        held_out,
        epochs=EPOCHS,
        batch_size=size,
        seed=0,
    )
    digest = hashlib.sha256(repr(list(epochs)).encode())
    evaluate = inference.make_evaluate(made)
    digest.update(repr(evaluate(inference.tensor_blocks(made, *held_out))).encode())
    digest.update(inference.probabilities(made, held_out[0]).tobytes())
    for variable in made.weights.values():
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()


def main() -> None:
    """Print the lines."""
    determinism.enable(0, exact=True)
    x, y, _ = examples()
    train: arrays.Arrays = x[:ROWS], y[:ROWS]
    held_out: arrays.Arrays = x[ROWS : ROWS + HELD_OUT], y[ROWS : ROWS + HELD_OUT]
    for model, optimizer, size in WAYS[: int(sys.argv[1])]:
        digest = trained(model, optimizer, size, (train, held_out))
        print(f"{model}, {optimizer}, batch {size or 'full'}: {digest}", flush=True)


if __name__ == "__main__":
    main()
