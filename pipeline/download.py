"""Download: the raw files of a data set, from the first source that has the right bytes.

A data set without sources is one whose files somebody has put there by hand: they are checked.
"""

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from tqdm import tqdm

from pipeline.cli.app import run
from pipeline.errors import UserError
from pipeline.files import replacing, sha256
from pipeline.settings.dataset import Source
from pipeline.settings.inputs import Inputs
from pipeline.settings.schema import Config
from pipeline.sources.archives import bounded
from pipeline.sources.kinds import KINDS
from pipeline.sources.web import Limits, SourceError, UnreachableError

log = logging.getLogger(__name__)


def main(config: Config, _: Inputs) -> None:
    """Fetch the files that are missing or wrong, from one source after the other."""
    dataset, folder = config.dataset, config.paths.raw
    seconds, hashes = dict(config.download), dataset.files
    limits = Limits(**seconds, max_bytes=dataset.max_bytes, files=len(hashes))
    missing = wrong(folder, hashes)
    failures = []
    for source in (*nearby(folder, missing), *dataset.sources):
        if not missing:
            break
        problems = [f"{source}: {why}" for why in fetch(source, missing, folder, limits)]
        if problems and dataset.sources:
            log.warning("%s; trying the next source", "\n".join(problems))
        failures += [f"  {problem}" for problem in problems]
        missing = wrong(folder, missing)
    if missing and not dataset.sources:
        what = {name: "has other bytes" for name in missing if (folder / name).exists()}
        said = "; ".join(f"{name} {what.get(name, 'is missing')}" for name in missing)
        raise UserError(
            f"{folder}: {said}: conf/dataset/{dataset.name}.yaml names no source, so put the files "
            "whose SHA-256 it has there by hand"
        )
    if missing:
        line = (
            f"{dataset.name}: no source has {', '.join(missing)}: put the files, plain or .gz, "
            f"into {folder} by hand and run this again; unpacked, their SHA-256 must be those of "
            f"conf/dataset/{dataset.name}.yaml"
        )
        raise UserError("\n".join([line, *failures]))
    whole = f"all {len(hashes)} files of {dataset.name} are"
    log.info("%s: %s there and right", folder, "its file is" if len(hashes) == 1 else whole)
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    if others := sorted({*names} - {*hashes}):
        line = "%s: %s is not of the data set, but dvc.lock covers the folder: move it away"
        log.warning(line, folder, others[0])


def nearby(folder: Path, hashes: dict[str, str]) -> Iterator[Source]:
    """Yield the places on this disk that are looked at before any source.

    They are the folder itself, which may hold the files as .gz; that of the workspace, when DVC
    runs an experiment in a copy of it; and the folder above, where earlier versions kept the files.
    """
    if any((folder / f"{name}{end}").is_file() for name in hashes for end in ("", ".gz")):
        yield Source(folder=str(folder))
    for place in (Path(os.environ.get("DVC_ROOT", "")) / folder, folder.parent):
        if any(is_right(place / name, digest) for name, digest in hashes.items()):
            yield Source(folder=str(place))


def wrong(folder: Path, hashes: dict[str, str]) -> dict[str, str]:
    """Return the names and SHA-256 of the files that the folder lacks or has with other bytes."""
    return {name: digest for name, digest in hashes.items() if not is_right(folder / name, digest)}


def is_right(path: Path, digest: str) -> bool:
    """Tell whether a file is there with that SHA-256."""
    try:
        return path.is_file() and sha256(path) == digest
    except OSError:  # it cannot be read: it is replaced
        return False


def fetch(source: Source, hashes: dict[str, str], folder: Path, limits: Limits) -> list[str]:
    """Save the files that one source has with the right SHA-256; return why it lacks the others."""
    kind, where = source.named
    problems = []
    try:
        for name, data in KINDS[kind](where, hashes, limits):
            try:
                save(data, folder / name, hashes[name], limits)
                log.info("%s: from %s", name, source)
            except UnreachableError:
                raise
            except SourceError as error:
                problems.append(str(error))
    except (SourceError, OSError) as error:
        problems.append(str(error))
    return list(dict.fromkeys(problems))  # a server gives the same answer for each


def save(data: Iterable[bytes], path: Path, digest: str, limits: Limits) -> None:
    """Write the bytes under a temporary name, check their SHA-256, move the file into place.

    Raises
    ------
    SourceError
        If they are too many, or not the right ones; then nothing is left behind.
    """
    found = hashlib.sha256()
    with (
        replacing(path) as temporary,
        temporary.open("wb") as file,
        tqdm(desc=path.name, unit="B", unit_scale=True, leave=False, disable=None) as bar,
    ):
        for chunk in bounded(data, limits, path.name):
            file.write(chunk)
            found.update(chunk)
            bar.update(len(chunk))
        if found.hexdigest() != digest:
            raise SourceError(f"{path.name} has the SHA-256 {found.hexdigest()}, not {digest}")


if __name__ == "__main__":
    run(main)
