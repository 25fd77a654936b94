"""Compare: whether two results differ by more than the choice of the test examples explains.

    python -m pipeline.compare A B [out=comparison]

A and B are each one of these:

    workspace             the results that lie here
    HEAD~1, v2, a1b2c3    a git revision, by its committed metrics/
    brave-owl             an experiment of DVC, by the name that `dvc exp show` has for it
    multirun/.../3        a trial, by its folder; it is asked the examples that were held out
    0a1b...               an MLflow run, by its id
    seeds/...             a group of seeds, by its folder; the other must be one, too
    seeds/.../0           one seed of a group

Prints, and writes as comparison.json into the folder `out`, the accuracy and loss of both with 95 %
intervals, the difference with its interval, McNemar's exact test, the classes and settings that
differ, and what follows in a sentence. comparison.png shows where they part.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.cli import arguments
from pipeline.comparison import groups, held_out, named, words
from pipeline.comparison.result import Result
from pipeline.comparison.side import check_same_examples
from pipeline.data import arrays, description
from pipeline.errors import UserError
from pipeline.files import shown, write_text
from pipeline.settings.compose import load


class Options(arguments.Options):
    """The key that is explained above."""

    out: Annotated[str, Field(min_length=1)] = "comparison"


def main(given: list[str]) -> int:
    """Find both, compare them, print and write what there is; return the exit code."""
    keys = [one for one in given if "=" in one and not Path(one).exists()]
    names = [one for one in given if one not in keys]
    out = Path(arguments.parse(Options, keys).out)
    if len(names) != 2:
        raise UserError(f"needs two names, A and B, not {len(names)}: `--help` says what they are")
    if both := groups.find(*names):
        give(out, both.report(), both.sentence, both.numbers())
        both.draw(out / "comparison.png")
    else:
        found = compared(*names)
        give(out, words.report(found), words.sentence(found), found.numbers())
        from pipeline.comparison import picture

        picture.draw(out / "comparison.png", found, images(found))
    print(f"All of it is in {shown(out)}")
    return 0


def give(out: Path, report: str, sentence: str, numbers: dict[str, Any]) -> None:
    """Print what was found, and write it."""
    print(f"{report}\n\n{sentence}")
    content = json.dumps(numbers | {"sentence": sentence}, indent=2)
    write_text(out / "comparison.json", content + "\n")


def compared(a: str, b: str) -> Result:
    """Return what the two that have these names have answered to the same examples."""
    one, other = held_out.trial(a) or a, held_out.trial(b) or b
    if isinstance(one, str) and isinstance(other, str):
        sides, of = (named.find(one), named.find(other)), "test examples"
    else:
        sides, of = held_out.both(one, other), "examples that were held out from the training set"
    check_same_examples(*sides)
    return Result(*sides, f"{of} of {sides[0].dataset.get('name', 'the data set')}")


def images(found: Result) -> dict[int, NDArray[Any]]:
    """Return examples to show, by their rows, if they are images and those of data/processed/."""
    try:
        config = load([f"dataset={found.a.dataset['name']}"])
        folder = config.paths.processed
        parts = arrays.load(folder, "test", config.dataset), arrays.split(config).validation
        described = description.read(folder, config.dataset)
    except UserError:  # the data are others by now, or not here
        return {}
    same = [x for x, y in parts if np.array_equal(y, found.a.answers.actual)]
    from pipeline.comparison import picture
    from pipeline.report import cells

    rows = [row for some in picture.parting(found).values() for row in some]
    if not same or not cells.is_image(described.shape):
        return {}
    return dict(zip(rows, described.unscaled(same[0][rows]), strict=True))


if __name__ == "__main__":
    arguments.run(main)
