"""What every stage's command shares: Hydra's configuration, one-line errors, exit codes."""

import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.cli.arguments import HELP, INTERRUPTED, name_of, stop
from pipeline.cli.output import keep_printing
from pipeline.cli.signals import end_in_order
from pipeline.errors import UserError
from pipeline.files import UNWRITABLE, cannot_write
from pipeline.readers import options_of
from pipeline.settings import conf_source, params
from pipeline.settings.check import check
from pipeline.settings.explain import one_line
from pipeline.settings.inputs import Inputs

if TYPE_CHECKING:
    from pipeline.seeding.group import Group
    from pipeline.sweeping.sweep import Sweep
    from pipeline.tracking.client import Client

Main = Callable[..., Any]  # of a stage: its configuration and inputs
USER_ERRORS = (UserError, HydraException, OmegaConfBaseException)
MULTIRUN = {"-m", "--multirun"}
NO_SWEEP = "sweeps are of the train stage: `python -m pipeline.train -m ...`"


class Task:
    """What Hydra calls with each configuration that it has composed: once, or for each trial.

    A launcher may pickle it for other processes. The sweep stays in the process that has begun it.
    """

    def __init__(self, main: Main, inputs: Inputs, *, sweeps: bool, group: "Group | None" = None):
        self._main, self._inputs, self._sweeps = main, inputs, sweeps
        self.group = group  # of seeds, which the sweep trains
        self.sweep: Sweep | None = None  # set by the sweeper
        self._client: Client | None = None  # for trials in a process that has begun no sweep

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"sweep": None, "group": None, "_client": None}

    def __call__(self, composed: DictConfig) -> None:
        """Check the configuration and call `main`, or train a trial of a sweep."""
        if HydraConfig.get().mode is not RunMode.MULTIRUN:
            self._run_once(composed)
            return
        if not self._sweeps:  # a preset is one
            raise UserError(NO_SWEEP)
        from pipeline.sweeping import trial

        with suppress(ValueError):  # not in the main thread of its process
            end_in_order()
        if self.sweep:
            trial.run(composed, self._inputs, self.sweep.client, self.sweep.planned)
        else:
            self._client = self._client or trial.connect(composed)
            trial.run(composed, self._inputs, self._client)
            self._client.wait()  # the process may end after this trial

    def _run_once(self, composed: DictConfig) -> None:
        from pipeline.sweeping import validate

        try:
            validate.refuse_chdir(HydraConfig.get().job.chdir)
            config = check(composed)
            options_of(config.dataset)  # of its reader
            self._main(config, self._inputs)
            self._inputs.check()
        except UserError as error:
            stop(self._main, str(error))


class SweepFolder:
    """The resolver `${sweep_folder:}`, which stays the same in all trials, wherever they run.

    `${sweep_folder:NAME}` begins with a name of its own.
    """

    folder = ""

    def __call__(self, name: str = "", *, _root_: DictConfig) -> str:
        """Return the folder of the sweep, which is decided once: `paths` may differ in trials."""
        from pipeline.sweeping import folders

        self.folder = self.folder or folders.of_command(_root_, name)
        return self.folder


def run(main: Main, *, sweeps: bool = False, group: "Group | None" = None) -> None:
    """Run a stage as a command: compose and check its configuration, then call `main`.

    A user's mistake ends with one line on standard error and exit code 1, and so does an input that
    was edited meanwhile.

    Parameters
    ----------
    main : callable
        Takes the configuration and the inputs.
    sweeps : bool
        Whether `--multirun` trains the trials of a sweep; else it is refused.
    group : Group, optional
        The seeds that the sweep trains, which are tested then.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions reach this function unformatted
    end_in_order()
    keep_printing()
    OmegaConf.register_new_resolver("sweep_folder", SweepFolder(), replace=True)
    command = hydra.main(version_base="1.3", config_path=str(params.CONF), config_name="config")
    task, interrupted, code = None, True, None
    try:
        if not sweeps and MULTIRUN & set(sys.argv):
            raise UserError(NO_SWEEP)
        stage = "train" if group else name_of(main)
        task = Task(main, _begin(stage), sweeps=sweeps, group=group)
        if HELP & set(sys.argv):
            from pipeline.cli import usage

            usage.register()
            print(sys.modules[main.__module__].__doc__)
        command(task)()
        interrupted = False
    except Exception as error:  # Hydra lets many kinds through; users' mistakes get one line
        if isinstance(error, OSError) and error.errno in UNWRITABLE and error.filename:
            line = str(cannot_write(Path(error.filename), error))
        elif isinstance(error, USER_ERRORS) or _composing(error):
            line = one_line(error)
        else:
            raise
        interrupted = False
        stop(main, line)
    except KeyboardInterrupt:
        _interrupted(main, goes_on=sweeps)
    finally:
        if task and task.sweep:
            code = _finish(main, task.sweep, interrupted=interrupted)
    if code is not None:
        sys.exit(code)
    logging.shutdown()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()
    os._exit(0)  # all is written: taking TensorFlow down in order would cost half a second


def run_group(main: Main, group: "Group", overrides: Sequence[str]) -> None:
    """Run a command that trains and tests a group of seeds, with these overrides."""
    sys.argv[1:] = ["--multirun", group.folder, *overrides]
    run(main, sweeps=True, group=group)


def _begin(stage: str) -> Inputs:
    """Check params.yaml and conf/, and note the present state of all that the stage reads."""
    conf_source.register()
    params.check()
    inputs = Inputs(stage)
    params.resolve_from(params.load())
    return inputs


def _finish(main: Main, sweep: "Sweep", *, interrupted: bool) -> int:
    try:
        return sweep.finish(interrupted=interrupted)
    except UserError as error:
        stop(main, str(error))
    except KeyboardInterrupt:  # Ctrl-C, perhaps for the second time, while the answer was made
        _interrupted(main, goes_on=True)


def _interrupted(main: Main, *, goes_on: bool) -> NoReturn:
    hint = ": the same command goes on where it was" if goes_on else ""
    stop(main, f"interrupted{hint}", INTERRUPTED)


def _composing(error: BaseException) -> bool:
    """Tell whether Hydra raised this as it read its options or composed the configuration."""
    names = [frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)]
    return "load_configuration" in names or names[-1] == "_run_hydra"
