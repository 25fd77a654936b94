"""The model in MLflow, served and loaded: each input is right, or refused in a sentence."""

import csv
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.data.description import Description, Scale
from pipeline.data.given import as_trained
from pipeline.errors import UserError
from pipeline.learning import determinism
from pipeline.tracking.served_model import Classifier
from tests import oracle
from tests.conftest import Project
from tests.test_tracking import runs, server

X = np.random.default_rng(0).integers(0, 256, (3, 20)).astype(np.uint8)
SCALED = (X / 255).astype(np.float32)
BETWEEN = "but pixels lie between 0 and 1: divide bytes by 255, or give them as an array of uint8."
SHAPE = "but must be (n, 20), or images (n, 4, 5), also if n is 1."
NUMBERS = "The input must be numbers, 20 for each example."
EMPTY = "The input has no examples."
PIXELS = Description(
    name="tiny",
    shape=(4, 5),
    classes=[f"{n}" for n in range(10)],
    features=None,
    scale=Scale(kind="bytes"),
    hashes={},
)
WINES = PIXELS.model_copy(
    update={
        "shape": (2,),
        "features": ["ash", "hue"],
        "scale": Scale(kind="standardise", offset=[2.0, 1.0], width=[0.5, 0.25]),
    }
)


TAKEN: dict[str, Any] = {
    "float32": SCALED,
    "float64": SCALED.astype(np.float64),
    "a list": SCALED.tolist(),
    "images": SCALED.reshape(3, 4, 5),
    "a list of images": list(SCALED.reshape(3, 4, 5)),
    "images with channels": SCALED.reshape(3, 2, 5, 2),
    "a table": pd.DataFrame(SCALED),
    "a table of images": pd.DataFrame({"image": [image.tolist() for image in SCALED]}),
    "the order of Fortran": np.asfortranarray(SCALED),
}
BYTES: dict[str, Any] = {
    "bytes": X,
    "images of bytes": X.reshape(3, 4, 5),
    "a list of images of bytes": list(X.reshape(3, 4, 5)),
    "a table of bytes": pd.DataFrame(X),
}
REFUSED: dict[str, tuple[Any, str]] = {
    "0 to 255": (X.astype(np.float32), f"Example 0 has the value {X[0, 0]}, {BETWEEN}"),
    "integers": (X.astype(int), f"Example 0 has the value {X[0, 0]}, {BETWEEN}"),
    "a table of integers": (
        pd.DataFrame(X.astype(int)),
        f"Example 0 has the value {X[0, 0]}, {BETWEEN}",
    ),
    "below zero": (SCALED - 2, f"Example 0 has the value {SCALED[0, 0] - 2:g}, {BETWEEN}"),
    "NaN": (np.full((2, 20), np.nan), f"Example 0 has the value nan, {BETWEEN}"),
    "one infinity": (
        np.r_[np.zeros((1, 20)), np.full((1, 20), np.inf)],
        f"Example 1 has the value inf, {BETWEEN}",
    ),
    "too few columns": (SCALED[:, 1:], f"The input has the shape (3, 19), {SHAPE}"),
    "one example": (SCALED[0], f"The input has the shape (20,), {SHAPE}"),
    "one image": (X[0].reshape(4, 5), f"The input has the shape (4, 5), {SHAPE}"),
    "a number": (0.5, f"The input has the shape (), {SHAPE}"),
    "no rows": (SCALED[:0], EMPTY),
    "no columns": ([[]], EMPTY),
    "an empty table": (pd.DataFrame(), EMPTY),
    "words": ([["a"] * 20], NUMBERS),
    "a table of words": (pd.DataFrame([["a"] * 20]), NUMBERS),
    "rows of different lengths": ([[0.5] * 20, [0.5]], NUMBERS),
    "a dictionary": ({"pixels": SCALED}, NUMBERS),
    "complex numbers": (SCALED + 0j, NUMBERS),
    "a number of 400 digits": ([[10**400] * 20], NUMBERS),
}


@pytest.mark.parametrize("case", TAKEN | BYTES)
def test_pixels_are_taken_as(case: str) -> None:
    found = as_trained((TAKEN | BYTES)[case], PIXELS, exact=True)
    np.testing.assert_array_equal(found, X if case in BYTES else SCALED, strict=True)


