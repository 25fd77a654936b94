"""Keeps the artifacts of a store in a file beside it, wherever the two are moved or copied to.

MLflow stores their absolute addresses and cannot change them. Its maintainers advise to edit the
tables, which is done here while the store is locked.
"""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

FOLDER = "mlruns"
ADDRESSES = {
    "experiments": "artifact_location",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
    "runs": "artifact_uri",
}


def beside(store: Path) -> str:
    """Return the address of the folder for the artifacts of a store."""
    return (store.parent / FOLDER).as_uri()


def mend(store: Path, location: str) -> None:
    """Give an experiment and its runs the addresses of the artifacts beside the store.

    A folder that somebody has chosen stays: it exists, and lies in no project of this kind. If the
    artifacts of a run are still at their old address and not beside the store, that address stays.

    Parameters
    ----------
    store : Path
        The SQLite file.
    location : str
        Where the store says that the experiment's artifacts are.
    """
    here = beside(store)
    if location == here or not location.startswith("file:") or not location.endswith(f"/{FOLDER}"):
        return
    former = _path(location)
    if former.exists() and not (former.parent / "dvc.yaml").exists():
        return
    with closing(sqlite3.connect(store, timeout=60)) as database, database:
        lost = 0
        for table, column in ADDRESSES.items():
            found = database.execute(f"SELECT rowid, {column} FROM {table}").fetchall()  # noqa: S608
            for row, address in found:
                if f"{address}/".startswith(f"{location}/"):
                    moved = here + address.removeprefix(location)
                    there, back = _path(moved).exists(), _path(address).exists()
                    if there or not back or address == location:
                        database.execute(
                            f"UPDATE {table} SET {column} = ? WHERE rowid = ?",  # noqa: S608
                            (moved, row),
                        )
                    lost += table == "logged_models" and not there and not back
    if lost:
        print(
            f"MLflow's store has been moved to {store.parent}, but the artifacts of {lost} earlier "
            f"runs are neither there nor in {former}: if you have them, put them into "
            f"{store.parent / FOLDER}",
            file=sys.stderr,
        )


def _path(address: str) -> Path:
    return Path(url2pathname(urlsplit(address).path))
