"""Bad parameters: one line, exit code 1, nothing written, and no TensorFlow."""

import re
import resource
import shutil
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.models import MODELS
from pipeline.settings.compose import load
from tests.conftest import Project
from tests.defaults import choices
from tests.forks import Forks, forking

OVERRIDES = {  # HERE is the override, "on the command line"
    "train.epochs=0": "HERE should be greater than or equal to 1, not 0",
    "train.epochs=1.5": "HERE should be a valid integer, not 1.5",
    "train.batch_size=0": "HERE should be greater than or equal to 1, not 0",
    "train.learning_rate=0": "HERE should be greater than or equal to 1e-30, not 0",
    "train.learning_rate=inf": "HERE should be a finite number, not inf",
    "train.learning_rate=fast": "HERE should be a valid number, not 'fast'",
    "train.validation_size=-1": "HERE should be a number of examples, or a share between 0 and 1, "
    "not -1",
    "seed=true": "HERE should be a valid integer, not true",
    "seed=null": "HERE should be a valid integer, not null",
    "determinism=fast": "HERE should be 'portable', 'machine' or 'off', not 'fast'",
    "train.lerning_rate=1": "train.lerning_rate is not known; did you mean train.learning_rate?",
    "model.hiden=[3]": (
        "model.hiden is not known; known are model.name, model.weight, model.bias, model.l2; an "
        "option that its file leaves out is set by +model.hiden=VALUE"
    ),
    "model.wieght=1": "model.wieght is not known; did you mean model.weight?",
    "experiment=tutorial": "experiment=tutorial is not in the defaults: use +experiment=tutorial",
    "train={epochs: 0}": ("HERE: train.epochs should be greater than or equal to 1, not 0"),
    "model=logistic": f"model: there is no 'logistic'; choose one of {choices('model')}",
    "optimizer=sgdd": f"optimizer: there is no 'sgdd'; choose one of {choices('optimizer')}",
    "dataset=mnits": f"dataset: there is no 'mnits'; choose one of {choices('dataset', 'tiny')}",
    "+model.wieght=1": "HERE is not known; did you mean model.weight?",
    "model.weight=x": "HERE should be a valid number, not 'x'",
    "model.name=ne": f"model.name: there is no 'ne'; choose one of {', '.join(sorted(MODELS))}",
    "train.learning_rate=1e-40": "HERE should be greater than or equal to 1e-30, not 1e-40",
    "optimizer.momentum=1": "HERE should be less than 1, not 1",
    "+model._target_=os.system": "HERE is not known; known are model.weight, model.bias, model.l2",
    "model=../model/mlp": "model: '../model/mlp' is not the name of a file of conf/model/",
    "model=null": (
        "dataset, model, optimizer: should be the name of a file of conf/, which is text, not "
        "NoneType"
    ),
    "dataset=2024": (
        "dataset, model, optimizer: should be the name of a file of conf/, which is text, not int"
    ),
    "metrics=[acuracy]": "HERE: there is no 'acuracy'; did you mean accuracy?",
    "metrics=[accuracy,top]": "HERE: metrics.top.k is missing",
    "metrics=[{name: top, k: 0}]": (
        "HERE: metrics.top.k should be greater than or equal to 1, not 0"
    ),
    "metrics=[{name: accuracy, k: 1}]": "HERE: metrics.accuracy.k is not known",
    "metrics=[accuracy,loss]": (
        "HERE should have names of their own, and loss is taken, not ['accuracy', 'loss']"
    ),
    "metrics=[{name: top, k: 1}, {name: top, k: 1}]": (
        "HERE should have names of their own, and top_1 is taken, not "
        "[{'name': 'top', 'k': 1}, {'name': 'top', 'k': 1}]"
    ),
    "metrics=[3]": (
        "HERE: metrics.0 should be the name of a metric, or {name: NAME, OPTION: VALUE}, not 3"
    ),
    "train.epochs=${nothing}": "HERE: Interpolation key 'nothing' not found",
}
NEEDS_DATA = {
    "train.validation_size=200": "HERE should be less than the 200 training examples, not 200",
}
EDITS = {
    ("epochs: 3", "epochs: '3'"): "params.yaml: train.epochs should be a valid integer, not '3'",
    ("epochs: 3", "epoch: 3"): "params.yaml: train.epoch is not known; did you mean train.epochs?",
    ("seed: 0", "seed: 0\ntrain.epochs: 9"): (
        "params.yaml: train.epochs is not read: write `epochs` below `train:`"
    ),
    ("seed: 0", "seed: 0\nsede: 0"): "params.yaml: sede is not known; did you mean seed?",
    ("epochs: 3", "epochs: 3\n  patient: 3"): "params.yaml: train.patient is not known",
}


def expected(override: str) -> str:
    line = (OVERRIDES | NEEDS_DATA)[override]
    return line.replace("HERE", f"{override} on the command line")


def children_seconds() -> float:
    """Return the processor time of all commands so far, which a busy machine does not change."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def refused(project: Project, *overrides: str) -> str:
    """Run train, check that it was refused, and return its only line less the stage's name."""
    before = sorted(path for path in project.folder.rglob("*") if "pycache" not in str(path))
    started = children_seconds()
    done = project.stage("train", *overrides, code=1, COLD="1")
    assert children_seconds() - started < 3  # half a second; TensorFlow alone takes longer
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    after = sorted(path for path in project.folder.rglob("*") if "pycache" not in str(path))
    assert before == after
    return line.removeprefix("train: ")


