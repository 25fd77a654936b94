"""Readers: each gives the values that were written, in pieces, or one line that says what to do."""

import bz2
import gzip
import io
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from pipeline.data.examples import Examples
from pipeline.data.readers import arrays, columns, folder, table
from pipeline.errors import UserError
from pipeline.files import sha256
from pipeline.readers import READERS, options_of
from pipeline.settings.dataset import Dataset
from tests.conftest import ROOT

RANDOM = np.random.default_rng(0)
NUMBERS = RANDOM.normal(size=(50, 3)) * 10.0 ** RANDOM.integers(-8, 8, (50, 3))
NAMES = np.array(["ant", "bee", "cat"])[np.arange(50) % 3]


def dataset(*classes: str, shape: tuple[int, ...] = (3,)) -> Dataset:
    return Dataset.model_construct(classes=list(classes), shape=list(shape))


INSECTS = dataset("ant", "bee", "cat")


def values(examples: Examples) -> np.ndarray:
    blocks = list(examples.blocks())
    assert all(block.shape[1:] == examples.shape for block in blocks)
    together = np.concatenate(blocks)
    rows = np.concatenate([rows for _, rows in examples.flat()])  # and once more
    np.testing.assert_array_equal(rows.reshape(together.shape), together)
    return together


def frame() -> pd.DataFrame:
    return pd.DataFrame(NUMBERS, columns=["a", "b", "c"]).assign(kind=NAMES)


def packed(text: str) -> dict[str, bytes]:
    return {
        "t.csv": text.encode(),
        "t.csv.gz": gzip.compress(text.encode()),
        "t.csv.bz2": bz2.compress(text.encode()),
    }


@pytest.mark.parametrize(
    "form", ["csv", "gz", "bz2", "semicolons", "tabs", "decimal commas", "mark", "parquet"]
)
def test_a_table_has_the_numbers_that_were_written(tmp_path: Path, form: str) -> None:
    text = frame().to_csv(index=False, float_format="%.17g")
    name, options = "t.csv", {}
    content = text.encode()
    if form in ("gz", "bz2"):
        name = f"t.csv.{form}"
        content = packed(text)[name]
    elif form in ("semicolons", "tabs"):
        options = {"separator": ";" if form == "semicolons" else "\t"}
        content = text.replace(",", options["separator"]).replace("\n", "\r\n").encode()
    elif form == "decimal commas":
        options = {"separator": "\t", "decimal": ","}
        content = text.replace(",", "\t").replace(".", ",").encode()
    elif form == "mark":
        content = b"\xef\xbb\xbf" + content
    (tmp_path / name).write_bytes(content)
    if form == "parquet":
        name = "t.parquet"
        frame().to_parquet(tmp_path / name)
    part = table.read(tmp_path, INSECTS, train=name, label="kind", **options)["train"]
    np.testing.assert_array_equal(values(part), NUMBERS, strict=True)  # each bit
    assert part.labels.tolist() == [k % 3 for k in range(50)]
    assert part.labels.dtype == np.uint8
    assert part.features == ("a", "b", "c")


def test_columns_of_all_kinds_of_numbers_and_labels(tmp_path: Path) -> None:
    data = pd.DataFrame(
        {
            "id": ["x1", "x2"],
            "byte": np.array([0, 255], np.uint8),
            "half": np.array([0.5, -2], np.float16),
            "big": np.array([2**40, -(2**40)]),
            "true": [True, False],
            "grade": pd.Categorical([7, 3]),
        }
    )
    data.to_parquet(tmp_path / "train.parquet")
    data.iloc[::-1].to_parquet(tmp_path / "test.parquet")
    read = table.read(
        tmp_path,
        dataset("low", "high"),
        train="train.parquet",
        test="test.parquet",
        label="grade",
        labels=[3, 7],
        drop=["id"],
    )
    assert values(read["train"]).tolist() == [[0, 0.5, 2**40, 1], [255, -2, -(2**40), 0]]
    assert read["train"].labels.tolist() == [1, 0]
    assert values(read["test"]).tolist() == values(read["train"])[::-1].tolist()


def test_the_index_of_pandas_is_no_feature(tmp_path: Path) -> None:
    frame().sample(frac=1, random_state=0).to_parquet(tmp_path / "t.parquet")
    part = table.read(tmp_path, INSECTS, train="t.parquet", label="kind")["train"]
    assert part.features == ("a", "b", "c")


