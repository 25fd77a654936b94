"""The answers of trials to the held-out examples, which are computed from their weights.

Sweeps choose among trials, so a trial never meets the test set. Another trial, or the workspace,
that it is compared with is asked the same held-out examples.
"""

from pathlib import Path

import numpy as np

from pipeline.comparison import side
from pipeline.comparison.answers import Answers, in_units
from pipeline.comparison.named import WORKSPACE, of_workspace, plain
from pipeline.comparison.side import Side, unlike
from pipeline.data import arrays
from pipeline.data.arrays import Arrays
from pipeline.data.description import said_of
from pipeline.errors import UserError
from pipeline.evaluate import predictions_of, trained
from pipeline.files import shown
from pipeline.learning import determinism
from pipeline.models import is_exact
from pipeline.settings.compose import load
from pipeline.settings.schema import Choice, Config, Train
from pipeline.sweeping import folders
from pipeline.trials import trial_file
from pipeline.trials.trial_file import Trial

WEIGHTS = "weights.npz"


def trial(name: str) -> Trial | None:
    """Return the finished trial that has this folder or this run id, if there is one.

    Raises
    ------
    UserError
        If it has not finished, or it is the folder of a sweep.
    """
    path = Path(name)
    if (path / "sweep.json").exists():
        inside = [one.folder for one in folders.trials(path)]
        raise UserError(f"{name} is a sweep: name one of its trials, as {', '.join(inside[:3])}")
    found: Trial | None
    if (path / "trial.json").exists():
        found = trial_file.read(path / "trial.json")
    else:
        every = (one for folder in folders.begun() for one in folders.trials(folder))
        found = next((one for one in every if one.run_id == name), None)
    if found is None or found.tested:
        return None
    if found.status != "FINISHED":
        raise UserError(
            f"{found.folder}: the trial is {found.status}, not FINISHED: run its sweep again, or "
            "choose another trial"
        )
    return found


def both(one: Trial | str, other: Trial | str) -> tuple[Side, Side]:
    """Return two sides, each a trial or the workspace, with answers to the same examples.

    Raises
    ------
    UserError
        If one is no trial and not the workspace, the held-out examples differ, or there are none.
    """
    a, b = _config(one), _config(other)
    exact = all(is_exact(config.determinism, config.model.name) for config in (a, b))
    determinism.enable(None, a.determinism, exact=exact, keras=False)  # as both need it
    (_, first, shape), (_, second, _) = arrays.split(a), arrays.split(b)
    if not len(first[0]) or not len(second[0]):
        raise UserError("train.validation_size is 0: no held-out examples to compare trials on")
    if any(x.shape != y.shape or (x != y).any() for x, y in zip(first, second, strict=True)):
        raise UserError(
            f"A and B have held out other examples: {len(first[0]):,} and {len(second[0]):,}: "
            "compare trials of the same data and train.validation_size"
        )
    return _side(one, a, shape, first), _side(other, b, shape, second)


def _config(one: Trial | str) -> Config:
    """Return the configuration of a training; its `paths.models` is where the weights are."""
    if isinstance(one, str):
        if one != WORKSPACE:
            raise UserError(
                f"{one} cannot be compared with a trial, whose weights lie here: name two trials, "
                "or a trial and the workspace"
            )
        return load()
    folder = Path(one.repeats or one.folder) / "models"
    if not (folder / WEIGHTS).exists():
        raise UserError(f"{shown(folder / WEIGHTS)}: not found: run the trial's sweep again")
    known = load([f"dataset={one.choices['dataset']}"])
    now = said_of(known.dataset)
    if other := unlike(one.dataset or now, now):
        raise UserError(
            f"{one.folder}: was trained when conf/dataset/{known.dataset.name}.yaml had another "
            f"{next(iter(other))}: run its sweep again, or put that back and run `dvc repro`"
        )
    return known.model_copy(
        update={
            "seed": one.settings["seed"],
            "determinism": one.settings["determinism"],
            "train": Train(**one.settings["train"]),
            **{group: Choice(**one.settings[group]) for group in ("model", "optimizer")},
            "paths": known.paths.model_copy(update={"models": folder}),
        }
    )


def _side(one: Trial | str, config: Config, shape: tuple[int, ...], asked: Arrays) -> Side:
    said = predictions_of(trained(config, shape), *asked)
    found = Answers(asked[1].astype(np.int64), said.predicted, in_units(said.losses))
    if isinstance(one, str):
        return of_workspace(found, Path("models") / WEIGHTS)
    title = f"trial {one.number} in {shown(Path(one.folder).parent)}: {one.name}"
    return side.of_config(title, found, plain(config))
