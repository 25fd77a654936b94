"""One trial of a sweep: trained once, recorded, and contained when it fails.

Hydra's launchers run trials in this process or in others, on this machine or elsewhere. What a
trial has to say it writes into trial.json in its own folder; `pipeline.sweeping.sweep` reads that.
"""

import logging
import os
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from pipeline.data import arrays
from pipeline.files import shown
from pipeline.learning.bar import Bar
from pipeline.learning.checkpoint import Checkpoint
from pipeline.learning.fingerprint import fingerprint, identity
from pipeline.learning.history import Epoch, text
from pipeline.learning.learner import Learner
from pipeline.masking import masked
from pipeline.settings.conf_files import VALUES_ONLY
from pipeline.settings.inputs import Inputs
from pipeline.settings.schema import Config, Tracking, check, check_section
from pipeline.side_by_side import later_trials
from pipeline.side_by_side.training import train_with
from pipeline.sweeping import folders, progress, pruning, rerecording
from pipeline.sweeping.pruning import Pruned
from pipeline.sweeping.rerecording import PARENT
from pipeline.tracking import client, description, provenance, results
from pipeline.trials import trial_file
from pipeline.trials.trial_file import Trial, find, keep

log = logging.getLogger(__name__)
_unsettled: list["Trial"] = []
MLFLOW_STATUS = {"PRUNED": "KILLED"}  # which MLflow does not have


def run(composed: DictConfig, inputs: Inputs) -> None:
    """Train as one trial of a sweep, unless a finished and recorded one has the same fingerprint.

    The inputs are those that the sweep began with, in the process that launches its trials. Only an
    interruption leaves this function as an exception; every other end is in trial.json.
    """
    logging.raiseExceptions = False  # in a launcher's own process too, the reader may have gone
    hydra = HydraConfig.get()
    folder = Path(hydra.sweep.dir)
    sweep = folders.read(folder)
    place = client.of_sweep(sweep, check_section(Tracking, composed, "tracking"))
    trial = Trial(
        number=int(hydra.job.num),
        overrides=[masked(item) for item in hydra.overrides.task if not item.startswith("sweep.")],
        folder=shown(Path(hydra.runtime.output_dir)),
        uri=masked(place.uri),
        pid=os.getpid(),
    )
    trial.name = trial_file.name_of(trial.overrides, sweep["varied"])
    record = client.shared(place, folder)
    settle(record)
    config, saved, problem = None, None, None
    try:
        inputs.check_sweep()
        config = check(composed)
        trial.choices = {group: str(hydra.runtime.choices[group]) for group in VALUES_ONLY}
        trial.settings = identity(config)["settings"]
        trial.fingerprint = fingerprint(**identity(config))
        known = None if config.sweep.rerun else find(trial.fingerprint, trial.uri)
        if known:
            tags = _tags(known) | {"pipeline.status": known.status, PARENT: sweep["run_id"]}
            ours = known.folder == trial.folder
            if sweep["run_id"] and rerecording.see_to(known, config, record, tags, adopt=ours):
                keep(known)
            trial.status, trial.repeats, trial.run_id = known.status, known.folder, known.run_id
            trial.metrics, trial.seconds = known.metrics, known.seconds
            if known.folder != trial.folder:
                trial.write()
            say(trial, folder)
            return
        saved = Checkpoint(config, folder)
    except Exception as error:  # a trial that cannot even begin must not end the others
        problem = error

    def training() -> Epoch:
        if problem or not config or not saved:
            raise problem or AssertionError
        return _train(config, saved, record, inputs)

    tags = {PARENT: sweep["run_id"]} if sweep["run_id"] else {}
    run = {"tags": tags} | (saved.run if saved else {})
    _run(trial, record, run, saved, training)
    if saved and trial.status != "FAILED":
        saved.remove()
    say(trial, folder)


def settle(record: client.Record) -> None:
    """Give the last trial the id of its run, for which it has not waited."""
    while _unsettled:
        trial = _unsettled.pop()
        trial.run_id = record.answer().get("run_id", "")
        keep(trial)


