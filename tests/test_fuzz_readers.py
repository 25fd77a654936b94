"""Any bytes as a table, images or arrays: examples that can all be read, or one line.

`make fuzz` tries many more than `make test`.
"""

import io
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from pipeline.adopting.look import look
from pipeline.adopting.survey import described
from pipeline.data.readers import arrays, folder, table
from tests.test_fuzz import DATASET, FUZZ, answer, damage, pytestmark  # noqa: F401

LABELS = ["a", "b", "c"] * 2


def images() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for number, label in enumerate(LABELS):
            picture = io.BytesIO()
            pixels = np.full((3, 4), 40 * number, np.uint8)
            Image.fromarray(pixels).save(picture, ["PNG", "JPEG"][number % 2])
            archive.writestr(f"{label}/{number}.{['png', 'jpg'][number % 2]}", picture.getvalue())
    return content.getvalue()


def columns() -> bytes:
    content = io.BytesIO()
    parquet.write_table(pa.table({"x": np.arange(6) / 7, "y": LABELS}), content)
    return content.getvalue()


def saved() -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, x=np.arange(12.0).reshape(6, 2), y=np.array(LABELS))
    return content.getvalue()


TEXT = "x,y\n" + "".join(f"{k / 7},{label}\n" for k, label in enumerate(LABELS))
fields = st.sampled_from(
    ["1", "-2.5e3", "nan", "", "a", "b", '"c"', "a,b", '"', "1e999", "é", "\0"]
)
rows = st.lists(st.lists(fields, max_size=4), min_size=1, max_size=5)
texts = st.builds(lambda rows: "".join(",".join(row) + "\n" for row in rows).encode(), rows)
FORMS = {
    "t.csv": (damage(st.one_of(st.just(TEXT.encode()), texts)), table.read),
    "t.parquet": (damage(st.just(columns())), table.read),
    "t.npz": (damage(st.just(saved())), arrays.read),
    "t.zip": (damage(st.just(images())), folder.read),
}
OPTIONS = {
    ".csv": {"label": "y", "train": "t.csv"},
    ".parquet": {"label": "y", "train": "t.parquet"},
    ".npz": {"train": ["t.npz/x", "t.npz/y"]},
    ".zip": {"archive": "t.zip"},
}


@pytest.mark.parametrize("name", FORMS)
def test_any_file_of_a_reader(tmp_path: Path, name: str) -> None:
    contents, read = FORMS[name]
    path = tmp_path / name

    def everything() -> int:
        parts = read(tmp_path, DATASET, **OPTIONS[path.suffix])
        return sum(len(rows) for part in parts.values() for _, rows in part.flat())

    def adopted() -> int:
        found = look(path, tmp_path, None, [])
        _, seen = described(found, "any")
        return seen.rows["train"]

    @FUZZ
    @given(content=contents)
    def check(content: bytes) -> None:
        path.write_bytes(content)
        counts = [answer(everything, 2**26)]
        if name != "t.zip":  # which is not adopted as it is
            counts.append(answer(adopted, 2**26))
        assert all(count is None or count > 0 for count in counts)

    check()
    path.unlink()
