"""The commands that take plain KEY=VALUE arguments, which Hydra does not compose."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.cli.output import keep_printing
from pipeline.cli.signals import end_in_order
from pipeline.errors import UserError, said
from pipeline.masking import masked
from pipeline.settings.params import did_you_mean

HELP = {"-h", "--help"}
INTERRUPTED = 130


class Options(BaseModel):
    """The keys that a command takes: the fields of a subclass."""

    model_config = ConfigDict(extra="forbid", frozen=True)


OptionsType = TypeVar("OptionsType", bound=Options)


def parse(schema: type[OptionsType], arguments: Sequence[str]) -> OptionsType:
    """Return the options that `KEY=VALUE` arguments give; refuse other keys and values."""
    values, known = {}, [one.alias or name for name, one in schema.model_fields.items()]
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key not in known:
            raise UserError(f"{key} is not known{did_you_mean(key, known)}")
        if not equals:
            raise UserError(f"{key} needs a value: {key}=VALUE; `--help` lists the keys")
        values[key] = value
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{first['loc'][0]} {said(first)}") from None


def run(main: Callable[[list[str]], int]) -> None:
    """Run `main` as a command: print its module's text for `--help`, else exit with its code.

    A user's mistake, and a file that cannot be read or written, ends with one line on standard
    error and exit code 1.
    """
    keep_printing()
    end_in_order()
    arguments = sys.argv[1:]
    if HELP & set(arguments):
        print((sys.modules[main.__module__].__doc__ or "").strip())
        sys.exit()
    try:
        sys.exit(main(arguments))
    except UserError as error:
        line, code = str(error), 1
    except OSError as error:
        line, code = f"{error.filename or 'output'}: {error.strerror or error}", 1
    except KeyboardInterrupt:
        line, code = "interrupted", INTERRUPTED
    stop(main, line, code)


def stop(main: Callable[..., Any], line: str, code: int = 1) -> NoReturn:
    """End the command whose `main` this is with a line on standard error."""
    print(f"{name_of(main)}: {masked(line)}", file=sys.stderr)
    sys.exit(code)


def name_of(main: Callable[..., Any]) -> str:
    """Return the name of a command: that of the file in which its `main` stands."""
    return Path(main.__code__.co_filename).stem
