"""A project's outs, watched: under its final name each is absent or has the right bytes."""

import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

POLL_SECONDS = 0.002


def of_stages(folder: Path) -> dict[str, dict[str, str]]:
    """Return the MD5 of each file that a stage of dvc.lock writes; those in a folder are there."""
    stages = yaml.safe_load((folder / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    return {
        name: {file: md5 for out in stage["outs"] for file, md5 in _files(folder, out)}
        for name, stage in stages.items()
    }


def _files(folder: Path, out: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "nfiles" not in out:
        yield out["path"], out["md5"]
        return
    for path in sorted((folder / out["path"]).iterdir()):
        yield str(path.relative_to(folder)), _md5(path)


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


class Watch:
    """A thread that reads every out as soon as it changes; `wrong` lists those with other bytes."""

    def __init__(self, folder: Path, expected: dict[str, str]):
        self.folder, self.expected = folder, expected
        self.wrong: list[str] = []
        self.seen = 0  # new files that were read
        self._stop = threading.Event()
        self._known: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._look()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._look()
            time.sleep(POLL_SECONDS)

    def _look(self) -> None:
        for name, expected in self.expected.items():
            try:
                stat = (self.folder / name).stat()
                identity = stat.st_ino, stat.st_size, stat.st_mtime_ns
                if self._known.get(name) == identity:
                    continue
                found = _md5(self.folder / name)
            except FileNotFoundError:
                self._known.pop(name, None)
                continue
            self._known[name] = identity
            self.seen += 1
            if found != expected:
                self.wrong.append(f"{name} ({stat.st_size} bytes)")
