"""weights.npz that is not the model's: one line from evaluate and from the served model."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.description import Description, Scale
from pipeline.errors import UserError
from pipeline.learning import determinism, weights
from pipeline.models import LogisticRegression
from pipeline.tracking import served_model

determinism.enable(seed=0)  # other tests of this process may train

GOOD = {"weight": np.ones((5, 3), np.float32), "bias": np.zeros(3, np.float32)}
NEEDED = "but the model and the data set need weight (5, 3), bias (3,): run `dvc repro train`"
BAD = {
    "other pixels": (
        GOOD | {"weight": np.ones((7, 3), np.float32)},
        f"weight (7, 3), bias (3,), {NEEDED}",
    ),
    "other classes": (
        GOOD | {"bias": np.zeros(4, np.float32)},
        f"weight (5, 3), bias (4,), {NEEDED}",
    ),
    "another model": ({"weight_0": GOOD["weight"]}, f"weight_0 (5, 3), {NEEDED}"),
    "one array more": (GOOD | {"x": GOOD["bias"]}, f"weight (5, 3), bias (3,), x (3,), {NEEDED}"),
    "nothing": ({}, f"nothing, {NEEDED}"),
    "float64": (GOOD | {"bias": np.zeros(3)}, f"weight (5, 3), bias (3,) float64, {NEEDED}"),
    "another byte order": (
        GOOD | {"bias": np.zeros(3, ">f4")},
        f"weight (5, 3), bias (3,) >f4, {NEEDED}",
    ),
}
NOT_FINITE = {
    "weight": np.full((5, 3), np.inf, np.float32),
    "bias": np.array([0, np.nan, 0], np.float32),
}


def refused(folder: Path, arrays: dict[str, np.ndarray]) -> str:
    """Write arrays and restore them, which must fail; return why."""
    np.savez(folder / "weights.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(UserError) as caught:
        weights.restore(LogisticRegression((5,), 3, 0), folder / "weights.npz")
    return str(caught.value).removeprefix(f"{folder}/weights.npz: ")


@pytest.mark.parametrize("case", BAD)
def test_arrays_that_do_not_fit(tmp_path: Path, case: str) -> None:
    arrays, message = BAD[case]
    assert refused(tmp_path, arrays) == f"holds {message}"


@pytest.mark.parametrize("name", NOT_FINITE)
def test_values_that_are_not_finite(tmp_path: Path, name: str) -> None:
    line = refused(tmp_path, GOOD | {name: NOT_FINITE[name]})
    assert line == f"{name} is not finite: run `dvc repro train`"


def test_the_served_model_refuses_them_too(tmp_path: Path) -> None:
    np.savez(tmp_path / "weights.npz", weight=GOOD["weight"][:4], bias=GOOD["bias"])
    scale = Scale(kind="bytes")
    described = Description(
        name="tiny", shape=(5,), classes=[*"abc"], features=None, scale=scale, hashes={}
    )
    (tmp_path / "dataset.json").write_text(described.text(), encoding="utf-8")
    choices = {"name": "logistic_regression", "exact": True}
    (tmp_path / "model.json").write_text(json.dumps(choices), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        served_model._load_pyfunc(str(tmp_path))
    assert str(caught.value) == (
        f"{tmp_path}/weights.npz: holds weight (4, 3), bias (3,), {NEEDED}"
    )


def test_the_bytes_do_not_hang_on_the_version_of_python(tmp_path: Path) -> None:
    weights.save(LogisticRegression((5,), 3, 0), tmp_path / "weights.npz")
    first = (tmp_path / "weights.npz").read_bytes()[:41]
    size, name = (5 * 3 * 4 + 128).to_bytes(4, "little"), b"weight.npy"
    # version 2.0, no flags, stored, 1980-01-01; then the checksum; twice the size; no more fields
    assert first[:14] == b"PK\3\4\x14\0\0\0\0\0\0\0\x21\0"
    assert first[18:] == size + size + b"\x0a\0\0\0" + name + b"\x93"


def test_what_is_saved_is_restored(tmp_path: Path) -> None:
    saved, restored = LogisticRegression((5,), 3, 0, weight=0.3), LogisticRegression((5,), 3, 0)
    weights.save(saved, tmp_path / "weights.npz")
    weights.restore(restored, tmp_path / "weights.npz")
    for name, variable in saved.weights.items():
        np.testing.assert_array_equal(restored.weights[name].numpy(), variable.numpy())
