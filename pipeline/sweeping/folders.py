"""The folders of sweeps: that of this command, those that were begun, and the trials in them."""

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock
from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf, open_dict

from pipeline.errors import UserError
from pipeline.files import sha256_once, shown, write_text
from pipeline.learning.fingerprint import ARRAYS, code
from pipeline.settings.compose import in_force
from pipeline.settings.params import CONF, FILE
from pipeline.sweeping import validate
from pipeline.trials import trial_file
from pipeline.trials.trial_file import Trial

ROOT = Path("multirun")
BEGUN = ROOT / ".begun"  # a line for the folder of each sweep; the one that was begun last is last
SUBDIR = "${hydra:job.num}"
SAME_SWEEP = (  # the same sweep may have other values of these
    "hydra/launcher=",
    "hydra.launcher.",
    "hydra.sweeper.n_trials=",
    "hydra.sweeper.batch=",
    "sweep.rerun=",
    "sweep.together=",
)


def of_command(config: DictConfig, name: str = "") -> str:
    """Return the folder of this command's sweep, whose name is that of the swept keys or `name`.

    It is the same for the same command, as long as settings, code and data are the same.
    """
    names = [item.partition("=")[0] for item in _arguments()]
    keys = dict.fromkeys(name.rpartition(".")[2] for name in names if "hydra" not in name)
    slug = ",".join(keys).replace("/", "_").lstrip("+")[:60] or "sweep"
    return f"{name or ROOT / slug}-{command_hash(config)[:8]}"


def command_hash(config: DictConfig) -> str:
    """Return the SHA-256, in hexadecimal, of this command with its settings, code and data."""
    processed = Path(str(OmegaConf.select(config, "paths.processed")))  # none in `--cfg hydra`
    files = [FILE, *sorted(CONF.rglob("*.yaml")), *(processed / name for name in ARRAYS)]
    hashes = [sha256_once(path) for path in files if path.exists()]
    content = [sorted(_arguments()), hashes, code()]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _arguments() -> list[str]:
    return [item for item in sys.argv[1:] if not item.startswith(("-", *SAME_SWEEP))]


def of_trial(
    loader: ConfigLoader, config: DictConfig, overrides: Sequence[str], number: int
) -> Path:
    """Return the folder of a trial: that of its number, or what `hydra.sweep.subdir` says."""
    sweep = OmegaConf.to_container(config.hydra.sweep, resolve=False)
    assert isinstance(sweep, dict)
    if sweep["subdir"] == SUBDIR:
        return Path(config.hydra.sweep.dir) / str(number)
    composed = loader.load_sweep_config(config, list(overrides))
    with open_dict(composed):
        composed.hydra.job.id, composed.hydra.job.num = str(number), number
    with in_force(composed):
        return Path(config.hydra.sweep.dir) / str(composed.hydra.sweep.subdir)


def settle(
    loader: ConfigLoader, config: DictConfig, overrides: Sequence[str], number: int, why: str
) -> Trial:
    """Return a trial whose process has ended.

    If its trial.json is missing or says that it is RUNNING, it becomes KILLED.

    Parameters
    ----------
    loader, config : ConfigLoader, DictConfig
        Those of the sweep.
    overrides : sequence of str
    number : int
    why : str
        How the process ended, for a trial that was killed.
    """
    sweep, folder = Path(config.hydra.sweep.dir), of_trial(loader, config, overrides, number)
    name = trial_file.name_of(overrides, read(sweep)["varied"])
    path = folder / "trial.json"
    new = Trial(number, [*overrides], shown(folder), name=name)
    trial = trial_file.read(path) if path.exists() else new
    if trial.status in ("RUNNING", "KILLED"):
        trial.status, trial.error = "KILLED", why
        trial.write()
    return trial


def check(loader: ConfigLoader, config: DictConfig, trials: Sequence[Sequence[str]]) -> Path:
    """Return the folder of the sweep that this command begins or goes on with.

    Raises
    ------
    UserError
        If something else lies in it, or the trials would not have folders of their own below it.
    """
    validate.refuse_chdir(config.hydra.job.chdir)
    folder = Path(config.hydra.sweep.dir)
    if (folder / "sweep.json").exists():
        if read(folder)["hash"] != command_hash(config):
            raise UserError(
                f"hydra.sweep.dir: {shown(folder)} has a sweep of another command, or of other "
                "settings, data or code: give another folder, or remove this one"
            )
    elif folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise UserError(
            f"hydra.sweep.dir: {shown(folder)} has other files in it: give a sweep a new folder"
        )
    folders = [of_trial(loader, config, one, number) for number, one in enumerate(trials)]
    below = all(folder.resolve() in one.resolve().parents for one in folders)
    if not below or len(set(folders)) < len(folders):
        raise UserError(
            "hydra.sweep.subdir: should be another folder for each trial, below the sweep's, "
            "as deep/${hydra:job.num}"
        )
    return folder


def read(folder: Path) -> dict[str, Any]:
    """Return what sweep.json says."""
    return json.loads((folder / "sweep.json").read_text(encoding="utf-8"))


def note(folder: Path) -> None:
    """Note that the sweep in this folder was begun last."""
    ROOT.mkdir(exist_ok=True)
    with FileLock(BEGUN.with_suffix(".lock")):
        folders = [*(one for one in begun() if one != folder), folder]
        write_text(BEGUN, "".join(f"{shown(one)}\n" for one in folders))


def begun() -> list[Path]:
    """Return the folders of all sweeps that are still there; the one that was begun last is last.

    The dates of files would not do, as clocks may be set back.
    """
    lines = BEGUN.read_text(encoding="utf-8").splitlines() if BEGUN.exists() else []
    return [Path(line) for line in lines if (Path(line) / "sweep.json").exists()]


def trials(folder: Path) -> list[Trial]:
    """Return the trials of the sweep in a folder, without those of another sweep below it."""
    inner = {path.parent for path in folder.rglob("sweep.json")} - {folder}
    paths = (path for path in folder.rglob("trial.json") if not inner & set(path.parents))
    return [trial_file.read(path) for path in paths]
