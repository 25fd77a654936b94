"""The folders of sweeps: which one a command has, which was begun last, the trials in one."""

import hashlib
import json
import sys
from pathlib import Path

from pipeline import trial
from pipeline.files import sha256_once
from pipeline.fingerprint import ARRAYS, code
from pipeline.params import CONF, FILE
from pipeline.trial import Trial

ROOT = Path("multirun")
ELSEWHERE = (  # do not make another sweep
    "hydra/launcher=",
    "hydra.launcher.",
    "hydra.sweeper.n_trials=",
    "hydra.sweeper.batch=",
    "sweep.rerun=",
    "sweep.together=",
)


def of_command() -> str:
    """Return the folder of the sweep that this command is: the same command, the same folder.

    As long as settings, code and data are the same too; else it is another sweep.
    """
    arguments = [item for item in sys.argv[1:] if not item.startswith(("-", *ELSEWHERE))]
    names = [item.partition("=")[0] for item in arguments]
    keys = dict.fromkeys(name.rpartition(".")[2] for name in names if "hydra" not in name)
    processed = Path("data/processed")
    files = [FILE, *sorted(CONF.rglob("*.yaml")), *code(), *(processed / name for name in ARRAYS)]
    content = [sorted(arguments), [sha256_once(path) for path in files if path.exists()]]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    slug = ",".join(keys).replace("/", "_").lstrip("+")[:60] or "sweep"
    return f"{ROOT}/{slug}-{digest[:8]}"


def begun() -> list[tuple[int, Path]]:
    """Return the folders of all sweeps, each with its place in the order of their last begin.

    The dates of files would not do: clocks are set back.
    """
    found = {path.parent: path.read_text(encoding="utf-8") for path in ROOT.glob("*/sweep.json")}
    return [(json.loads(text).get("order", 0), folder) for folder, text in found.items()]


def trials(folder: Path) -> list[Trial]:
    """Return the trials of the sweep in a folder."""
    return [trial.read(path) for path in folder.glob("*/trial.json")]
