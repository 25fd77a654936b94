"""The lock fits pyproject.toml, is complete, and names no index."""

import re
import tomllib
from importlib.metadata import version

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

LOCKS = {"requirements.txt": ("launchers",), "requirements-dev.txt": ("launchers", "dev")}


def locked(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", text, re.MULTILINE))


@pytest.mark.parametrize("name", LOCKS)
def test_every_direct_dependency_is_locked_within_its_range(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = list(project["dependencies"])
    for extra in LOCKS[name]:
        wanted += project["optional-dependencies"][extra]
    versions = locked(name)
    for line in wanted:
        requirement = Requirement(line)
        found = versions.get(canonicalize_name(requirement.name))
        assert found, f"{requirement.name} is not in {name}: run `make lock`"
        assert requirement.specifier.contains(found), (
            f"{line} is {found} in {name}: run `make lock`"
        )


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_has_hashes_and_no_address(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for entry in re.split(r"\n(?=[a-z])", text.strip())[1:]:
        assert "--hash=sha256:" in entry, entry[:50]
    assert "://" not in text
    assert "--index" not in text


def test_both_locks_agree_and_are_what_is_installed() -> None:
    runtime, development = locked("requirements.txt"), locked("requirements-dev.txt")
    assert runtime.items() <= development.items()
    for name in ("tensorflow", "numpy", "mlflow", "dvc", "hydra-core", "matplotlib", "omegaconf"):
        assert version(name) == runtime[name]
