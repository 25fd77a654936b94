"""From Python: a notebook has the configuration and the bits of the commands, on its arrays."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

import pipeline
from pipeline.data import given
from pipeline.errors import UserError
from pipeline.files import sha256
from pipeline.settings import params
from tests.conftest import ROOT, Project, make_project

DOCUMENT = (ROOT / "docs/from-python.md").read_text(encoding="utf-8")
FIRST, SECOND = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
MORE = """
import csv, json, os
from pathlib import Path
from pipeline.learning import history
from pipeline.models import LogisticRegression, MODELS

def saved(*arguments, **more):
    train(*arguments, **more).save("again.npz")
    return open("again.npz", "rb").read()

trained.save("first.npz")
weights = open("first.npz", "rb").read()
assert weights == saved(config, x.astype(np.float64), y.astype(np.int64).tolist())
assert weights == saved(config, np.rint(x * 255).astype(np.uint8).reshape(-1, 4, 5), y, classes=3)
history.write(Path("history.csv"), trained.history)

mine = pipeline.load()
by_mine = train(mine, x, y)
scores = evaluate(by_mine, x_test, y_test)
assert scores == json.load(open("metrics/evaluation.json")), scores
predicted = predict(by_mine, x_test).argmax(1)
rows = list(csv.DictReader(open("metrics/predictions.csv")))
assert [int(row["predicted"]) for row in rows] == predicted.tolist()

class Plain(LogisticRegression):
    exact = False

MODELS["logistic_regression"] = Plain  # after a training that is exact
assert train(mine, x - 0.5, y, classes=7).model.weights["bias"].shape == (7,)
os.makedirs("notebooks")
os.chdir("notebooks")
"""
END = """
assert len(train(pipeline.load(["train.epochs=1"], folder=".."), x, y).history) == 1
for attempt in (
    lambda: train(pipeline.load(["determinism=machine"], folder=".."), x, y),
    lambda: train(pipeline.load(["train.validation_size=200"], folder=".."), x, y),
    lambda: train(pipeline.load(["train.learning_rate=1e38"], folder=".."), x, y),
    lambda: train(config, x, y, classes=2),
    lambda: evaluate(trained, x, y + 1),
    lambda: predict(trained, x[:, 1:]),
):
    try:
        attempt()
        print("nothing was refused")
    except pipeline.errors.UserError as error:
        print("refused:", error)
"""


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("ready") / "project")


def test_the_lines_of_the_document_have_the_bits_of_the_command(reproduced: Project) -> None:
    done = reproduced.run(sys.executable, "-c", FIRST + MORE + SECOND + END)
    said = done.stdout.splitlines()
    assert [line.partition("(")[2][:7] for line in said[:3]] == [f"epoch={n}" for n in (1, 2, 3)]
    assert re.fullmatch(r"accuracy 0\.\d+", said[3])
    assert str(reproduced.folder / "data/processed") in said
    refused = [line.removeprefix("refused: ") for line in said if line.startswith("refused")]
    assert refused == [
        "determinism=machine needs a process of its own, in this one TensorFlow was imported with "
        "determinism=portable: restart the notebook's kernel for it",
        "params.yaml: train.validation_size should be less than the 200 training examples, not 200",
        refused[2],
        "classes: should be 3 to 256, as the largest label is 2, not 2",
        "y: label 3 is not one of the 3 classes of the training",
        "x: the model was trained on examples of the shape (20,), not (19,)",
    ]
    assert "training has diverged" in refused[2]
    assert "nothing was refused" not in said
    (overrides,) = re.findall(r"load\((\[.*?\])\)\n", FIRST)
    reproduced.stage("train", *json.loads(overrides))
    assert sha256(reproduced / "first.npz") == sha256(reproduced / "models/weights.npz")
    assert sha256(reproduced / "history.csv") == sha256(reproduced / "metrics/history.csv")


@pytest.mark.slow
def test_what_does_not_compute_exactly_has_its_bits_after_what_does(reproduced: Project) -> None:
    code = """
import numpy as np, pipeline
from pipeline.api import train
x, y = (np.load(f"data/processed/{name}_train.npy") for name in "xy")
train(pipeline.load(), x, y)
train(pipeline.load(["model=cnn"]), x.reshape(-1, 4, 5), y).save("mine.npz")
"""
    reproduced.run(sys.executable, "-c", code, COLD="1")
    reproduced.stage("train", "model=cnn", COLD="1")
    assert sha256(reproduced / "mine.npz") == sha256(reproduced / "models/weights.npz")


def test_tensorflow_comes_after_the_pipeline(ready: Project) -> None:
    code = """
