"""dvc.lock: what each stage has read, and what it has written."""

from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pipeline.errors import UserError
from pipeline.learning.promise import promise
from pipeline.settings.params import leaves

Stages = dict[str, dict[str, Any]]
NAME = "dvc.lock"


class Out(NamedTuple):
    """A file or folder that a stage writes."""

    stage: str
    path: str
    md5: str


def read(path: Path) -> Stages:
    """Return the stages of a dvc.lock, each after those whose outs it reads.

    Raises
    ------
    UserError
        If there is none, or it holds no stages.
    """
    try:
        return parse(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{NAME}: not found: nothing to compare with; run `dvc repro`") from None


def parse(content: str | bytes) -> Stages:
    """Return the stages of the content of a dvc.lock, each after those whose outs it reads.

    Raises
    ------
    UserError
        If it holds no stages.
    """
    try:
        stages = yaml.safe_load(content)["stages"]
        makers = {out["path"]: name for name in stages for out in stages[name].get("outs", [])}
        needs = {
            name: [
                makers[dep["path"]] for dep in stages[name].get("deps", []) if dep["path"] in makers
            ]
            for name in stages
        }
        return {name: stages[name] for name in TopologicalSorter(needs).static_order()}
    except (ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise UserError(f"{NAME}: cannot be read ({' '.join(str(error).split())})") from None


def outs(stages: Stages) -> list[Out]:
    """Return every out, in the order of the pipeline."""
    return [
        Out(name, out["path"], out.get("md5", ""))
        for name, stage in stages.items()
        for out in stage.get("outs", [])
    ]


def check_run_in_order(stages: Stages, result: str, title: str) -> None:
    """Refuse a result for which a stage has read what another stage has since made anew.

    `dvc repro train` leaves the evaluation of the weights before, `dvc repro --single-item` more.
    """
    made = {out.path: out for out in outs(stages)}
    for name, stage in stages.items():
        for dep in stage.get("deps", []):
            out = made.get(dep["path"])
            if out and out.md5 != dep.get("md5", ""):
                raise UserError(
                    f"{title}: {name} was not run after {out.stage}, which has made another "
                    f"{out.path} since: `dvc repro` runs both"
                )
        if result in made and made[result].stage == name:
            return


def inputs(stages: Stages, made: set[str]) -> dict[tuple[str, str], Any]:
    """Return code, parameters and commands by stage and name, without what stages have `made`."""
    found: dict[tuple[str, str], Any] = {}
    for name, stage in stages.items():
        found[name, "cmd"] = stage.get("cmd")
        for dep in stage.get("deps", []):
            if dep["path"] not in made:
                found[name, dep["path"]] = dep.get("md5")
        for file, values in stage.get("params", {}).items():
            found |= {(name, f"{file} {key}"): value for key, value in leaves(values).items()}
    return found


def promised(stages: Stages) -> str:
    """Return on which machines the training has the same bits, as far as its settings tell."""
    files = stages.get("train", {}).get("params", {})
    names = {
        file.split("/")[1]: values.get("name") for file, values in files.items() if "/" in file
    }
    try:
        mode = files["conf/config.yaml"]["determinism"]
        schedule = files["params.yaml"]["train"].get("schedule", "constant")  # old locks lack it
        return promise(mode, names["model"], names["optimizer"], schedule)
    except KeyError:  # other code, with other settings, has made the lock
        return "machines that are not known"


def changes(before: Stages, after: Stages) -> list[str]:
    """Return the inputs that differ, of the stages in both, with the stages that read each."""
    made = {out.path for out in outs(before)}
    old, new = inputs(before, made), inputs(after, made)
    found: dict[str, list[str]] = {}
    for stage, name in {**old, **new}:
        ours, theirs = old.get((stage, name)), new.get((stage, name))
        if stage in before and stage in after and ours != theirs:
            what = f"{name} is {theirs}, but {ours} in {NAME}"
            if " " not in name and name != "cmd":  # a file
                what = f"{name} is not the one that {NAME} names"
            found.setdefault(what, []).append(stage)
    return [f"{what} (read by {', '.join(readers)})" for what, readers in found.items()]
