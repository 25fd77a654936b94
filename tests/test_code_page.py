"""What docs/ says of the code is so: the files are there, and have the names that are quoted."""

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

CODE = (ROOT / "docs/code.md").read_text(encoding="utf-8")
FOLDERS = ("pipeline", "hydra_plugins", "conf", "tests", "crash", "cluster", "benchmarks", "docs")
FILE = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]+)`")


def rows(text: str) -> list[list[str]]:
    """Return the cells of each row of the tables."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]


@pytest.mark.parametrize("name", ["code", "decisions"])
def test_the_files_are_there(name: str) -> None:
    named = FILE.findall((ROOT / f"docs/{name}.md").read_text(encoding="utf-8"))
    assert named
    assert [file for file in named if not (ROOT / file).exists()] == []


def test_every_package_is_in_the_picture() -> None:
    packages = {path.parent.name for path in (ROOT / "pipeline").glob("*/__init__.py")}
    assert packages == set(re.findall(r"^ +(\w+)/ ", CODE, re.MULTILINE))


@pytest.mark.parametrize("row", [row for row in rows(CODE) if len(row) == 4][2:], ids="-".join)
def test_what_relies_on_others_is_named(row: list[str]) -> None:
    file, names, package, test = row
    text = Path(ROOT / file.strip("`")).read_text(encoding="utf-8")
    quoted = re.findall(r"`([^`]+)`", names)
    assert [one for one in quoted if one not in text] == []
    assert quoted
    assert f"\n{package}==" in (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert (ROOT / test.strip("`")).exists()
