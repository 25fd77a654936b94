"""Repair: mends files that DVC left half written when it was killed, and could not read now.

DVC writes two files in place: dvc.lock, and the list of the processes that read and write files. A
kill or a full disk may leave half of one, which is an error in DVC's next call. `make repro` begins
with this command.
"""

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import yaml
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from voluptuous import Invalid

from pipeline.errors import UserError

LOCK = Path("dvc.lock")
TMP = Path(".dvc/tmp")
HOLDERS = TMP / "rwlock"


def main(given: Sequence[str] = ()) -> int:
    """Restore or remove a damaged dvc.lock, and remove a list of processes that have all ended."""
    if given:
        raise UserError(f"{given[0]} is not known: it takes no arguments")
    with ExitStack() as stack:
        for name in ("lock", "rwlock.lock"):
            if (TMP / name).exists():
                stack.enter_context(_held(TMP / name))
        if HOLDERS.exists() and not _are_alive(HOLDERS.read_text(encoding="utf-8")):
            HOLDERS.unlink()
            print(f"{HOLDERS}: removed: it was of a DVC that has died")
        if LOCK.exists() and not _is_whole(LOCK.read_bytes()):
            done = subprocess.run(
                ["git", "show", f"HEAD:./{LOCK}"], capture_output=True, check=False
            )
            if done.returncode:
                LOCK.unlink()
            else:
                LOCK.write_bytes(done.stdout)
            print(f"{LOCK}: {'removed' if done.returncode else 'restored'}: half of it was missing")
    return 0


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold the lock of a DVC that runs, so that no other begins; exit if one is running."""
    with path.open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            sys.exit(f"repair: {path}: DVC is running: wait for its end, or stop it")
        yield


def _are_alive(text: str) -> bool:
    """Tell whether the list of processes is empty, or names a DVC that is running."""
    try:
        holders = json.loads(text)
    except ValueError:
        return False
    readers = [one for several in holders.get("read", {}).values() for one in several]
    pids = {one["pid"] for one in [*readers, *holders.get("write", {}).values()]}
    running = psutil.process_iter(["cmdline"])
    dvc = {one.pid for one in running if "dvc" in [Path(w).name for w in one.info["cmdline"] or ()]}
    return not pids or bool(pids & dvc)


def _is_whole(content: bytes) -> bool:
    """Tell whether DVC would read a dvc.lock: a part of it may be valid YAML too."""
    try:
        return "stages" in COMPILED_LOCKFILE_SCHEMA(yaml.load(content, yaml.CSafeLoader))
    except (yaml.YAMLError, Invalid, UnicodeDecodeError):
        return False


if __name__ == "__main__":
    if sys.argv[1:]:
        from pipeline.cli import arguments  # a tenth of a second, which `make repro` does not need

        arguments.run(main)
    sys.exit(main())