@pytest.fixture(scope="module")
def ready(reproduced_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("config") / "project"
    shutil.copytree(reproduced_once / "project", folder, symlinks=True)
    return Project(folder)


@pytest.fixture(scope="module")
def run(ready: Project) -> Iterator[Forks]:
    with forking(ready) as forks:
        yield forks


@pytest.mark.parametrize("override", ["train.epochs=0", "model=null"])
def test_a_command_refuses_a_bad_override(run: Forks, override: str) -> None:
    done = run(override)
    assert (done.code, done.said) == (1, f"train: {expected(override)}\n")


@pytest.mark.parametrize("override", OVERRIDES)
def test_a_bad_override_is_refused(ready: Project, override: str) -> None:
    with chdir(ready.folder), pytest.raises(UserError) as caught:
        load([override])
    assert str(caught.value) == expected(override)


def test_an_epsilon_that_a_step_cannot_use_is_refused(run: Forks) -> None:
    done = run("optimizer=adam", "optimizer.epsilon=1e-40")
    wrong = "should be greater than or equal to 1e-15, not 1e-40"
    assert done.said == f"train: optimizer.epsilon=1e-40 on the command line {wrong}\n"


@pytest.mark.parametrize(
    "override", ["train.epochs=0", "model=logistic", "train.validation_size=200"]
)
def test_a_command_is_refused_in_a_second(ready: Project, override: str) -> None:
    assert refused(ready, override) == expected(override)


@pytest.mark.parametrize("edit", EDITS)
def test_a_bad_edit_is_refused(ready: Project, run: Forks, edit: tuple[str, str]) -> None:
    good = (ready / "params.yaml").read_bytes()
    try:
        ready.edit("params.yaml", *edit)
        assert run().said.startswith(f"train: {EDITS[edit]}")
    finally:
        (ready / "params.yaml").write_bytes(good)


def test_params_that_are_not_there(ready: Project) -> None:
    good = (ready / "params.yaml").read_bytes()
    try:
        (ready / "params.yaml").unlink()
        line = refused(ready)
        assert line == f"params.yaml: not found in {ready.folder}: run from the project's root"
    finally:
        (ready / "params.yaml").write_bytes(good)


def test_the_configuration_is_shown_as_it_is_used(ready: Project) -> None:
    done = ready.stage("train", "train.learning_rate=1e-3", "--cfg", "job", "--resolve")
    assert "learning_rate: 0.001" in done.stdout
    assert "metrics: ./metrics" in done.stdout


def test_the_commands_are_listed(ready: Project) -> None:
    listed = ready.run(sys.executable, "-m", "pipeline").stdout
    modules = (ready / "pipeline").glob("*.py")
    runs = {
        path.stem
        for path in modules
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    }
    names = set(re.findall(r"^  (\w+) {2,}\S.{10,}$", listed, re.MULTILINE))
    assert names == runs - {"__main__"}
    (line,) = ready.run(sys.executable, "-m", "pipeline", "train", code=1).stderr.splitlines()
    assert line.startswith("pipeline: 'train' is not known: `python -m pipeline` lists")
    uncomposed = ("adopt", "compare", "promote", "repair", "seeds", "verify")  # by Hydra
    for name in uncomposed:
        assert ready.stage(name, "--help").stdout.startswith(f"{name.title()}: ")
        given = {"adopt": ["."], "compare": ["x"]}.get(name, [])
        refused = ready.stage(name, *given, "x", code=1).stderr
        assert refused.startswith(f"{name}: x is not known")


def test_help_and_completion(ready: Project) -> None:
    ready.edit("params.yaml", "seed: 0", "seed: 0  # costs $5, or ${nothing}")
    chosen = ("model=mlp", "model.hidden=[7]", "optimizer.name=x", "tracking.uri=http://a:word@b")
    text = ready.stage("train", "--help", *chosen).stdout
    for expected in (
        "train.learning_rate=0.3",
        f"\nmodel: {choices('model')}\n",
        "\nhydra/launcher: basic, joblib, slurm, ",
        "\nhydra/sweeper: basic, optuna\n",
        "\n  # A multilayer perceptron: dense layers with ReLU between them.\n  name: mlp\n",
        "\n  hidden: [7]                  # units of each hidden layer\n",
        "\n  name: x\n",
        "\nseed: 0                        # costs $5, or ${nothing}\n",
        "\n  batch_size: 16               # null: the whole training set in every step\n",
        "\n  total_timeout: 300           # seconds for one file\n",
        "\n  uri: http://a:***@b ",
    ):
        assert expected in text
    assert "defaults:" not in text
    assert text.startswith("Train: fits the configured model")
    assert "\n    run_id=ID " in ready.stage("promote", "--help").stdout
    ask = (
        ". conf/completion.bash; COMP_LINE='python -m pipeline.train model='; "
        "COMP_WORDS=(python -m pipeline.train model=); COMP_CWORD=3;"
        '_pipeline_completion; echo "${COMPREPLY[@]}"'
    )
    done = ready.run("bash", "-c", ask, code=None)
    assert "model=logistic_regression" in done.stdout, done.stdout + done.stderr


def test_another_python_says_what_to_do(ready: Project) -> None:
    done = ready.run(sys.executable, "-S", "-m", "pipeline.train", code=1)
    assert done.stderr == (
        f"{sys.executable} has no Hydra: run `make repro` once, then `. .venv/bin/activate`\n"
    )
