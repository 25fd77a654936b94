"""A sweep as a whole: one MLflow run above its trials, and the answer at the end.

A sweeper makes and begins it, in the process that launches the trials. `cli.app` finishes it there,
whatever became of the trials, from the trial.json that each has written.
"""

import json
import logging
import shlex
import sys
from collections.abc import Sequence

from filelock import FileLock, Timeout
from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf

from pipeline.errors import UserError
from pipeline.files import require, sha256_once, shown, write_text
from pipeline.learning import determinism
from pipeline.learning.fingerprint import ARRAYS, fingerprint
from pipeline.learning.promise import trains_exactly
from pipeline.masking import masked
from pipeline.seeding.group import Group
from pipeline.settings import schema as settings
from pipeline.settings.check import check_section
from pipeline.settings.schema import Config
from pipeline.sweeping import folders, progress, validate
from pipeline.tracking import description
from pipeline.tracking.client import REPEAT, Client
from pipeline.tracking.open_run import NOTE
from pipeline.tracking.run import Run
from pipeline.trials import answer, ranking, trial_file
from pipeline.trials.spread import planned_seeds
from pipeline.trials.trial_file import Trial

log = logging.getLogger(__name__)


class Sweep:
    """The sweep of this command: its trials, its folder, which is locked, and its MLflow run.

    Parameters
    ----------
    loader, config : ConfigLoader, DictConfig
        What the trials are composed from.
    trials : sequence of sequences of str
        The overrides of each trial, or of enough trials for every value to occur.
    planned : sequence of sequences of str
        The overrides of all trials in their order, if they are known beforehand.
    group : Group, optional
        What else `python -m pipeline.seeds` does with the trials.

    Raises
    ------
    UserError
        If the overrides of the trials are wrong, there are no data, or the sweep is running.
    """

    def __init__(
        self,
        loader: ConfigLoader,
        config: DictConfig,
        trials: Sequence[Sequence[str]],
        *,
        planned: Sequence[Sequence[str]] = (),
        group: Group | None = None,
    ):
        self._config, self._trials, self.planned = config, trials, planned
        self._seeds = planned_seeds(planned)
        self._command, self._group = ("seeds" if group else "train"), group
        self._arguments = group.arguments if group else sys.argv[1:]
        self._settings = check_section(settings.Sweep, config, "sweep")
        self._place = check_section(settings.Tracking, config, "tracking")
        some = validate.refuse(loader, config, trials)
        self._first = some[0]
        self._exact = all(
            trains_exactly(one.determinism, one.model.name, one.optimizer.name) for one in some
        )
        self.folder = folders.check(loader, config, trials)
        for name in ARRAYS:
            require(self._first.paths.processed / name, "preprocess")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.folder / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"{shown(self.folder)}: this sweep is already running: wait for its end, or stop it"
            ) from None
        self.client = Client(self._place, self.folder, REPEAT)
        self.run = Run(self.client)
        self._before = {one.folder: one for one in self._ended()}

    def begin(self, *, here: bool) -> None:
        """Open the sweep's run, and write sweep.json, which tells the trials about the sweep.

        If the trials are trained `here`, in this process, it imports TensorFlow while the recorder
        imports MLflow.
        """
        if here and (self._group or not self._is_known(self._first)):
            determinism.enable(self._first.seed, self._first.determinism, exact=self._exact)
        definition = {
            "command": shlex.join(self._arguments),
            "overrides": OmegaConf.to_container(self._config.hydra.overrides.task),
            "objective": self._settings.objective,
            "direction": self._settings.direction,
            "seeds": self._seeds,
            "tested": self._group is not None,
            "exact": self._exact,
            "tracking": self._place.model_dump(),
            "run_id": self._open_run(),
            "hash": folders.command_hash(self._config),
            "varied": sorted(validate.varied(self._trials)),
        }
        write_text(self.folder / "sweep.json", masked(json.dumps(definition, indent=2)) + "\n")
        if not self._group:
            folders.note(self.folder)
        progress.begin(self.folder, len(self._trials))

    def _open_run(self) -> str:
        """Begin the run, or go on with it; return its id, empty if the store does not answer."""
        config, run, folder = self._config, self.run, self.folder
        before = folders.read(folder)["run_id"] if (folder / "sweep.json").exists() else ""
        tags = description.tags("sweep", self._arguments, shown(folder), self._command)
        lock = str(folder / ".record.lock")
        kind = "seeds" if self._group else "sweep"
        run.begin(f"{kind} {folder.name}", tags, lock=lock, again=before)
        if before:  # the arguments may be others: a group may have more seeds now
            run.tags({NOTE: tags[NOTE]})
        given = OmegaConf.to_container(config.hydra.overrides.task)
        launcher, sweeper = (config.hydra[name]["_target_"] for name in ("launcher", "sweeper"))
        run.params(
            {
                "sweep.overrides": " ".join(map(str, given or [])),
                "sweep.objective": self._settings.objective,
                "sweep.direction": self._settings.direction,
                "launcher": str(launcher).rpartition(".")[2],
                "sweeper": str(sweeper).rpartition(".")[2],
            }
        )
        processed = self._first.paths.processed
        hashes = {"data_sha256": sha256_once(processed / ARRAYS[0])}
        run.data(str(config.dataset.name), processed, hashes)
        run_id = run.id()
        if run.problem:
            log.warning("MLflow at %s takes no record: %s", self.client.uri, run.problem)
        return run_id

    def finish(self, *, interrupted: bool) -> int:
        """Give the answer of the sweep and end its run; return the exit code."""
        objective, direction = self._settings.objective, self._settings.direction
        found = ranking.answer(self._ended(), objective, direction, self._seeds)
        failed = [
            one
            for one in found.trials
            if one.status in ("FAILED", "KILLED") and self._before.get(one.folder) != one
        ]
        if self._group and not interrupted:
            self._group.give(found.trials, self._first, self.folder, self.run)
        elif found.trials and not self._group:
            unfinished = progress.unfinished(self.folder, found.trials)
            answer.give(found, self.folder, self.run, unfinished)
        whole = found.trials and not failed
        self.run.end("KILLED" if interrupted else "FINISHED" if whole else "FAILED")
        self.client.close()
        self._lock.release()
        for one in failed:
            line = f"{self._command}: trial {one.number} ({one.name}) {one.status}: {one.error}"
            print(line, file=sys.stderr)
        if found.trials:
            print(f"All of it is in {shown(self.folder)}")
        return 0 if whole else 1

    def _is_known(self, config: Config) -> bool:
        """Tell whether a trial has finished before and will not be trained again."""
        known = trial_file.find(fingerprint(config), config.tracking.uri)
        return bool(known) and not config.sweep.rerun

    def _ended(self) -> list[Trial]:
        """Return all trials in the folder; no trial runs now, so one that is RUNNING was killed."""
        found = folders.trials(self.folder)
        for one in found:
            if one.status == "RUNNING":
                one.status, one.error = "KILLED", "its process was killed"
                one.write()
        return found
