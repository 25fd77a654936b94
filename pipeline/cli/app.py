"""What every stage's command shares: Hydra's configuration, one-line errors, exit codes."""

import logging
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.cli.arguments import HELP, INTERRUPTED
from pipeline.cli.output import keep_printing
from pipeline.cli.signals import end_in_order
from pipeline.errors import UserError
from pipeline.files import UNWRITABLE, cannot_write
from pipeline.masking import masked
from pipeline.settings import conf_source, params
from pipeline.settings.explain import one_line
from pipeline.settings.inputs import Inputs
from pipeline.settings.schema import Config, check

Main = Callable[[Config, Inputs], None]
USER_ERRORS = (UserError, HydraException, OmegaConfBaseException)
MULTIRUN = {"-m", "--multirun"}
NO_SWEEP = "sweeps are of the train stage: `python -m pipeline.train -m ...`"


def run(main: Main, *, sweeps: bool = False) -> None:
    """Run a stage as a command: compose and check its configuration, then call `main`.

    A user's mistake ends with one line on standard error and exit code 1, and so does an input that
    was edited meanwhile. With `--multirun`, a stage that `sweeps` trains the trials of a sweep.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions reach this function unformatted
    end_in_order()
    keep_printing()
    OmegaConf.register_new_resolver("sweep_folder", _sweep_folder, use_cache=True, replace=True)

    def task(composed: DictConfig) -> None:
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            if not sweeps:  # a preset is one
                raise UserError(NO_SWEEP)
            from pipeline.sweeping import trial

            with suppress(ValueError):  # not in the main thread of its process
                end_in_order()
            trial.run(composed, inputs)
        else:
            _run_once(main, composed, inputs)

    command = hydra.main(version_base="1.3", config_path=str(params.CONF), config_name="config")
    interrupted = True
    try:
        if not sweeps and MULTIRUN & set(sys.argv):
            raise UserError(NO_SWEEP)
        inputs = _begin(_name(main))
        if HELP & set(sys.argv):
            from pipeline.cli import usage

            usage.register()
            print(sys.modules[main.__module__].__doc__)
        command(task)()
        interrupted = False
    except Exception as error:  # of what Hydra lets through, the user's mistakes get a line
        if isinstance(error, OSError) and error.errno in UNWRITABLE and error.filename:
            line = str(cannot_write(Path(error.filename), error))
        elif isinstance(error, USER_ERRORS) or _composing(error):
            line = one_line(error)
        else:
            raise
        interrupted = False
        _stop(main, line)
    except KeyboardInterrupt:
        hint = ": the same command goes on where it was" if sweeps else ""
        print(f"{_name(main)}: interrupted{hint}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    finally:
        code = _finish_sweep(main, interrupted=interrupted)
    if code is not None:
        sys.exit(code)
    logging.shutdown()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()
    os._exit(0)  # all is written: taking TensorFlow down in order would cost half a second


def _begin(stage: str) -> Inputs:
    """Check the files that the configuration comes from, and note all that the stage reads."""
    conf_source.register()
    params.check()
    inputs = Inputs(stage)
    params.resolve_from(params.load())
    return inputs


def _run_once(main: Main, composed: DictConfig, inputs: Inputs) -> None:
    from pipeline.sweeping import validate

    try:
        validate.refuse_chdir(HydraConfig.get().job.chdir)
        main(check(composed), inputs)
        inputs.check()
    except UserError as error:
        _stop(main, str(error))


def _finish_sweep(main: Main, *, interrupted: bool) -> int | None:
    """End the sweep that this process has begun, if it has one; return the exit code."""
    sweep = sys.modules.get("pipeline.sweeping.sweep")  # which a sweeper imports
    try:
        return sweep.finish(interrupted=interrupted) if sweep else None
    except UserError as error:
        _stop(main, str(error))


def _sweep_folder() -> str:
    from pipeline.sweeping import folders

    return folders.of_command()


def _composing(error: BaseException) -> bool:
    """Tell whether Hydra raised this while it composed the configuration."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code.co_name == "load_configuration" for frame, _ in frames)


def _name(main: Main) -> str:
    return Path(main.__code__.co_filename).stem


def _stop(main: Main, line: str) -> NoReturn:
    print(f"{_name(main)}: {masked(line)}", file=sys.stderr)
    sys.exit(1)
