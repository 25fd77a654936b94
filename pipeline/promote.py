"""Promote: the settings of a trial become those of the pipeline, in params.yaml and conf/.

    python -m pipeline.promote [run_id=ID]

    run_id=ID     the trial of that MLflow run, its seed too; without it, the best trial of the
                  latest sweep, or its best setting if the sweep varies the seed: params.yaml
                  then keeps its own seed

All settings are written or none, comments kept. Afterwards `dvc repro` gives the weights that the
trial had, unless data or code have changed since, and the test metrics. For example, after
`python -m pipeline.train -m train.learning_rate=0.03,0.1,0.3`:

    python -m pipeline.promote && dvc repro
"""

import difflib
from pathlib import Path
from typing import Annotated

from pydantic import Field

from pipeline import yaml_edit
from pipeline.cli import arguments
from pipeline.errors import UserError
from pipeline.files import shown
from pipeline.settings import conf_files, params
from pipeline.settings.compose import load
from pipeline.sweeping import folders, progress
from pipeline.sweeping.folders import ROOT
from pipeline.tracking import client
from pipeline.trials import promotion, ranking
from pipeline.trials.trial_file import Trial


class Options(arguments.Options):
    """The key that is explained above."""

    run_id: Annotated[str, Field(min_length=1)] | None = None


def main(given: list[str]) -> int:
    """Write the trial's settings into their files, all or none; say where, and what is next."""
    run_id = arguments.parse(Options, given).run_id
    chosen: Trial | None = None
    if run_id:
        folder, chosen = by_run_id(run_id)
    elif sweeps := folders.begun():
        folder = sweeps[-1]
    else:
        raise UserError(f"{ROOT}: has no sweep: run `python -m pipeline.train -m KEY=VALUE,VALUE`")
    sweep, trials = folders.read(folder), folders.trials(folder)
    found = ranking.answer(trials, sweep["objective"], sweep["direction"], sweep.get("seeds", 0))
    with_seed = chosen is not None or found.seeds == 1
    chosen = chosen or found.best
    if chosen is None:
        raise UserError(f"{folder}: nothing to promote: {found.problem}")
    changed = promotion.plan(chosen, with_seed=with_seed)
    if found.over_seeds and not with_seed:
        print(f"Setting {found.settings[0].name}, the best mean over {found.seeds} seeds")
    else:
        run = client.described(chosen.run_id, chosen.uri, load().tracking)
        print(f"Trial {chosen.number} ({chosen.name}), MLflow run {run}")
    if not with_seed:
        print(f"{params.FILE} keeps its seed, {params.load()['seed']}: {folder} varies it")
    elif found.seeds > 1:
        print(f"Its seed is one of {found.seeds} in {folder}: report their mean, not this one")
    if not run_id and (unfinished := progress.unfinished(folder, trials)):
        print(f"{folder}: {unfinished}")
    differences = [_difference(path, text) for path, text in changed.items()]
    yaml_edit.write_all(changed)
    print("\n".join(differences) or f"{params.FILE} and conf/ have its settings already")
    if not promotion.is_of_what_lies_here(chosen):
        print("The trial was of other data or code than lie here now: its metrics may not come out")
    print("Next: `dvc repro`, which trains it into the workspace and evaluates it on the test set.")
    return 0


def by_run_id(run_id: str) -> tuple[Path, Trial]:
    """Return the folder of a sweep and its finished trial that has this MLflow run.

    Raises
    ------
    UserError
        If there is no such trial, or it is not FINISHED.
    """
    ids = {}
    every = ((folder, one) for folder in folders.begun() for one in folders.trials(folder))
    for folder, found in every:
        if found.run_id == run_id:
            if found.status != "FINISHED":
                path = f"{found.folder}/trial.json"
                raise UserError(
                    f"{path}: the trial is {found.status}, not FINISHED: run its sweep again, or "
                    "choose another trial"
                )
            return folder, found
        ids[found.run_id] = f"run_id={found.run_id} (trial {found.number}, {found.name})"
    raise UserError(f"{ROOT}: has no trial with the run_id {run_id}{_hint(run_id, ids)}")


def _hint(run_id: str, ids: dict[str, str]) -> str:
    """Return what else a run_id that no trial has may mean."""
    for folder in folders.begun():
        if folders.read(folder)["run_id"] == run_id:
            return f": it is that of the sweep {folder}, whose sweep.csv has those of its trials"
    near = [one for one in ids if one.startswith(run_id.lower())]
    if near := near or difflib.get_close_matches(run_id.lower(), ids, n=1, cutoff=0.8):
        return f"; did you mean {' or '.join(ids[one] for one in near[:3])}?"
    return ": the column `run` of a sweep's sweep.csv has them"


def _difference(path: Path, text: str) -> str:
    """Return the lines of a file that change, below its name."""
    lines = difflib.ndiff(conf_files.read(path).splitlines(), text.splitlines())
    changed = [line[0] + line[2:] for line in lines if line[0] in "-+"]
    return "\n".join([shown(path), *changed])


if __name__ == "__main__":
    arguments.run(main)
