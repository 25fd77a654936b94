"""What a trial reports to its Optuna study after each epoch; the study says whether to stop."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from typing import TYPE_CHECKING

from pipeline.learning.history import Epoch
from pipeline.settings.schema import Sweep

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.storages import RDBStorage

BUSY_SECONDS = 60  # so long, this waits while other processes write the SQLite file
PRUNERS = {
    "none": "NopPruner",
    "median": "MedianPruner",
    "halving": "SuccessiveHalvingPruner",
    "hyperband": "HyperbandPruner",
}


class Pruned(Exception):  # noqa: N818  # not an error
    """The study has stopped the trial: others were better after as many epochs."""

    def __init__(self, epoch: Epoch):
        super().__init__(f"pruned after epoch {epoch.epoch}")
        self.epoch = epoch


def pruner(name: str) -> "BasePruner":
    """Return a pruner of PRUNERS."""
    import optuna

    return getattr(optuna.pruners, PRUNERS[name])()


@cache  # one pool of connections for all trials of a process
def storage(url: str) -> "RDBStorage":
    """Open the database of the studies; only one process at a time makes a new SQLite file."""
    import optuna
    from filelock import FileLock
    from sqlalchemy import make_url

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    place = make_url(url)
    sqlite = place.get_backend_name() == "sqlite"
    with FileLock(f"{place.database}.lock") if sqlite else nullcontext():
        wait = {"connect_args": {"timeout": BUSY_SECONDS}} if sqlite else {}
        return optuna.storages.RDBStorage(url, engine_kwargs=wait)


def reporter(sweep: Sweep) -> Callable[[Epoch], None]:
    """Return a function that is called after each epoch; without a study it does nothing.

    It raises `Pruned` when the study stops the trial.
    """
    if sweep.study is None or sweep.trial is None:
        return lambda epoch: None
    import optuna

    study = optuna.load_study(study_name=sweep.study, storage=storage(sweep.storage))
    study.pruner = pruner(study.user_attrs["pruner"])
    (frozen,) = [one for one in study.get_trials(deepcopy=False) if one.number == sweep.trial]
    trial = optuna.trial.Trial(study, frozen._trial_id)  # Optuna has no public way to a trial

    def report(epoch: Epoch) -> None:
        if sweep.objective in epoch.metrics:
            trial.report(epoch.metrics[sweep.objective], epoch.epoch)
            if trial.should_prune():
                raise Pruned(epoch)

    return report
