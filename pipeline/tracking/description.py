"""What a person reads first on a run's page in MLflow: its name, parameters and description.

MLflow's table shows the first 20 characters of a name, and a run's page the parameters in the order
in which they were logged.
"""

import re
import shlex
import socket
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from hydra.core.hydra_config import HydraConfig

from pipeline import git, schedules, workspace
from pipeline.errors import UserError, listed
from pipeline.learning.history import Epoch
from pipeline.settings import conf_files, params
from pipeline.settings.schema import Config, Train
from pipeline.tracking import provenance
from pipeline.tracking.open_run import EXPERIMENT, NOTE

FIRST = ("train", "seed", "optimizer", "model", "dataset")  # these parameters come first
UNVARIED = {"metrics", "paths", "download", "storage", "resident_bytes", "tracking", "sweep"}
OF_THE_PLACE = ("paths.", "download.", "tracking.", "sweep.storage=")  # they change no result
NO_NAME = r"[^\w./ -]"  # a character that MLflow does not take in the name of a metric
MOST_FILES = 10  # that are named
TESTED = {
    "test_accuracy": "test accuracy",
    "test_loss": "test loss",
    "val_accuracy": "validation accuracy",
    "val_loss": "validation loss",
}
TRAINED = {"accuracy": "training accuracy", "loss": "training loss"}


def of_training(config: Config, **more: str) -> tuple[str, dict[str, str]]:
    """Return the name of the run of a training, and its tags: its kind, origin and place."""
    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    known, found = name(config), tags("training", given, place(config)) | more
    if experiment := workspace.experiment():
        known, found[EXPERIMENT] = f"{experiment} {known}", experiment
    return known, found


def tags(kind: str, arguments: Sequence[str], place: str, command: str = "train") -> dict[str, str]:
    """Return the tags that each run has: its kind, its origin, and where its results lie."""
    note = {NOTE: reproduction(arguments, command)}
    return {"kind": kind, "pipeline.place": place, **note, **provenance.tags()}


def place(config: Config) -> str:
    """Return the tag that tells this workspace's runs from those of others on the same server."""
    return f"{socket.gethostname()}:{workspace.place(config.paths.output)}"


def name(config: Config) -> str:
    """Return the name of a run, which begins with the settings that differ most often."""
    return (
        f"lr={config.train.learning_rate:g} batch={config.train.batch_size or 'full'} "
        f"seed={config.seed} {config.optimizer.name} {config.model.name} {config.dataset.name}"
    )


def parameters(config: Config) -> dict[str, Any]:
    """Return the settings that can be varied, by dotted key, the learning rate first."""
    varied = config.model_dump(mode="json", exclude=UNVARIED, exclude_unset=True)
    varied["train"] = {"learning_rate": None} | varied["train"]
    varied["dataset"] = {"name": config.dataset.name}
    return params.leaves({key: varied[key] for key in FIRST} | varied)


def points(
    epochs: Sequence[Epoch], train: Train | None
) -> list[tuple[dict[str, float], int, float]]:
    """Return the metrics of each epoch, with the epoch as their step, and the time in seconds.

    If training has a schedule, `learning_rate` is one of them: that of the epoch's first step.
    """
    now, rates = time.time(), [dict[str, float]() for _ in epochs]
    if train and train.schedule != "constant":
        of_epoch = partial(schedules.learning_rate, train.schedule, train.learning_rate)
        rates = [{"learning_rate": of_epoch(one.epoch - 1, train.epochs)} for one in epochs]
    return [(one.metrics | rate, one.epoch, now) for one, rate in zip(epochs, rates, strict=True)]


def result(metrics: Mapping[str, float]) -> str:
    """Return the scores in a line: of the test and validation sets, or else of training."""
    names = TESTED if TESTED.keys() & metrics.keys() else TRAINED
    return ", ".join(f"{said} {metrics[key]:.4f}" for key, said in names.items() if key in metrics)


def test_metrics(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of an evaluation under the names that they have in MLflow."""
    return {
        f"test_{re.sub(NO_NAME, '_', key)}": value
        for key, value in evaluation.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def reproduction(arguments: Sequence[str], command: str = "train") -> str:
    """Return, as Markdown, the commit and the commands that give the same results.

    `train` without arguments was run by DVC.
    """
    kept = [item for item in arguments if not item.lstrip("+").startswith(OF_THE_PLACE)]
    commit, changed, edited = provenance.commit(), [*provenance.changed()], _edited_params()
    commands = [f"git checkout {commit[:12]}"] if commit else []
    if kept or command != "train":
        again = shlex.join([f"pipeline.{command}", *kept])
        commands += ["dvc repro preprocess", f"python -m {again}"]
        changed += edited
    elif edited:
        commands.append(f"dvc exp run {' '.join(f'-S {shlex.quote(item)}' for item in edited)}")
        changed = [path for path in changed if path != str(params.FILE)]
    else:
        commands.append("dvc repro")
    text = f"Reproduce it with `{' && '.join(commands)}`"  # short, as MLflow folds what is long
    if changed:
        text += f"; not committed were {listed(changed, MOST_FILES)}"
    return text


def _edited_params() -> list[str]:
    """Return KEY=VALUE for each value in which params.yaml differs from that of the commit."""
    try:
        texts = conf_files.read(params.FILE), git.run("show", f"HEAD:./{params.FILE}")
        now, before = (params.leaves(conf_files.parse(text, params.FILE)) for text in texts)
    except UserError:
        return []
    return [
        f"{key}={'null' if value is None else value}"
        for key, value in now.items()
        if before.get(key) != value
    ]
