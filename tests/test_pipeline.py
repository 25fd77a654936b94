"""The whole DAG in a temporary git and DVC repository: what runs when one thing changes."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.report.intervals import wilson
from tests.conftest import Project, make_project
from tests.idx_files import write_split_files

EVERYTHING = ["download", "preprocess", "train", "evaluate", "plot"]
TRAINED = ("models/weights.npz", "metrics/history.csv")
CHANGES = {  # what is edited, and which stages read it
    "a comment in params.yaml": ("params.yaml", "# What differs", "# What may differ", []),
    "epochs": ("params.yaml", "epochs: 3", "epochs: 4", ["train"]),
    "seed": ("params.yaml", "seed: 0", "seed: 1", ["train", "evaluate"]),
    "model": (
        "params.yaml",
        "model: logistic_regression",
        "model: mlp",
        ["train", "evaluate", "plot"],
    ),
    "a model's option": (
        "conf/model/logistic_regression.yaml",
        "weight: 1.0",
        "weight: 0.5",
        ["train", "evaluate", "plot"],
    ),
    "an optimizer's option": (
        "conf/optimizer/sgd.yaml",
        "momentum: 0.0",
        "momentum: 0.9",
        ["train"],
    ),
    "a model that is not chosen": ("conf/model/mlp.yaml", "[128]", "[64]", []),
    "a class's name": ("conf/dataset/tiny.yaml", "- bee", "- bat", EVERYTHING),
    "where data comes from": (
        "conf/dataset/tiny.yaml",
        "sources:",
        "sources:\n- npz: no.npz",
        ["download", "preprocess"],
    ),
    "where the record goes": ("conf/config.yaml", "experiment: ", "experiment: x", []),
    "how data is read": (
        "conf/config.yaml",
        "resident_bytes: 4000000000",
        "resident_bytes: 0",
        ["train"],
    ),
    "how x is kept": (
        "conf/config.yaml",
        "storage: float32",
        "storage: uint8",
        ["preprocess"],
    ),
    "how long a source may take": (
        "conf/config.yaml",
        "read_timeout: 10 ",
        "read_timeout: 11 ",
        ["download"],
    ),
    "code of the figures": ("pipeline/report/figures.py", '"Epoch"', '"epoch"', ["plot"]),
    "code of the metrics": (
        "pipeline/metrics.py",
        '"""The metrics',
        '"""Metrics',
        ["evaluate", "plot"],
    ),
    "code of the models": (
        "pipeline/models.py",
        '"""The models',
        '"""Models',
        ["train", "evaluate", "plot"],
    ),
    "code of the record": (
        "pipeline/tracking/client.py",
        "END_SECONDS = 90",
        "END_SECONDS = 91",
        [],
    ),
    "the lock": ("requirements.txt", "# This", "#  This", EVERYTHING[1:]),
}
RUNS = {  # what runs then: a stage whose inputs came out with the same bits does not
    "a comment in params.yaml": [],
    "epochs": ["train", "evaluate", "plot"],
    "how long a source may take": ["download"],
}
RUN_SLOWLY = {
    "how x is kept": EVERYTHING[1:],
    "code of the figures": ["plot"],
    "code of the models": ["train", "evaluate", "plot"],
    "seed": ["train", "evaluate", "plot"],
    "model": ["train", "evaluate", "plot"],
    "a model's option": ["train", "evaluate", "plot"],
    "an optimizer's option": ["train", "evaluate", "plot"],
    "a model that is not chosen": [],
    "a class's name": EVERYTHING,
    "where data comes from": ["download", "preprocess"],
    "where the record goes": [],
    "how data is read": ["train"],
    "code of the metrics": ["evaluate", "plot"],
    "code of the record": [],
    "the lock": EVERYTHING[1:],
}
SLOW = [pytest.param(change, marks=pytest.mark.slow) for change in RUN_SLOWLY]


def test_a_change_is_seen_by_exactly_the_stages_that_read_it(reproduced: Project) -> None:
    for change, (name, old, new, stages) in CHANGES.items():
        reproduced.edit(name, old, new)
        changed = json.loads(reproduced.run("dvc", "status", "--json").stdout)
        assert sorted(changed) == sorted(stages), change
        reproduced.edit(name, new, old)


@pytest.mark.parametrize("change", [*RUNS, *SLOW])
def test_a_change_runs_exactly_the_stages_that_it_concerns(
    reproduced: Project, change: str
) -> None:
    name, old, new, _ = CHANGES[change]
    reproduced.edit(name, old, new)
    assert reproduced.repro() == (RUNS | RUN_SLOWLY)[change]
    assert reproduced.repro() == []


@pytest.mark.slow
def test_a_changed_pixel_runs_everything(reproduced: Project, tmp_path: Path) -> None:
    before = (reproduced / "dvc.lock").read_text(encoding="utf-8")
    source = tmp_path / "other source"
    hashes = write_split_files(source, train=200, test=80)
    images = bytearray((source / "train-images-idx3-ubyte").read_bytes())
    images[100] ^= 1
    (source / "train-images-idx3-ubyte").write_bytes(images)
    import hashlib

    old = hashes["train-images-idx3-ubyte"]
    reproduced.edit("conf/dataset/tiny.yaml", old, hashlib.sha256(images).hexdigest())
    conf = yaml.safe_load((reproduced / "conf/dataset/tiny.yaml").read_text(encoding="utf-8"))
    conf["sources"] = [{"folder": str(source)}]
    (reproduced / "conf/dataset/tiny.yaml").write_text(yaml.safe_dump(conf), encoding="utf-8")
    assert reproduced.repro() == EVERYTHING
    assert (reproduced / "dvc.lock").read_text(encoding="utf-8") != before


