"""Adopt: what lies at a path becomes a file of conf/dataset/, or one line says why not."""

import gzip
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from omegaconf import OmegaConf
from PIL import Image

from pipeline import adopt
from pipeline.adopting.look import FORMS
from pipeline.data import idx
from pipeline.errors import UserError
from pipeline.readers import READERS
from pipeline.settings import params
from pipeline.settings.check import check_options
from pipeline.settings.dataset import Dataset
from tests.conftest import PARAMS, ROOT
from tests.defaults import DATASET

KINDS = np.array(["ant", "bee", "cat"])[np.arange(60) % 3]
VALUES = np.random.default_rng(1).normal(size=(60, 4))
FRAME = pd.DataFrame(VALUES, columns=[*"abcd"]).assign(kind=KINDS)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with conf/ and params.yaml, which is the current one."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    text = PARAMS.replace("dataset: tiny", f"dataset: {DATASET}")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(params, "CONF", tmp_path / "conf")
    return tmp_path


def write_images(folder: Path, *, colour: bool = False, each: int = 10) -> None:
    """Write a folder of images for each of three classes, which differ in what is light."""
    generator = np.random.default_rng(1)
    for number, name in enumerate(("ant", "bee", "cat")):
        (folder / name).mkdir(parents=True)
        for k in range(each):
            pixels = generator.integers(0, 100, (6, 5, 3) if colour else (6, 5)).astype(np.uint8)
            pixels[2 * number : 2 * number + 2] += 150
            Image.fromarray(pixels).save(folder / name / f"{k}.png")


def write_emnist(folder: Path, *names: str) -> None:
    """Write files as EMNIST has them: packed, on their side, labels from 1 to 47."""
    generator = np.random.default_rng(1)
    folder.mkdir(parents=True)
    for name in names:
        for part, rows in (("train", 470), ("test", 94)):
            labels = (np.arange(rows) % 47 + 1).astype(np.uint8)
            images = generator.integers(0, 256, (rows, 3, 4)).astype(np.uint8)
            for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
                content = idx.header(array.shape) + array.tobytes()
                path = folder / f"emnist-{name}-{part}-{kind}-ubyte.gz"
                path.write_bytes(gzip.compress(content, mtime=0))


def adopted(name: str) -> Dataset:
    """Return the data set that was written, having read all its examples where it has them."""
    path = Path(f"conf/dataset/{name}.yaml")
    dataset = Dataset.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    raw = Path("data/raw") / name
    assert sorted(one.name for one in raw.iterdir()) == sorted(dataset.files)
    for file, digest in dataset.files.items():
        assert hashlib.sha256((raw / file).read_bytes()).hexdigest() == digest
    options = check_options(READERS[dataset.reader], dataset.options, ("dataset", "options"))
    for part in READERS[dataset.reader](raw, dataset, **options).values():
        assert sum(map(len, part.blocks())) == part.rows
        assert list(part.shape) == dataset.shape
        assert {*part.labels.tolist()} == {*range(len(dataset.classes))}
    return dataset


SHOWN = """\
conf/dataset/insects_2.yaml:

# Adopted from insects 2.csv: 60 examples of 4 features, 3 classes.
name: insects_2
reader: table
options:
  train: insects 2.csv
  label: kind
classes: [ant, bee, cat]
shape: [4]
split: 0.2                     # this share of each class is the test part, drawn with `seed`
scale: standardise             # columns of mean 0 and deviation 1 over the training examples
max_bytes: {size}                # no file may be larger
files:                         # SHA-256 of the files as they lie in data/raw/
  insects 2.csv: {digest}
sources: []                    # where others get them; or they put them into data/raw/ too

Its files are in data/raw/insects_2. Next: `dvc exp run -S dataset=insects_2\
 -S train.validation_size=0.1`
"""


