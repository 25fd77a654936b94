"""What the commands import, imported once, and given to a command when it imports it.

Until then a package is not in `sys.modules`: a command that has not asked for TensorFlow does not
have it, as when it starts from nothing.
"""

import importlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

FIRST = "tensorflow"  # as it imports pandas and others where it can, which the stages prevent
REST = (
    "PIL.JpegImagePlugin",
    "alembic.command",
    "antlr4.LL1Analyzer",
    "celery",
    "dulwich.repo",
    "dvc.cli.parser",
    "dvc.repo.metrics.diff",
    "dvc.repo.plots",
    "dvc.repo.reproduce",
    "dvc.repo.status",
    "dvc.stage.run",
    "filelock",
    "hydra._internal.core_plugins.basic_sweeper",
    "hydra._internal.hydra",
    "hydra._internal.logging_config",
    "joblib",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "matplotlib.style",
    "mlflow.pyfunc",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
    "mlflow.tracing.processor.otel",
    "networkx",
    "omegaconf._impl",
    "optuna.storages._rdb.models",
    "packaging.requirements",
    "psutil",
    "pydantic",
    "pygit2",
    "requests",
    "ruamel.yaml.mergevalue",
    "scipy.stats",
    "scmrepo.git",
    "sqlalchemy.dialects.sqlite",
    "submitit",
    "tqdm",
)
OWN = ("pipeline", "hydra_plugins", "own", "tests")  # imported by each command, from its own folder


def top(name: str) -> str:
    """Return the package of a module."""
    return name.partition(".")[0]


def take(before: set[str]) -> dict[str, ModuleType]:
    """Remove what is new in `sys.modules`, but for Python's own library, and return it."""
    new = [name for name in sys.modules if name not in before]
    return {name: sys.modules.pop(name) for name in new if top(name) not in sys.stdlib_module_names}


class Effects:
    """What an import does besides: to the environment, the output streams, the warnings."""

    def __init__(self) -> None:
        self._environment = os.environ.copy()
        self._streams, self._filters = (sys.stdout, sys.stderr), warnings.filters[:]
        self.variables: dict[str, str] = {}

    def undo(self) -> None:
        """Note what an import has done since, and undo it."""
        self.variables = {k: v for k, v in os.environ.items() if self._environment.get(k) != v}
        os.environ.clear()
        os.environ.update(self._environment)
        before, self._streams = self._streams, (sys.stdout, sys.stderr)
        self._wraps, (sys.stdout, sys.stderr) = before != self._streams, before
        filters, self._filters = self._filters, warnings.filters[:]
        warnings.filters[:] = filters  # type: ignore[index]

    def repeat(self) -> None:
        """Do what the import has done."""
        os.environ.update(self.variables)
        if self._wraps:  # as colorama does for DVC
            sys.stdout, sys.stderr = self._streams
        new = [one for one in self._filters if one not in warnings.filters]
        warnings.filters[:0] = new  # type: ignore[index]


class Imported(MetaPathFinder, Loader):
    """The packages that were imported before the fork."""

    def __init__(self) -> None:
        self.modules: dict[str, ModuleType] = {}
        self.parts: dict[str, dict[str, ModuleType]] = {}  # the modules of each package
        self.specs: dict[str, ModuleSpec | None] = {}
        self.with_it: dict[str, dict[str, ModuleType]] = {}  # what a package brings
        self.effects: dict[str, list[Effects]] = {}
        self.decided: dict[str, str] = {}
        self.deciding: Callable[[], dict[str, str]] = dict

    def add(self, name: str) -> ModuleType:
        """Import a package in a process that has imported none of the others, and hide it."""
        before, effects = set(sys.modules), Effects()
        module = importlib.import_module(name)
        brought = {
            name: one
            for name, one in take(before).items()
            if top(name) not in OWN and not name.endswith(".__main__")  # which `-m` runs
        }
        self.with_it[top(name)] = self.with_it.get(top(name), {}) | brought
        self.modules |= brought
        for one, part in brought.items():
            self.parts.setdefault(top(one), {})[one] = part
        self.specs |= {name: getattr(one, "__spec__", None) for name, one in brought.items()}
        effects.undo()
        self.effects.setdefault(top(name), []).append(effects)
        return module

    @property
    def set_by_imports(self) -> dict[str, str]:
        """Return the variables that commands set when they import."""
        effects = [one for several in self.effects.values() for one in several]
        return self.decided | {k: v for one in effects for k, v in one.variables.items()}

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find what was imported."""
        if name not in self.modules:
            return None
        spec, was = ModuleSpec(name, self), self.specs[name]
        if was:
            spec.origin, spec.has_location = was.origin, was.has_location
            spec.submodule_search_locations = was.submodule_search_locations
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Give back a module, with all that the import of its package has brought."""
        name, package = spec.name, top(spec.name)
        if name == FIRST and self.deciding() != self.decided:
            raise ImportError("TensorFlow was imported with other settings: run this with COLD=1")
        brings = self.with_it.get(package) or self.parts[package]
        blocked = {one for one, module in sys.modules.items() if module is None}
        for one, module in brings.items():
            if one != name and top(one) not in blocked:
                sys.modules.setdefault(one, module)
        for effects in self.effects.pop(package, ()):
            effects.repeat()
        return self.modules[name]

    def exec_module(self, module: ModuleType) -> None:
        """Restore what the import system has replaced."""
        assert module.__spec__
        module.__spec__ = self.specs[module.__spec__.name]


def everything() -> Imported:
    """Import all packages, TensorFlow as the stages do; nothing may make a tensor."""
    imported, environment = Imported(), os.environ.copy()
    sys.meta_path.insert(0, imported)
    sys.path.insert(0, str(Path(__file__).parents[2]))
    imported.add("numpy")
    determinism = imported.add("pipeline.learning.determinism")
    del sys.path[0]

    def deciding() -> dict[str, str]:
        return {
            name: value
            for name, value in os.environ.items()
            if (name.startswith(determinism.DECIDING) and name not in determinism.HARMLESS)
            or name in determinism.ENVIRONMENT
        }

    determinism._set_environment("portable", pinned=False)
    imported.deciding, imported.decided = deciding, deciding()
    with determinism._without_stderr(), determinism.hidden(*determinism.OPTIONAL):
        imported.add(FIRST)
    os.environ.clear()
    os.environ.update(environment)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # as the recorder does
    for name in REST:
        imported.add(name)
    del os.environ["MLFLOW_DISABLE_TELEMETRY"]
    return imported
