"""Bad parameters: one line, exit code 1, nothing written, and no TensorFlow."""

import sys
import time

import pytest

from tests.conftest import Project

MODEL_FILE = "conf/model/logistic_regression.yaml"
OVERRIDES = {
    "train.epochs=0": "params.yaml: train.epochs should be greater than or equal to 1, not 0",
    "train.epochs=1.5": "params.yaml: train.epochs should be a valid integer, not 1.5",
    "train.batch_size=0": (
        "params.yaml: train.batch_size should be greater than or equal to 1, not 0"
    ),
    "train.learning_rate=0": "params.yaml: train.learning_rate should be greater than 0, not 0",
    "train.learning_rate=inf": (
        "params.yaml: train.learning_rate should be a finite number, not inf"
    ),
    "train.learning_rate=fast": (
        "params.yaml: train.learning_rate should be a valid number, not 'fast'"
    ),
    "train.validation_size=-1": (
        "params.yaml: train.validation_size should be greater than or equal to 0, not -1"
    ),
    "train.validation_size=200": (
        "params.yaml: train.validation_size should be less than the 200 training examples, not 200"
    ),
    "seed=true": "params.yaml: seed should be a valid integer, not true",
    "seed=null": "params.yaml: seed should be a valid integer, not null",
    "determinism=fast": (
        "conf/config.yaml: determinism should be 'portable', 'machine' or 'off', not 'fast'"
    ),
    "train.lerning_rate=1": "train.lerning_rate is not known; did you mean train.learning_rate?",
    "model=logistic": "model: there is no 'logistic'; choose one of logistic_regression, mlp",
    "optimizer=sgdd": "optimizer: there is no 'sgdd'; choose one of adam, sgd",
    "dataset=mnits": "dataset: there is no 'mnits'; choose one of fashion_mnist, mnist, tiny",
    "+model.wieght=1": f"{MODEL_FILE}: model.wieght is not known; did you mean weight?",
    "model.weight=x": f"{MODEL_FILE}: model.weight should be a valid number, not 'x'",
    "model.name=cnn": "model.name: there is no 'cnn'; choose one of logistic_regression, mlp",
    "optimizer.momentum=1": (
        "conf/optimizer/sgd.yaml: optimizer.momentum should be less than 1, not 1"
    ),
    "+model._target_=os.system": (
        f"{MODEL_FILE}: model._target_ is not known; known are weight, bias"
    ),
}
FILES = {
    "": "params.yaml: is empty; it must hold dataset, model, optimizer, seed, train.epochs, "
    "train.batch_size, train.learning_rate, train.validation_size",
    "a: [1": "params.yaml: line 1: is not valid YAML: expected ',' or ']', but got '<stream end>'",
    "a:\n\tb: 1\n": "params.yaml: line 2: is not valid YAML: "
    "found character '\\t' that cannot start any token",
    "seed: 1\nseed: 2\n": "params.yaml: line 2: is not valid YAML: found duplicate key seed",
    "- 1\n- 2\n": "params.yaml: must hold keys and values (dataset, model, optimizer, seed, "
    "train.epochs, train.batch_size, train.learning_rate, train.validation_size)",
    "dataset: tiny\n": "params.yaml: model is missing",
}
EDITS = {
    ("seed: 0", "seed: no"): "params.yaml: seed should be a valid integer, not false",
    ("epochs: 3", "epochs: '3'"): "params.yaml: train.epochs should be a valid integer, not '3'",
    ("epochs: 3", "epoch: 3"): "params.yaml: train.epoch is not known; did you mean train.epochs?",
    ("seed: 0", "seed: 0\nsede: 0"): "params.yaml: sede is not known; did you mean seed?",
    ("epochs: 3", "epochs: 3\n  patience: 3"): "params.yaml: train.patience is not known",
}


def refused(project: Project, *overrides: str) -> str:
    """Run train, check that it was refused, and return its only line less the stage's name."""
    before = sorted(path for path in project.folder.rglob("*") if "pycache" not in str(path))
    started = time.monotonic()
    done = project.stage("train", *overrides, code=1)
    assert (
        time.monotonic() - started < 5
    )  # a second; TensorFlow alone takes longer on a busy machine
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    after = sorted(path for path in project.folder.rglob("*") if "pycache" not in str(path))
    assert before == after
    return line.removeprefix("train: ")


@pytest.fixture(scope="module")
def ready(reproduced_once, tmp_path_factory) -> Project:  # type: ignore[no-untyped-def]
    import shutil

    folder = tmp_path_factory.mktemp("config") / "project"
    shutil.copytree(reproduced_once / "project", folder, symlinks=True)
    return Project(folder)


@pytest.mark.parametrize("override", OVERRIDES)
def test_a_bad_override_is_refused(ready: Project, override: str) -> None:
    assert refused(ready, override) == OVERRIDES[override]


@pytest.mark.parametrize("text", FILES)
def test_a_bad_params_file_is_refused(ready: Project, text: str) -> None:
    good = (ready / "params.yaml").read_bytes()
    try:
        (ready / "params.yaml").write_text(text)
        assert refused(ready) == FILES[text]
    finally:
        (ready / "params.yaml").write_bytes(good)


@pytest.mark.parametrize("edit", EDITS)
def test_a_bad_edit_is_refused(ready: Project, edit: tuple[str, str]) -> None:
    good = (ready / "params.yaml").read_bytes()
    try:
        ready.edit("params.yaml", *edit)
        assert refused(ready).startswith(EDITS[edit])
    finally:
        (ready / "params.yaml").write_bytes(good)


def test_params_that_are_not_utf8_or_not_there(ready: Project) -> None:
    good = (ready / "params.yaml").read_bytes()
    try:
        (ready / "params.yaml").write_bytes(b"seed: \xff\n")
        assert refused(ready) == "params.yaml: is not UTF-8 text (byte 6): save it as UTF-8"
        (ready / "params.yaml").unlink()
        line = refused(ready)
        assert line == f"params.yaml: not found in {ready.folder}: run from the project's root"
    finally:
        (ready / "params.yaml").write_bytes(good)


def test_scientific_notation_is_a_number(ready: Project) -> None:
    done = ready.stage("train", "train.learning_rate=1e-3", "--cfg", "job", "--resolve")
    assert "learning_rate: 0.001" in done.stdout


def test_help_and_completion(ready: Project) -> None:
    text = ready.stage("train", "--help").stdout
    for expected in (
        "train.learning_rate=0.3",
        "model: logistic_regression, mlp",
        "learning_rate:",
    ):
        assert expected in text
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
