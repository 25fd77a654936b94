"""Repair: what DVC left half written when it was killed, and would stop at now.

DVC writes two files in place: dvc.lock, and the list of the processes that read and write files. A
kill or a full disk may leave half of one, which is an error in DVC's next call. `make repro` begins
with this.
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
    """Restore dvc.lock from git, or remove it, and remove the list of holders, if they are bad."""
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
    """Keep DVC out, as another DVC would."""
    with path.open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            sys.exit(f"repair: {path}: DVC is running")
        yield


def _are_alive(text: str) -> bool:
    """Tell whether the list of holders is empty, or one of them is a DVC that runs."""
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
    """Tell whether DVC would read it: it is valid YAML up to many a place where it was cut off."""
    try:
        return "stages" in COMPILED_LOCKFILE_SCHEMA(yaml.load(content, yaml.CSafeLoader))
    except (yaml.YAMLError, Invalid, UnicodeDecodeError):
        return False


if __name__ == "__main__":
    if sys.argv[1:]:
        from pipeline.cli import arguments  # a tenth of a second, which `make repro` does not need

        arguments.run(main)
    sys.exit(main())
