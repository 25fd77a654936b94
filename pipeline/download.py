"""Download: the four raw IDX files, from the first source that has the right bytes."""

import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from pipeline.app import run
from pipeline.config import Config, Source
from pipeline.errors import UserError
from pipeline.files import replacing, sha256
from pipeline.sources import KINDS, bounded
from pipeline.web import Limits, SourceError, UnreachableError

log = logging.getLogger(__name__)


def main(config: Config) -> None:
    """Fetch what is not there or not right, going from source to source."""
    dataset, folder = config.dataset, config.paths.raw
    limits = Limits(**dict(config.download), max_bytes=dataset.max_bytes)
    hashes = {str(name): digest for name, digest in dataset.files.items()}
    missing = [name for name in hashes if not is_right(folder / name, hashes[name])]
    failures = []
    for source in dataset.sources:
        if not missing:
            break
        try:
            fetch(source, missing, hashes, folder, limits)
        except (SourceError, OSError) as error:
            failures.append(f"  {label(source)}: {error}")
            log.warning("%s: %s; trying the next source", label(source), error)
        missing = [name for name in missing if not is_right(folder / name, hashes[name])]
    if missing:
        raise UserError(
            f"{dataset.name}: no source has {', '.join(missing)}:\n"
            + "\n".join(failures)
            + f"\nPut the uncompressed files into {folder} by hand and run this again; "
            f"their SHA-256 must be those of conf/dataset/{dataset.name}.yaml."
        )
    log.info("%s: all %d files of %s are there and right", folder, len(hashes), dataset.name)


def label(source: Source) -> str:
    """Return the kind of a source and where it points."""
    ((kind, where),) = source.model_dump(exclude_unset=True).items()
    return f"{kind} {where}"


def is_right(path: Path, digest: str) -> bool:
    """Tell whether a file is there with that SHA-256."""
    try:
        return path.is_file() and sha256(path) == digest
    except OSError:  # it cannot be read: it is replaced
        return False


def fetch(
    source: Source, names: list[str], hashes: dict[str, str], folder: Path, limits: Limits
) -> None:
    """Save the named files from one source, each only if its bytes are right.

    Raises
    ------
    SourceError
        If there is one that the source does not have, or not with the right SHA-256: the first.
    """
    ((kind, where),) = source.model_dump(exclude_unset=True).items()
    failure = None
    for name, data in KINDS[kind](where, names, limits):
        try:
            save(data, folder / name, hashes[name], limits)
            log.info("%s: from %s", name, label(source))
        except UnreachableError:
            raise
        except SourceError as error:
            failure = failure or error
    if failure:
        raise failure


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
