"""Train: weights and history from the training set, live in MLflow.

The tutorial's softmax regression by default: flattened pixels, mini-batches, cross-entropy,
GradientTape, SGD. The test set is not touched.
"""

import logging
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from threading import RLock

from tqdm import tqdm

from pipeline.cli.app import run
from pipeline.data import arrays
from pipeline.errors import UserError
from pipeline.learning import determinism, history, together, weights
from pipeline.learning.checkpoint import Checkpoint
from pipeline.learning.history import Epoch
from pipeline.settings.explain import subject
from pipeline.settings.inputs import Inputs, import_all
from pipeline.settings.schema import Config
from pipeline.tracking import results
from pipeline.tracking.client import Record, recorded

log = logging.getLogger(__name__)
tqdm.set_lock(RLock())  # bars are not shared between processes
Report = Callable[[Epoch], None]  # is told every epoch of a trial


def main(config: Config, inputs: Inputs) -> None:
    """Train the configured model and write weights.npz and history.csv."""
    split = examples(config)
    saved = Checkpoint(config, config.paths.output)
    with recorded(results.begin(config, saved)) as record:
        fit(config, split, saved, record, inputs)
    saved.remove()


def trial(
    config: Config,
    saved: Checkpoint,
    record: Record,
    report: Report,
    others: Sequence[Config],
) -> Epoch:
    """Train as a trial of a sweep, in the same way; return the last epoch.

    The others are those that this process will train later, with another learning rate.
    """
    return fit(config, examples(config), saved, record, report=report, others=others)[-1]


def examples(config: Config) -> tuple[arrays.Arrays, arrays.Arrays]:
    """Return the training and the held-out examples.

    Raises
    ------
    UserError
        If there is nothing left to train on.
    """
    x, y = arrays.load(config.paths.processed, "train", config.dataset)
    rows = len(x) - config.train.validation_size
    if rows < 1:
        raise UserError(
            f"{subject('train.validation_size')} should be less than the {len(x):,} training "
            f"examples, not {config.train.validation_size:,}"
        )
    return (x[:rows], y[:rows]), (x[rows:], y[rows:])


def fit(
    config: Config,
    split: tuple[arrays.Arrays, arrays.Arrays],
    saved: Checkpoint,
    record: Record,
    inputs: Inputs | None = None,
    *,
    report: Report | None = None,
    others: Sequence[Config] = (),
) -> list[Epoch]:
    """Train, show, keep and record each epoch, write weights and history; return the history.

    Raises
    ------
    UserError
        If the loss is no longer finite, this process computes with other settings, or what it
        computes from was changed meanwhile.
    """
    determinism.enable(config.seed, config.determinism)
    import_all("train")
    learner = together.Learner(config, split[0][0].shape[1], saved)
    epochs = learner.epochs
    results.add_epochs(record, epochs)
    if report:
        for epoch in epochs:
            report(epoch)
    columns, lines = shutil.get_terminal_size()  # 80 and 24 where the terminal says 0
    with tqdm(
        total=config.train.epochs,
        initial=len(epochs),
        bar_format="{n_fmt}/{total_fmt} {bar} {remaining} left{postfix}",
        ncols=columns - 1,  # some terminals begin a line after the last column
        nrows=lines,
        leave=not report,
        disable=None,
    ) as bar:
        for epoch in rest(learner, split, others):
            if not all(math.isfinite(value) for value in epoch.metrics.values()):
                saved.remove()
                raise UserError(
                    f"the loss is {epoch.loss:.4g} in epoch {epoch.epoch}: training has diverged; "
                    f"lower train.learning_rate ({config.train.learning_rate:g})"
                )
            epochs.append(epoch)
            saved.keep(epochs)
            results.add_epochs(record, [epoch])
            shown = "  ".join(
                f"{name} {history.text(name, value)}" for name, value in epoch.metrics.items()
            )
            bar.set_postfix_str(shown.replace("accuracy", "acc").replace("  ", " "), refresh=False)
            bar.update()
            if report:
                report(epoch)
            elif bar.disable:
                log.info("epoch %3d/%d  %s", epoch.epoch, config.train.epochs, shown)
    if inputs:
        inputs.check()
    weights.save(learner.model, config.paths.models / "weights.npz")
    history.write(config.paths.metrics / "history.csv", epochs)
    results.add_training(record, config)
    return epochs


def rest(
    learner: together.Learner, split: tuple[arrays.Arrays, arrays.Arrays], others: Sequence[Config]
) -> Iterator[Epoch]:
    """Return the epochs that are left, as they are trained, with others if it can be."""
    from pipeline.learning import training

    config = learner.config
    if len(learner.epochs) == config.train.epochs:
        return iter(())
    options = {
        "epochs": config.train.epochs,
        "start": len(learner.epochs) + 1,
        "batch_size": config.train.batch_size,
        "seed": config.seed,
    }
    learners = together.company(learner, others, split) if others else [learner]
    if len(learners) > 1:
        return together.train(learners, split, **options)
    resident = split[0][0].nbytes <= config.resident_bytes
    return training.train(learner.model, learner.optimizer, *split, resident=resident, **options)


if __name__ == "__main__":
    from pipeline import train  # noqa: PLW0406  # by a name that a sweep's other processes can import

    run(train.main, train.trial)
