"""Files that appear whole or not at all, and their hashes."""

import csv
import errno
import fcntl
import glob
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from threading import Lock

from pipeline.errors import UserError, first_line

FULL = (errno.ENOSPC, errno.EDQUOT)
HASHING = Lock()  # if two threads ask for the hash of a file, one computes it
UNWRITABLE = (*FULL, errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; move that file into place when the block ends well.

    The temporary file is locked while it is written. One that is not locked was left by a process
    that was killed; whoever writes the same file next removes it.

    Raises
    ------
    UserError
        If the folder or the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_over(path)
        lock, temporary = _locked_temporary(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
        os.close(lock)


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Write rows, the first of which is the header; floats have all their digits."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def cannot_write(path: Path, error: OSError) -> UserError:
    """Return the error that says which file could not be written, and why."""
    full = error.errno in FULL
    reason = "the disk is full: make room and run this again" if full else error.strerror or error
    return UserError(f"{shown(path)}: cannot be written: {reason}")


def _locked_temporary(path: Path) -> tuple[int, Path]:
    while True:
        lock, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        with suppress(OSError):  # a file system without locks, on which nothing is removed either
            fcntl.flock(lock, fcntl.LOCK_EX)
        if Path(name).exists():  # else another process has removed it before it was locked
            return lock, Path(name)
        os.close(lock)


def _remove_left_over(path: Path) -> None:
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with suppress(OSError), left.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()


def shown(path: Path) -> str:
    """Return a path as a user would type it: relative to the current folder if it is inside."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def require(path: Path, stage: str) -> Path:
    """Return `path`.

    Raises
    ------
    UserError
        If there is no such file; it names the stage that makes it.
    """
    if not path.is_file():
        raise UserError(f"{shown(path)}: not found: run `dvc repro {stage}`, which makes it")
    return path


@contextmanager
def reading(path: Path, stage: str) -> Iterator[Path]:
    """Yield `path`, a file that a stage makes, for a block that does nothing but read it.

    Raises
    ------
    UserError
        If there is no such file, or the block raises any exception, as NumPy, zipfile and other
        readers raise many kinds for a damaged file.
    """
    require(path, stage)
    try:
        yield path
    except UserError:
        raise
    except Exception as error:
        why = first_line(error)
        raise UserError(f"{shown(path)}: cannot be read ({why}): run `dvc repro {stage}`") from None


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_once(path: Path) -> str:
    """Return `sha256(path)`, which is computed again only if the file has changed since."""
    stat = path.stat()
    with HASHING:
        return _sha256_of(path, stat.st_ino, stat.st_size, stat.st_mtime_ns)


@lru_cache
def _sha256_of(path: Path, *_identity: int) -> str:
    return sha256(path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
