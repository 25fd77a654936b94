"""Files appear whole or not at all; wrong files are named."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.files import replacing
from tests.conftest import Project
from tests.defaults import DATASET


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    with replacing(path) as temporary:
        temporary.write_text("old", encoding="utf-8")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:  # noqa: PT012  # the block
        temporary.write_text("half", encoding="utf-8")
        _ = 1 / 0
    assert path.read_text(encoding="utf-8") == "old"
    assert [file.name for file in path.parent.iterdir()] == ["file"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be written: "), replacing(tmp_path / "file" / "x"):
        pass


BROKEN = {
    ("evaluate", "models/weights.npz", b"PK\x03\x04"): "models/weights.npz: cannot be read (",
    (
        "evaluate",
        "models/weights.npz",
        None,
    ): "models/weights.npz: not found: run `dvc repro train`",
    ("train", "data/processed/x_train.npy", b""): "data/processed/x_train.npy: cannot be read (",
    ("train", "data/processed/y_train.npy", None): "data/processed/y_train.npy: not found: run ",
    ("train", "data/processed/dataset.json", None): "data/processed/dataset.json: not found: run ",
    ("train", "data/processed/dataset.json", b"{}"): "data/processed/dataset.json: cannot be read",
    (
        "plot",
        "metrics/history.csv",
        b"a,b\n1,2\n",
    ): "metrics/history.csv: cannot be read (",
    ("plot", "metrics/predictions.csv", b"a\nx\n"): "metrics/predictions.csv: cannot be read (",
    ("record", "metrics/evaluation.json", b"{"): "metrics/evaluation.json: cannot be read (",
}


@pytest.fixture(scope="module")
def ready(reproduced_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose files each test puts back."""
    folder = tmp_path_factory.mktemp("files") / "project"
    shutil.copytree(reproduced_once / "project", folder, symlinks=True)
    return Project(folder)


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_input_is_named(ready: Project, case: tuple[str, str, bytes | None]) -> None:
    stage, name, content = case
    right = (ready / name).read_bytes()
    (ready / name).unlink()
    try:
        if content is not None:
            (ready / name).write_bytes(content)
        done = ready.stage(stage, code=1)
    finally:
        (ready / name).unlink(missing_ok=True)
        (ready / name).write_bytes(right)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{stage}: {BROKEN[case]}")


def test_another_data_set_is_not_trained_on(reproduced: Project) -> None:
    for stage in ("train", "evaluate"):
        (line,) = reproduced.stage(stage, f"dataset={DATASET}", code=1).stderr.splitlines()
        assert line == (
            f"{stage}: data/processed: holds another data set than conf/dataset/{DATASET}.yaml: "
            f"run `dvc repro` with `dataset: {DATASET}` in params.yaml"
        )


def test_the_same_data_set_with_other_settings_is_not_trained_on(reproduced: Project) -> None:
    folder = reproduced / "data/processed"
    line = (
        "train: data/processed: was made with other settings than those of "
        "conf/dataset/tiny.yaml: run `dvc repro preprocess`\n"
    )
    assert reproduced.stage("train", "dataset.validation=stratified", code=1).stderr == line
    y = np.load(folder / "y_train.npy")
    (folder / "y_train.npy").unlink()
    np.save(folder / "y_train.npy", y[::-1])
    line = (
        "train: data/processed: y_train.npy is not the one that dataset.json describes: "
        "run `dvc repro preprocess`\n"
    )
    assert reproduced.stage("train", code=1).stderr == line


def test_weights_that_do_not_fit_the_model(reproduced: Project) -> None:
    with np.load(reproduced / "models/weights.npz") as file:
        arrays = dict(file)
    (reproduced / "models/weights.npz").unlink()
    np.savez(reproduced / "models/weights.npz", weight=arrays["weight"][:7], bias=arrays["bias"])
    (line,) = reproduced.stage("evaluate", code=1).stderr.splitlines()
    assert line == (
        "evaluate: models/weights.npz: holds weight (7, 3), bias (3,), but the model and the data "
        "set need weight (20, 3), bias (3,): run `dvc repro train`"
    )


def test_weights_with_a_pickle_are_refused(reproduced: Project) -> None:
    path = reproduced / "models/weights.npz"
    path.unlink()
    np.savez(path, weight=np.array([{"a": 1}], object), bias=np.zeros(3))
    (line,) = reproduced.stage("evaluate", code=1).stderr.splitlines()
    assert "holds weight (1,) object, bias (3,) float64, but the model" in line
