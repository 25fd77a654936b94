"""Passwords in addresses reach the server, and no file, tag or line of output."""

import base64

import pytest

from pipeline.masking import masked
from tests.conftest import Project
from tests.http_server import Handler, serving

SHOWN = {
    "postgresql+psycopg2://me:secret@host/db": "postgresql+psycopg2://me:***@host/db",
    "http://me:s%40ecret@host:5000/x": "http://me:***@host:5000/x",
    "http://me:sec/ret@host": "http://me:***@host",
    "http://me:sec@ret@host/": "http://me:***@host/",
    "postgresql://host/db?user=me&password=secret&sslmode=off": (
        "postgresql://host/db?user=me&password=***&sslmode=off"
    ),
    "a://me:secret@x, 'b://you:secret@y'": "a://me:***@x, 'b://you:***@y'",
}
SAME = (
    "sqlite:////a b/mlflow.db",
    "http://host:5000/#/experiments/1",
    "http://host:8080/@scope/package",
    "postgresql://me@host/db",
    "postgresql://me:${oc.env:PASSWORD}@host/db",
)


@pytest.mark.parametrize("text", [*SHOWN, *SAME])
def test_a_password_alone_is_masked(text: str) -> None:
    assert masked(text) == SHOWN.get(text, text)
    assert masked(masked(text)) == masked(text)


def test_a_password_is_told_to_the_server_alone(reproduced: Project) -> None:
    said: list[str | None] = []

    def refuse(handler: Handler) -> None:
        said.append(handler.headers["Authorization"])
        handler.send(b"HTTP/1.0 403 No\r\nContent-Length: 0\r\n\r\n")

    with serving(refuse) as server:
        uri = server.address.replace("://", "://me:hunter2@") + "?token=hunter2"
        done = reproduced.stage(
            "train",
            *("-m", "seed=1", "train.epochs=1", "hydra/launcher=joblib", "tracking.timeout=1"),
            *(f"tracking.uri='{uri}'", "sweep.storage=postgresql://me:hunter2@host/db"),
            MLFLOW_HTTP_REQUEST_MAX_RETRIES="0",
        )
        reproduced.stage("evaluate", "tracking.timeout=1", MLFLOW_TRACKING_URI=uri)
    assert len(said) >= 3  # the sweep's recorder, the worker's and the stage's
    assert set(said) == {"Basic " + base64.b64encode(b"me:hunter2").decode()}
    assert "hunter2" not in done.stdout + done.stderr
    assert masked(uri) in done.stdout
    files = [path for path in (reproduced / "multirun").rglob("*") if path.is_file()]
    assert {"sweep.json", "trial.json", "multirun.yaml"} <= {path.name for path in files}
    assert [path for path in files if b"hunter2" in path.read_bytes()] == []
    again = reproduced.stage("train", "-m", "seed=1", "train.epochs=1", f"tracking.uri='{uri}'")
    assert "done before" in again.stdout