def test_what_the_stages_write(reproduced: Project) -> None:
    x = np.load(reproduced / "data/processed/x_test.npy")
    assert (x.dtype, x.shape) == (np.float32, (80, 20))
    with np.load(reproduced / "models/weights.npz") as weights:
        shapes = {name: weights[name].shape for name in weights.files}
    assert shapes == {"weight": (20, 3), "bias": (3,)}
    history = list(csv.reader((reproduced / "metrics/history.csv").open(encoding="utf-8")))
    assert history[0] == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy"]
    assert [row[0] for row in history[1:]] == ["1", "2", "3"]
    evaluation = json.loads((reproduced / "metrics/evaluation.json").read_text(encoding="utf-8"))
    predictions = list(
        csv.DictReader((reproduced / "metrics/predictions.csv").open(encoding="utf-8"))
    )
    right = sum(row["actual"] == row["predicted"] for row in predictions)
    assert evaluation["examples"] == len(predictions) == 80
    assert evaluation["accuracy"] == right / 80
    assert (evaluation["accuracy_low"], evaluation["accuracy_high"]) == wilson(right, 80)
    losses = [float(row["loss"]) for row in predictions]
    assert np.mean(losses) == pytest.approx(evaluation["loss"], abs=1e-9)
    for row, loss in zip(predictions, losses, strict=True):
        if row["actual"] == row["predicted"]:
            assert float(row["probability"]) == pytest.approx(np.exp(-loss), abs=1e-6)
    mistakes = csv.reader((reproduced / "metrics/mistakes.csv").open(encoding="utf-8"))
    for example, *row in list(mistakes)[1:]:
        assert list(predictions[int(example)].values())[:3] == row
    classes = list(csv.DictReader((reproduced / "metrics/classes.csv").open(encoding="utf-8")))
    assert [row["class"] for row in classes] == ["ant", "bee", "cat"]
    for score in ("precision", "recall", "f1"):
        mean = np.mean([float(row[score]) for row in classes])
        assert evaluation[f"macro_{score}"] == pytest.approx(mean)
    pictures = sorted(path.name for path in (reproduced / "plots").iterdir())
    assert pictures == [
        "accuracy.png",
        "confusion_matrix.png",
        "loss.png",
        "mistakes.png",
        "weights.png",
    ]
    assert reproduced.run("git", "status", "--porcelain").stdout == ""
    assert not list(reproduced.folder.rglob("*.part"))


@pytest.mark.slow
def test_another_clone_gives_the_same_lock(reproduced: Project, project: Project) -> None:
    conf = "conf/dataset/tiny.yaml"
    shutil.copy(reproduced / conf, project / conf)  # the same source folder
    assert project.repro() == EVERYTHING
    assert (project / "dvc.lock").read_text(encoding="utf-8") == (
        reproduced / "dvc.lock"
    ).read_text(encoding="utf-8")


def test_dvc_exp_run_edits_params_and_keeps_comments(reproduced: Project) -> None:
    reproduced.run("dvc", "exp", "run", "-S", "train.learning_rate=0.3", "-S", "model=mlp")
    text = (reproduced / "params.yaml").read_text(encoding="utf-8")
    assert "learning_rate: 0.3" in text
    assert "model: mlp" in text
    assert "# a file of conf/dataset/" in text
    assert "# null: the whole training set in every step" in text
    with np.load(reproduced / "models/weights.npz") as weights:
        assert "weight_1" in weights.files
    metrics_and_plots_are_known_to_dvc(reproduced)
    last = [(reproduced / name).read_bytes() for name in TRAINED]
    done = reproduced.run("dvc", "exp", "run", "-S", "train.learning_rate=-1", code=None)
    assert done.returncode
    assert [(reproduced / name).read_bytes() for name in TRAINED] == last


def metrics_and_plots_are_known_to_dvc(changed: Project) -> None:
    difference = json.loads(changed.run("dvc", "metrics", "diff", "--json").stdout)
    assert {"loss", "brier_score"} <= difference["metrics/evaluation.json"].keys()
    params = json.loads(changed.run("dvc", "params", "diff", "--json").stdout)["params.yaml"]
    assert params["train.learning_rate"] == {"old": 0.1, "new": 0.3, "diff": pytest.approx(0.2)}
    for command in (["show"], ["diff"]):
        changed.run("dvc", "plots", *command, "--out", "page")
        page = (changed / "page/index.html").read_text(encoding="utf-8")
        for title in ("Loss against the epoch", "Accuracy against the epoch", "Test set"):
            assert title in page
        assert re.search(r"static/.*confusion_matrix\.png", page)


@pytest.mark.parametrize(
    "stages", [EVERYTHING[:3], pytest.param(EVERYTHING, marks=pytest.mark.slow)]
)
def test_other_shapes_and_class_counts_in_an_archive_without_git(
    tmp_path: Path, stages: list[str]
) -> None:
    other = make_project(tmp_path / "other", shape=(3, 7, 3), classes=2)
    other.edit("conf/dataset/tiny.yaml", "- ant\n- bee\n- cat", "- cold\n- hot")
    shutil.rmtree(other / ".git")
    other.run("dvc", "config", "--local", "core.no_scm", "true")  # as `make repro` does
    assert other.repro(stages[-1]) == stages
    with np.load(other / "models/weights.npz") as weights:
        assert weights["weight"].shape == (63, 2)
