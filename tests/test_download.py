"""The download stage: right files from the first source that has them, or the reasons why not."""

import gzip
import hashlib
import logging
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline import download as stage
from pipeline.errors import UserError
from pipeline.settings.compose import load
from pipeline.settings.inputs import Inputs
from tests import http_server
from tests.conftest import Project
from tests.http_server import Handler, files, packed, serving, status, whole
from tests.idx_files import FILES, write_split_files

TRAIN_X, TRAIN_Y, TEST_X, TEST_Y = FILES


def use(project: Project, *sources: dict[str, str]) -> dict[str, bytes]:
    """Set the sources of the data set; return the bytes of its right files."""
    path = project / "conf/dataset/tiny.yaml"
    conf = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(
        yaml.safe_dump(conf | {"sources": list(sources)}, sort_keys=False), encoding="utf-8"
    )
    return contents(good(project))


def good(project: Project) -> Path:
    """Return the folder that has the right files."""
    return project.folder.parent / f"{project.folder.name} source"


def contents(folder: Path) -> dict[str, bytes]:
    """Return all that a folder holds."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def raw(project: Project) -> dict[str, bytes]:
    """Return all that is in data/raw/tiny."""
    return contents(project / "data/raw/tiny") if (project / "data/raw/tiny").exists() else {}


def download(project: Project, *overrides: str, code: int = 0) -> tuple[list[str], str]:
    """Run the stage; return the lines that it logs and what it says on standard error."""
    done = project.stage("download", *overrides, code=code, NO_PROXY="*")
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout.splitlines(), done.stderr


class Lines(logging.Handler):
    """What is logged, by lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += record.getMessage().splitlines()


