"""The file of conf/dataset/ that describes a data set, with the comments of the shipped ones."""

import json
import re
from collections.abc import Mapping
from math import inf
from typing import Any

import yaml

from pipeline.settings.dataset import Dataset

SCALES = {
    "bytes": "pixels over 255",
    "minmax": "the least value of the training examples becomes 0, the greatest 1",
    "standardise": "columns of mean 0 and deviation 1 over the training examples",
    "none": "as they are",
}
NUMBER = re.compile(r"[-+]?[0-9][0-9_]*\.?[0-9_]*[eE][-+]?[0-9]+")  # to OmegaConf, not to PyYAML


def text(dataset: Dataset, title: str, rows: Mapping[str, int]) -> str:
    """Return the text of the file; it begins with what is adopted, and the rows of each part."""
    split = "this share of each class is the test part, drawn with `seed`"
    if dataset.split == "files":
        split = "the test part has files of its own"
    counts = " + ".join(f"{count:,}" for count in rows.values())
    size = " x ".join(map(str, dataset.shape)) + " features" * (len(dataset.shape) == 1)
    lines = [
        f"# Adopted from {title}: {counts} examples of {size}, {len(dataset.classes)} classes.",
        f"name: {_value(dataset.name)}",
        f"reader: {dataset.reader}",
        "options:",
        *(f"  {key}: {_value(value)}" for key, value in dataset.options.items()),
        f"classes: {_value(dataset.classes)}",
        f"shape: {_value(dataset.shape)}",
        _commented(f"split: {dataset.split}", split),
        _commented(f"scale: {dataset.scale}", SCALES[dataset.scale]),
        _commented(f"max_bytes: {dataset.max_bytes}", "no file may be larger"),
        _commented("files:", "SHA-256 of the files as they lie in data/raw/"),
        *(f"  {_value(file)}: {digest}" for file, digest in dataset.files.items()),
        _commented("sources: []", "where others get them; or they put them into data/raw/ too"),
    ]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    """Return a value as YAML in one line, with double quotes where it needs any."""
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    dumped = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=inf)
    plain = dumped.strip()[1:-1]
    quoted = plain.startswith("'") or (isinstance(value, str) and NUMBER.fullmatch(plain))
    return json.dumps(value, ensure_ascii=False) if quoted else plain


def _commented(line: str, comment: str) -> str:
    return f"{line:<30} # {comment}"
