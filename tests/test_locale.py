"""Text is UTF-8 wherever the pipeline runs: no file and no result depends on the locale."""

import ast
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT, Project

FOLDERS = ("benchmarks", "cluster", "crash", "hydra_plugins", "pipeline", "tests")
TEXT = ("read_text", "write_text")
OPENING = {"open": 0, "fdopen": 1}  # and where a method of this name has its mode
OTHERS = (
    "os.open",
    "tarfile.open",
    "members.open",
    "archive.open",
    "Image.open",
)  # that open no text
OWN = ("write_text",)  # of pipeline/files.py, which names it


def of_the_locale(code: str) -> Iterator[ast.Call]:
    """Yield the calls that read or write text in the encoding of the locale.

    Ruff's rule (PLW1514) sees a `Path(...)` alone, not a variable that holds one.
    """
    for call in (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)):
        options = {option.arg: ast.unparse(option.value) for option in call.keywords}
        name = ast.unparse(call.func)
        method = name.rpartition(".")[2]
        if "encoding" in options or name in (*OTHERS, *OWN):
            continue
        modes = call.args[OPENING.get(method, 0) + (name == "open") :]
        mode = options.get("mode") or (ast.unparse(modes[0]) if modes else "'r'")
        text = method in TEXT or (method in OPENING and "b" not in mode)
        if text or {"text", "universal_newlines"} & options.keys():
            yield call


@pytest.mark.parametrize("folder", FOLDERS)
def test_all_code_names_the_encoding_of_text(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{call.lineno}: {ast.unparse(call)}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for call in of_the_locale(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("call", "is_of_the_locale"),
    [
        ("path.read_text()", True),
        ("path.write_text(text)", True),
        ("path.open()", True),
        ("open(name, mode)", True),
        ("os.fdopen(1, 'w')", True),
        ("subprocess.run(command, text=True)", True),
        ("path.open('rb')", False),
        ("open(name, 'wb')", False),
        ("path.open(mode='rb')", False),
        ("path.read_text(encoding='utf-8')", False),
        ("subprocess.run(command, encoding='utf-8')", False),
    ],
)
def test_what_names_no_encoding_is_found(call: str, is_of_the_locale: bool) -> None:
    assert bool(list(of_the_locale(call))) == is_of_the_locale


ASCII_ONLY = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture
def accents(reproduced: Project) -> Project:
    """A project with classes whose names ASCII does not have."""
    for old, new in (("- ant\n", "- zéro\n"), ("- bee\n", "- 零\n")):
        reproduced.edit("conf/dataset/tiny.yaml", old, new)
    return reproduced


def test_a_terminal_without_the_characters_shows_their_numbers(accents: Project) -> None:
    shown = accents.stage("evaluate", "--cfg", "job", **ASCII_ONLY).stdout
    assert "- z\\xe9ro\n  - \\u96f6\n" in shown


@pytest.mark.slow
def test_a_terminal_without_the_characters_changes_no_result(accents: Project) -> None:
    for stage in ("preprocess", "evaluate"):
        accents.stage(stage, **ASCII_ONLY)
    lines = (accents / "metrics/classes.csv").read_text(encoding="utf-8").splitlines()
    assert [line.partition(",")[0] for line in lines] == ["class", "zéro", "零", "cat"]
