"""A store in an SQLite file: made by one process at a time, and there whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.files import replacing

SQLITE = "sqlite:///"


@contextmanager
def made(uri: str) -> Iterator[None]:
    """Make the file, unless it is there or the store is none; keep others from it for the block.

    MLflow makes its tables one by one, and cannot go on when it was killed among them.
    """
    if not uri.startswith(SQLITE):
        yield
        return
    from filelock import FileLock

    path = Path(uri.removeprefix(SQLITE))
    with FileLock(f"{path}.lock"):
        if not path.exists():
            _make(path)
        yield


def _make(path: Path) -> None:
    from mlflow import MlflowClient

    with TemporaryDirectory() as folder:
        complete = Path(folder, path.name)
        MlflowClient(f"{SQLITE}{complete}").get_experiment("0")
        with replacing(path) as temporary:
            shutil.copyfile(complete, temporary)
