"""One trial of a sweep: it is trained and recorded, and its failure does not end the sweep.

Hydra's launchers run trials in this process or in others, on this machine or elsewhere. A trial
writes its outcome into trial.json in its own folder, which `pipeline.sweeping.sweep` reads.
"""

import logging
import os
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from pipeline.data import arrays
from pipeline.data.description import said_of
from pipeline.errors import first_line
from pipeline.files import shown
from pipeline.learning import determinism
from pipeline.learning.bar import Bar
from pipeline.learning.checkpoint import Checkpoint
from pipeline.learning.fingerprint import fingerprint, settings
from pipeline.learning.learner import Learner
from pipeline.masking import masked
from pipeline.settings.check import check, check_section
from pipeline.settings.conf_files import VALUES_ONLY
from pipeline.settings.inputs import Inputs
from pipeline.settings.schema import Config, Tracking
from pipeline.side_by_side.training import train_with, with_other_rates
from pipeline.sweeping import folders, known, progress, pruning
from pipeline.sweeping.pruning import Pruned
from pipeline.sweeping.validate import Trials
from pipeline.tracking.client import REPEAT, Client
from pipeline.tracking.run import Run
from pipeline.trials.trial_file import Trial, find, keep, name_of

log = logging.getLogger(__name__)


def connect(composed: DictConfig) -> Client:
    """Return a client for the trials of a process that has not begun their sweep.

    The address of the store is in sweep.json, without its password. The password is taken from the
    settings of this process, if they are about the same store: another machine may have others.
    """
    folder = Path(HydraConfig.get().sweep.dir)
    store = Tracking(**folders.read(folder)["tracking"])
    own = check_section(Tracking, composed, "tracking")
    uri = own.uri if masked(own.uri) == store.uri else store.uri
    return Client(store.model_copy(update={"uri": uri}), folder, REPEAT)


def run(composed: DictConfig, inputs: Inputs, client: Client, planned: Trials = ()) -> None:
    """Train one trial of a sweep, unless one with the same fingerprint has finished before.

    An interruption leaves this function as an exception. All other ends are in trial.json.

    Parameters
    ----------
    composed : DictConfig
        The configuration of the trial.
    inputs : Inputs
        Those that the sweep began with.
    client : Client
        The recorder.
    planned : sequence of sequences of str
        The overrides of all trials, if this process runs them one after the other.
    """
    logging.raiseExceptions = False  # logging must print no tracebacks if stdout is closed
    hydra = HydraConfig.get()
    folder = Path(hydra.sweep.dir)
    definition = folders.read(folder)
    overrides = [masked(item) for item in hydra.overrides.task if not item.startswith("sweep.")]
    trial = Trial(
        number=int(hydra.job.num),
        overrides=overrides,
        folder=shown(Path(hydra.runtime.output_dir)),
        uri=client.uri,
        pid=os.getpid(),
        name=name_of(overrides, definition["varied"]),
        tested=definition["tested"],
    )
    config, checkpoint, problem = None, None, None
    try:
        inputs.check_sweep()
        config = check(composed)
        trial.choices = {group: str(hydra.runtime.choices[group]) for group in VALUES_ONLY}
        trial.settings, trial.dataset = settings(config), said_of(config.dataset)
        trial.fingerprint = fingerprint(config)
        if not config.sweep.rerun and known.settled(trial, config, client, definition["run_id"]):
            progress.log_end(trial, folder)
            return
        checkpoint = Checkpoint(config, folder)
    except Exception as error:  # a trial that cannot even begin must not end the others
        problem = error

    run = Run(client)
    tags = known.tags(trial, definition["run_id"])
    run.begin(trial.name, tags, **(checkpoint.run if checkpoint else {}))
    with _kept(trial, run, checkpoint):
        if problem or not config or not checkpoint:
            raise problem or AssertionError
        others = _others(trial, config, planned) if config.sweep.together else []
        _train(trial, config, checkpoint, run, inputs, others=others, exact=definition["exact"])
    if checkpoint and trial.status != "FAILED":
        checkpoint.remove()
    progress.log_end(trial, folder)


def _train(
    trial: Trial,
    config: Config,
    checkpoint: Checkpoint,
    run: Run,
    inputs: Inputs,
    *,
    others: list[Config],
    exact: bool,
) -> None:
    """Train as the train stage does, and report each epoch to the study that may prune the trial.

    Those of the `others` that can be are trained side by side with it.
    """
    run.settings(config)
    split = arrays.split(config)
    trial.held_out = len(split.validation[1])
    determinism.enable(config.seed, config.determinism, exact=exact)  # as all trials need it
    learner = Learner(config, split, checkpoint)
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
        learner.fit(listeners, train_with(others))
    learner.save()
    run.training(config)
    trial.metrics = learner.kept.metrics


def _others(trial: Trial, config: Config, planned: Trials) -> list[Config]:
    """Return the later trials that will be trained and differ in the learning rate alone."""
    others = with_other_rates(config, planned, trial.number)
    again = config.sweep.rerun
    return [one for one in others if again or not find(fingerprint(one), trial.uri)]


@contextmanager
def _kept(trial: Trial, run: Run, checkpoint: Checkpoint | None) -> Iterator[None]:
    """Write how the block ends into trial.json, and onto the trial's MLflow run."""
    folder, started = Path(trial.folder), time.monotonic()
    trial.write()
    (folder / "error.txt").unlink(missing_ok=True)
    try:
        yield
        trial.status = "FINISHED"
    except Pruned as stop:
        trial.status, trial.metrics, trial.error = "PRUNED", stop.epoch.metrics, str(stop)
    except (KeyboardInterrupt, SystemExit):
        trial.status, trial.error = "KILLED", "interrupted"
        raise
    except Exception as error:  # whatever a model or a library raises must not end the sweep
        trial.status, trial.error = "FAILED", masked(first_line(error))
        with suppress(OSError):  # the disk may be what failed
            (folder / "error.txt").write_text(masked(traceback.format_exc()), encoding="utf-8")
            run.files([folder / "error.txt"])
    finally:
        seconds = time.monotonic() - started + (checkpoint.seconds if checkpoint else 0.0)
        trial.seconds = round(seconds, 3)
        ending = {"pipeline.status": trial.status} | ({"error": trial.error} if trial.error else {})
        run.tags(ending)
        if trial.error:
            run.result(f"{trial.status}, {trial.error}")
        run.end("KILLED" if trial.status == "PRUNED" else trial.status)  # MLflow has no PRUNED
        keep(trial)  # before the run's id is known, which may take a while
        trial.run_id = run.id()
        keep(trial)
