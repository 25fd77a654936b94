"""A sweeper for Hydra with Optuna 4: what a sweep tries next follows from what it has found."""

import logging
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.override_parser import types
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from pydantic import Field, ValidationError

from hydra_plugins.softmax_pipeline._search_space import samples, text, values
from pipeline.errors import UserError, said
from pipeline.masking import masked_config
from pipeline.settings.dataset import Section
from pipeline.sweeping import folders, progress, pruning, validate

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import BaseTrial

log = logging.getLogger(__name__)
SAMPLERS = {"tpe": "TPESampler", "random": "RandomSampler", "cmaes": "CmaEsSampler"}


class Settings(Section):
    """The keys of conf/hydra/sweeper/optuna.yaml, which describes them."""

    n_trials: Annotated[int, Field(ge=1)]
    batch: Annotated[int, Field(ge=1)]
    sampler: Literal["tpe", "random", "cmaes"]
    pruner: Literal["none", "median", "halving", "hyperband"]
    seed: Annotated[int, Field(ge=0)] | None
    params: dict[str, Any]


class OptunaSweeper(Sweeper):
    """Asks a study for trials, launches them and tells it how they ended, until it has enough."""

    hydra_context: HydraContext
    config: DictConfig
    launcher: Launcher

    def __init__(self, **settings: Any):
        try:
            self.settings = Settings(**settings | {"params": dict(settings["params"])})
        except ValidationError as error:
            wrong = error.errors()[0]
            raise UserError(f"hydra.sweeper.{wrong['loc'][0]} {said(wrong)}") from error
        if self.settings.sampler == "cmaes" and not find_spec("cmaes"):
            raise UserError("hydra.sweeper.sampler=cmaes needs a package: `pip install cmaes`")

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Make the launcher; keep the task, which will finish the sweep."""
        self.hydra_context, self.config = hydra_context, config
        self.task: Any = task_function
        self.folder = Path(str(config.hydra.sweep.dir))
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run the trials that the study lacks.

        Raises
        ------
        UserError
            If an override is wrong, or the study cannot be opened.
        """
        from pipeline.sweeping.sweep import Sweep

        preset = [f"{key}={value}" for key, value in self.settings.params.items()]
        overrides = validate.parse(self.hydra_context.config_loader, preset, arguments)
        given = {key: str(one.input_line) for key, one in overrides.items()}
        space = {key: values(one) for key, one in overrides.items() if one.is_sweep_override()}
        if not space:
            raise UserError("Optuna has nothing to choose: give KEY=SPACE, such as seed=range(0,9)")
        loader, some = self.hydra_context.config_loader, list(samples(given, space))
        self.task.sweep = Sweep(loader, self.config, some)
        self.task.sweep.begin(here=isinstance(self.launcher, BasicLauncher))
        OmegaConf.save(masked_config(self.config), self.folder / "multirun.yaml")
        study, left = self._study()
        while left:
            size = min(self.settings.batch, left)
            self._run(study, given, space, size)
            left -= size

    def _study(self) -> "tuple[Study, int]":
        """Open the sweep's study, or make it; return it and how many trials it lacks."""
        import optuna
        from optuna.exceptions import ExperimentalWarning
        from optuna.trial import TrialState
        from sqlalchemy import make_url

        settings, url = self.settings, self.config.sweep.storage
        try:
            study = optuna.create_study(
                study_name=self.folder.name,
                storage=pruning.storage(url),
                pruner=pruning.pruner(settings.pruner),
                direction=self.config.sweep.direction,
                load_if_exists=True,
            )
            place = make_url(url).render_as_string(hide_password=True)
        except Exception as error:  # whatever SQLAlchemy or the driver of a database raises
            raise UserError(f"sweep.storage: {str(error).splitlines()[0]}") from error
        study.set_user_attr("pruner", settings.pruner)
        for lost in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if not self._tell(study, lost.number, ended_in(lost)):
                study.enqueue_trial(lost.params)  # goes on from its checkpoint
        trials = study.get_trials(deepcopy=False)
        # with the same seed, a study that goes on would draw again what it drew at its start
        options = {} if settings.seed is None else {"seed": settings.seed + len(trials)}
        if settings.sampler == "tpe":
            options["constant_liar"] = settings.batch > 1  # keeps a batch apart
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            study.sampler = getattr(optuna.samplers, SAMPLERS[settings.sampler])(**options)
        ended = (TrialState.COMPLETE, TrialState.PRUNED)
        done = sum(one.state in ended and ended_in(one).exists() for one in trials)
        left = max(0, settings.n_trials - done)
        progress.begin(self.folder, done + left, done)
        log.info("Study %s in %s: %d trials done, %d left", study.study_name, place, done, left)
        return study, left

    def _run(
        self, study: "Study", given: dict[str, str], space: "dict[str, BaseDistribution]", size: int
    ) -> None:
        """Ask for trials, launch them together and tell how they ended."""
        name = types.QuotedString(study.study_name, types.Quote.single).with_quotes()
        used = [one.number for one in folders.trials(self.folder)]
        asked = [study.ask(space) for _ in range(size)]
        first = max([asked[0].number, *(number + 1 for number in used)])
        jobs = []
        for number, one in enumerate(asked, start=first):
            chosen = {key: f"{key}={text(value)}" for key, value in one.params.items()}
            marks = [f"sweep.study={name}", f"sweep.trial={one.number}"]
            jobs.append([*(given | chosen).values(), *marks])
            loader = self.hydra_context.config_loader
            folder = folders.of_trial(loader, self.config, jobs[-1], number)
            one.set_user_attr("folder", str(folder))
        try:
            for ended in self.launcher.launch(jobs, initial_job_idx=first):
                ended.return_value  # noqa: B018  # raises an error that is not the trial's own
        except (KeyboardInterrupt, SystemExit):
            asked.clear()  # the study is told when it goes on
            raise
        finally:
            for one in asked:
                self._tell(study, one.number, ended_in(one))

    def _tell(self, study: "Study", number: int, path: Path) -> bool:
        """Tell the study how a trial ended, as its trial.json has it; return whether it did."""
        from optuna.trial import TrialState

        from pipeline.trials import trial_file

        objective = self.config.sweep.objective
        ended = trial_file.read(path) if path.exists() else None
        if ended and ended.has(objective):
            study.tell(number, ended.metrics[objective])
        elif ended and ended.status == "PRUNED":
            study.tell(number, state=TrialState.PRUNED)
        else:
            study.tell(number, state=TrialState.FAIL)
            if ended and ended.status == "FINISHED":
                log.warning("%s has no %s: for Optuna the trial failed", path, objective)
        return ended is not None and ended.status not in ("RUNNING", "KILLED")


def ended_in(one: "BaseTrial") -> Path:
    """Return where a trial's trial.json is, if it was launched."""
    return Path(one.user_attrs.get("folder", "not launched")) / "trial.json"
