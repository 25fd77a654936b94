"""Names and titles of any length, broken into lines or shortened, so that all have room."""

import textwrap
from collections.abc import Sequence

from matplotlib.figure import Figure

WIDTH = 0.62  # mean width of a letter of DejaVu Sans, in sizes of the font
TITLE = 12  # points
MOST = 60  # letters of a name


def inches(letters: int, size: float) -> float:
    """Return the width, in inches, of this number of letters of a size in points."""
    return letters * WIDTH * size / 72


def short(name: str, most: int = MOST, end: int = MOST // 2) -> str:
    """Return a name; a long one is cut to `most` letters, the last `end` of which are its end."""
    return name if len(name) <= most else f"{name[: most - end - 1]}…{name[len(name) - end :]}"


def wrapped(text: str, letters: int) -> str:
    """Return a text broken into lines of at most this number of letters."""
    return textwrap.fill(text, letters)


def longest(names: Sequence[str]) -> int:
    """Return the number of letters of the longest line."""
    return max(len(line) for name in names for line in name.split("\n"))


def height(names: Sequence[str]) -> int:
    """Return the number of lines of the name that has the most."""
    return max(name.count("\n") for name in names) + 1


def title(figure: Figure, text: str) -> None:
    """Write a title above a figure, in as many lines as it needs."""
    letters = int(figure.get_figwidth() / inches(1, TITLE))
    figure.suptitle(wrapped(text, letters), fontsize=TITLE)
