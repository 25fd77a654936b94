"""Where raw files come from: each kind of source yields the uncompressed bytes of the wanted files.

Nothing a source sends is trusted: sizes and times are bounded.
"""

import re
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterator
from importlib.util import find_spec
from pathlib import Path

from pipeline.sources.archives import Files, gunzip, read, untar, unzip
from pipeline.sources.web import Limits, SourceError, fetched


def from_gzip(address: str, names: Collection[str], limits: Limits) -> Files:
    """Yield NAME from ADDRESS/NAME.gz, over http or https."""
    for name in names:
        yield name, gunzip(fetched(f"{address.rstrip('/')}/{name}.gz", limits))


def from_web(address: str, names: Collection[str], limits: Limits) -> Files:
    """Yield NAME from ADDRESS/NAME, over http or https."""
    for name in names:
        yield name, fetched(f"{address.rstrip('/')}/{name}", limits)


def from_folder(folder: str, names: Collection[str], limits: Limits) -> Files:
    """Yield FOLDER/NAME, or FOLDER/NAME.gz unpacked."""
    if not local(folder).is_dir():
        raise SourceError("no such folder")
    absent = []
    for name in names:
        plain, packed = local(folder) / name, local(folder) / f"{name}.gz"
        if plain.is_file():
            yield name, read(plain)
        elif packed.is_file():
            yield name, gunzip(read(packed))
        else:
            absent.append(name)
    if absent:
        raise SourceError(f"has no {', '.join(absent)}, plain or .gz")


def from_package(package: str, names: Collection[str], limits: Limits) -> Files:
    """Yield the files of an installed Python package, PACKAGE/FOLDER, which is not imported."""
    name, _, folder = package.partition("/")
    found = find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise SourceError("no such package is installed")
    yield from from_folder(f"{found.submodule_search_locations[0]}/{folder}", names, limits)


def from_npz(address: str, names: Collection[str], limits: Limits) -> Files:
    """Yield the arrays of an archive like Keras's mnist.npz, an address or a file, as IDX files."""
    yield from unzip(remote_or_local(address, limits), names, limits)


def from_npm(package: str, names: Collection[str], limits: Limits) -> Files:
    """Yield the files of an npm package, fetched by `npm pack` from the registry npm is set to."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--ignore-scripts", "--fetch-retries=0", "--", package]
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                timeout=limits.total_timeout,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
            )
        except FileNotFoundError:
            raise SourceError("npm is not installed") from None
        except subprocess.TimeoutExpired:
            raise SourceError(f"npm took longer than {limits.total_timeout:g} s") from None
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode or not archives:
            said = re.search(r"(?m)^npm (?:error|ERR!) (?!code |errno |syscall )(.+)", done.stderr)
            raise SourceError(f"npm pack: {said[1] if said else f'exit code {done.returncode}'}")
        yield from untar(archives[0], names, limits)


def remote_or_local(address: str, limits: Limits) -> Iterator[bytes]:
    """Yield the bytes of an http(s) address or of a local file."""
    if address.startswith(("http://", "https://")):
        return fetched(address, limits)
    path = local(address)
    if not path.is_file():
        raise SourceError("no such file")
    return read(path)


def local(path: str) -> Path:
    """Return a local path, in which ~ may stand for a home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise SourceError("there is no such home folder") from None


KINDS: dict[str, Callable[[str, Collection[str], Limits], Files]] = {
    "gzip": from_gzip,
    "web": from_web,
    "folder": from_folder,
    "npz": from_npz,
    "npm": from_npm,
    "package": from_package,
}
