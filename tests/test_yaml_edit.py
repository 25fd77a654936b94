"""Values written into YAML files that people keep."""

from collections.abc import ItemsView
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pipeline import yaml_edit
from pipeline.errors import UserError

TEXT = """\
# what it is
name: own
hidden: [128]                  # units
sizes:
  - 1   # the first
  - 2

# how fast
rate: 1.0e-7   # small
text: 'off'
inner: {a: 1}
last: null     # nothing
# the end
"""


def test_a_value_changes_and_all_else_stays() -> None:
    values = {"hidden": [64, 32], "rate": 0.5, "inner.a": 2}
    assert yaml_edit.with_values(TEXT, values) == (
        TEXT.replace("[128]   ", "[64, 32]")
        .replace("1.0e-7   # small", "0.5      # small")
        .replace("{a: 1}", "{a: 2}")
    )
    assert yaml_edit.with_values(TEXT, {}) == TEXT


def test_what_is_written_is_read_as_it_was() -> None:
    values = {
        "text": "no",
        "last": [],
        "new": "off",
        "number": "1e3",
        "empty": "",
        "small": 1e-9,
        "true": True,
        "nothing": None,
        "deep.er.key": ["yes", 1, None],
        "sizes": [3],
    }
    read = OmegaConf.create(yaml_edit.with_values(TEXT, values))
    for key, value in values.items():
        found = OmegaConf.select(read, key)
        found = OmegaConf.to_container(found) if OmegaConf.is_config(found) else found
        assert (type(found), found) == (type(value), value), key


class Faulty(dict[Path, str]):
    """Files of which the first loses its temporary file before all are written."""

    def items(self) -> ItemsView[Path, str]:
        def each():  # type: ignore[no-untyped-def]
            first, second = self
            yield first, self[first]
            next(first.parent.glob(f".{first.name}.*.part")).unlink()
            yield second, self[second]

        return each()  # type: ignore[no-any-return]


def test_several_files_are_written_all_or_none(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    for path in (one, two):
        path.write_text("a: 1\n", encoding="utf-8")
    with pytest.raises(UnicodeEncodeError):
        yaml_edit.write_all({one: "a: 2\n", two: "a: \ud800\n"})
    with pytest.raises(UserError, match="cannot be written"):
        yaml_edit.write_all(Faulty({one: "a: 2\n", two: "a: 2\n"}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.yaml", "two.yaml"]
    assert (one.read_text(encoding="utf-8"), two.read_text(encoding="utf-8")) == (
        "a: 1\n",
        "a: 1\n",
    )
    yaml_edit.write_all({one: "a: 2\n", two: "a: 3\n"})
    assert (one.read_text(encoding="utf-8"), two.read_text(encoding="utf-8")) == (
        "a: 2\n",
        "a: 3\n",
    )