@pytest.mark.parametrize("case", REFUSED)
def test_pixels_are_refused_as(case: str) -> None:
    data, sentence = REFUSED[case]
    with pytest.raises(UserError) as caught:
        as_trained(data, PIXELS, exact=True)
    assert str(caught.value) == sentence


def test_a_table_is_scaled_as_it_was_for_training() -> None:
    right = np.array([[0.0, 4.0], [-2.0, 0.0]], np.float32)
    rows = [[2.0, 2.0], [1.0, 1.0]]
    other_order = pd.DataFrame([[2, 7, 2], [1, 7, 1]], columns=["hue", "more", "ash"])
    for data in (rows, np.array(rows, int), pd.DataFrame(rows), other_order):
        np.testing.assert_array_equal(as_trained(data, WINES, exact=True), right, strict=True)
    far = [[2.0, 1.0], [2.0 + 0.5 * 512, 1.0]]
    assert as_trained(far, WINES, exact=False).max() == 512
    for data, sentence in {
        "far": (
            far,
            "Example 1 has the value 258, which is too far from what the model was trained on.",
        ),
        "nan": ([[1.0, np.nan]], "Example 0 has the value nan, which is not finite."),
        "shape": ([[1.0]], "The input has the shape (1, 1), but must be (n, 2), also if n is 1."),
    }.values():
        with pytest.raises(UserError) as caught:
            as_trained(data, WINES, exact=True)
        assert str(caught.value) == sentence


LOAD = """
import json, sys, numpy as np
if sys.argv[1] == "after":
    import tensorflow
import mlflow
before = np.random.get_state()[1].tolist()
mlflow.set_tracking_uri("sqlite:///mlflow.db")
model = mlflow.pyfunc.load_model(sys.argv[2])
x = np.load("data/processed/x_test.npy")
raw = np.fromfile("data/raw/tiny/t10k-images-idx3-ubyte", np.uint8, offset=16).reshape(-1, 4, 5)
answers = [model.predict(data) for data in (x, x.astype(float), raw)]
answers += [np.concatenate([model.predict(row[None]) for row in data]) for data in (x, raw)]
assert all(np.array_equal(answers[0], answer) for answer in answers)
assert np.random.get_state()[1].tolist() == before
try:
    model.predict(x * 255)
except Exception as error:
    print(json.dumps([answers[0].tolist(), str(error)]))
"""