import sys, pipeline
print(sorted({"hydra", "numpy", "pydantic", "tensorflow"} & {*sys.modules}))
import tensorflow
from pipeline.api import train
train(pipeline.load(), [[0.0, 1.0], [1.0, 0.0]] * 50, [0, 1] * 50)
"""
    done = ready.run(sys.executable, "-c", code, code=1, COLD="1")
    assert done.stdout == "[]\n"
    assert done.stderr.splitlines()[-1] == (
        "pipeline.errors.UserError: TensorFlow was imported before the pipeline could set it up to "
        "compute the same bits: restart the notebook's kernel, and train before anything imports "
        "TensorFlow"
    )


def test_a_wrong_key_has_the_line_of_the_command(
    ready: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ready.folder)
    for wrong in ("train.epoch=3", "train.epochs=0", "model=mpl", "model.weight=x"):
        with pytest.raises(UserError) as refused:
            pipeline.load([wrong])
        assert ready.stage("train", wrong, code=1).stderr == f"train: {refused.value}\n"
    shown = ready.stage("train", "--cfg", "job", "--resolve", "model=mlp", "seed=7").stdout
    config = pipeline.load(["model=mlp", "seed=7"])
    assert "seed: 7\n" in shown
    assert (config.seed, config.model.name, config.train.epochs) == (7, "mlp", 3)
    assert config.paths.models == Path("models")
    with pytest.raises(UserError, match=r"^train.epochs=1,2: has several values, and one is"):
        pipeline.load(["train.epochs=1,2"])
    ready.edit("params.yaml", "epochs: 3", "epoch: 3")
    with pytest.raises(UserError, match=r"^params.yaml: train.epoch is not known; did you mean"):
        pipeline.load()
    ready.edit("params.yaml", "epoch: 3", "epochs: 3")
    os.chdir(ready / "conf")
    with pytest.raises(UserError, match=r"^params.yaml: not found in .*conf: give the project's"):
        pipeline.load()
    monkeypatch.chdir(ROOT)  # another project's values do not stay
    assert OmegaConf.create({"dataset": "${params:dataset}"}).dataset == params.load()["dataset"]
    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        pipeline.lod  # noqa: B018


@pytest.mark.parametrize(
    ("x", "line"),
    [
        (
            [],
            r"x: should be numbers of the shape \(n, features\), or images .*, not float64 \(0,\)",
        ),
        ([1.0, 2.0], r"not float64 \(2,\)"),
        ([["a"]], r"not <U1 \(1, 1\)"),
        ([[1j]], r"not complex128 \(1, 1\)"),
        (np.zeros((0, 4)), r"not float64 \(0, 4\)"),
        ([[1, 2], [3]], "^x: is not an array: .* inhomogeneous shape"),
    ],
)
def test_what_are_no_examples(x: Any, line: str) -> None:
    with pytest.raises(UserError, match=line):
        given.examples(x)


def test_numbers_that_a_model_cannot_take() -> None:
    x, _ = given.examples(np.full((9000, 2), 511.0))
    given.check(x, exact=True)
    x[8999, 1] = 512
    with pytest.raises(UserError, match=r"example 8999 has the value 512: .* finite and below 512"):
        given.check(x, exact=True)
    given.check(x, exact=False)
    x[8500, 0] = np.nan
    with pytest.raises(UserError, match="example 8500 has the value nan"):
        given.check(x, exact=False)
    x, _ = given.examples([[1e300]])
    with pytest.raises(UserError, match="value inf"):
        given.check(x, exact=False)


@pytest.mark.parametrize(
    ("y", "line"),
    [
        ([0, 1], r"y: should be 3 whole numbers, one for each example, not int64 \(2,\)"),
        ([0.0, 1.0, 2.0], r"not float64 \(3,\)"),
        ([[0], [1], [2]], r"not int64 \(3, 1\)"),
        ([0, -1, 2], "y: classes are 0 to 255, not -1 to 2"),
        ([0, 256, 2], "y: classes are 0 to 255, not 0 to 256"),
    ],
)
def test_what_are_no_labels(y: Any, line: str) -> None:
    with pytest.raises(UserError, match=line):
        given.labels(y, 3)


def test_bytes_stay_bytes_and_other_numbers_become_float32() -> None:
    x, shape = given.examples(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    assert (x.dtype, x.shape, shape) == (np.uint8, (2, 12), (3, 4))
    steps = np.arange(256, dtype=np.uint8)[:, None]
    x, _ = given.examples(steps / 255)
    assert (x == steps.astype(np.float32) / np.float32(255)).all()  # as preprocess has them
    x, _ = given.examples(np.zeros((3, 2), bool))
    assert x.dtype == np.float32
