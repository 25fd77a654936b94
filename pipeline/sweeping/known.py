"""Trials that need not be trained, because the same training has finished before."""

import logging
import shutil
from pathlib import Path

from pipeline.files import replacing
from pipeline.settings.schema import Config
from pipeline.tracking import description
from pipeline.tracking.client import Client
from pipeline.tracking.open_run import PARENT
from pipeline.tracking.run import Run
from pipeline.trials.trial_file import RESULTS, Trial, find, keep

log = logging.getLogger(__name__)


def settled(trial: Trial, config: Config, client: Client, sweep_run_id: str) -> bool:
    """Tell whether the same training has finished before; if so, take over how it ended.

    A trial that will be tested gets a copy of the results in its own folder, and an MLflow run of
    its own. If the earlier training has no complete MLflow run any more, it gets one.
    """
    found = find(trial.fingerprint, trial.uri)
    earlier = found.folder if found else ""
    if trial.tested:
        own = find(trial.fingerprint, trial.uri, trial.folder)
        earlier = own.folder if own else earlier
        found = own or (_copied(found, trial) if found else None)
    if not found:
        return False
    ours = found.folder == trial.folder
    if sweep_run_id:
        _record_again(found, config, client, sweep_run_id, adopt=ours)
    trial.take_over(found)
    trial.repeats, trial.run_id = earlier, found.run_id
    if not ours:
        trial.write()
    return True


def tags(trial: Trial, sweep_run_id: str) -> dict[str, str]:
    """Return the tags with which a trial's MLflow run begins."""
    sweep = trial.settings.get("sweep", {})  # with train.patience it decides the training
    watched = [f"sweep.{key}={value}" for key, value in sweep.items()]
    known = description.tags("trial", [*trial.overrides, *watched], trial.folder)
    parent = {PARENT: sweep_run_id} if sweep_run_id else {}
    return known | parent | {"pipeline.fingerprint": trial.fingerprint}


def _copied(found: Trial, trial: Trial) -> Trial:
    """Return the trial with a copy of the results of a sweep's trial; it has no MLflow run yet."""
    for name in RESULTS:
        with replacing(Path(trial.folder) / name) as temporary:
            shutil.copyfile(Path(found.folder) / name, temporary)
    trial.take_over(found)
    trial.write()
    return trial


def _record_again(
    trial: Trial, config: Config, client: Client, sweep_run_id: str, *, adopt: bool
) -> None:
    """Record a finished trial from its files, as a new run, if it has no complete one.

    The run or its store may have been deleted, its recorder may have been killed, or the store may
    have been out of reach.

    Parameters
    ----------
    trial : Trial
    config : Config
        That of the training.
    client : Client
    sweep_run_id : str
        The run that it is recorded below.
    adopt : bool
        Whether a complete run is put below that one too: its old parent may have been deleted.
    """
    known = client.status(trial.run_id) if trial.run_id else {"status": "GONE"}
    if known.get("status") not in ("GONE", "KILLED"):
        if adopt and known.get("parent", sweep_run_id) != sweep_run_id:
            client.adopt(trial.run_id, sweep_run_id)
        return
    run = Run(client)
    more = {"pipeline.status": trial.status, "restored": "true"}
    again = " again: MLflow had no whole run" if trial.run_id else ""
    run.begin(trial.name, tags(trial, sweep_run_id) | more)
    paths = config.paths.with_output(Path(trial.folder))
    run.restore(config.model_copy(update={"paths": paths}))
    trial.run_id = run.id()
    keep(trial)
    log.info("trial %d  %s  recorded%s", trial.number, trial.name, again)