def fetch(project: Project, *, code: int = 0) -> tuple[list[str], str]:
    """Do what `download` does, in this process."""
    log, said, error = logging.getLogger("pipeline.download"), Lines(), ""
    with chdir(project.folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "*")
        patch.setattr(log, "level", logging.INFO)
        patch.setattr(log, "handlers", [said])
        try:
            stage.main(load(), Inputs("download"))
        except UserError as refused:
            error = f"download: {refused}\n"
    assert bool(error) == bool(code)
    return said.lines, error


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody listens."""
    with http_server.nobody() as address:
        yield address


def test_it_falls_through_to_a_good_source(project: Project, tmp_path: Path, nobody: str) -> None:
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    expected = contents(good(project))
    (wrong / TRAIN_X).write_bytes(expected[TRAIN_X][::-1])

    def answer(handler: Handler) -> None:
        if handler.path.startswith("/stalled"):
            handler.server.closing.wait()
        whole(b"<html>")(handler) if "page" in handler.path else status(503)(handler)

    with serving(answer) as server:
        failures = {
            f"gzip {nobody}": "connection refused",
            f"gzip {server.address}/gone": "HTTP status 503 Service Unavailable",
            f"gzip {server.address}/page": "not gzip data",
            f"gzip {server.address}/stalled": "stalled: no byte within 0.5 s",
            f"npz {server.address}/page.npz": "not an .npz archive: File is not a zip file",
            "npz no.npz": "no such file",
            "folder no folder": "no such folder",
            f"folder {'x' * 300}": f"[Errno 36] File name too long: '{'x' * 300}'",
            f"folder {wrong}": f"{TRAIN_X} has the SHA-256 "
            f"{hashlib.sha256(expected[TRAIN_X][::-1]).hexdigest()}, not "
            f"{hashlib.sha256(expected[TRAIN_X]).hexdigest()}\n"
            f"folder {wrong}: has no {', '.join(FILES[1:])}, plain or .gz",
        }
        sources = [dict([source.split(" ", 1)]) for source in failures]
        use(project, *sources, {"folder": str(good(project))}, {"gzip": f"{server.address}/late"})
        lines, errors = download(project, "download.read_timeout=0.5")
        assert not [path for path in server.asked if path.startswith("/late")]
    assert errors == ""
    said = "\n".join(f"{source}: {why}; trying the next source" for source, why in failures.items())
    assert lines == [
        *said.splitlines(),
        *(f"{name}: from folder {good(project)}" for name in FILES),
        "data/raw/tiny: all 4 files of tiny are there and right",
    ]
    assert raw(project) == expected


def test_the_final_error_lists_every_source(project: Project, nobody: str) -> None:
    with serving(status(404)) as server:
        use(project, {"gzip": nobody}, {"gzip": server.address}, {"folder": "no folder"})
        lines, errors = download(project, code=1)
    reasons = [
        f"gzip {nobody}: connection refused",
        f"gzip {server.address}: HTTP status 404 Not Found",
        "folder no folder: no such folder",
    ]
    assert lines == [f"{reason}; trying the next source" for reason in reasons]
    assert errors.splitlines() == [
        f"download: tiny: no source has {', '.join(FILES)}: put the files, plain or .gz, into "
        "data/raw/tiny by hand and run this again; unpacked, their SHA-256 must be those of "
        "conf/dataset/tiny.yaml",
        *(f"  {reason}" for reason in reasons),
    ]
    assert raw(project) == {}


def test_what_a_source_has_is_kept_when_it_fails(project: Project, nobody: str) -> None:
    expected = contents(good(project))
    with serving(files({f"{TRAIN_X}.gz": gzip.compress(expected[TRAIN_X])})) as server:
        use(project, {"gzip": server.address})
        _, errors = fetch(project, code=1)
        assert errors.startswith(
            f"download: tiny: no source has {', '.join(FILES[1:])}: put the files"
        )
        assert raw(project) == {TRAIN_X: expected[TRAIN_X]}
        use(project, {"gzip": nobody}, {"gzip": server.address}, {"folder": str(good(project))})
        server.asked.clear()
        fetch(project)
        assert server.asked == [f"/{name}.gz" for name in FILES[1:]]
    assert raw(project) == expected


def test_a_source_that_lacks_a_file_gives_the_others(project: Project, tmp_path: Path) -> None:
    expected = contents(good(project))
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in (TRAIN_Y, TEST_Y):
        (folder / name).write_bytes(expected[name])
    (folder / TEST_X).write_bytes(b"wrong")
    served = {f"{name}.gz": gzip.compress(expected[name]) for name in (TRAIN_X, TEST_X)}
    with serving(files(served)) as server:
        use(project, {"folder": str(folder)}, {"gzip": server.address})
        lines, _ = fetch(project)
        assert server.asked == [f"/{TRAIN_X}.gz", f"/{TEST_X}.gz"]
    assert lines[:4] == [
        f"{TRAIN_Y}: from folder {folder}",
        f"{TEST_Y}: from folder {folder}",
        f"folder {folder}: {TEST_X} has the SHA-256 {hashlib.sha256(b'wrong').hexdigest()}, "
        f"not {hashlib.sha256(expected[TEST_X]).hexdigest()}",
        f"folder {folder}: has no {TRAIN_X}, plain or .gz; trying the next source",
    ]
    assert raw(project) == expected


def test_each_file_from_a_source_of_another_kind(project: Project, tmp_path: Path) -> None:
    expected = contents(good(project))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / TEST_X).write_bytes(expected[TEST_X])
    (folder / f"{TEST_Y}.gz").write_bytes(gzip.compress(expected[TEST_Y]))
    np.savez(tmp_path / "labels.npz", y_train=np.frombuffer(expected[TRAIN_Y][8:], np.uint8))
    with serving(files({f"{TRAIN_X}.gz": gzip.compress(expected[TRAIN_X])})) as server:
        archive = str(tmp_path / "labels.npz")
        use(project, {"gzip": server.address}, {"npz": archive}, {"folder": str(folder)})
        lines, _ = fetch(project)
    assert lines == [
        f"{TRAIN_X}: from gzip {server.address}",
        f"gzip {server.address}: HTTP status 404 Not Found; trying the next source",
        f"{TRAIN_Y}: from npz {archive}",
        f"npz {archive}: the archive has no array x_test",
        f"npz {archive}: the archive has no array y_test; trying the next source",
        f"{TEST_X}: from folder {folder}",
        f"{TEST_Y}: from folder {folder}",
        "data/raw/tiny: all 4 files of tiny are there and right",
    ]
    assert raw(project) == expected


def test_only_what_is_not_there_or_not_right_is_fetched(project: Project) -> None:
    changes: dict[str, Callable[[Path], object]] = {
        "nothing": lambda path: None,
        "is not there": lambda path: path.unlink(),
        "has one wrong byte": lambda path: path.write_bytes(b"\1" + path.read_bytes()[1:]),
        "is cut off": lambda path: path.write_bytes(path.read_bytes()[:-1]),
        "is empty": lambda path: path.write_bytes(b""),
        "is a link to nothing": lambda path: (path.unlink(), path.symlink_to("nothing")),
        "is a link to another": lambda path: (path.unlink(), path.symlink_to(TRAIN_Y)),
    }
    if Path("/proc/self/mem").exists():  # a file whose first bytes cannot be read, even by root
        changes["cannot be read"] = lambda path: (path.unlink(), path.symlink_to("/proc/self/mem"))
    with serving(files(packed(good(project)))) as server:
        expected = use(project, {"gzip": server.address})
        fetch(project)
        assert server.asked == [f"/{name}.gz" for name in FILES]
        for what, change in changes.items():
            server.asked.clear()
            kept = (project / "data/raw/tiny" / TRAIN_Y).stat()
            change(project / "data/raw/tiny" / TEST_Y)
            problem = named_problem(project / "data/raw/tiny" / TEST_Y, expected[TEST_Y])
            lines, errors = fetch(project)
            fetched = [] if what == "nothing" else [TEST_Y]
            assert server.asked == [f"/{name}.gz" for name in fetched], what
            assert lines == [
                *(f"folder data/raw/tiny: {why}; trying the next source" for why in problem),
                *(f"{name}: from gzip {server.address}" for name in fetched),
                "data/raw/tiny: all 4 files of tiny are there and right",
            ]
            assert errors == ""
            assert raw(project) == expected
            after = (project / "data/raw/tiny" / TRAIN_Y).stat()
            assert (after.st_ino, after.st_mtime_ns) == (kept.st_ino, kept.st_mtime_ns)


def named_problem(path: Path, right: bytes) -> list[str]:
    """Return what the stage says of a file that it finds in its place."""
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError:
        return [f"{path.name} cannot be read: [Errno 5] Input/output error"]
    wrong, wanted = (hashlib.sha256(content).hexdigest() for content in (found, right))
    return [f"{path.name} has the SHA-256 {wrong}, not {wanted}"] if wrong != wanted else []


def test_a_wrong_file_stays_until_a_right_one_is_there(project: Project, nobody: str) -> None:
    expected = use(project, {"gzip": nobody})
    mine = project / "data/raw/tiny" / TEST_Y
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    _, errors = fetch(project, code=1)
    (problem,) = named_problem(mine, expected[TEST_Y])
    assert f"  folder data/raw/tiny: {problem}\n" in errors
    assert raw(project) == {TEST_Y: b"mine"}


def test_files_put_there_by_hand_need_no_source(project: Project, tmp_path: Path) -> None:
    with serving(status(404)) as server:
        expected = use(project, {"gzip": server.address})
        linked = tmp_path / "elsewhere"
        linked.write_bytes(expected[TEST_Y])
        (project / "data/raw/tiny").mkdir(parents=True)
        (project / "data/raw/tiny" / TRAIN_X).write_bytes(expected[TRAIN_X])
        (project / f"data/raw/tiny/{TRAIN_Y}.gz").write_bytes(gzip.compress(expected[TRAIN_Y]))
        (project / "data/raw" / TEST_X).write_bytes(expected[TEST_X])  # of an earlier version
        (project / "data/raw/tiny" / TEST_Y).symlink_to(linked)
        lines, errors = fetch(project)
        assert (server.asked, errors) == ([], "")
    assert lines == [
        f"{TRAIN_Y}: from folder data/raw/tiny",
        f"folder data/raw/tiny: has no {TEST_X}, plain or .gz; trying the next source",
        f"{TEST_X}: from folder data/raw",
        "data/raw/tiny: all 4 files of tiny are there and right",
        f"data/raw/tiny: {TRAIN_Y}.gz is not of the data set, but dvc.lock covers the folder: "
        "move it away",
    ]
    assert expected.items() <= raw(project).items()
    assert (project / "data/raw" / TEST_X).read_bytes() == expected[TEST_X]
    assert linked.read_bytes() == expected[TEST_Y]


def test_without_sources_what_is_missing_or_wrong_is_said_in_a_line(project: Project) -> None:
    conf = project / "conf/dataset/tiny.yaml"
    tree = yaml.safe_load(conf.read_text(encoding="utf-8"))
    del tree["sources"]
    conf.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    shutil.copytree(good(project), project / "data/raw/tiny")
    lines, _ = fetch(project)
    assert lines == ["data/raw/tiny: all 4 files of tiny are there and right"]
    (project / "data/raw/tiny" / TRAIN_X).unlink()
    (project / "data/raw/tiny" / TEST_Y).write_bytes(b"mine")
    lines, errors = fetch(project, code=1)
    assert (lines, errors) == (
        [],
        f"download: data/raw/tiny: {TRAIN_X} is missing; {TEST_Y} has other bytes: "
        "conf/dataset/tiny.yaml names no source, so put the files whose SHA-256 it has there by "
        "hand\n",
    )
    assert raw(project)[TEST_Y] == b"mine"


@pytest.mark.slow
def test_another_data_set_leaves_the_files_of_the_first(project: Project, tmp_path: Path) -> None:
    """Both were put there by hand, and no source has them."""
    other = tmp_path / "other"
    first, second = use(project), write_split_files(other, seed=1)
    conf = yaml.safe_load((project / "conf/dataset/tiny.yaml").read_text(encoding="utf-8"))
    text = yaml.safe_dump(conf | {"name": "other", "files": second})
    (project / "conf/dataset/other.yaml").write_text(text, encoding="utf-8")
    shutil.copytree(good(project), project / "data/raw/tiny")
    shutil.copytree(other, project / "data/raw/other")
    project.commit()
    assert project.repro("preprocess") == ["download", "preprocess"]
    for name in ("other", "tiny"):
        done = project.run("dvc", "exp", "run", "-S", f"dataset={name}", "preprocess")
        assert f"data/raw/{name}: all 4 files of {name} are there and right" in done.stdout
        assert contents(project / "data/raw/tiny") == first
        assert contents(project / "data/raw/other") == contents(other)
    done = project.run("dvc", "exp", "run", "--temp", "-S", "dataset=other", "preprocess")
    assert f"{TEST_Y}: from folder {project / 'data/raw/other'}" in done.stdout


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("data/raw", "Not a directory"),
        ("data/raw/tiny", "File exists"),
        (f"data/raw/tiny/{TRAIN_X}", "Is a directory"),
    ],
)
def test_a_place_that_cannot_be_written(project: Project, name: str, why: str) -> None:
    (project / name).parent.mkdir(parents=True)
    if name.endswith(TRAIN_X):
        (project / name).mkdir()
    else:
        (project / name).write_text("a file", encoding="utf-8")
    _, errors = download(project, code=1)
    assert errors == f"download: data/raw/tiny/{TRAIN_X}: cannot be written: {why}\n"
    assert not list(project.folder.rglob("*.part"))


@pytest.mark.parametrize(
    ("sent", "code", "message"),
    [(signal.SIGINT, 130, "download: interrupted\n"), (signal.SIGTERM, 143, "")],
)
def test_stopping_it_leaves_nothing_behind(
    project: Project, sent: signal.Signals, code: int, message: str
) -> None:
    some = gzip.compress(np.random.default_rng(0).bytes(100_000))[:-20]

    def answer(handler: Handler) -> None:
        handler.send(b"HTTP/1.1 200 OK\r\n\r\n", some)
        handler.server.closing.wait()

    def written() -> int:
        return sum(path.stat().st_size for path in project.folder.glob("data/raw/tiny/.*.part"))

    with serving(answer) as server:
        use(project, {"gzip": server.address})
        command = [sys.executable, "-m", "pipeline.download"]
        environment = project.environment(NO_PROXY="*")
        with subprocess.Popen(
            command, cwd=project.folder, env=environment, stderr=subprocess.PIPE, encoding="utf-8"
        ) as process:
            deadline = time.monotonic() + 60
            while not written():  # it is being made before
                assert time.monotonic() < deadline
                time.sleep(0.02)
            started = time.monotonic()
            os.kill(process.pid, sent)
            _, errors = process.communicate(timeout=60)
            assert time.monotonic() - started < 5
    assert (process.returncode, errors) == (code, message)
    assert raw(project) == {}


def test_real_mnist(mnist: Path) -> None:
    conf = yaml.safe_load((mnist / "conf/dataset/mnist.yaml").read_text(encoding="utf-8"))
    found = contents(mnist / "data/raw/mnist")
    assert {name: hashlib.sha256(data).hexdigest() for name, data in found.items()} == conf["files"]
    assert sorted(path.name for path in (mnist / "data/processed").iterdir()) == [
        "dataset.json",
        "x_test.npy",
        "x_train.npy",
        "y_test.npy",
        "y_train.npy",
    ]
    for split, prefix, rows in (("train", "train", 60_000), ("test", "t10k", 10_000)):
        x = np.load(mnist / f"data/processed/x_{split}.npy")
        y = np.load(mnist / f"data/processed/y_{split}.npy")
        pixels, labels = found[f"{prefix}-images-idx3-ubyte"], found[f"{prefix}-labels-idx1-ubyte"]
        assert struct.unpack(">4I", pixels[:16]) == (2051, rows, 28, 28)
        assert struct.unpack(">2I", labels[:8]) == (2049, rows)
        expected = np.frombuffer(pixels, np.uint8, offset=16).reshape(rows, 784)
        assert x.dtype == np.float32
        assert x.shape == (rows, 784)
        assert (x.min(), x.max()) == (0, 1)
        np.testing.assert_array_equal(x, expected.astype(np.float32) / np.float32(255))
        np.testing.assert_array_equal(y, np.frombuffer(labels, np.uint8, offset=8), strict=True)
        assert set(y.tolist()) == set(range(len(conf["classes"])))
