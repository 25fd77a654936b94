"""What A or B may name: the workspace, one seed of a group, a commit, an experiment or a run."""

import difflib
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from pipeline import git
from pipeline.comparison import answers, side
from pipeline.comparison.answers import Answers
from pipeline.comparison.side import Side
from pipeline.errors import UserError, first_line
from pipeline.files import require
from pipeline.masking import masked
from pipeline.settings import params
from pipeline.settings.compose import load
from pipeline.settings.schema import Config
from pipeline.sweeping import folders
from pipeline.tracking.connection import is_missing
from pipeline.tracking.store import Store
from pipeline.trials import trial_file
from pipeline.verification import lock
from pipeline.verification.unchanged import by_hand

PREDICTIONS = "metrics/predictions.csv"
WORKSPACE = "workspace"
EXPERIMENTS = "refs/exps"
DVCS_OWN = ("celery", "exec", "stash", "running")  # these are below refs/exps, but no experiments
OF_A_RUN = ("predictions.csv", "config.yaml")
MOST = 6  # names that an error lists


def find(name: str) -> Side:
    """Return the side that a name means, with its answers to the test examples.

    Raises
    ------
    UserError
        If the name is not known, or what it names has no answers.
    """
    for way in (_workspace, _seed, _commit, _experiment, _run):
        if found := way(name):
            return found
    raise UserError(_unknown(name))


def _workspace(name: str) -> Side | None:
    if name != WORKSPACE:
        return None
    path = require(Path(PREDICTIONS), "evaluate")
    found = answers.parse(path.read_text(encoding="utf-8"), PREDICTIONS)
    return of_workspace(found, path)


def of_workspace(found: Answers, made: Path) -> Side:
    """Return the workspace as a side.

    Its settings are those of dvc.lock if DVC has made the file `made` as it is, else those of
    params.yaml and conf/.
    """
    if not by_hand(made):
        return side.of_lock("the workspace", found, lock.read(Path(lock.NAME)), str(made))
    title = f"the workspace, made by hand; its settings are taken from {params.FILE} and conf/"
    return side.of_config(title, found, plain(load()))


def plain(config: Config) -> dict[str, Any]:
    """Return a configuration as nested dictionaries."""
    return config.model_dump(mode="json", exclude_unset=True)


def _seed(name: str) -> Side | None:
    """Return one seed of a group; unlike a trial of a sweep, it has been tested."""
    path = Path(name) / "trial.json"
    if not path.exists():
        return None
    trial, test = trial_file.read(path), Path(name) / PREDICTIONS
    if not test.exists():
        raise UserError(f"{test}: not found: run `python -m pipeline.seeds` again")
    found = answers.parse(test.read_text(encoding="utf-8"), str(test))
    known = plain(load([f"dataset={trial.choices['dataset']}"]))
    config = trial.settings | {"dataset": trial.dataset or known["dataset"]}
    return side.of_config(f"seed {trial.settings['seed']} of {path.parent.parent}", found, config)


def _commit(name: str, experiment: str = "") -> Side | None:
    if not (commit := git.commit(name)):
        return None
    said = git.run("log", "-1", f"--format={'%h' if experiment else '%h %s'}", commit).strip()
    title = f"experiment {experiment}, commit {said}" if experiment else f"commit {said}"

    try:
        stages = lock.parse(git.run("show", f"{commit}:./{lock.NAME}"))
        found = answers.parse(_predictions(commit), f"{name}: {PREDICTIONS}")
    except UserError as error:
        raise UserError(f"{title}: has no results that could be compared: {error}") from None
    return side.of_lock(title, found, stages, PREDICTIONS)


def _predictions(commit: str) -> str:
    """Return the predictions of a commit, from git, or else from DVC's cache."""
    try:
        return git.run("show", f"{commit}:./{PREDICTIONS}")
    except UserError:
        from dvc import api

        try:
            return str(api.read(PREDICTIONS, rev=commit, encoding="utf-8"))
        except Exception as error:  # DVC, its cache and its remotes have many
            raise UserError(first_line(error)) from None


def _experiment(name: str) -> Side | None:
    refs = [ref for ref in _experiments() if ref.rpartition("/")[2] == name]
    if len(refs) > 1:
        raise UserError(f"{name}: several experiments have this name: give {', '.join(refs)}")
    return _commit(refs[0], name) if refs else None


def _experiments() -> list[str]:
    listed = git.run("for-each-ref", "--format=%(refname)", EXPERIMENTS).splitlines()
    return [ref for ref in listed if ref.split("/")[2] not in DVCS_OWN]


def _run(name: str) -> Side | None:
    if not re.fullmatch("[0-9a-f]{32}", name):
        return None
    tracking = load().tracking
    if is_missing(tracking.uri):
        return None
    with TemporaryDirectory() as folder:
        try:
            store = Store(tracking.uri, tracking.experiment, tracking.timeout)
            store.connect()
            run = store.copy(name, OF_A_RUN, folder)
            paths = [Path(folder, file) for file in OF_A_RUN]
            texts = [path.read_text(encoding="utf-8") for path in paths if path.exists()]
        except Exception as error:  # whatever a server, a database or a file system raises
            raise UserError(f"MLflow at {masked(tracking.uri)}: {first_line(error)}") from None
    if not run:
        return None
    if len(texts) < len(OF_A_RUN):
        raise UserError(
            f"{name}: the MLflow run {run!r} was not evaluated: it has no predictions.csv"
        )
    found = answers.parse(texts[0], f"{name}: {OF_A_RUN[0]}")
    return side.of_config(f"MLflow run {run}", found, yaml.safe_load(texts[1]))


def _unknown(name: str) -> str:
    """Return an error line: the name is not known, and what could be named instead."""
    experiments = [ref.rpartition("/")[2] for ref in _experiments()]
    trials = [one.folder for folder in folders.begun()[-1:] for one in folders.trials(folder)]
    known = [WORKSPACE, *experiments, *trials]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}? It" if near else ": it"
    listed = f" ({', '.join(experiments[-MOST:])})" if experiments else ""
    trial = f" ({trials[0]})" if trials else ""
    return (
        f"{name} is not known{hint} may be {WORKSPACE}, a git revision, "
        f"an experiment of DVC{listed}, a trial's folder{trial}, or the id of an MLflow run"
    )
