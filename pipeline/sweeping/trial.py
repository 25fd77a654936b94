"""One trial of a sweep: trained once, recorded, and contained when it fails.

Hydra's launchers run trials in this process or in others, on this machine or elsewhere. What a
trial has found it writes into trial.json in its own folder; `pipeline.sweeping.sweep` reads that.
"""

import logging
import os
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

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
from pipeline.sweeping import folders, progress, pruning, rerecording, sweep
from pipeline.sweeping.pruning import Pruned
from pipeline.sweeping.rerecording import PARENT
from pipeline.tracking import description, provenance
from pipeline.tracking.client import REPEAT, Client, of_sweep
from pipeline.tracking.run import Run
from pipeline.trials import trial_file
from pipeline.trials.trial_file import Trial, find, keep

log = logging.getLogger(__name__)
MLFLOW_STATUS = {"PRUNED": "KILLED"}  # which MLflow does not have


def run(composed: DictConfig, inputs: Inputs) -> None:
    """Train as one trial of a sweep, unless a finished and recorded one has the same fingerprint.

    The inputs are those that the sweep began with, in the process that launches its trials. Only an
    interruption leaves this function as an exception; every other end is in trial.json.
    """
    logging.raiseExceptions = False  # a closed stdout must not print tracebacks of logging
    hydra = HydraConfig.get()
    folder = Path(hydra.sweep.dir)
    definition = folders.read(folder)
    place = of_sweep(definition, check_section(Tracking, composed, "tracking"))
    trial = Trial(
        number=int(hydra.job.num),
        overrides=[masked(item) for item in hydra.overrides.task if not item.startswith("sweep.")],
        folder=shown(Path(hydra.runtime.output_dir)),
        uri=masked(place.uri),
        pid=os.getpid(),
    )
    trial.name = trial_file.name_of(trial.overrides, definition["varied"])
    client = sweep.current.client if sweep.current else _worker(folder, place.model_dump_json())
    config, saved, problem = None, None, None
    try:
        inputs.check_sweep()
        config = check(composed)
        trial.choices = {group: str(hydra.runtime.choices[group]) for group in VALUES_ONLY}
        trial.settings = identity(config)["settings"]
        trial.fingerprint = fingerprint(**identity(config))
        known = None if config.sweep.rerun else find(trial.fingerprint, trial.uri)
        if known:
            tags = _tags(known) | {"pipeline.status": known.status, PARENT: definition["run_id"]}
            ours = known.folder == trial.folder
            if definition["run_id"] and rerecording.ensure_recorded(
                known, config, client, tags, adopt=ours
            ):
                keep(known)
            trial.status, trial.repeats, trial.run_id = known.status, known.folder, known.run_id
            trial.metrics, trial.seconds = known.metrics, known.seconds
            if known.folder != trial.folder:
                trial.write()
            log_end(trial, folder)
            return
        saved = Checkpoint(config, folder)
    except Exception as error:  # a trial that cannot even begin must not end the others
        problem = error

    def training() -> Epoch:
        if problem or not config or not saved:
            raise problem or AssertionError
        return _train(config, saved, mlflow_run, inputs)

    mlflow_run = Run(client)
    tags = {PARENT: definition["run_id"]} if definition["run_id"] else {}
    mlflow_run.begin(trial.name, tags | _tags(trial), **(saved.run if saved else {}))
    _run(trial, mlflow_run, saved, training)
    if saved and trial.status != "FAILED":
        saved.remove()
    log_end(trial, folder)


@cache
def _worker(folder: Path, tracking: str) -> Client:
    """Return the client that all trials of a sweep share in a process which has not begun it."""
    return Client(Tracking.model_validate_json(tracking), folder, REPEAT)


def _tags(trial: Trial) -> dict[str, str]:
    """Return what a trial's MLflow run says of it from its beginning."""
    return {
        "kind": "trial",
        **provenance.tags(),
        "mlflow.note.content": description.reproduction(trial.overrides),
        "pipeline.place": trial.folder,
        "pipeline.fingerprint": trial.fingerprint,
    }


def log_end(trial: Trial, sweep: Path) -> None:
    """Log a line that says how the trial ended, and how far the sweep is."""
    counted = progress.count(sweep, trained=not trial.repeats)
    metrics = "  ".join(f"{name} {text(name, value)}" for name, value in trial.metrics.items())
    taken = f"{trial.seconds:.1f} s" if trial.seconds is not None else ""
    known = "" if not trial.repeats else f"(done before, in {trial.repeats})"
    number = f"trial {trial.number} ({counted})"
    said = [number, trial.name, trial.status, metrics, taken, known, trial.error]
    log.info("  ".join(part for part in said if part))


def _train(config: Config, saved: Checkpoint, run: Run, inputs: Inputs) -> Epoch:
    """Train as the train stage does, and tell each epoch to the study that may prune the trial."""
    run.settings(config)
    split = arrays.split(config)
    learner = Learner(config, split.features, saved)
    run.epochs(learner.epochs)
    report = pruning.reporter(config.sweep)
    for epoch in learner.epochs:
        report(epoch)
    with Bar(len(learner.epochs), config.train.epochs, brief=True) as bar:
        listeners = [
            lambda epoch: run.epochs([epoch]),
            bar.show,
            lambda epoch: inputs.check_sweep(),
            report,
        ]
        learner.fit(split, listeners, train_with(_others(config, run.client.uri)))
    learner.save()
    run.training(config)
    return learner.epochs[-1]


def _others(config: Config, uri: str) -> list[Config]:
    """Return the later trials of this process that can be trained together with this one."""
    if not config.sweep.together:
        return []
    others = later_trials.with_other_rates(config, HydraConfig.get().job.num)
    if config.sweep.rerun:
        return others
    return [one for one in others if not find(fingerprint(**identity(one)), uri)]


def _run(trial: Trial, run: Run, saved: Checkpoint | None, training: Callable[[], Epoch]) -> None:
    """Run the training and keep how it ended, in trial.json and on the trial's MLflow run."""
    folder, started = Path(trial.folder), time.monotonic()
    trial.write()
    (folder / "error.txt").unlink(missing_ok=True)
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
            run.files([folder / "error.txt"])
    finally:
        seconds = time.monotonic() - started + (saved.seconds if saved else 0.0)
        trial.seconds = round(seconds, 3)
        ending = {"pipeline.status": trial.status} | ({"error": trial.error} if trial.error else {})
        run.tags(ending)
        if trial.error:
            run.result(f"{trial.status}, {trial.error}")
        run.end(MLFLOW_STATUS.get(trial.status, trial.status))
        keep(trial)  # whatever time it takes to hear of the run
        trial.run_id = run.id()
        keep(trial)
        if not sweep.current:
            run.client.wait()  # the sweep may end when this trial does
