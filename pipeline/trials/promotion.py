"""The changes of params.yaml and conf/ that make a trial's settings those of the pipeline."""

import json
import re
import shutil
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline import yaml_edit
from pipeline.errors import UserError
from pipeline.files import shown
from pipeline.learning import fingerprint
from pipeline.learning.fingerprint import settings
from pipeline.settings import conf_files, params
from pipeline.settings.compose import load
from pipeline.settings.schema import Config
from pipeline.trials.trial_file import Trial

Settings = dict[str, Any]  # by dotted key


def plan(trial: Trial, *, with_seed: bool) -> dict[Path, str]:
    """Return the new text of each file that changes; nothing is written.

    Parameters
    ----------
    trial : Trial
    with_seed : bool
        Whether the seed of the trial is taken over too; else that of params.yaml stays.

    Raises
    ------
    UserError
        If the changed files would not be composed into the settings of the trial.
    """
    if not trial.choices:
        raise UserError(f"trial {trial.number} is of an earlier version: run the sweep again")
    wanted = params.leaves(trial.settings)
    choices = [f"{group}={name}" for group, name in trial.choices.items()]
    present = _settings(load(choices))
    if not with_seed:
        wanted["seed"] = present["seed"]
    values: dict[Path, Settings] = defaultdict(dict)
    values[params.FILE] |= trial.choices
    for key in _differing(wanted, present):
        if key in wanted and key.partition(".")[0] in Config.model_fields:
            path, inner = _place(key, trial.choices)
            values[path][inner] = wanted[key]
    texts = {path: conf_files.read(path) for path in values}
    changed = {path: yaml_edit.with_values(texts[path], new) for path, new in values.items()}
    changed = {path: text for path, text in changed.items() if text != texts[path]}
    _check(changed, wanted, trial)
    return changed


def is_of_what_lies_here(trial: Trial) -> bool:
    """Tell whether the data and the code are still those by which the trial was trained.

    Data that are not here are not known to be others.
    """
    folder = load().paths.processed
    if not all((folder / name).exists() for name in fingerprint.ARRAYS):
        return True
    return trial.fingerprint == fingerprint.of(trial.settings, folder)


def _place(key: str, choices: dict[str, str]) -> tuple[Path, str]:
    """Return the file that holds a setting, and its key there."""
    path = params.CONF / "config.yaml"
    ours = params.leaves(conf_files.parse(conf_files.read(path), path))
    if found := re.fullmatch(r"\$\{params:([\w.]+)\}", str(ours.get(key))):
        return params.FILE, found[1]
    group, _, inner = key.partition(".")
    if key not in ours and group in choices:
        return params.CONF / group / f"{choices[group]}.yaml", inner
    return path, key


def _check(changed: dict[Path, str], wanted: Settings, trial: Trial) -> None:
    """Compose the changed files, as copies, and compare what comes out with what is wanted."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(params.CONF, folder / "conf")
        shutil.copy(params.FILE, folder)
        for path, text in changed.items():
            within = "conf" / path.relative_to(params.CONF) if path.is_absolute() else path
            (folder / within).write_text(text, encoding="utf-8")
        found = _settings(load(folder=folder))
    if differing := _differing(wanted, found):
        what = "; ".join(
            f"{key} is {_shown(wanted, key)} in the trial and {_shown(found, key)} in "
            f"{shown(_place(key, trial.choices)[0])}"
            for key in differing
        )
        raise UserError(
            f"trial {trial.number} has settings that cannot be written into conf/: {what}. Change "
            "them there and promote again; nothing was changed"
        )


def _settings(config: Config) -> Settings:
    return params.leaves(settings(config))


def _differing(one: Settings, other: Settings) -> list[str]:
    """Return the keys whose values would not give the same fingerprint."""
    return [key for key in {**one, **other} if _shown(one, key) != _shown(other, key)]


def _shown(settings: Settings, key: str) -> str:
    return json.dumps(settings[key]) if key in settings else "not set"
