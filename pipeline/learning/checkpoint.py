"""The checkpoint of a training that has not ended, from which the same command goes on.

It is a file in `paths.checkpoints`: an .npz, followed by its SHA-256. It is written after an epoch
and removed at the end of the training. Its name is a hash of the settings and of the folder that
the training writes into. It is used only if data, code and versions are the same as well. Then a
training that goes on from it has the bits of one that was never interrupted, since the order of the
examples is a function of the seed and the epoch.

The file is moved into place, but not forced to the disk. After a power failure it may be damaged,
which its SHA-256 shows.
"""

import hashlib
import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from io import BytesIO
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.files import replacing, shown
from pipeline.learning import determinism
from pipeline.learning.fingerprint import fingerprint, settings
from pipeline.learning.history import Epoch
from pipeline.modelling.model import Model
from pipeline.settings.schema import Config

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)
MOST_FILES = 64  # checkpoints that are kept, of trainings that nobody has gone on with
MOST_TIME = 1 / 32  # of the time is spent on writing: after short epochs, some write nothing
LONGEST_PAUSE = 1.0  # seconds without a checkpoint, unless an epoch takes longer
VERSIONS = ("keras", "numpy", "tensorflow")
DIGEST = hashlib.sha256().digest_size


class Checkpoint:
    """What is kept of one training that has not ended.

    Attributes
    ----------
    path : Path
        The file.
    place : Path
        The folder that the training writes into, or that of its sweep.
    reached : int
        The last epoch that the file holds, 0 without a file.
    best : list of arrays
        The weights after the best epoch so far, if training has `patience`.
    least_pause : float
        Seconds that pass at least between two writings.
    seconds : float
        What trainings side by side add to the seconds that this one took by itself: its share of
        the time that is measured for another, less the shares of others in its own.
    run : dict of str to str
        What MLflow knows the training by, also after an interruption: its id (`training`), and the
        file (`lock`) that the process which records it has locked.
    """

    def __init__(self, config: Config, place: Path):
        known = [shown(place), settings(config), str(config.paths.processed)]
        name = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]
        self.path = config.paths.checkpoints / f"{name}.npz"
        self.config, self.place = config, place
        self._key = ThreadPoolExecutor(1).submit(_key, config)  # while TensorFlow is imported
        self._found = self._read()
        self.reached = len(self._found.get("history", ()))
        training = str(self._found.get("training", uuid4().hex))
        self.run: dict[str, Any] = {
            "training": training,
            "lock": str(self.path.with_suffix(".lock")),
        }
        self.best: list[NDArray[Any]] = []
        self.least_pause, self.seconds = 0.0, float(self._found.get("seconds", 0.0))
        self._written, self._took = -inf, 0.0

    def restore(self, model: Model, optimizer: "keras.optimizers.Optimizer") -> list[Epoch]:
        """Put back the weights and the optimizer's state; return the history up to there."""
        optimizer.build(list(model.weights.values()))
        self._variables = [*model.saved.values(), *optimizer.variables]
        if not self._found:
            return []
        for number, variable in enumerate(self._variables):
            variable.assign(self._found[f"variable_{number}"])
        epochs = [_epoch(row) for row in self._found.pop("history").tolist()]
        self.best = [one for name, one in self._found.items() if name.startswith("best_")]
        self._found.clear()
        done, total = len(epochs), self.config.train.epochs
        if done == total:
            log.info("epoch %d of %d is trained already (%s)", done, total, shown(self.path))
        else:
            log.info("going on from epoch %d of %d (%s)", done, total, shown(self.path))
        return epochs

    def keep(self, epochs: list[Epoch], *, always: bool = False) -> None:
        """Write the model as it is after these epochs, unless the last writing was a moment ago.

        If the file cannot be written, a warning says so once, and the training goes on without it.

        Parameters
        ----------
        epochs : list of Epoch
            The history so far.
        always : bool
            Whether to write it however short the last writing is ago.
        """
        started, first = time.monotonic(), self._written == -inf
        pause = max(self.least_pause, min(LONGEST_PAUSE, self._took / MOST_TIME))
        if started - self._written < pause and not always:
            return
        arrays = {f"variable_{n}": one.numpy() for n, one in enumerate(self._variables)}
        arrays |= {f"best_{n}": array for n, array in enumerate(self.best)}
        arrays["history"] = np.array([[*vars(epoch).values()] for epoch in epochs], np.float64)
        arrays["training"] = np.array(self.run["training"])
        arrays["seconds"] = np.array(self.seconds)
        try:
            arrays["key"] = np.array(self._key.result())
            content = _packed(arrays)
            if first:
                self._make_room()
            with replacing(self.path) as temporary:
                temporary.write_bytes(content)
        except (OSError, UserError) as error:
            log.warning("Training goes on without a checkpoint: %s", error)
            self._written = inf
            return
        self.reached = len(epochs)
        self._written = time.monotonic()
        self._took = 0.0 if first else self._written - started  # the first takes longer

    def remove(self) -> None:
        """Remove the file, and the temporary file of a process that was killed as it wrote one."""
        for path in self.path.parent.glob(f"*{self.path.name}*"):
            path.unlink(missing_ok=True)

    def _read(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of the file, none if there is no file; warn if it cannot be used."""
        try:
            content = self.path.read_bytes()
            key = self._key.result()
            if hashlib.sha256(content[:-DIGEST]).digest() != content[-DIGEST:]:
                raise ValueError("its checksum is wrong")
            with np.load(BytesIO(content), allow_pickle=False) as file:
                arrays = dict(file)
            if str(arrays["key"]) != key:
                raise ValueError("it is of other settings, data, code or versions")
        except FileNotFoundError:
            return {}
        except Exception as error:  # NumPy and zipfile raise many kinds for a damaged file
            log.warning("%s is ignored: %s; training starts anew", shown(self.path), error)
            return {}
        return arrays

    def _make_room(self) -> None:
        """Remove the oldest files of the folder, so that MOST_FILES are left."""
        found: list[tuple[float, Path]] = []
        for path in self.path.parent.glob("*"):
            with suppress(FileNotFoundError):  # another training has just ended
                if path.is_file():
                    found.append((path.stat().st_mtime, path))
        for _, path in sorted(found)[:-MOST_FILES]:
            path.unlink(missing_ok=True)


def _packed(arrays: dict[str, NDArray[Any]]) -> bytes:
    buffer = BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue() + hashlib.sha256(buffer.getbuffer()).digest()


def _key(config: Config) -> str:
    """Return a hash of everything that decides the result."""
    processor = "" if config.determinism == "portable" else determinism.processor()
    content = fingerprint(config), {name: version(name) for name in VERSIONS}, processor
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _epoch(row: list[float]) -> Epoch:
    number, *values = row
    metrics: list[Any] = [None if np.isnan(value) else value for value in values]
    return Epoch(int(number), *metrics)
