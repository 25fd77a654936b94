"""The commands of the pipeline, a line each: `python -m pipeline`."""

import ast
import sys
from pathlib import Path

STAGES = ("download", "preprocess", "train", "evaluate", "plot")
COMMANDS = ("adopt", "record", "seeds", "compare", "predict", "promote", "verify", "repair")


def line(name: str) -> str:
    """Return what a command does: the first line of its module, which is not imported."""
    source = (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
    first = (ast.get_docstring(ast.parse(source)) or "").splitlines()[0]
    return f"  {name:<12}{first.partition(': ')[2]}"


def main(arguments: list[str]) -> int:
    """Print the list; return the exit code."""
    if set(arguments) - {"-h", "--help"}:
        print(
            f"pipeline: {arguments[0]!r} is not known: `python -m pipeline` lists the commands, "
            f"and `python -m pipeline.train ...` runs one",
            file=sys.stderr,
        )
        return 1
    print("python -m pipeline.NAME [KEY=VALUE ...]\n")
    print("The stages, which `dvc repro` runs in this order:")
    print("\n".join(map(line, STAGES)))
    print("\nOther commands:")
    print("\n".join(map(line, COMMANDS)))
    print("\n`python -m pipeline.NAME --help` tells more of each.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