def _tags(trial: Trial) -> dict[str, str]:
    """Return what a trial's MLflow run says of it from its beginning."""
    return {
        "kind": "trial",
        **provenance.tags(),
        "mlflow.note.content": description.reproduction(trial.overrides),
        "pipeline.place": trial.folder,
        "pipeline.fingerprint": trial.fingerprint,
    }


def say(trial: Trial, sweep: Path) -> None:
    """Log a line that says how the trial ended, and how far the sweep is."""
    counted = progress.count(sweep, trained=not trial.repeats)
    metrics = "  ".join(f"{name} {text(name, value)}" for name, value in trial.metrics.items())
    taken = f"{trial.seconds:.1f} s" if trial.seconds is not None else ""
    known = "" if not trial.repeats else f"(done before, in {trial.repeats})"
    number = f"trial {trial.number} ({counted})"
    said = [number, trial.name, trial.status, metrics, taken, known, trial.error]
    log.info("  ".join(part for part in said if part))


def _train(config: Config, saved: Checkpoint, record: client.Record, inputs: Inputs) -> Epoch:
    """Train as the train stage does, and tell each epoch to the study that may prune the trial."""
    results.add_settings(record, config)
    split = arrays.split(config)
    learner = Learner(config, split.features, saved)
    results.add_epochs(record, learner.epochs)
    report = pruning.reporter(config.sweep)
    for epoch in learner.epochs:
        report(epoch)
    with Bar(len(learner.epochs), config.train.epochs, brief=True) as bar:
        listeners = [
            lambda epoch: results.add_epochs(record, [epoch]),
            bar.show,
            lambda epoch: inputs.check_sweep(),
            report,
        ]
        learner.fit(split, listeners, train_with(_others(config, record.uri)))
    learner.save()
    results.add_training(record, config)
    return learner.epochs[-1]


def _others(config: Config, uri: str) -> list[Config]:
    """Return the later trials of this process that can be trained together with this one."""
    if not config.sweep.together:
        return []
    others = later_trials.with_other_rates(config, HydraConfig.get().job.num)
    if config.sweep.rerun:
        return others
    return [one for one in others if not find(fingerprint(**identity(one)), uri)]


def _run(
    trial: Trial,
    record: client.Record,
    run: dict[str, Any],
    saved: Checkpoint | None,
    training: Callable[[], Epoch],
) -> None:
    """Run the training and keep how it ended, in trial.json and on the trial's MLflow run."""
    folder, started = Path(trial.folder), time.monotonic()
    trial.write()
    (folder / "error.txt").unlink(missing_ok=True)
    run["tags"] |= _tags(trial)
    record.send("begin", ask=True, name=trial.name, started=time.time(), **run)
    try:
        trial.metrics = training().metrics
        trial.status = "FINISHED"
    except Pruned as stop:
        trial.status, trial.metrics, trial.error = "PRUNED", stop.epoch.metrics, str(stop)
    except (KeyboardInterrupt, SystemExit):
        trial.status, trial.error = "KILLED", "interrupted"
        raise
    except Exception as error:  # whatever a model or a library raises is the trial's own affair
        trial.status, trial.error = "FAILED", str(error).splitlines()[0] if str(error) else ""
        trial.error = masked(trial.error or type(error).__name__)
        with suppress(OSError):  # the disk may be what failed
            (folder / "error.txt").write_text(masked(traceback.format_exc()), encoding="utf-8")
            record.send("files", paths=[str(folder / "error.txt")])
    finally:
        seconds = time.monotonic() - started + (saved.seconds if saved else 0.0)
        trial.seconds = round(seconds, 3)
        ending = {"pipeline.status": trial.status} | ({"error": trial.error} if trial.error else {})
        record.send("tags", tags=ending)
        if trial.error:
            record.send("result", line=f"{trial.status}, {trial.error}")
        record.send("end", status=MLFLOW_STATUS.get(trial.status, trial.status))
        keep(trial)
        _unsettled.append(trial)
        if not record.owner:
            settle(record)
            record.ask("flush")  # the sweep may end when this trial does
