"""Any bytes as input: an answer or one line, within the memory that the size of the file allows.

`make fuzz` tries many more than `make test`.
"""

import io
import os
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.data import arrays, description, idx
from pipeline.data.readers import idx as reader
from pipeline.errors import UserError
from pipeline.learning import determinism, weights
from pipeline.settings.dataset import Dataset
from tests.idx_files import FILES

EXAMPLES = int(os.environ.get("FUZZ", "200"))
FUZZ = settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES <= 1000,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
MEMORY = 10_000_000  # bytes that reading may take beyond what it returns
CLASSES = 3
DATASET = Dataset(
    name="tiny",
    reader="idx",
    classes=list("abc"),
    shape=[5],
    split="files",
    scale="bytes",
    max_bytes=1000,
    files=dict.fromkeys(FILES, "0" * 64),
)
pytestmark = [
    pytest.mark.timeout(0 if EXAMPLES > 1000 else 900),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # NumPy on a header like Python 2's
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@contextmanager
def little_memory(allowed: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < allowed + MEMORY
    finally:
        tracemalloc.stop()


def answer(function: Callable[[], Any], allowed: int) -> Any:
    """Return what a function returns, None if it raises a UserError of one line."""
    with little_memory(allowed):
        try:
            return function()
        except UserError as error:
            lines = str(error).splitlines()
    assert len(lines) == 1
    return None


# What is done to bytes

changes = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4)
cuts = st.sampled_from([None] * 4 + [-1, -7, 3, 8, 64, 100])
extra = st.one_of(st.just(b""), st.just(b""), st.binary(max_size=5))


def damaged(content: bytes, places: list[tuple[int, int]], cut: int | None, more: bytes) -> bytes:
    """Return content with some bytes changed, its end cut off, or something appended."""
    changed = bytearray(content)
    for position, value in places:
        changed[position % len(content)] = value
    return bytes(changed[:cut]) + more


def damage(contents: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.builds(damaged, contents, changes, cuts, extra)


# IDX

sizes = st.integers(1, 4)
words = st.one_of(st.integers(0, 9), st.integers(0, 2**32 - 1))
shapes = st.lists(sizes, min_size=1, max_size=4)
whole = st.builds(
    lambda shape, values: idx.header(tuple(shape)) + (values * prod(shape))[: prod(shape)],
    shapes,
    st.binary(min_size=1, max_size=9),
)
declared = st.builds(
    lambda shape, values: idx.header(tuple(shape)) + values,
    st.lists(words, max_size=6),
    st.binary(max_size=40),
)
any_idx = st.one_of(whole, damage(whole), declared, st.binary(max_size=40))


def values_of(content: bytes) -> np.ndarray | None:
    """Return what whole content holds, by NumPy; None for anything else."""
    if len(content) < 4 or content[:3] != b"\0\0\x08" or not 1 <= content[3] <= 4:
        return None
    shape = np.frombuffer(content[4 : 4 + 4 * content[3]].ljust(4 * content[3], b"\0"), ">u4")
    values = np.frombuffer(content[4 + 4 * content[3] :], np.uint8)
    size = prod(int(n) for n in shape)
    return values.reshape(shape) if 0 < size == len(values) else None


def expected(images: bytes, labels: bytes) -> tuple[np.ndarray, np.ndarray] | None:
    """Return x and y as they should be; None where the input is wrong."""
    x, y = values_of(images), values_of(labels)
    if x is None or y is None or x.ndim < 2 or y.ndim != 1 or len(x) != len(y):
        return None
    return (x.reshape(len(x), -1), y) if y.max() < CLASSES else None


@FUZZ
@given(images=any_idx, labels=any_idx, right=st.booleans())
def test_preprocess(folder: Path, images: bytes, labels: bytes, right: bool) -> None:
    if right and (found := values_of(images)) is not None:  # labels that fit more often than not
        labels = idx.header((len(found),)) + bytes(n % 3 for n in range(len(found)))
    for name, content in zip(FILES[:2], (images, labels), strict=True):
        (folder / name).write_bytes(content)

    def run() -> tuple[np.ndarray, np.ndarray]:
        source = reader.read(folder, DATASET, train=FILES[:2])["train"]
        return np.concatenate([rows for _, rows in source.flat()]), source.labels

    found, right_answer = answer(run, 10 * len(images) + len(labels)), expected(images, labels)
    assert (found is None) == (right_answer is None)
    for one, other in zip(found or (), right_answer or (), strict=True):
        np.testing.assert_array_equal(one, other, strict=True)


# Arrays that a stage reads

X = np.linspace(0, 1, 60, dtype=np.float32).reshape(12, 5)
Y = (np.arange(12) % CLASSES).astype(np.uint8)
dtypes = st.sampled_from(["<f4", ">f4", "<f8", "<f2", "|u1", "|b1", "|O", "<U3", "|V4", "f4,i4"])
any_arrays = st.builds(
    lambda dtype, shape, order: np.zeros(tuple(shape), dtype, order),
    dtypes,
    st.lists(st.integers(0, 12), max_size=3),
    st.sampled_from("CF"),
)
headers = st.builds(
    lambda descr, order, shape: f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}",
    st.sampled_from(["'<f4'", "'|u1'", "'|O'", "[('a', '<f4')]", "'<f4", "3", "'x'", "'<i99'"]),
    st.sampled_from(["True", "False", "None", "(("]),
    st.one_of(
        st.sampled_from(
            ["(12, 5)", "(12,)", "()", "(-1, 5)", "(10**12,)", "((1,),)", "12", "[12]"]
        ),
        st.lists(st.integers(-1, 2**64), max_size=4).map(lambda shape: str(tuple(shape))),
    ),
)


def npy(array: np.ndarray) -> bytes:
    """Return an array as a .npy file, pickled objects and all."""
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def with_header(version: int, header: str, values: bytes) -> bytes:
    size = struct.pack("<H" if version == 1 else "<I", len(header) + 1)
    return b"\x93NUMPY" + bytes([version, 0]) + size + header.encode() + b"\n" + values


any_npy = st.one_of(
    damage(st.sampled_from([npy(X), npy(Y)])),
    damage(any_arrays.map(npy)),
    st.builds(with_header, st.integers(1, 4), headers, st.binary(max_size=300)),
    st.binary(max_size=40),
)


DESCRIBED = description.Description(
    name="tiny",
    shape=(5,),
    classes=list("abc"),
    features=None,
    scale=description.Scale(kind="bytes"),
    hashes={"dataset": description.digest(DATASET), "y_train": description.sha256_of(Y)},
)
GOOD_ARRAYS = {
    "x_train.npy": npy(X),
    "y_train.npy": npy(Y),
    "dataset.json": DESCRIBED.text().encode(),
}


@pytest.mark.parametrize("name", GOOD_ARRAYS)
@FUZZ
@given(data=st.data())
def test_processed_arrays(folder: Path, name: str, data: st.DataObject) -> None:
    any_json = damage(st.just(GOOD_ARRAYS["dataset.json"]))
    content = data.draw(any_npy if name.endswith("npy") else any_json)
    for one, right in GOOD_ARRAYS.items():
        (folder / one).write_bytes(content if one == name else right)
    found = answer(lambda: arrays.load(folder, "train", DATASET), len(content))
    if found:
        x, y = found
        assert x.dtype == np.float32
        assert x.ndim == 2
        np.testing.assert_array_equal(y, Y, strict=True)
        assert len(x) == len(y)
        assert x.sum() == x.sum() or np.isnan(np.asarray(x)).any()  # every byte can be read


# Weights

GOOD = {"weight": np.ones((5, 3), np.float32), "bias": np.zeros(3, np.float32)}


def npz(arrays: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return an archive of .npy files, given by their bytes."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", compression) as members:
        for name, content in arrays.items():
            members.writestr(f"{name}.npy", content)
    return archive.getvalue()


good_npz = st.just({name: npy(array) for name, array in GOOD.items()})
names = st.sampled_from(["weight", "bias", "weight_0", "../weight", ""])
any_npz = st.one_of(
    damage(good_npz.map(npz)),
    damage(good_npz.map(lambda arrays: npz(arrays, zipfile.ZIP_DEFLATED))),
    st.builds(
        lambda name, content: npz({n: npy(a) for n, a in GOOD.items()} | {name: content}),
        names,
        any_npy,
    ),
    st.dictionaries(names, any_npy, max_size=3).map(npz),
    any_npy,
)


@pytest.fixture(scope="module")
def model() -> Any:
    from pipeline.models import LogisticRegression

    determinism.enable(seed=0)  # other tests of this process may train
    return LogisticRegression((5,), 3, 0)


@FUZZ
@given(content=any_npz)
def test_weights(folder: Path, model: Any, content: bytes) -> None:
    path = folder / "weights.npz"
    path.write_bytes(content)
    for variable in model.weights.values():
        variable.assign(np.full(variable.shape, np.nan, np.float32))
    answer(lambda: weights.restore(model, path), 2 * len(content))
    values = [variable.numpy() for variable in model.weights.values()]
    assert all(np.isfinite(array).all() for array in values) or all(
        np.isnan(array).all() for array in values
    )


def test_an_array_that_is_larger_than_its_file(folder: Path, model: Any) -> None:
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000)}"
    huge = with_header(1, header, b"")
    (folder / "weights.npz").write_bytes(npz({"weight": huge, "bias": npy(GOOD["bias"])}))
    with little_memory(0), pytest.raises(UserError, match=r"holds weight \(1000000, 1000000\)"):
        weights.restore(model, folder / "weights.npz")
