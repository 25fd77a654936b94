"""Trials, whose answers are computed from their weights: to the examples that were held out.

Sweeps choose among trials, so a trial never meets the test set. What it is compared with, another
trial or the workspace, is asked the same held-out examples.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.comparison import side
from pipeline.comparison.answers import Answers, in_units
from pipeline.comparison.named import WORKSPACE, of_workspace, plain
from pipeline.comparison.side import Side
from pipeline.data import arrays
from pipeline.data.arrays import Pixels
from pipeline.errors import UserError
from pipeline.evaluate import answers_of, trained
from pipeline.files import shown
from pipeline.learning import determinism
from pipeline.models import is_exact
from pipeline.settings.check import load
from pipeline.settings.schema import Choice, Config, Train
from pipeline.sweeping import folders
from pipeline.trials import trial_file
from pipeline.trials.trial_file import Trial

WEIGHTS = "weights.npz"
WAYS = "name two trials, or a trial and the workspace"


class Trained(NamedTuple):
    """A model that has been trained: its configuration, and the side that its answers become."""

    config: Config  # whose paths.models has the weights
    side: Callable[[Answers], Side]


def trial(name: str) -> Trial | None:
    """Return the trial whose folder or run has this name, if there is one.

    Raises
    ------
    UserError
        If it has not finished, or it is the folder of a sweep.
    """
    path = Path(name)
    if (path / "sweep.json").exists():
        inside = [one.folder for one in folders.trials(path)]
        raise UserError(f"{name} is a sweep: name one of its trials, as {', '.join(inside[:3])}")
    if (path / "trial.json").exists():
        found = trial_file.read(path / "trial.json")
    else:
        every = (one for folder in folders.begun() for one in folders.trials(folder))
        found = next((one for one in every if one.run_id == name), Trial(0, [], "", "NONE"))
    if found.status == "NONE" or found.tested:
        return None
    if found.status != "FINISHED":
        raise UserError(f"{found.folder}: the trial is {found.status}, not FINISHED")
    return found


def both(one: Trial | str, other: Trial | str) -> tuple[Side, Side]:
    """Return two sides, each a trial or the name of the workspace, with what they answer.

    Raises
    ------
    UserError
        If one is neither, the held-out examples are not the same, or there are none.
    """
    a, b = map(_trained, (one, other))
    exact = all(is_exact(each.config.determinism, each.config.model.name) for each in (a, b))
    determinism.enable(None, a.config.determinism, exact=exact, keras=False)  # as both need it
    (_, first, shape), (_, second, _) = (arrays.split(each.config) for each in (a, b))
    if not len(first[0]) or not len(second[0]):
        raise UserError("train.validation_size is 0: no held-out examples to compare trials on")
    if any(x.shape != y.shape or (x != y).any() for x, y in zip(first, second, strict=True)):
        raise UserError(
            f"A and B have held out other examples: {len(first[0]):,} and {len(second[0]):,}"
        )
    return _answered(a, shape, *first), _answered(b, shape, *second)


def _trained(one: Trial | str) -> Trained:
    if isinstance(one, Trial):
        return _of_trial(one)
    if one != WORKSPACE:
        raise UserError(f"{one} cannot be compared with a trial, whose weights lie here: {WAYS}")
    config = load()
    return Trained(config, lambda found: of_workspace(found, Path("models") / WEIGHTS))


def _of_trial(one: Trial) -> Trained:
    folder = Path(one.repeats or one.folder) / "models"
    if not (folder / WEIGHTS).exists():
        raise UserError(f"{shown(folder / WEIGHTS)}: not found: run the trial's sweep again")
    known = load([f"dataset={one.choices['dataset']}"])
    config = known.model_copy(
        update={
            "seed": one.settings["seed"],
            "determinism": one.settings["determinism"],
            "train": Train(**one.settings["train"]),
            **{group: Choice(**one.settings[group]) for group in ("model", "optimizer")},
            "paths": known.paths.model_copy(update={"models": folder}),
        }
    )
    title = f"trial {one.number} in {shown(Path(one.folder).parent)}: {one.name}"
    return Trained(config, lambda found: side.of_config(title, found, plain(config)))


def _answered(one: Trained, shape: tuple[int, ...], x: Pixels, y: NDArray[np.uint8]) -> Side:
    said = answers_of(trained(one.config, shape), x, y)
    return one.side(Answers(y.astype(np.int64), said.predicted, in_units(said.losses)))
