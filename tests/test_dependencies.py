"""dvc.yaml tracks what each stage reads: no stale result, and no needless rerun."""

import ast
import importlib
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from pydantic import BaseModel

from pipeline.settings.check import check
from pipeline.settings.inputs import Inputs
from pipeline.settings.schema import Config
from tests.commands.session import fork_recorders
from tests.conftest import ROOT, Project

STAGES = ("download", "preprocess", "train", "evaluate", "plot")
PLUMBING = (  # code that only finds, checks, reports or records
    "cli",
    "errors",
    "git",
    "masking",
    "own",
    "registry",
    "settings.check",
    "settings.compose",
    "settings.conf_files",
    "settings.conf_source",
    "settings.dvc_yaml",
    "settings.explain",
    "settings.inputs",
    "tracking",
    "workspace",
)
APART = (  # what these read decides no result
    "pipeline.data.description",  # whether the arrays are those of the configuration
    "pipeline.learning.fingerprint",
    "pipeline.readers",
    "pipeline.tracking.",
    "pipeline.workspace",
)
GROUPS = ("dataset", "model", "optimizer")


class Reading:
    """A configuration that notes what is read from it, but for checks and for the record."""

    def __init__(self, section: BaseModel, path: str, reads: set[str]):
        self._section, self._path, self._reads = section, path, reads

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._section, name)
        path = f"{self._path}{name}"
        if isinstance(value, BaseModel):
            return Reading(value, f"{path}.", self._reads)
        if not sys._getframe(1).f_globals["__name__"].startswith(APART):
            self._reads.add(path)
        return value

    def __iter__(self) -> Any:
        for name, value in self._section:
            self._reads.add(f"{self._path}{name}")
            yield name, value


def expected_params(reads: set[str], config: Config) -> set[tuple[str, str]]:
    """Return (file, key) of dvc.yaml's params that cover what was read; key '' is all of a file."""
    found = {("conf/config.yaml", "defaults")}
    for read in reads:
        section, _, key = read.partition(".")
        if section in ("model", "optimizer"):
            chosen = getattr(config, section).name
            found |= {("params.yaml", section), (f"conf/{section}/{chosen}.yaml", "")}
        elif section == "dataset":
            found |= {("params.yaml", section), (f"conf/dataset/{config.dataset.name}.yaml", key)}
        else:
            found.add(("conf/config.yaml", read if section == "sweep" else section))
            if section in ("seed", "train"):
                found.add(("params.yaml", section))
    return found


def tracked_params(stage: str, config: Config) -> set[tuple[str, str]]:
    """Return (file, key) of what dvc.yaml tracks."""
    entries = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage][
        "params"
    ]
    found = set()
    for entry in entries:
        if isinstance(entry, str):
            found.add(("params.yaml", entry))
            continue
        for name, keys in entry.items():
            for group in GROUPS:
                name = name.replace(f"${{{group}}}", getattr(config, group).name)  # noqa: PLW2901
            found |= {(name, key) for key in keys} if keys else {(name, "")}
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_every_value_that_a_stage_reads_is_tracked(
    stage: str, reproduced: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(reproduced.folder)
    with initialize_config_dir(str(reproduced / "conf"), version_base="1.3"):
        config = check(compose("config", ["paths.output=.", "train.patience=3"]))
    reads: set[str] = set()
    fork_recorders(monkeypatch)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    importlib.import_module(f"pipeline.{stage}").main(Reading(config, "", reads), Inputs(stage))
    assert reads
    tracked = tracked_params(stage, config)
    whole = {file for file, key in tracked if not key}
    expected = expected_params(reads, config)
    assert tracked == {(file, "" if file in whole else key) for file, key in expected}


def file_of(module: str) -> Path:
    return ROOT / f"pipeline/{module.replace('.', '/')}.py"


def imported_modules(module: str) -> set[str]:
    """Return the modules of pipeline/ that a module imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file_of(module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pipeline"):
            _, _, base = str(node.module).partition(".")
            names = {f"{base}.{alias.name}".lstrip(".") for alias in node.names}
            found |= {name for name in names if file_of(name).exists()} or {base}
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_all_code_that_decides_what_a_stage_writes_is_tracked(stage: str) -> None:
    needed, waiting = set(), {stage, "settings.params"}
    while waiting:
        module = waiting.pop()
        needed.add(f"pipeline/{module.replace('.', '/')}.py")
        waiting |= {
            name
            for name in imported_modules(module)
            if not f"{name}.".startswith(tuple(f"{plumbing}." for plumbing in PLUMBING))
            and str(file_of(name).relative_to(ROOT)) not in needed
        }
    deps = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]["deps"]
    assert {dep for dep in deps if dep.startswith("pipeline/")} == needed
    texts = "".join((ROOT / name).read_text(encoding="utf-8") for name in needed)
    tables = re.findall(r'^([A-Z]+): .* = Registry\(\s*"(\w+)"', texts, re.MULTILINE)
    read = {
        f"own/{folder}" for name, folder in tables if re.search(rf"import .*{name}|{name}\[", texts)
    }
    assert {dep for dep in deps if dep.startswith("own/")} == read
    assert deps == sorted(deps)


FLOORS = (  # a package imports those before it; the stages and commands come after them
    (
        *("errors", "files", "git", "graph", "imports", "masking", "own", "registry"),
        *("workspace", "yaml_edit"),
    ),
    ("exact",),
    ("modelling",),
    ("schedules",),
    ("metrics", "models", "optimizers"),
    ("settings",),
    ("data",),
    ("readers",),
    ("adopting", "sources"),
    ("learning",),
    ("side_by_side",),
    ("report", "verification"),
    ("tracking",),
    ("trials",),
    ("seeding",),
    ("sweeping",),
    ("cli",),
    ("download", "preprocess", "train", "evaluate", "plot"),
    ("comparison", "predicting"),
    ("adopt", "api", "compare", "predict", "record", "promote", "repair", "seeds", "verify"),
)


def test_imports_run_one_way_between_packages() -> None:
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    for path in (ROOT / "pipeline").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT / "pipeline").with_suffix("").parts)
        package = module.partition(".")[0]
        if not package.startswith("__"):
            for imported in imported_modules(module):
                other = imported.partition(".")[0]
                assert other == package or floor[other] < floor[package] or floor[other] == 0, (
                    f"{module} imports {imported}"
                )


def test_no_package_and_no_training_reads_the_test_set() -> None:
    calls = {
        (str(path.relative_to(ROOT / "pipeline")), node)
        for path in (ROOT / "pipeline").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "arrays.load"
    }
    assert {
        name
        for name, call in calls
        if any(isinstance(one, ast.Constant) and one.value == "test" for one in call.args)
    } == {"compare.py", "evaluate.py", "plot.py", "seeds.py"}


def test_no_package_has_more_modules_than_one_can_keep_in_mind() -> None:
    for folder in (path.parent for path in (ROOT / "pipeline").glob("*/__init__.py")):
        modules = [path.stem for path in folder.glob("*.py") if path.stem != "__init__"]
        assert len(modules) <= 10, folder
