"""One of the two sides of a comparison: its answers, and how they came about."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.comparison.answers import Answers
from pipeline.errors import UserError
from pipeline.settings.params import leaves
from pipeline.verification.lock import Stages, check_run_in_order

GROUPS = ("dataset", "model", "optimizer")
DECIDING = ("model", "optimizer", "seed", "determinism", "train")
OF_THE_FILES = ("classes", "files", "max_bytes", "sources")  # what the data are, not their use
CODE = ("pipeline/", "requirements.txt")

OTHER = "A and B have not answered the same examples"

Settings = Mapping[str, Any]  # by dotted key


@dataclass(frozen=True)
class Side:
    """What is known of A or B.

    Attributes
    ----------
    title : str
        What it is, for people.
    answers : Answers
        To its test examples, or to those held out if it is a trial.
    dataset : mapping
        The data set's file: its name, its classes, the SHA-256 of its files.
    settings : mapping
        What decided the training, by dotted key.
    code : mapping of str to str
        The MD5 of each file of code that has made it, as far as they are known.
    """

    title: str
    answers: Answers
    dataset: Mapping[str, Any]
    settings: Settings
    code: Mapping[str, str] = field(default_factory=dict)


def of_lock(title: str, answers: Answers, stages: Stages, made: str) -> Side:
    """Return the side whose answers the stages of a dvc.lock have given, by the file they `made`.

    Raises
    ------
    UserError
        If they were not run one after the other.
    """
    check_run_in_order(stages, made, title)
    dataset: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    code: dict[str, str] = {}
    trained = stages.get("train", {})  # what another stage was run with later does not count
    for stage in [*stages.values(), trained]:
        deps = [dep for dep in stage.get("deps", []) if dep["path"].startswith(CODE)]
        code |= {dep["path"]: dep.get("md5", "") for dep in deps}
        for file, values in stage.get("params", {}).items():
            group = Path(file).parent.name
            if group == "dataset":
                dataset |= values
            elif group in GROUPS:
                settings |= leaves(values, f"{group}.")
            else:
                settings |= {k: v for k, v in leaves(values).items() if "${" not in str(v)}
    return Side(title, answers, dataset, deciding(settings, dataset), code)


def of_config(title: str, answers: Answers, config: Mapping[str, Any]) -> Side:
    """Return the side that has this configuration, as nested dictionaries."""
    dataset = config.get("dataset", {})
    return Side(title, answers, dataset, deciding(leaves(config), dataset))


def deciding(settings: Settings, dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that decide a training, and how it uses its data set."""
    found = {k: v for k, v in settings.items() if k.partition(".")[0] in DECIDING}
    used = {k: v for k, v in dataset.items() if k not in OF_THE_FILES}
    return leaves(used, "dataset.") | {k: v for k, v in found.items() if k not in GROUPS}


def unlike(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the keys with different values, each with the value of `a` and of `b`, or None."""
    found = {key: {"a": ours.get(key), "b": theirs.get(key)} for key in {**ours, **theirs}}
    return {key: both for key, both in found.items() if both["a"] != both["b"]}


def check_same_examples(a: Side, b: Side) -> None:
    """Refuse sides whose examples are of other data, or were chosen in another way."""
    for key, what in (("name", "data set"), ("files", "files of the data set"), ("split", "split")):
        ours, theirs = a.dataset.get(key), b.dataset.get(key)
        if None not in (ours, theirs) and ours != theirs:
            said = f" ({ours} and {theirs})" if key != "files" else ""
            raise UserError(f"{OTHER}: another {what}{said}")
    labels, others = a.answers.actual, b.answers.actual
    if len(labels) != len(others):
        raise UserError(f"{OTHER}: A has {len(labels):,} and B {len(others):,}")
    if (labels != others).any():
        raise UserError(f"{OTHER}: their labels differ")
