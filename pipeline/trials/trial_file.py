"""What is known of a trial: the file trial.json in its own folder."""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from pipeline.files import write_text
from pipeline.masking import masked
from pipeline.report.intervals import Interval, wilson

RESULTS = ("models/weights.npz", "metrics/history.csv")
KNOWN = Path("multirun/finished")  # trial.json of every finished trial, by its fingerprint
ACCURACY = "val_accuracy"


@dataclass
class Trial:
    """What trial.json holds.

    Attributes
    ----------
    number : int
        Of the trial in its sweep.
    overrides : list of str
    folder : str
        The trial's own.
    status : str
        RUNNING, FINISHED, FAILED, KILLED or PRUNED.
    seconds : float or None
        How long it was trained.
    metrics : dict of str to float
        Those of the epoch whose weights are kept.
    error : str
        Why it did not finish.
    run_id : str
        Of its MLflow run.
    repeats : str
        The folder of the earlier trial that this one would have repeated.
    uri : str
        Of the MLflow store.
    pid : int
        Of the process that trains it.
    fingerprint : str
    choices : dict of str to str
        The chosen files of conf/dataset/, conf/model/ and conf/optimizer/.
    settings : dict of str to Any
        Those that decide the training.
    dataset : dict of str to Any
        What the file of conf/dataset/ said of the arrays.
    name : str
        Tells the trial from the others of its sweep: see `name_of`.
    tested : bool
        Whether it is one of a group of seeds, which is tested, and which no sweep takes over.
    held_out : int
        Examples on which val_accuracy was measured.
    """

    number: int
    overrides: list[str]
    folder: str
    status: str = "RUNNING"
    seconds: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    error: str = ""
    run_id: str = ""
    repeats: str = ""
    uri: str = ""
    pid: int = 0
    fingerprint: str = ""
    choices: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    dataset: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    tested: bool = False
    held_out: int = 0

    def has(self, metric: str) -> bool:
        """Tell whether it has finished and measured this metric."""
        return self.status == "FINISHED" and metric in self.metrics

    def is_whole(self) -> bool:
        """Tell whether the files of its results are there."""
        return all((Path(self.folder) / name).exists() for name in RESULTS)

    def interval(self, metric: str) -> Interval | None:
        """Return the 95 % interval of the validation accuracy, None for another metric."""
        if metric != ACCURACY or not self.has(metric) or not self.held_out:
            return None
        return wilson(self.correct, self.held_out)

    @property
    def correct(self) -> int:
        """How many of the examples that were held out it has right."""
        return round(self.metrics[ACCURACY] * self.held_out)

    def take_over(self, other: "Trial") -> None:
        """Take over how another trial, the same training, has ended."""
        self.status, self.metrics = other.status, other.metrics
        self.seconds, self.held_out = other.seconds, other.held_out

    def write(self, path: Path | None = None) -> None:
        """Write trial.json."""
        text = json.dumps(asdict(self), indent=2) + "\n"
        write_text(path or Path(self.folder) / "trial.json", masked(text))


def read(path: Path) -> Trial:
    """Read trial.json, which an earlier version of this code may have written."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return Trial(**{key: found[key] for key in found.keys() & {one.name for one in fields(Trial)}})


def name_of(overrides: Sequence[str], varied: Collection[str]) -> str:
    """Return a name made of the overrides whose keys vary in the sweep, or of all if none does.

    The section `train.`, which most of them share, is left out.
    """
    varying = [item for item in overrides if item.partition("=")[0] in varied]
    shown = [item.lstrip("+").removeprefix("train.") for item in varying or overrides]
    return " ".join(shown) or "as in params.yaml"


def find(fingerprint: str, uri: str, folder: str | None = None) -> Trial | None:
    """Return the finished trial with this fingerprint and this MLflow store, if there is one.

    Parameters
    ----------
    fingerprint, uri : str
    folder : str, optional
        The folder of the trial; without it, the trials of all sweeps are looked through.
    """
    path = Path(folder) / "trial.json" if folder else KNOWN / f"{fingerprint}.json"
    found = read(path) if path.exists() else None
    wanted = fingerprint, masked(uri), "FINISHED"
    same = found and (found.fingerprint, found.uri, found.status) == wanted
    return found if found and same and found.is_whole() else None


def keep(trial: Trial) -> None:
    """Write trial.json, and note a finished trial as one that need not be trained again."""
    if trial.status == "FINISHED" and not trial.tested:
        trial.write(KNOWN / f"{trial.fingerprint}.json")
    trial.write()
