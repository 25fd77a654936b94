"""Archives, read as streams: names in them are never used as paths, and no pickle is loaded."""

import io
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from pipeline.data import idx, npy
from pipeline.sources.web import CHUNK, Limits, SourceError, explained

NPZ_ARRAYS = {  # the array of Keras's mnist.npz that each raw file is
    "train-images-idx3-ubyte": "x_train",
    "train-labels-idx1-ubyte": "y_train",
    "t10k-images-idx3-ubyte": "x_test",
    "t10k-labels-idx1-ubyte": "y_test",
}
Files = Iterator[tuple[str, Iterable[bytes]]]


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
    """Unpack gzip data, at most `CHUNK` bytes at a time, however well they are compressed.

    All its members are one file. Other bytes behind them are ignored.
    """
    unpacker, waiting = zlib.decompressobj(wbits=31), b""
    try:
        for chunk in packed:
            waiting += chunk
            while waiting:
                if unpacker.eof:
                    if len(waiting) < len(idx.GZIP):
                        break
                    if not waiting.startswith(idx.GZIP):
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
    """Pass data on; raise a SourceError once it is larger than `limits` allow, `times` over."""
    total = 0
    for chunk in data:
        total += len(chunk)
        if total > limits.max_bytes * times:
            raise SourceError(f"{what} is larger than {limits.max_bytes * times:,} bytes")
        yield chunk


def untar(archive: Path, names: Collection[str], limits: Limits) -> Files:
    """Yield the regular members of a .tgz that have one of the names; unpack none by its name."""
    wanted = set(names)
    with tempfile.TemporaryFile() as unpacked:
        for chunk in bounded(gunzip(read(archive)), limits, "the archive", times=limits.files):
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


def unzip(packed: Iterable[bytes], names: Collection[str], limits: Limits) -> Files:
    """Yield the arrays of an .npz archive as IDX files."""
    with tempfile.TemporaryFile() as archive:
        for chunk in bounded(packed, limits, "the archive", times=limits.files):
            archive.write(chunk)
        archive.seek(0)
        with explained("not an .npz archive"), zipfile.ZipFile(archive) as members:
            for name in names:
                if name not in NPZ_ARRAYS:
                    raise SourceError(f"{name} is none of {', '.join(NPZ_ARRAYS)}")
                yield name, _idx_bytes(members, NPZ_ARRAYS[name])


def _idx_bytes(members: zipfile.ZipFile, name: str) -> Iterator[bytes]:
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
