"""What every stage's command shares: Hydra's configuration, one-line errors, exit codes."""

import gc
import logging
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from pipeline import params
from pipeline.config import Config, check
from pipeline.errors import UserError

INTERRUPTED = 130
TERMINATED = 143


def run(main: Callable[[Config], None]) -> None:
    """Run a stage as a command: compose and check its configuration, then call `main`.

    A user's mistake ends with one line on standard error and exit code 1.
    """
    gc.disable()  # what is imported stays: looking through it for garbage takes half a second
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # exceptions reach this function unformatted
    signal.signal(signal.SIGTERM, _terminated)
    params.register()

    def task(composed: DictConfig) -> None:
        try:
            main(check(composed))
        except UserError as error:
            if HydraConfig.get().mode is RunMode.MULTIRUN:
                raise
            _stop(main, str(error))

    command = hydra.main(version_base="1.3", config_path=str(params.CONF), config_name="config")
    try:
        params.check_keys()
        command(task)()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        _stop(main, one_line(error))
    except KeyboardInterrupt:
        print(f"{_name(main)}: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)  # all is written: taking TensorFlow down in order would cost half a second


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
    sys.exit(TERMINATED)
