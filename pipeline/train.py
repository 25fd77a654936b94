"""Train: weights and history from the training set, live in MLflow.

The tutorial's softmax regression by default: flattened pixels, mini-batches, cross-entropy,
GradientTape, SGD. The test set is not touched.
"""

import logging
import math

from tqdm import tqdm

from pipeline import data, determinism, history, results, weights
from pipeline.app import run
from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.history import Epoch
from pipeline.optimizers import OPTIMIZERS
from pipeline.tracking import Record, recorded

log = logging.getLogger(__name__)


def main(config: Config) -> None:
    """Train the configured model and write weights.npz and history.csv."""
    x, y = data.load(config.paths.processed, "train", len(config.dataset.classes))
    rows = len(x) - config.train.validation_size
    if rows < 1:
        raise UserError(
            f"params.yaml: train.validation_size should be less than the {len(x):,} training "
            f"examples, not {config.train.validation_size:,}"
        )
    if warning := determinism.notice():
        log.warning("Note: %s.", warning)
    with recorded(results.begin(config)) as record:
        epochs = fit(config, (x[:rows], y[:rows]), (x[rows:], y[rows:]), record)
        history.write(config.paths.metrics / "history.csv", epochs)
        results.add_training(record, config)


def fit(
    config: Config, training: "data.Arrays", validation: "data.Arrays", record: Record
) -> list[Epoch]:
    """Train, show and record each epoch, and save the weights; return the history.

    Raises
    ------
    UserError
        If the loss is no longer finite.
    """
    determinism.enable(config.seed)
    from pipeline.training import train

    model = weights.build(config, training[0].shape[1])
    optimizer = OPTIMIZERS[config.optimizer.name](
        config.train.learning_rate, **config.optimizer.options
    )
    epochs = []
    with tqdm(total=config.train.epochs, unit="epoch", disable=None) as bar:
        for epoch in train(
            model,
            optimizer,
            training,
            validation,
            epochs=config.train.epochs,
            batch_size=config.train.batch_size,
            seed=config.seed,
            resident=training[0].nbytes <= config.resident_bytes,
        ):
            if not all(math.isfinite(value) for value in epoch.metrics.values()):
                raise UserError(
                    f"the loss is {epoch.loss} in epoch {epoch.epoch}: training has diverged; "
                    f"lower train.learning_rate ({config.train.learning_rate:g})"
                )
            epochs.append(epoch)
            results.add_epoch(record, epoch)
            bar.set_postfix({name: f"{value:.4f}" for name, value in epoch.metrics.items()})
            bar.update()
            if bar.disable:
                shown = "  ".join(f"{name} {value:.4f}" for name, value in epoch.metrics.items())
                log.info("epoch %3d/%d  %s", epoch.epoch, config.train.epochs, shown)
    weights.save(model, config.paths.models / "weights.npz")
    return epochs


if __name__ == "__main__":
    run(main)
