"""The checkpoint of a training that has not ended, from which the same command goes on.

A file of `paths.checkpoints`, written after an epoch and removed at the end: an .npz followed by
its SHA-256. It is found by the settings and its place, the folder trained into or a sweep's, and is
used only if data, code and versions are the same too: what it leads to are then the bits of a
training that nobody has interrupted, since the order of the examples is a function of the epoch.

It is moved into place, not forced to the disk: what a power failure tears fails its checksum.
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
MOST = 64  # files that are kept, of trainings that nobody has gone on with
COST = 1 / 32  # of the time may be spent on writing: after short epochs not every time
SECONDS = 1.0  # but at least so often, if there are epochs
VERSIONS = ("keras", "numpy", "tensorflow")
DIGEST = hashlib.sha256().digest_size


class Checkpoint:
    """What is kept of one training, and its place.

    Attributes
    ----------
    path, place : Path
        The file, and the folder that is trained into, or a sweep's.
    reached : int
        The last epoch that is kept.
    best : list of arrays
        The weights after the best epoch so far, if that is of interest.
    least_pause : float
        Seconds between two writings, at least.
    seconds : float
        How long this was trained while another training was timed, less what others had of its own.
    run : dict of str to str
        Names the training to the record: an id that stays the same when it goes on, and the file
        that whoever records it has locked.
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
        """Write the model as it is after these epochs, unless writing would take too much time.

        What cannot be written is said once, and is no reason to end the training.
        """
        started, first = time.monotonic(), self._written == -inf
        pause = max(self.least_pause, min(SECONDS, self._took / COST))
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
        """Remove the file, and what a process that was killed while it wrote one has left."""
        for path in self.path.parent.glob(f"*{self.path.name}*"):
            path.unlink(missing_ok=True)

    def _read(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of the file, or nothing, and say why, if it is not to be used."""
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
        except Exception as error:  # of any kind, as NumPy meets what is no such archive
            log.warning("%s is ignored: %s; training starts anew", shown(self.path), error)
            return {}
        return arrays

    def _make_room(self) -> None:
        """Remove the oldest files of the folder beyond MOST."""
        found: list[tuple[float, Path]] = []
        for path in self.path.parent.glob("*"):
            with suppress(FileNotFoundError):  # another training has just ended
                if path.is_file():
                    found.append((path.stat().st_mtime, path))
        for _, path in sorted(found)[:-MOST]:
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
