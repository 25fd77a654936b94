"""From files of each form to predictions and figures, as a user goes: adopt, then `dvc repro`."""

import csv
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Project
from tests.test_adopt import FRAME, KINDS, write_emnist, write_images
from tests.test_resume import LONG, start

STAGES = ["download", "preprocess", "train", "evaluate", "plot"]


def write_table(path: Path) -> None:
    centres = np.array([[0, 0, 0, 3], [5, 0, 0, 3], [0, 90, 0, 3]])[np.arange(60) % 3]
    (FRAME[[*"abcd"]] + centres).assign(species=KINDS).to_csv(path, index=False)


def write_floats(path: Path) -> None:
    x = np.random.default_rng(1).normal(size=(60, 6))
    x[np.arange(60), np.arange(60) % 3] += 9
    np.savez(path, x=x, y=KINDS)


# the name, what is written there, how many examples the test part has, the shape of x
WALKS: dict[str, tuple[str, Callable[[Path], object], int, tuple[int, ...]]] = {
    "a table": ("measurements.csv", write_table, 12, (4,)),
    "grey images": ("grey", lambda path: write_images(path, each=10), 6, (6, 5)),
    "colour images": ("colour", lambda path: write_images(path, colour=True), 6, (6, 5, 3)),
    "floats without a test part": ("floats.npz", write_floats, 12, (6,)),
    "EMNIST's 47 classes": ("emnist", lambda path: write_emnist(path, "balanced"), 94, (4, 3)),
}
FAST = "a table"
ASKED = {"a table": "", "grey images": "/bee/1.png", "colour images": "/bee/1.png"}  # of the model


@pytest.mark.parametrize(
    "form", [one if one == FAST else pytest.param(one, marks=pytest.mark.slow) for one in WALKS]
)
def test_from_files_to_figures(project: Project, form: str) -> None:
    name, write, tested, shape = WALKS[form]
    write(project / name)
    project.edit("params.yaml", "validation_size: 40", "validation_size: 0.2")
    said = project.stage("adopt", name, *(["label=species"] if form == FAST else [])).stdout
    (following,) = re.findall(r"Next: `dvc (.*)`$", said)
    if form == FAST:  # as docs/yours.md has it
        assert following == "exp run -S dataset=measurements"
    project.run("dvc", *following.split())
    assert project.repro() == []
    described = json.loads((project / "data/processed/dataset.json").read_text(encoding="utf-8"))
    assert tuple(described["shape"]) == shape
    x = np.load(project / "data/processed/x_train.npy")
    assert x.dtype == np.float32
    assert x.shape[1] == np.prod(shape)
    assert np.isfinite(x).all()
    with (project / "metrics/predictions.csv").open(encoding="utf-8") as file:
        predictions = list(csv.DictReader(file))
    assert len(predictions) == tested
    classes = {int(row["actual"]) for row in predictions}
    assert classes == {*range(len(described["classes"]))}
    if len(classes) == 3:  # whose examples differ; EMNIST's are random here
        right = sum(row["actual"] == row["predicted"] for row in predictions)
        assert right / tested > 0.9
    if form in ASKED:
        answers = json.loads(project.stage("predict", f"{name}{ASKED[form]}", "json=true").stdout)
        given = [answer["class"] for answer in answers]
        known = KINDS.tolist() if form == FAST else ["bee"]
        assert len(given) == len(known)
        assert sum(map(str.__eq__, given, known)) / len(known) > 0.9
    pictures = {path.name for path in (project / "plots").glob("*.png")}
    assert {"accuracy.png", "confusion_matrix.png", "loss.png"} <= pictures
    project.commit()
    kept = project.run("git", "ls-files", "conf/dataset", "data").stdout.splitlines()
    assert any(file == f"conf/dataset/{name.partition('.')[0]}.yaml" for file in kept)
    assert not any(file.startswith("data/raw/") for file in kept)
    if form == "grey images":
        assert "results are identical, bit for bit" in project.stage("verify").stdout


@pytest.mark.slow
def test_digits_as_the_default_data_set(project: Project) -> None:
    project.edit("params.yaml", "dataset: tiny", "dataset: digits")
    project.edit("params.yaml", "validation_size: 40", "validation_size: 0.1")
    project.edit("params.yaml", "epochs: 3", "epochs: 20")
    assert project.repro() == STAGES
    evaluation = json.loads((project / "metrics/evaluation.json").read_text(encoding="utf-8"))
    assert evaluation["accuracy"] > 0.9
    assert evaluation["examples"] == 359
    project.commit()

    project.stage("train", "-m", "train.learning_rate=0.1,0.5")
    assert "learning_rate: 0.5" in project.stage("promote").stdout
    assert project.repro() == ["train", "evaluate", "plot"]
    project.commit()
    assert "results are identical, bit for bit" in project.stage("verify").stdout

    command = (sys.executable, "-m", "pipeline.train", f"train.epochs={LONG}")
    project.run(*command)
    weights = (project / "models/weights.npz").read_bytes()
    killed = start(project, *command)
    killed.kill()
    assert killed.wait(60) != 0
    assert "going on from epoch" in project.run(*command).stdout
    assert (project / "models/weights.npz").read_bytes() == weights


@pytest.mark.slow
def test_breast_cancer(project: Project) -> None:
    project.edit("params.yaml", "dataset: tiny", "dataset: breast_cancer")
    project.edit("params.yaml", "epochs: 3", "epochs: 20")
    assert project.repro() == STAGES
    evaluation = json.loads((project / "metrics/evaluation.json").read_text(encoding="utf-8"))
    assert evaluation["accuracy"] > 0.9
    assert evaluation["examples"] == 113