def test_a_table(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    FRAME.to_csv("insects 2.csv", index=False)
    content = Path("insects 2.csv").read_bytes()
    expected = SHOWN.format(size=len(content), digest=hashlib.sha256(content).hexdigest())
    for _ in range(2):  # the same command again is fine
        assert adopt.main(["insects 2.csv"]) == 0
        assert capsys.readouterr().out == expected
    assert Path("conf/dataset/insects_2.yaml").read_text(encoding="utf-8") in expected
    assert Path("insects 2.csv").read_bytes() == content
    assert [one.name for one in Path("data/raw").iterdir()] == ["insects_2"]
    adopted("insects_2")


def test_a_table_of_another_form(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("two").mkdir()
    numbered = FRAME.assign(same=7, quality=np.arange(60) % 3 + 3, note="x y")
    for part in ("train", "test"):
        numbered.to_csv(f"two/{part}.csv", sep=";", decimal=",", index=False, encoding="utf-8-sig")
    adopt.main(["two", "label=quality", "drop=kind,note", "name=wine-2"])
    output = capsys.readouterr().out
    line = (
        "Note: the same value stands in all training examples; leave it out with "
        "drop=kind,note,same"
    )
    assert line in output.splitlines()
    dataset = adopted("wine-2")
    assert dataset.options == {
        "train": "train.csv",
        "test": "test.csv",
        "label": "quality",
        "labels": [3, 4, 5],
        "drop": ["kind", "note"],
        "separator": ";",
        "decimal": ",",
    }
    assert (dataset.classes, dataset.split, dataset.shape) == (["3", "4", "5"], "files", [5])


def test_columns_may_be_numbered(workspace: Path) -> None:
    for first in (0, 1):
        names = {name: str(first + k) for k, name in enumerate("abcd")}
        FRAME.rename(columns=names).to_csv(f"from_{first}.csv", index=False)
        adopt.main([f"from_{first}.csv"])
        assert adopted(f"from_{first}").shape == [4]


def notes(capsys: pytest.CaptureFixture[str], *given: str) -> list[str]:
    """Return what `adopt` says beside the file that it has written."""
    adopt.main([*given])
    lines = capsys.readouterr().out.splitlines()
    return [line.removeprefix("Note: ") for line in lines if line.startswith("Note: ")]


def test_numbers_as_names_of_columns_may_be_values(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    note = "the first line was taken as the names of the columns, some of which are numbers"
    numbered = FRAME.set_axis([*"12345"], axis=1)
    numbered.to_csv("numbered.csv", index=False)
    assert notes(capsys, "numbered.csv", "label=5") == [note]
    numbered.to_parquet("stored.parquet")
    assert notes(capsys, "stored.parquet", "label=5") == []
    FRAME.rename(columns={"kind": "ant"}).to_csv("names.csv", index=False)
    assert notes(capsys, "names.csv") == []


def test_columns_that_may_only_number_the_rows_are_named(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = FRAME.assign(
        Id=FRAME["a"] * 2,
        shuffled=np.random.default_rng(1).permutation(60),
        counted=np.arange(1, 61),
        twice=[*range(59), 0],
        gap=[*range(59), 60],
        from_two=np.arange(2, 62),
        halves=[0, 0.5, *range(2, 60)],
        const=7,
    )
    frame.to_csv("t.csv", index=False)
    assert notes(capsys, "t.csv", "drop=a") == [
        "the same value stands in all training examples; leave it out with drop=a,const",
        "Id, shuffled, counted may only number the rows; leave it out with "
        "drop=a,Id,shuffled,counted",
    ]
    assert adopted("t").shape == [11]


def test_what_is_left_out_is_named(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_images(workspace / "pets")
    Path("pets/notes.txt").write_text("x", encoding="utf-8")
    for folder in ("dog", "docs/old", ".git/x"):
        Path("pets", folder).mkdir(parents=True)
    for file in ("docs/old/a.txt", "dog/.keep", "Thumbs.db", "ant/.DS_Store"):
        Path("pets", file).write_text("x", encoding="utf-8")
    assert notes(capsys, "pets") == ["left out: docs/, dog/, notes.txt"]
    for part in ("train", "test"):
        write_images(workspace / "parts" / part)
    Path("parts/test/dog").mkdir()
    assert notes(capsys, "parts") == ["left out: test/dog/"]
    Path("table").mkdir()
    FRAME.to_csv("table/t.csv", index=False)
    for number in range(12):
        Path(f"table/{number:02}.md").write_text("x", encoding="utf-8")
    listed = ", ".join(f"{number:02}.md" for number in range(10))
    assert notes(capsys, "table") == [f"left out: {listed} and 2 more"]
    assert notes(capsys, "table/t.csv", "name=alone") == []
    Path("saved").mkdir()
    for name in ("x", "y", "x_val", "y_val"):
        np.save(f"saved/{name}.npy", np.arange(60) % 3 if name[0] == "y" else np.ones((60, 2)))
    Path("saved/README").write_text("x", encoding="utf-8")
    assert notes(capsys, "saved") == ["left out: README, x_val.npy, y_val.npy"]
    write_emnist(workspace / "idx", "letters")
    Path("idx/README").write_text("x", encoding="utf-8")
    assert notes(capsys, "idx") == ["left out: README"]


@pytest.mark.parametrize("name", ["2024", "null", "on", "1e5", "nan", "0x1F", "1_000"])
def test_a_name_that_is_read_as_something_else_is_refused(workspace: Path, name: str) -> None:
    FRAME.to_csv(f"{name}.csv", index=False)
    with pytest.raises(UserError) as refusal:
        adopt.main([f"{name}.csv"])
    assert str(refusal.value) == (
        f"name {name!r} would be read as a number, a truth value or null in params.yaml or on the "
        "command line: give another with name="
    )
    adopt.main([f"{name}.csv", f"name=of_{name}"])


def test_text_that_looks_like_another_value_stays_text(workspace: Path) -> None:
    kinds = ["1e3", "2.5E1", "3.e4", "no", "null", "~", "0x1f", "1_0", "a: b", "#", '"', "é"]
    FRAME.assign(kind=np.resize(kinds, len(FRAME))).to_csv("t.csv", index=False)
    adopt.main(["t.csv", "label=kind"])
    assert adopted("t").classes == sorted(kinds)
    assert OmegaConf.load("conf/dataset/t.yaml")["classes"] == sorted(kinds)  # type: ignore[index]


def test_params_may_name_the_data_set_before_it_is_adopted(workspace: Path) -> None:
    text = Path("params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(
        text.replace(f"dataset: {DATASET}", "dataset: t"), encoding="utf-8"
    )
    FRAME.to_csv("t.csv", index=False)
    adopt.main(["t.csv"])
    assert adopted("t").shape == [4]


def test_a_raw_file_is_not_replaced(workspace: Path) -> None:
    FRAME.to_csv("t.csv", index=False)
    Path("data/raw/t").mkdir(parents=True)
    Path("data/raw/t/t.csv").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError) as refusal:
        adopt.main(["t.csv"])
    assert str(refusal.value) == (
        "data/raw/t/t.csv: is there with other bytes: remove it, or give another name with name="
    )
    assert Path("data/raw/t/t.csv").read_text(encoding="utf-8") == "mine"
    assert not Path("conf/dataset/t.yaml").exists()


def test_parquet(workspace: Path) -> None:
    FRAME.rename(columns={"kind": "Class"}).assign(other="x").to_parquet("insects.parquet")
    adopt.main(["insects.parquet", "drop=other"])
    assert adopted("insects").options == {
        "train": "insects.parquet",
        "label": "Class",
        "drop": ["other"],
    }


@pytest.mark.parametrize("colour", [False, True])
def test_a_folder_of_images(workspace: Path, colour: bool) -> None:
    write_images(workspace / "Pets", colour=colour)
    adopt.main(["Pets"])
    dataset = adopted("Pets")
    assert (dataset.reader, dataset.scale, dataset.split) == ("folder", "bytes", 0.2)
    assert dataset.shape == [6, 5, 3] if colour else [6, 5]
    shutil.copytree("Pets", "elsewhere/Pets")
    for one in sorted(Path("elsewhere").rglob("*.png"), reverse=True):
        one.touch()
    adopt.main(["elsewhere/Pets"])  # the same images are the same data set
    for part in ("train", "test"):
        shutil.copytree("Pets", f"parts/{part}")
    adopt.main(["parts"])
    assert adopted("parts").split == "files"


def test_arrays(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = np.random.default_rng(1).random((60, 3, 7, 6)), np.arange(60) % 3 * 5 - 5
    np.savez("d.npz", x_train=x, y_train=y, x_test=x, y_test=y, x_val=x, y_val=y)
    adopt.main(["d.npz"])
    assert "Note: left out: d.npz/x_val, d.npz/y_val\n" in capsys.readouterr().out
    dataset = adopted("d")
    assert dataset.options == {
        "train": ["d.npz/x_train", "d.npz/y_train"],
        "test": ["d.npz/x_test", "d.npz/y_test"],
        "labels": [-5, 0, 5],
        "channels_first": True,
    }
    assert (dataset.shape, dataset.scale) == ([7, 6, 3], "none")
    Path("saved").mkdir()
    np.save("saved/images.npy", np.moveaxis(x, 1, -1) * 9)
    np.save("saved/labels.npy", KINDS)
    adopt.main(["saved"])
    dataset = adopted("saved")
    assert dataset.options == {"train": ["images.npy", "labels.npy"]}
    assert (dataset.classes, dataset.scale) == (["ant", "bee", "cat"], "minmax")
    np.save("saved/images.npy", x[:, 0, 0])
    adopt.main(["saved/images.npy", "name=flat"])
    assert (adopted("flat").shape, adopted("flat").scale) == ([6], "standardise")
    np.savez("one.npz", **{"of/x": x[:, 0, 0, :1], "of/y": y[:, None]})
    adopt.main(["one.npz"])
    assert adopted("one").options["train"] == ["one.npz/of/x", "one.npz/of/y"]
    assert adopted("one").shape == [1]


def test_idx_files_as_emnist_has_them(workspace: Path) -> None:
    write_emnist(workspace / "gzip", "letters", "balanced")
    with pytest.raises(UserError) as refusal:
        adopt.main(["gzip"])
    assert str(refusal.value) == (
        "gzip: holds several data sets: adopt a file of one: "
        "emnist-balanced-test-images-idx3-ubyte.gz, emnist-letters-test-images-idx3-ubyte.gz"
    )
    adopt.main(["gzip/emnist-letters-train-images-idx3-ubyte.gz", "name=letters"])
    dataset = adopted("letters")
    assert dataset.classes == [str(number) for number in range(1, 48)]
    assert dataset.shape == [4, 3]
    assert dataset.options["first_label"] == 1
    assert dataset.options["transposed"]


def test_the_command(workspace: Path) -> None:
    FRAME.to_csv("t.csv", index=False)
    for given, message in {
        (): "PATH is needed: the file or the folder of the data set; see --help",
        ("label=kind",): "PATH is needed: the file or the folder of the data set; see --help",
        ("no.csv",): "no.csv: there is no such file or folder",
        ("t.csv", "lable=kind"): "lable is not known; did you mean label?",
        ("t.csv", "name=a/b"): (
            "name 'a/b' must be letters (a to z), digits, _, - and .: give another with name="
        ),
        ("t.csv", f"name={DATASET}"): (
            f"conf/dataset/{DATASET}.yaml: is there already, and says something else: remove it, "
            "or give another name with name="
        ),
        ("t.csv", "label=sort"): "t.csv: has no column 'sort'; its columns are a, b, c, d, kind",
        ("t.csv", "drop=kind"): "t.csv: say with label=COLUMN which column holds the labels: "
        "a, b, c, d",
    }.items():
        with pytest.raises(UserError) as refusal:
            adopt.main([*given])
        assert str(refusal.value) == message
    assert not list(Path("data/raw").iterdir())


def once(frame: pd.DataFrame, value: object) -> pd.DataFrame:
    kinds = frame["kind"].to_list()
    kinds[7] = value
    return frame.assign(kind=kinds)


WITHOUT = "numbers, or leave the columns out with drop=city"
BAD_TABLES: dict[str, tuple[pd.DataFrame, str, str]] = {
    "a label that occurs once": (
        once(FRAME, "dog"),
        "",
        "column 'kind': the label 'dog' occurs once, in row 9: a class needs two examples, to "
        "train on and to test on: add some, or leave it out",
    ),
    "two names that look the same": (
        FRAME.assign(kind=["ant", "ant ", "bee"] * 20),
        "",
        "column 'kind': the classes 'ant' and 'ant ' look the same: give them one name",
    ),
    "two names of the same letters": (
        FRAME.assign(kind=["\u00e9", "e\u0301", "bee"] * 20),
        "",
        "column 'kind': the classes 'e\u0301' and '\u00e9' look the same: give them one name",
    ),
    "two ways to write a number": (
        FRAME.assign(kind=["1", "1.0", "2"] * 20),
        "label=kind",
        "column 'kind': the labels '1' and '1.0' are the same number: write it in one way",
    ),
    "one class": (
        FRAME.assign(kind="ant"),
        "label=kind",
        "column 'kind': has 1 different labels, where 2 to 256 are possible",
    ),
    "a class for each row": (
        pd.concat([FRAME] * 10).assign(kind=[f"k{k}" for k in range(600)]),
        "",
        "column 'kind': has 600 different labels, where 2 to 256 are possible",
    ),
    "prices": (
        FRAME.assign(kind=np.arange(60) % 3 + 0.5),
        "label=kind",
        "column 'kind': the label 0.5 is not a whole number: a label is a class, which is a whole "
        "number or a text",
    ),
    "two columns of text": (
        FRAME.assign(city="Rome"),
        "",
        "say with label=COLUMN which column holds the labels: a, b, c, d, kind, city",
    ),
    "text in a feature": (
        FRAME.assign(city="Rome"),
        "label=kind",
        f"'city' ('Rome' in row 2) must be finite numbers: write {WITHOUT}",
    ),
    "no header, and the numbers are those of columns": (
        FRAME.set_axis(["1", "2", "3", "4", "ant"], axis=1),
        "",
        "its first line holds values, not the names of columns: write these there, or copy "
        "conf/dataset/digits.yaml, which reads a file without them",
    ),
    "no header": (
        FRAME.rename(columns={"a": "0.5", "b": "1", "kind": "ant"}),
        "",
        "its first line holds values, not the names of columns: write these there, or copy "
        "conf/dataset/digits.yaml, which reads a file without them",
    ),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_table_is_refused_and_nothing_is_written(workspace: Path, case: str) -> None:
    frame, option, message = BAD_TABLES[case]
    frame.to_csv("t.csv", index=False)
    with pytest.raises(UserError) as refusal:
        adopt.main(["t.csv", *option.split()])
    assert str(refusal.value).replace("t.csv: ", "") == message
    nothing_is_written()


def nothing_is_written() -> None:
    assert not list(Path("data/raw").iterdir())
    assert {one.name for one in Path("conf/dataset").iterdir()} == {
        one.name for one in (ROOT / "conf/dataset").iterdir()
    }


def test_a_bad_folder_is_refused_and_nothing_is_written(workspace: Path) -> None:
    write_images(workspace / "p")

    def refusal(path: str = "p") -> str:
        with pytest.raises(UserError) as error:
            adopt.main([path])
        nothing_is_written()
        return str(error.value)

    shutil.copytree("p/ant", "p/Ant")
    assert refusal() == "p: the classes 'Ant' and 'ant' look the same: give them one name"
    shutil.rmtree("p/Ant")
    Path("p/dog").mkdir()
    shutil.copy("p/ant/0.png", "p/dog")
    assert refusal().startswith("p: the label 'dog' occurs once, in dog/0.png: a class needs two")
    shutil.rmtree("p/dog")
    Path("p/ant/0.png").write_bytes(Path("p/ant/0.png").read_bytes()[:60])
    assert refusal() == "p: ant/0.png cannot be read: image file is truncated"
    Image.new("L", (9, 9)).save("p/ant/0.png")
    assert refusal() == (
        "p: has images of 2 sizes, width x height: 5 x 6 (29), 9 x 9 (1): scale them to one; "
        "ant/0.png is 9 x 9"
    )
    Path("empty").mkdir()
    assert refusal("empty") == f"empty: holds no data set: {FORMS} can be adopted; see --help"
    Path("empty/another").mkdir()
    assert refusal("empty").startswith("empty: holds no data set: ")
    Path("a.docx").write_text("x", encoding="utf-8")
    assert refusal("a.docx").startswith("a.docx: holds no data set")


def test_bad_arrays_are_refused_and_nothing_is_written(workspace: Path) -> None:
    np.savez("d.npz", x=np.ones((4, 2)), y=[0, 1, 0, 1], z=np.ones((4, 2)))
    with pytest.raises(UserError) as refusal:
        adopt.main(["d.npz"])
    assert str(refusal.value) == (
        "d.npz: one array of examples and one of labels, with one value for each example, are "
        "needed for the train part; found are d.npz/x, d.npz/y, d.npz/z"
    )
    np.savez("d.npz", x=np.ones((4, 2)), y=[0.0, 1.0, 0.0, 1.0])
    with pytest.raises(UserError) as refusal:
        adopt.main(["d.npz"])
    assert str(refusal.value) == (
        "d.npz/y: holds float64 (4,) where an integer or a text for each example is needed: save "
        "y.astype(int)"
    )
    np.savez("d.npz", x=np.ones((4, 2)), y=[0, 1, 0, 1], x_test=np.ones((4, 3)), y_test=[0] * 4)
    with pytest.raises(UserError) as refusal:
        adopt.main(["d.npz"])
    assert str(refusal.value) == ("d.npz/x_test: examples are (3,), but those of d.npz/x (2,)")
    nothing_is_written()
