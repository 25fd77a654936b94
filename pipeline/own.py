"""The modules of own/, a team's own models, optimizers and the like."""

import re
import sys
import traceback
from importlib import import_module
from pathlib import Path
from types import ModuleType

from pipeline.errors import UserError, first_line
from pipeline.files import shown
from pipeline.imports import hidden

FOLDER = Path(__file__).parents[1] / "own"  # beside this package, in a served model too
WITH_SETTINGS = ("keras", "tensorflow")  # to be imported after the settings that decide their bits


def load(file: Path) -> None:
    """Import a module of a folder of own/, whatever the current folder is.

    Raises
    ------
    UserError
        With the file and the line, if the code raises an exception, imports TensorFlow while it is
        loaded, or imports from another folder of own/, which DVC does not know as a dependency of
        the stages that read this one.
    """
    folder, own = file.parent, file.parents[1]
    if own.name not in sys.modules:
        package = sys.modules[own.name] = ModuleType(own.name)
        package.__path__ = [str(own)]
    text = file.read_text(encoding="utf-8", errors="replace")
    outside = rf"(?:{own.name}\b(?!\.{folder.name}\b)|\.\.)[\w.]*"
    imports = rf"(?m)^[ \t]*(?:from\s+{outside}\s+import|import\s+{outside}).*"
    if found := re.search(imports, text):
        line = text.count("\n", 0, found.start()) + 1
        raise UserError(
            f"{shown(file)}: line {line}: `{found[0].strip()}`: DVC does not know that the stages "
            f"of {shown(folder)}/ read this: move what it needs into {shown(folder)}/"
        )
    try:
        with hidden(*WITH_SETTINGS):
            import_module(f"{own.name}.{folder.name}.{file.stem}")
    except Exception as error:  # whatever a team's code raises
        raise UserError(_explained(error, file)) from error


def _explained(error: Exception, file: Path) -> str:
    """Return what went wrong, with the innermost place in the folder of the file."""
    frames = [
        (Path(frame.f_code.co_filename), line)
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        frames.append((Path(error.filename), error.lineno))
    inside = [place for place in frames if place[0].is_relative_to(file.parent)] or [(file, 1)]
    path, line = inside[-1]
    what = f"{type(error).__name__}: {first_line(error)}"
    package = (error.name or "").partition(".")[0] if isinstance(error, ImportError) else ""
    if package in WITH_SETTINGS and package not in sys.modules:
        what = f"{package} is imported before its settings: import it in the function that uses it"
    elif isinstance(error, SyntaxError):
        what = f"is not valid Python: {error.msg}"
    elif isinstance(error, UserError):
        what = str(error)
    return f"{shown(path)}: line {line}: {what}"