def test_a_table_without_a_header_may_be_images(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("2,2\n1,2,3,4,b\n5,6,7,8,a\n", encoding="utf-8")
    squares = dataset("a", "b", shape=(2, 2))
    part = table.read(tmp_path, squares, train="t.csv", label="5", skip=1, columns=5)["train"]
    assert values(part).tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
    assert part.labels.tolist() == [1, 0]
    assert part.features is None
    named = {"columns": ["w", "x", "y", "z", "kind"], "skip": 1}
    part = table.read(tmp_path, dataset("a", "b"), train="t.csv", label="kind", **named)["train"]
    assert part.features == ("w", "x", "y", "z")


def test_a_table_is_read_in_pieces(tmp_path: Path) -> None:
    rows = 200_000
    with (tmp_path / "t.csv").open("w", encoding="utf-8") as file:
        file.write("a,b,c,kind\n")
        for k in range(rows):
            file.write(f"{k},{k + 1},{k + 2},{'ant' if k % 2 else 'bee'}\n")
    part = table.read(tmp_path, INSECTS, train="t.csv", label="kind")["train"]
    tracemalloc.start()
    try:
        total = 0.0
        for block in part.blocks():
            assert len(block) <= columns.BLOCK
            total += block[:, 0].sum()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == rows * (rows - 1) / 2
    assert peak < 10 * columns.BLOCK * 3 * 8


HEADER = "a,b,c,kind\n"
BAD_TABLES: dict[str, tuple[str | bytes, str]] = {
    "text and gaps": (
        f"{HEADER}1,x,,ant\n2,3,4,bee\nNA,y,5,cat\n",
        "'b' ('x' in row 2) must be finite numbers: write numbers, or leave the columns out with "
        "drop=b; 'a' (row 4), 'c' (row 2) has missing values: fill them in, or leave the rows out",
    ),
    "infinity": (
        f"{HEADER}1,2,3,ant\n1,2,inf,bee\n",
        "'c' ('inf' in row 3) must be finite numbers: write numbers, or leave the columns out with "
        "drop=c",
    ),
    "a gap in the labels": (
        f"{HEADER}1,2,3,ant\n1,2,3,\n",
        "row 3 has no label, in column 'kind'",
    ),
    "a label of no class": (
        f"{HEADER}1,2,3,ant\n1,2,3,dog\n",
        "the label 'dog' of example 1 is not one of the 3 classes",
    ),
    "a short row": (
        f"{HEADER}1,2,3,ant\n1,2,ant\n",
        "row 3 has 3 values where 4 are expected: put a value that holds the separator in quotes",
    ),
    "a long row": (
        f"{HEADER}1,2,3,ant\n1,2,3,4,ant\n",
        "row 3 has 5 values where 4 are expected: put a value that holds the separator in quotes",
    ),
    "a name twice": (
        "a,b,a,kind\n1,2,3,ant\n",
        "2 columns are called 'a': give each a name of its own",
    ),
    "no name": (
        "a,,c,kind\n1,2,3,ant\n",
        "a column has no name: give it one, or write without pandas's index: to_csv(index=False)",
    ),
    "a name of two lines": (
        'a,"b\nc",c,kind\n1,2,3,ant\n',
        "the column 'b\\nc' needs a printable name",
    ),
    "another label column": (
        "a,b,c,sort\n1,2,3,ant\n",
        "has no column 'kind'; its columns are a, b, c, sort",
    ),
    "labels alone": ("kind\nant\n", "has no column of features besides 'kind'"),
    "nothing": ("", "is empty"),
    "empty lines": ("\n\n", "has no header: its first line names the columns"),
    "a header alone": (HEADER, "has no rows"),
    "Latin letters": (
        HEADER.encode() + b"1,2,3,caf\xe9\n",
        "line 2 is not UTF-8 text: save the file as UTF-8",
    ),
    "UTF-16": (
        f"{HEADER}1,2,3,ant\n".encode("utf-16"),
        "line 1 is not UTF-8 text: save the file as UTF-8",
    ),
}


def refused(read: Callable[[], Any]) -> str:
    """Return the line with which reading everything is refused."""
    with pytest.raises(UserError) as refusal:
        [values(part) for part in read().values()]
    line = str(refusal.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_table_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.chdir(tmp_path)
    content, message = BAD_TABLES[case]
    Path("t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    line = refused(lambda: table.read(tmp_path, INSECTS, train="t.csv", label="kind"))
    assert line == f"t.csv: {message}"


def test_bad_parquet_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def line(name: str = "t.parquet") -> str:
        return refused(lambda: table.read(tmp_path, INSECTS, train=name, label="kind"))

    frame().to_parquet("t.parquet")
    whole = Path("t.parquet").read_bytes()
    for content in (b"", b"PAR1", whole[:-100], whole[100:-300]):
        Path("t.parquet").write_bytes(content)
        assert line().startswith("t.parquet: is not a whole Parquet file: write it again (")
    for bad, message in {
        None: "'b' (row 8) has missing values: fill them in, or leave the rows out",
        "red": "'b' ('red' in row 8) must be finite numbers: write numbers, or leave the columns "
        "out with drop=b",
        (1, 2): "'b' ('[1, 2]' in row 1) must be finite numbers: write numbers, or leave the "
        "columns out with drop=b",
        pd.Timestamp("2020-01-02"): "'b' ('2020-01-02 00:00:00.000000' in row 1) must be finite "
        "numbers: write numbers, or leave the columns out with drop=b",
    }.items():
        column = [bad] * 50
        if bad is None or bad == "red":
            column[:7] = NUMBERS[:7, 1] if bad is None else map(str, NUMBERS[:7, 1])
        frame().assign(b=pd.Series(column)).to_parquet("t.parquet")
        assert line() == f"t.parquet: {message}"


def test_a_csv_that_is_packed_and_cut_off_is_refused(tmp_path: Path) -> None:
    content = packed(frame().to_csv(index=False))["t.csv.gz"]
    for damaged in (content[:-8], content[:200], b"plain text"):
        (tmp_path / "t.csv.gz").write_bytes(damaged)
        line = refused(lambda: table.read(tmp_path, INSECTS, train="t.csv.gz", label="kind"))
        assert line.startswith(f"{tmp_path}/t.csv.gz: cannot be read: ")


def test_a_test_table_has_the_columns_of_the_other(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "train.csv", index=False)
    frame()[["b", "a", "c", "kind"]].to_csv(tmp_path / "test.csv", index=False)
    files = {"train": "train.csv", "test": "test.csv", "label": "kind"}
    line = refused(lambda: table.read(tmp_path, INSECTS, **files))
    assert line == f"{tmp_path}/test.csv: must have the columns of train.csv, in their order"


@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
def test_the_presets_are_what_scikit_learn_reads(name: str) -> None:
    import sklearn.datasets

    expected = getattr(sklearn.datasets, f"load_{name}")()
    conf = yaml.safe_load((ROOT / f"conf/dataset/{name}.yaml").read_text(encoding="utf-8"))
    preset = Dataset.model_validate(conf)
    raw = Path(sklearn.datasets.__file__).parent / "data"
    assert {file: sha256(raw / file) for file in preset.files} == preset.files
    part = READERS["table"](raw, preset, **options_of(preset))["train"]
    np.testing.assert_array_equal(values(part), expected.data.reshape(-1, *preset.shape))
    np.testing.assert_array_equal(part.labels, expected.target)
    assert preset.classes == list(map(str, expected.target_names))
    assert part.features == (None if len(part.shape) > 1 else tuple(expected.feature_names))


# arrays

X = RANDOM.normal(size=(12, 4, 5, 3))
Y = np.arange(12) % 2


@pytest.mark.parametrize(
    "x",
    [
        X,
        X.astype(">f4"),
        X.astype(np.float16),
        np.asfortranarray(X),
        (X * 100).astype(np.int8),
        X > 0,
        X[:, 0, 0],
    ],
    ids=["float64", "big-endian", "float16", "Fortran", "int8", "bool", "flat"],
)
def test_arrays_are_read_as_they_were_saved(tmp_path: Path, x: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", Y)
    np.savez_compressed(tmp_path / "all.npz", x=x, y=Y[:, None])
    two = dataset("0", "1")
    for train in (["x.npy", "y.npy"], ["all.npz/x", "all.npz/y"]):
        part = arrays.read(tmp_path, two, train=train)["train"]
        np.testing.assert_array_equal(values(part), x)
        assert part.labels.tolist() == Y.tolist()
        assert part.dtype == x.dtype


def test_labels_may_be_text_and_channels_may_come_first(tmp_path: Path) -> None:
    first = np.ascontiguousarray(np.moveaxis(X, -1, 1))
    for letters in (np.array(["a", "b"])[Y], np.array([b"a", b"b"])[Y]):
        np.savez(tmp_path / "d.npz", x_train=first, y_train=letters, x_test=first, y_test=letters)
        names = {part: [f"d.npz/x_{part}", f"d.npz/y_{part}"] for part in ("train", "test")}
        read = arrays.read(tmp_path, dataset("a", "b"), **names, channels_first=True)
        assert [*read] == ["train", "test"]
        for part in read.values():
            np.testing.assert_array_equal(values(part), X, strict=True)
            assert part.labels.tolist() == Y.tolist()


def nan_in(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x[7, 1, 2, 0] = np.nan
    return x


ONE_LABEL = "an integer or a text for each example is needed"
BAD_ARRAYS: dict[str, tuple[np.ndarray, np.ndarray, str]] = {
    "NaN": (
        nan_in(X),
        Y,
        "x.npy: value [1, 2, 0] of example 7 is nan: correct it, or leave it out",
    ),
    "complex": (
        X + 1j,
        Y,
        "x.npy: holds complex128 (12, 4, 5, 3) where numbers (examples, ...) with 2 to 4 axes are "
        "needed",
    ),
    "five axes": (
        X[..., None],
        Y,
        "x.npy: holds float64 (12, 4, 5, 3, 1) where numbers (examples, ...) with 2 to 4 axes are "
        "needed",
    ),
    "one-hot": (
        X,
        np.eye(12),
        f"y.npy: holds float64 (12, 12) where {ONE_LABEL}: for one-hot labels, save y.argmax(1)",
    ),
    "float labels": (
        X,
        Y * 1.0,
        f"y.npy: holds float64 (12,) where {ONE_LABEL}: save y.astype(int)",
    ),
    "fewer labels": (X, Y[:-1], "y.npy: has 11 labels for 12 examples"),
    "another label": (
        X,
        Y + 1,
        "y.npy: the label '2' of example 1 is not one of the 2 classes",
    ),
    "objects": (
        X,
        Y.astype(object),
        "y.npy: holds Python objects, which may run code when they are read: save numbers or text",
    ),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.chdir(tmp_path)
    x, y, message = BAD_ARRAYS[case]
    np.save("x.npy", x)
    np.save("y.npy", y)
    pair = {"train": ["x.npy", "y.npy"]}
    assert refused(lambda: arrays.read(tmp_path, dataset("0", "1"), **pair)) == message


def test_damaged_arrays_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    two, files = dataset("0", "1"), {"train": ["x.npy", "y.npy"]}
    np.save("x.npy", X)
    np.save("y.npy", Y)
    Path("x.npy").write_bytes(Path("x.npy").read_bytes()[:-1])
    assert refused(lambda: arrays.read(tmp_path, two, **files)) == (
        "x.npy: is cut off: copy it again"
    )
    Path("x.npy").unlink()
    assert refused(lambda: arrays.read(tmp_path, two, **files)) == (
        "x.npy: cannot be read: No such file or directory"
    )
    np.savez("d.npz", x=X, y=Y)
    files = {"train": ["d.npz/x", "d.npz/z"]}
    assert refused(lambda: arrays.read(tmp_path, two, **files)) == (
        "d.npz: has no array z; it has x, y"
    )
    Path("d.npz").write_bytes(Path("d.npz").read_bytes()[:-40])
    assert refused(lambda: arrays.read(tmp_path, two, **files)) == (
        "d.npz/z: cannot be read: File is not a zip file"
    )


# folders of images


def picture(
    mode: str = "L", size: tuple[int, int] = (5, 4), form: str = "PNG", **more: Any
) -> bytes:
    content = io.BytesIO()
    colours = np.random.default_rng(len(mode)).integers(0, 256, (size[1], size[0], 3))
    Image.fromarray(colours.astype(np.uint8)).convert(mode).save(content, form, **more)
    return content.getvalue()


def pixels(content: bytes, mode: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert(mode))


def pack(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("modes", ["L L", "RGB RGB", "L RGB", "P L", "1 L", "RGBA RGB", "LA 1"])
def test_images_have_the_pixels_of_their_files(tmp_path: Path, modes: str) -> None:
    first, second = modes.split()
    files = {
        "cat/b.png": picture(first),
        "ant/c.PNG": picture(second),
        "cat/a.jpg": picture(form="JPEG"),
        "cat/.DS_Store": b"x",
        "README.txt": b"x",
    }
    pack(tmp_path / "images.zip", files)
    part = folder.read(tmp_path, dataset("ant", "cat"), archive="images.zip")["train"]
    colour = "RGB" if {"RGB", "P", "RGBA"} & {first, second} else "L"
    expected = [pixels(files[name], colour) for name in ("ant/c.PNG", "cat/a.jpg", "cat/b.png")]
    np.testing.assert_array_equal(values(part), np.stack(expected), strict=True)
    assert part.labels.tolist() == [0, 1, 1]


@pytest.mark.filterwarnings("error")
def test_an_image_whose_palette_could_be_transparent_is_read_without_a_word(tmp_path: Path) -> None:
    opaque = picture("P", transparency=bytes([255] * 9))
    pack(tmp_path / "images.zip", {"a/1.png": opaque})
    part = folder.read(tmp_path, dataset("a", "b"), archive="images.zip")["train"]
    np.testing.assert_array_equal(values(part)[0], pixels(opaque, "RGBA")[..., :3])


def test_a_test_part_of_images(tmp_path: Path) -> None:
    files = {f"{part}/{name}/1.png": picture() for part in ("train", "test") for name in "ab"}
    pack(tmp_path / "i.zip", files)
    named = dataset("first", "second")
    read = folder.read(tmp_path, named, archive="i.zip", labels=["a", "b"])
    assert {name: part.labels.tolist() for name, part in read.items()} == {
        "test": [0, 1],
        "train": [0, 1],
    }


def sixteen_bits() -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.arange(20, dtype=np.uint16).reshape(4, 5) * 999).save(content, "PNG")
    return content.getvalue()


def transparent() -> bytes:
    content = io.BytesIO()
    Image.new("RGBA", (5, 4), (1, 2, 3, 4)).save(content, "PNG")
    return content.getvalue()


LAYOUT = "CLASS/IMAGE, or train/CLASS/IMAGE and test/CLASS/IMAGE"
BAD_IMAGES: dict[str, tuple[dict[str, bytes], str]] = {
    "two sizes": (
        {"a/1.png": picture(), "a/2.png": picture(size=(7, 4)), "b/1.png": picture()},
        "has images of 2 sizes, width x height: 5 x 4 (2), 7 x 4 (1): scale them to one; "
        "a/2.png is 7 x 4",
    ),
    "more sizes than a line names": (
        {f"a/{n:02}.png": picture(size=(7 - n // 2, 4)) for n in range(12)}
        | {"b/1.png": picture(size=(9, 4))},
        "has images of 7 sizes, width x height: 7 x 4 (2), 6 x 4 (2), 5 x 4 (2), 4 x 4 (2), "
        "3 x 4 (2) ...: scale them to one; b/1.png is 9 x 4",
    ),
    "cut off": ({"a/1.png": picture()[:-30]}, "a/1.png cannot be read: image file is truncated"),
    "no image": ({"a/1.png": b"hello"}, "a/1.png is neither a PNG nor a JPEG: convert it"),
    "another format": (
        {"a/1.gif": picture(form="GIF")},
        "a/1.gif is neither a PNG nor a JPEG: convert it",
    ),
    "transparent": ({"a/1.png": transparent()}, "a/1.png is transparent: put it on a background"),
    "16 bits": (
        {"a/1.png": sixteen_bits()},
        "a/1.png has 16 bits a channel: convert it to 8 bits, or keep the pixels as an array",
    ),
    "for printers": (
        {"a/1.jpg": picture("CMYK", form="JPEG")},
        "a/1.jpg is CMYK, not grey or RGB: convert it",
    ),
    "no class": ({"1.png": picture()}, f"1.png does not lie as {LAYOUT}"),
    "too deep": ({"a/b/1.png": picture()}, f"a/b/1.png does not lie as {LAYOUT}"),
    "a third part": (
        {f"{part}/a/1.png": picture() for part in ("train", "test", "val")},
        "beside train and test lies val: move it away",
    ),
    "nothing": ({"README": b""}, f"has no PNG or JPEG images as {LAYOUT}"),
    "a folder of no class": (
        {"a/1.png": picture(), "q/1.png": picture()},
        "the label 'q' of example 1 is not one of the 2 classes",
    ),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_bad_images_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.chdir(tmp_path)
    files, message = BAD_IMAGES[case]
    pack(tmp_path / "i.zip", files)
    line = refused(lambda: folder.read(tmp_path, dataset("a", "b"), archive="i.zip"))
    assert line == f"i.zip: {message}"


def test_an_archive_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "i.zip").write_bytes(b"PK")
    line = refused(lambda: folder.read(tmp_path, dataset("a", "b"), archive="i.zip"))
    assert line == f"{tmp_path}/i.zip: cannot be read: File is not a zip file"
