"""A sweep as a whole: one MLflow run above its trials, and the answer at the end.

A sweeper calls `begin` in the process that launches the trials; `finish` ends it there, whatever
became of them, from what each has written into its trial.json.
"""

import json
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout
from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf

from pipeline.errors import UserError
from pipeline.files import replacing, require, sha256_once, shown
from pipeline.learning import determinism
from pipeline.learning.fingerprint import ARRAYS, fingerprint, identity
from pipeline.masking import masked
from pipeline.settings.schema import Config, Sweep, Tracking, check_section
from pipeline.sweeping import folders, progress, validate
from pipeline.tracking import description, provenance
from pipeline.tracking.client import REPEAT, Client
from pipeline.tracking.run import Run
from pipeline.trials import answer, ranking, trial_file
from pipeline.trials.trial_file import Trial

log = logging.getLogger(__name__)


class Running:
    """The sweep that this process has begun."""

    def __init__(self, folder: Path, lock: FileLock, settings: Sweep, client: Client, seeds: int):
        self.folder, self.lock, self.settings, self.seeds = folder, lock, settings, seeds
        self.client, self.run = client, Run(client)
        self.ended = {one.folder: one for one in self.trials()}

    def trials(self) -> list[Trial]:
        """Return all trials in the folder; one that says RUNNING while none does has died."""
        return [_ended(one) for one in folders.trials(self.folder)]


current: Running | None = None


def begin(
    loader: ConfigLoader,
    config: DictConfig,
    trials: Sequence[Sequence[str]],
    *,
    here: bool,
    seeds: int = 0,
) -> None:
    """Open the sweep's run, or open it again; sweep.json is what the trials need to know.

    If they are trained `here`, in this process, TensorFlow is imported while MLflow is elsewhere.
    Each setting is to be trained with so many `seeds`, as far as that is known.

    Raises
    ------
    UserError, HydraException
        If the trials' overrides are refused, there is no data, or the folder cannot be written.
    """
    global current  # noqa: PLW0603  # one sweep a process, ended by `finish`
    settings = check_section(Sweep, config, "sweep")
    place = check_section(Tracking, config, "tracking")
    first = validate.refuse(loader, config, trials)
    folder = folders.check(loader, config, trials)
    for name in ARRAYS:
        require(first.paths.processed / name, "preprocess")
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"{shown(folder)}: this sweep is already running: wait for its end, or stop it"
        ) from None
    current = Running(folder, lock, settings, Client(place, folder, REPEAT), seeds)
    if here and not _is_known(first):
        determinism.enable(first.seed, first.determinism)
    run_id = _open(config, folder, settings, current.run)
    definition = {
        "command": shlex.join(sys.argv[1:]),
        "overrides": OmegaConf.to_container(config.hydra.overrides.task),
        "objective": settings.objective,
        "direction": settings.direction,
        "seeds": seeds,
        "tracking": place.model_dump(),
        "run_id": run_id,
        "hash": folders.command_hash(),
        "varied": sorted(validate.varied(trials)),
    }
    with replacing(folder / "sweep.json") as temporary:
        temporary.write_text(masked(json.dumps(definition, indent=2)) + "\n", encoding="utf-8")
    folders.note(folder)
    progress.begin(folder, len(trials))


def _open(config: DictConfig, folder: Path, settings: Sweep, run: Run) -> str:
    """Begin the sweep's run, or go on with it; return its id, empty if the store has no answer."""
    before = folders.read(folder)["run_id"] if (folder / "sweep.json").exists() else ""
    tags = {
        "kind": "sweep",
        **provenance.tags(),
        "pipeline.place": shown(folder),
        "mlflow.note.content": description.reproduction(sys.argv[1:]),
    }
    lock = str(folder / ".record.lock")
    run.begin(f"sweep {folder.name}", tags, lock=lock, again=before)
    overrides = OmegaConf.to_container(config.hydra.overrides.task)
    launcher, sweeper = (str(config.hydra[name]["_target_"]) for name in ("launcher", "sweeper"))
    run.params(
        {
            "sweep.overrides": " ".join(map(str, overrides or [])),
            "sweep.objective": settings.objective,
            "sweep.direction": settings.direction,
            "launcher": launcher.rpartition(".")[2],
            "sweeper": sweeper.rpartition(".")[2],
        }
    )
    processed = Path(str(config.paths.processed))
    if (processed / ARRAYS[0]).exists():
        hashes = {"data_sha256": sha256_once(processed / ARRAYS[0])}
        run.data(str(config.dataset.name), processed, hashes)
    run_id = run.id()
    if run.problem:
        log.warning("MLflow at %s takes no record: %s", run.client.uri, run.problem)
    return run_id


def finish(*, interrupted: bool) -> int | None:
    """End the sweep: table, CSV, figures and the status of its run; return the exit code.

    None if this process has not begun one.
    """
    global current
    if current is None:
        return None
    sweep, current = current, None
    run, folder, settings = sweep.run, sweep.folder, sweep.settings
    found = ranking.answer(sweep.trials(), settings.objective, settings.direction, sweep.seeds)
    ranked = found.trials
    failed = [
        one
        for one in ranked
        if one.status in ("FAILED", "KILLED") and sweep.ended.get(one.folder) != one
    ]
    if ranked:
        answer.give(found, folder, run)
    run.kill_children()
    whole = ranked and not failed
    run.end("KILLED" if interrupted else "FINISHED" if whole else "FAILED")
    sweep.client.close()
    sweep.lock.release()
    for one in failed:
        print(f"train: trial {one.number} ({one.name}) {one.status}: {one.error}", file=sys.stderr)
    if ranked:
        print(f"All of it is in {shown(folder)}")
    return 0 if whole else 1


def _is_known(config: Config) -> bool:
    """Tell whether a trial is not going to be trained: the last one, when a sweep goes on."""
    known = trial_file.find(fingerprint(**identity(config)), config.tracking.uri)
    return bool(known) and not config.sweep.rerun


def _ended(one: Trial) -> Trial:
    """Return a trial that has ended: one that says RUNNING died without a word."""
    if one.status == "RUNNING":
        one.status, one.error = "KILLED", "its process was killed"
        one.write()
    return one
