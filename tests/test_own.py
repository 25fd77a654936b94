"""own/: what a team puts there is found, tracked and taken along, and nothing shipped is edited."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from pipeline.errors import UserError
from pipeline.models import LogisticRegression
from pipeline.registry import Registry
from tests.conftest import ROOT, Project
from tests.test_inputs import edited
from tests.test_sweep import runs, sweep, trials
from tests.test_tracking import promised

MODEL = """\
from __future__ import annotations

from typing import Annotated

from pydantic import Field

from own.models.layers import FACTOR
from pipeline.models import MODELS, LogisticRegression


class Small(LogisticRegression):
    def __init__(self, *given, scale: Annotated[float, Field(gt=0)] = 1.0):
        super().__init__(*given, weight=FACTOR * scale)


MODELS["small"] = Small
"""
OPTIMIZER = """\
from pipeline.optimizers import EXACT, OPTIMIZERS


def slow(learning_rate):
    from pipeline.exact.optimizers import SGD

    return SGD(learning_rate / 10)


OPTIMIZERS["slow"] = slow
EXACT.add(slow)
"""
READER = """\
from pipeline.readers import READERS


def read(folder, dataset, *, train: list[str], test: list[str]):
    return READERS["idx"](folder, dataset, train=train, test=test)


READERS["again"] = read
"""
FILES = {
    "own/readers/again.py": READER,
    "own/models/small.py": MODEL,
    "own/models/layers.py": "FACTOR = 2.0\n",
    "own/optimizers/slow.py": OPTIMIZER,
    "conf/model/small.yaml": "name: small\nscale: 1.5\n",
    "conf/optimizer/slow.yaml": "name: slow\n",
}
LOAD = """
import json, sys, mlflow, numpy as np
answer = mlflow.pyfunc.load_model(sys.argv[1]).predict(np.load(sys.argv[2]))
print(json.dumps(answer.argmax(1).tolist()))
"""
MERGE = (  # as docs/team.md has it
    "git config merge.ours.driver true",
    "git remote add upstream URL",
    "git pull --no-rebase --no-edit upstream HEAD",
)
FORGETFUL = """

    def __call__(self, x):
        return super().__call__(0 * x)"""
TABLE = "from table import MODELS\n"
CLASS = "class One: pass\nclass Other: pass\n"
LATER = "is imported before its settings: import it in the function that uses it"
WRONG = {  # what is in a.py: what is said of it
    "def one(:": "a.py: line 1: is not valid Python: invalid syntax",
    "\n1 / 0": "a.py: line 2: ZeroDivisionError: division by zero",
    "raise ValueError": "a.py: line 1: ValueError: ValueError",
    "import nowhere.at.all": "a.py: line 1: ModuleNotFoundError: No module named 'nowhere'",
    "import os\nimport tensorflow as tf": f"a.py: line 2: tensorflow {LATER}",
    "from tensorflow.nn import relu": f"a.py: line 1: tensorflow {LATER}",
    "import keras": f"a.py: line 1: keras {LATER}",
    "from . import b": "b.py: line 3: ZeroDivisionError: division by zero",
    "# a\n  from own.metrics import b": "a.py: line 2: `from own.metrics import b`: DVC does not",
    "import own.modelsb": "a.py: line 1: `import own.modelsb`: DVC does not know that the stages",
    "\n\nfrom own import metrics": "a.py: line 3: `from own import metrics`: DVC does not know",
    "from .. import metrics": "a.py: line 1: `from .. import metrics`: DVC does not know that",
    f"{TABLE}MODELS['a'] = 3": "a.py: line 2: 'a' must be a class or a function, not 3",
    f"{TABLE}{CLASS}MODELS['a'] = One\nMODELS['a'] = Other": (
        "a.py: line 5: the name 'a' is taken, by own/models/a.py: choose another one"
    ),
    f"{TABLE}{CLASS}MODELS['shipped'] = One": (
        "a.py: line 4: the name 'shipped' is taken, by pipeline/models.py: choose another one"
    ),
    f"{TABLE}{CLASS}OTHERS['a'] = One".replace("MODELS", "OTHERS"): (
        "a.py: line 4: 'a' belongs in a file of"
    ),
}


class Own:
    """A folder own/ of another name, as a process imports a package once, and its tables."""

    def __init__(self, folder: Path):
        self.folder = folder / f"own{uuid4().hex}"
        self.models = Registry("models", {"shipped": LogisticRegression}, self.folder)
        self.others = Registry("others", {}, self.folder)

    def write(self, **files: str) -> None:
        for name, text in files.items():
            path = self.folder / f"models/{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(re.sub(r"\bown\b", self.folder.name, text), encoding="utf-8")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Own:
    made = Own(tmp_path)
    table: Any = SimpleNamespace(MODELS=made.models, OTHERS=made.others)
    monkeypatch.setitem(sys.modules, "table", table)
    # two versions of a file of one length, written within a second, are one to Python's bytecode
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)
    return made


@pytest.mark.parametrize("text", WRONG)
def test_a_file_that_is_wrong_gets_one_line(
    own: Own, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    for package in ("keras", "tensorflow"):  # another test may have imported them
        monkeypatch.delitem(sys.modules, package, raising=False)
    own.write(a=text, b="\n\n1 / 0")
    for _ in range(2):  # nothing of the first time is left
        with pytest.raises(UserError) as error:
            own.models["shipped"]
        assert (
            str(error.value).replace(own.folder.name, "own").startswith(f"own/models/{WRONG[text]}")
        )
        assert "\n" not in str(error.value)
    own.write(a=f"{TABLE}{CLASS}MODELS['a'] = One", b="")
    (own.folder / "models/.#a.py").symlink_to("nobody@nowhere")  # which an editor leaves
    assert set(own.models) == {"a", "shipped"}


def test_two_files_with_the_same_name_and_one_that_looks_into_its_table(own: Own) -> None:
    own.write(
        a=f"'''As\nfrom own notes.'''\n{TABLE}class A(MODELS['shipped']): pass\nMODELS['a'] = A",
        b=f"{TABLE}from own.models.a import A\nclass Two(A): pass\nMODELS['b'] = Two",
    )
    assert [*own.models] == ["shipped", "a", "b"]
    again = Own(own.folder.parent)
    sys.modules["table"].MODELS = again.models
    again.write(a=f"{TABLE}{CLASS}MODELS['a'] = One", b=f"{TABLE}{CLASS}MODELS['a'] = One")
    with pytest.raises(
        UserError, match=r"b\.py: line 4: the name 'a' is taken, by \S+models/a\.py"
    ):
        len(again.models)


def fill(project: Project) -> Project:
    """Put a model and an optimizer into own/."""
    for name, text in FILES.items():
        (project / name).write_text(text, encoding="utf-8")
    return project


@pytest.fixture
def team(reproduced: Project) -> Project:
    """A project of a team, on the shipped results."""
    return fill(reproduced)


def test_what_lies_in_own_is_tracked_used_served_and_verified(reproduced: Project) -> None:
    for name in ("README.md", "models/.small.py.swp", "models/__pycache__/small.pyc"):
        (reproduced / f"own/{name}").parent.mkdir(exist_ok=True)
        (reproduced / f"own/{name}").write_text("other", encoding="utf-8")
    assert "up to date" in reproduced.run("dvc", "status").stdout

    team = fill(reproduced)
    team.edit("params.yaml", "model: logistic_regression", "model: small")
    team.edit("params.yaml", "optimizer: sgd", "optimizer: slow")
    team.edit("conf/dataset/tiny.yaml", "reader: idx", "reader: again")
    assert team.repro("evaluate") == ["download", "preprocess", "train", "evaluate"]
    assert promised(team) == "every machine"
    team.edit("own/optimizers/slow.py", "/ 10", "/ 10.0")
    assert team.repro("evaluate") == ["train"]  # whose weights are the same
    team.edit("own/models/layers.py", "2.0", "3.0")
    assert team.repro("evaluate") == ["train", "evaluate"]
    team.commit()
    verify = team.run(sys.executable, "-m", "pipeline.verify", "stage=train").stdout
    assert "\nPromised  the same bits on every machine\n" in verify
    assert "All 2 results are identical, bit for bit." in verify

    run, *_ = runs(team, "training")
    store = f"sqlite:///{team / 'mlflow.db'}"
    elsewhere = Project(team.folder.parent)
    shutil.move(team / "own", team / "hidden")  # the model holds what it needs
    x = str(team / "data/processed/x_test.npy")
    uri = f"runs:/{run.info.run_id}/model"
    answer = elsewhere.run(sys.executable, "-c", LOAD, uri, x, MLFLOW_TRACKING_URI=store).stdout
    shutil.move(team / "hidden", team / "own")
    with (team / "metrics/predictions.csv").open(encoding="utf-8") as file:
        assert json.loads(answer) == [int(row["predicted"]) for row in csv.DictReader(file)]


@pytest.mark.slow
def test_trials_in_other_processes_find_own_and_notice_that_it_changes(team: Project) -> None:
    own = ("model=small", "optimizer=slow")
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=1")
    sweep(team, *own)
    here = [(one.status, one.fingerprint, one.metrics) for one in trials(team)]
    sweep(team, *own, *launcher, "sweep.rerun=true")
    assert [(one.status, one.fingerprint, one.metrics) for one in trials(team)] == here
    (team / "own/models/.hidden").write_text("", encoding="utf-8")
    assert sweep(team, *own).stdout.count("done before") == 1
    team.edit("own/models/layers.py", "2.0", "3.0")
    assert "done before" not in sweep(team, *own).stdout

    changed = edited(team, "train", "own/models/layers.py", "3.0", "4.0").stderr.splitlines()
    assert "train: own/models/layers.py changed while train ran: run it again" in changed
    line = "model.scale=0 on the command line should be greater than 0, not 0"
    assert team.stage("train", "model=small", "model.scale=0", code=1).stderr == f"train: {line}\n"
    team.edit("own/models/layers.py", "FACTOR", "FACTOR,")
    line = "own/models/layers.py: line 1: TypeError: cannot unpack non-iterable float object"
    for arguments in ((), ("-m", "seed=1,2")):
        assert team.stage("train", *arguments, code=1).stderr == f"train: {line}\n"


@pytest.mark.slow
def test_a_merge_from_upstream_has_no_conflict(reproduced: Project, tmp_path: Path) -> None:
    """Upstream changes code, an explanation and all results while a team trains its own model."""
    upstream = Project(tmp_path / "upstream")
    shutil.copytree(reproduced.folder, upstream.folder, symlinks=True)
    team = fill(reproduced)
    team.edit("params.yaml", "model: logistic_regression", "model: small")
    assert team.repro() == ["preprocess", "train", "evaluate", "plot"]
    team.commit()
    lock = (team / "dvc.lock").read_text(encoding="utf-8")

    upstream.edit("pipeline/models.py", '"""The models', '"""Models')
    upstream.edit("own/README.md", "# Your own code", "# The code of your own")
    upstream.edit("conf/optimizer/sgd.yaml", "momentum: 0.0", "momentum: 0.5")
    results = upstream.run("git", "ls-files", "dvc.lock", "metrics", "plots").stdout.split()
    assert len(results) > 10
    for path in (upstream / name for name in results):
        path.write_bytes(path.read_bytes() + b"#")  # another result, as far as git is concerned
    upstream.commit()

    for command in MERGE:
        team.run("bash", "-c", command.replace("URL", str(upstream.folder)))
    assert (team / "dvc.lock").read_text(encoding="utf-8") == lock
    assert "momentum: 0.5" in (team / "conf/optimizer/sgd.yaml").read_text(encoding="utf-8")
    assert team.repro("train") == ["train"]
    assert team.run("git", "status", "--short", "own", "conf", "pipeline").stdout == ""


@pytest.mark.slow
def test_the_contract_is_checked_of_what_lies_in_own(tmp_path: Path) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, check=True)
    for name in listed.stdout.decode().splitlines():
        if name.startswith(("own/", "conf/", "pipeline/", "tests/", "hydra_plugins/", "pyproject")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    contract = [sys.executable, "-m", "pytest", "-q", "tests/test_contract.py", "-k"]
    project = Project(tmp_path)
    done = project.run(*contract, "small or slow or table", COLD="1")
    assert "5 passed" in done.stdout
    wrong = MODEL.replace("\n\n\nMODELS", f"{FORGETFUL}\n\n\nMODELS")
    (tmp_path / "own/models/small.py").write_text(wrong, encoding="utf-8")
    done = project.run(*contract, "small", code=1, COLD="1")
    assert "weight has no influence on the loss" in done.stdout
