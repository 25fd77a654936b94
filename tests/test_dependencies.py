"""dvc.yaml tracks what each stage reads: no stale result, and no needless rerun."""

import ast
import importlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from pydantic import BaseModel

from pipeline.config import Config, check
from pipeline.inputs import Inputs
from tests.conftest import ROOT, Project

STAGES = ("download", "preprocess", "train", "evaluate", "plot")
PLUMBING = {
    "__init__",
    "abandoned",
    "app",
    "conf_files",
    "conf_source",
    "database",
    "description",
    "dvc_yaml",
    "errors",
    "explain",
    "git",
    "inputs",
    "masking",
    "open_run",
    "output",
    "provenance",
    "recorder",
    "relocation",
    "results",
    "store",
    "tracking",
    "usage",
    "workspace",
}
RECORD = tuple(
    f"pipeline.{name}"
    for name in ("description", "fingerprint", "results", "tracking", "workspace")
)
GROUPS = ("dataset", "model", "optimizer")


class Reading:
    """A configuration that notes what is read from it, but for the record's sake."""

    def __init__(self, section: BaseModel, path: str, reads: set[str]):
        self._section, self._path, self._reads = section, path, reads

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._section, name)
        path = f"{self._path}{name}"
        if isinstance(value, BaseModel):
            return Reading(value, f"{path}.", self._reads)
        if sys._getframe(1).f_globals["__name__"] not in RECORD:
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
            found.add(("conf/config.yaml", section))
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
        config = check(compose("config", ["paths.output=."]))
    reads: set[str] = set()
    monkeypatch.setattr(os, "environ", os.environ.copy())
    importlib.import_module(f"pipeline.{stage}").main(Reading(config, "", reads), Inputs(stage))
    assert reads
    assert tracked_params(stage, config) == expected_params(reads, config)


def imported_modules(module: str) -> set[str]:
    """Return the modules of pipeline/ that a module imports, anywhere in it."""
    tree = ast.parse((ROOT / f"pipeline/{module}.py").read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pipeline"):
            _, _, name = str(node.module).partition(".")
            found |= {name} if name else {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_all_code_that_decides_what_a_stage_writes_is_tracked(stage: str) -> None:
    needed, waiting = set(), {stage}
    while waiting:
        module = waiting.pop()
        needed.add(module)
        # config.py looks at the models and optimizers only to check their options
        imports = {"params"} if module == "config" else imported_modules(module)
        waiting |= imports - needed - PLUMBING
    deps = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]["deps"]
    code = {Path(dep).stem for dep in deps if dep.startswith("pipeline/")}
    assert code == needed
    assert deps == sorted(deps)