def expected(project: Project, x: Any) -> Any:
    """Return the probabilities of the trained softmax regression, by the oracle."""
    coarse, fine, _ = oracle.tables()
    with np.load(project / "models/weights.npz") as weights:
        _, logits = oracle.forward(np.rint(x * 255), [(weights["weight"], weights["bias"])])
    logits = np.rint(logits * 2.0**24)
    below = (logits.max(1, keepdims=True) - logits).astype(int)
    exps = np.rint(coarse[below >> 14] * fine[below % 2**14])
    return (exps / exps.sum(1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("name", ["logistic_regression", "mlp"])
def test_a_row_has_the_same_answer_alone_and_among_others(tmp_path: Path, name: str) -> None:
    determinism.enable(seed=0)
    from pipeline.learning import weights
    from pipeline.models import MODELS

    generator = np.random.default_rng(1)
    options = {"hidden": [33, 7]} if name == "mlp" else {}
    model = MODELS[name]((4, 5), 10, 0, **options)
    for variable in model.weights.values():
        variable.assign(generator.standard_normal(variable.shape))
    weights.save(model, tmp_path / "weights.npz")
    choices = {"name": name, "exact": True} | options
    (tmp_path / "model.json").write_text(json.dumps(choices), encoding="utf-8")
    (tmp_path / "dataset.json").write_text(PIXELS.text(), encoding="utf-8")
    served = Classifier(tmp_path)

    raw = generator.integers(0, 256, (700, 20)).astype(np.uint8)
    between = generator.random((700, 20))  # which are no bytes over 255
    answer, other = served.predict(raw), served.predict(between)
    assert np.array_equal(answer, served.predict(raw / 255))
    for start, stop in ((0, 1), (1, 3), (3, 516), (516, 700)):
        rows = slice(start, stop)
        assert np.array_equal(answer[rows], served.predict(raw[rows]))
        assert np.array_equal(other[rows], served.predict(between[rows]))
        both = served.predict(np.concatenate([raw[rows] / 255, between[:300]]))
        assert np.array_equal(both, np.concatenate([answer[rows], other[:300]]))


@pytest.mark.parametrize("tensorflow", [pytest.param("after", marks=pytest.mark.slow), "before"])
def test_a_model_is_loaded_after_or_before_tensorflow(reproduced: Project, tensorflow: str) -> None:
    (run,) = runs(reproduced)
    uri = f"runs:/{run.info.run_id}/model"
    # TensorFlow as it is imported by itself has other settings than the forks
    done = reproduced.run(sys.executable, "-c", LOAD, tensorflow, uri, COLD="1")
    answer, error = json.loads(done.stdout.splitlines()[-1])
    x = np.load(reproduced / "data/processed/x_test.npy")
    assert answer == expected(reproduced, x).tolist()
    with (reproduced / "metrics/mistakes.csv").open(encoding="utf-8") as file:
        mistakes = list(csv.DictReader(file))
    assert mistakes
    for one in mistakes:
        assert f"{answer[int(one['example'])][int(one['predicted'])]:.6f}" == one["probability"]
    assert error == f"Example 0 has the value {x[0, 0] * 255:g}, {BETWEEN}"


def ask(port: int, content: Any, kind: str = "application/json") -> tuple[int, Any]:
    """Ask the server; return the status and the predictions or what is wrong."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    address = f"http://127.0.0.1:{port}/invocations"
    request = urllib.request.Request(address, body, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)["predictions"]
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["message"]


ASKED = """\
python -c 'import json, numpy as np; x = np.load("data/processed/x_test.npy"); print(json.dumps({"inputs": x[:1].tolist()}))' |
curl -H 'Content-Type: application/json' -d @- http://127.0.0.1:5001/invocations
"""  # noqa: E501  # of docs/tracking.md


def test_the_model_is_served(reproduced: Project, port: int) -> None:
    (run,) = runs(reproduced)
    uri = f"runs:/{run.info.run_id}/model"
    command = ("mlflow", "models", "serve", "--env-manager", "local", "-m", uri)
    x = np.load(reproduced / "data/processed/x_test.npy")[:3]
    rows, images = x.tolist(), x.reshape(3, 4, 5).tolist()
    table = {"columns": [f"pixel {n}" for n in range(20)], "data": rows}
    first = f"{x[0, 0] * 255:g}"
    right = {
        "inputs": {"inputs": rows},
        "instances": {"instances": images},
        "a split table": {"dataframe_split": table},
        "a table of records": {"dataframe_records": [dict(enumerate(row)) for row in rows]},
    }
    wrong = {
        f"Example 0 has the value {first}, {BETWEEN}": {"inputs": (x * 255).tolist()},
        f"Example 0 has the value nan, {BETWEEN}": {"inputs": [[None] * 20]},
        f"Example 2 has the value nan, {BETWEEN}": {
            "dataframe_split": {"data": [*rows[:2], rows[2][:7]]}
        },
        f"The input has the shape (1, 2), {SHAPE}": {"inputs": [[0.5, 0.5]]},
        EMPTY: {"instances": []},
        NUMBERS: {"inputs": {"pixels": rows}},
    }
    with server(reproduced, port, *command):
        for sentence, content in wrong.items():
            assert ask(port, content) == (400, sentence)
        for case, content in right.items():
            code, answer = ask(port, content)
            assert code == 200, f"{case}: {answer}"
            assert answer == expected(reproduced, x).tolist(), case
        done = reproduced.run("bash", "-c", ASKED.replace("5001", str(port)))
        assert json.loads(done.stdout)["predictions"] == expected(reproduced, x[:1]).tolist()
        _, answer = ask(port, pd.DataFrame(x).to_csv(index=False).encode(), "text/csv")
        assert answer == expected(reproduced, x).tolist()
