"""What every stage's command shares: Hydra's configuration, one-line errors, exit codes."""

import logging
import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline import params
from pipeline.config import Config, check
from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.trial import Train

MULTIRUN = {"-m", "--multirun"}
INTERRUPTED = 130
TERMINATED = 143


def run(main: Callable[[Config], None], train: "Train | None" = None) -> None:
    """Run a stage as a command: compose and check its configuration, then call `main`.

    A user's mistake ends with one line on standard error and exit code 1. With `--multirun`,
    `train` is called for each trial of a sweep.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # exceptions reach this function unformatted
    signal.signal(signal.SIGTERM, _terminated)
    OmegaConf.register_new_resolver("sweep_folder", _sweep_folder, use_cache=True, replace=True)

    def task(composed: DictConfig) -> None:
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            from pipeline import trial

            with suppress(ValueError):  # not in the main thread of its process
                signal.signal(signal.SIGTERM, _terminated)
            assert train is not None
            trial.run(train, composed)
        else:
            try:
                main(check(composed))
            except UserError as error:
                _stop(main, str(error))

    command = hydra.main(version_base="1.3", config_path=str(params.CONF), config_name="config")
    code, interrupted = 0, True
    try:
        if train is None and MULTIRUN & set(sys.argv):
            raise UserError("sweeps are of the train stage: `python -m pipeline.train -m ...`")
        params.check_keys()
        command(task)()
        interrupted = False
    except (UserError, HydraException, OmegaConfBaseException) as error:
        interrupted = False
        _stop(main, one_line(error))
    except KeyboardInterrupt:
        print(f"{_name(main)}: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    finally:
        if "pipeline.sweep" in sys.modules:
            from pipeline import sweep

            code = sweep.finish(interrupted=interrupted)
    if "pipeline.sweep" in sys.modules:
        sys.exit(code)
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)  # all is written: taking TensorFlow down in order would cost half a second


def _sweep_folder() -> str:
    from pipeline import sweep

    return sweep.folder_name()


def one_line(error: BaseException) -> str:
    """Return the line that tells a user what is wrong with the configuration."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    text = str(error)
    if choice := re.search(
        r"Could not find '(\w+)/([^']*)'\s+Available options in '\w+':([^:]*\n)", text
    ):
        group, name, options = choice.groups()
        return f"{group}: there is no {name!r}; choose one of {', '.join(options.split())}"
    if override := re.match(r"Could not override '([^']+)'", text):
        return f"{override[1]} is not known{params.nearest(override[1], params.known_keys())}"
    return " ".join(line.strip() for line in text.splitlines() if "full_key:" not in line)


def _name(main: Callable[[Config], None]) -> str:
    return Path(main.__code__.co_filename).stem


def _stop(main: Callable[[Config], None], line: str) -> NoReturn:
    print(f"{_name(main)}: {line}", file=sys.stderr)
    sys.exit(1)


def _terminated(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not cut the ending off
    sys.exit(TERMINATED)
