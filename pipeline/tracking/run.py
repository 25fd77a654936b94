"""A run of the record, and what the stages and sweeps report about it."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.files import require, sha256, sha256_once
from pipeline.learning import history
from pipeline.learning.checkpoint import Checkpoint
from pipeline.learning.fingerprint import ARRAYS, fingerprint
from pipeline.learning.history import Epoch
from pipeline.learning.promise import promise
from pipeline.models import is_exact
from pipeline.settings.schema import Config, Train
from pipeline.tracking import description
from pipeline.tracking.client import Client, Contents
from pipeline.verification.unchanged import changed

log = logging.getLogger(__name__)
EVALUATION = ("evaluation.json", "classes.csv", "predictions.csv", "mistakes.csv")
HASHES = dict(zip(("data_sha256", "labels_sha256"), ARRAYS, strict=True))  # tag: file
SILENT = {"paths", "download", "tracking", "sweep"}  # sections that are not logged


class Run:
    """A run of the record; its methods send messages, and `id` and `resume` wait for answers."""

    def __init__(self, client: Client):
        self.client, self._number = client, next(client.numbers)
        self._config: Config | None = None  # until its data is logged
        self._train: Train | None = None
        self._known: dict[str, float] = {}  # metrics that it has already
        self.problem = ""  # why it cannot be begun, once it was asked for its id
        self._given_up = False  # what is said of it goes nowhere

    @classmethod
    def look_up(cls, config: Config) -> "Run":
        """Ask for the run that made the weights of the workspace; `resume` waits for the answer."""
        weights = sha256(require(config.paths.models / "weights.npz", "train"))
        run = cls(Client(config.tracking, config.paths.output))
        run._send("find", weights=weights, place=description.place(config))
        run._send("contents")
        return run

    def begin(self, name: str, tags: dict[str, str], **earlier: str) -> None:
        """Make the run, now RUNNING, or go on with an `earlier` one: see `Store.begin`."""
        self._send("begin", name=name, tags=tags, started=time.time(), **earlier)

    def id(self) -> str:
        """Wait for the run's id; a run that cannot be begun now is given up, and has no id."""
        answer = self.client.ask(self._number, "id")
        self.problem = answer["problem"]
        return str(answer.get("run_id", ""))

    def tags(self, tags: dict[str, str]) -> None:
        """Set tags."""
        self._send("tags", tags=tags)

    def params(self, params: dict[str, Any]) -> None:
        """Log parameters."""
        self._send("params", params=params)

    def metrics(self, metrics: dict[str, float], step: int) -> None:
        """Log metrics of a step."""
        self._send("metrics", points=[(metrics, step, time.time())])

    def data(self, name: str, folder: Path, hashes: dict[str, str]) -> None:
        """Log the training set as an input, and the SHA-256 of its files as tags."""
        self._send("data", name=name, folder=str(folder), hashes=hashes)

    def result(self, line: str) -> None:
        """Begin the description with a paragraph about the result, in place of an earlier one."""
        self._send("result", line=line)

    def files(self, paths: list[Path], folder: str = "") -> None:
        """Log files, into a folder of the run."""
        self._send("files", paths=[str(path) for path in paths], folder=folder)

    def end(self, status: str) -> None:
        """End the run as FINISHED, FAILED or KILLED."""
        self._send("end", status=status)

    @contextmanager
    def ended(self) -> Iterator["Run"]:
        """End the run as FINISHED, or as FAILED or KILLED if the block is left by an exception."""
        try:
            yield self
        except (KeyboardInterrupt, SystemExit):
            self.end("KILLED")
            raise
        except BaseException as error:
            self.tags({"error": f"{type(error).__name__}: {error}"[:5000]})
            self.end("FAILED")
            raise
        self.end("FINISHED")

    def settings(self, config: Config) -> None:
        """Log the parameters and the configuration of a training that is about to begin."""
        self._config, self._train = config, config.train
        self.params(description.parameters(config))
        names = config.model.name, config.optimizer.name, config.train.schedule
        self.tags({"pipeline.same_bits_on": promise(config.determinism, *names)})
        values = config.model_dump(mode="json", exclude=SILENT, exclude_unset=True)
        self._send("config", config=values)

    def epochs(self, epochs: list[Epoch]) -> None:
        """Log the metrics of epochs, with the epoch as the step.

        The first call also logs the training set, whose hashes the checkpoint has computed by then,
        and the fingerprint, by which the store finds the trial that this training repeats.
        """
        config, self._config = self._config, None
        folder = config.paths.processed if config else Path()
        if config and all((folder / name).exists() for name in ARRAYS):
            hashes = {tag: sha256_once(folder / name) for tag, name in HASHES.items()}
            self.data(config.dataset.name, folder, hashes)
            self._send("origin", fingerprint=fingerprint(config))
        if epochs:
            self._send("metrics", points=description.points(epochs, self._train))

    def training(self, config: Config) -> None:
        """Log weights, history and the model that can be served."""
        weights, table = config.paths.models / "weights.npz", config.paths.metrics / "history.csv"
        exact = is_exact(config.determinism, config.model.name)
        epochs = history.read(table)
        kept = epochs[-1]
        if config.train.patience is not None:  # MLflow shows the last metrics: log the kept ones
            kept = history.best(epochs, config.sweep.objective, config.sweep.direction)
            self.metrics(kept.metrics | {"best_epoch": kept.epoch}, len(epochs) + 1)
        self.result(description.result(kept.metrics))
        self.files([weights, table])
        self._send(
            "model",
            weights=str(weights),
            weights_sha256=sha256(weights),
            data=str(config.paths.processed),
            choices=config.model.model_dump() | {"exact": exact},
        )

    def restore(self, config: Config) -> None:
        """Log a whole training from the files that it has written, and end the run."""
        with self.ended():
            self.settings(config)
            self.epochs(history.read(config.paths.metrics / "history.csv"))
            self.training(config)

    def resume(self, config: Config) -> Contents:
        """Go on with the run that `look_up` asked for; if there is none, make it from the files.

        No run is made if the files do not belong to the settings.
        """
        found = Contents(**self.client.answer(self._number))
        if not found.problem and not found.name:
            if what := changed("train"):
                self._given_up, problem = True, f"{what} since `dvc repro` trained"
                log.warning("MLflow has no run with these weights, and gets none: %s", problem)
                return Contents(problem)
            log.info("MLflow has no run with these weights: recording one from the files")
            self._number = next(self.client.numbers)
            self.begin(*description.of_training(config, restored="true"))
            self.restore(config)
            found = Contents(**self.client.ask(self._number, "contents"))
        self._known = found.metrics
        return found

    def evaluation(self, config: Config, evaluation: dict[str, Any]) -> None:
        """Log the test metrics that the run does not have, and the files of the evaluation."""
        metrics = description.test_metrics(evaluation)
        self.metrics({k: v for k, v in metrics.items() if self._known.get(k) != v}, 0)
        self.result(description.result(self._known | metrics))
        self.tags({"kind": "pipeline"})  # until now it was a training
        self.files([config.paths.metrics / name for name in EVALUATION])

    def figures(self, config: Config) -> None:
        """Log the figures."""
        self.files(sorted(config.paths.plots.glob("*.png")), "plots")

    def _send(self, do: str, **arguments: Any) -> None:
        if not self._given_up:
            self.client.send(self._number, do, **arguments)


@contextmanager
def recorded(config: Config, checkpoint: Checkpoint) -> Iterator[Run]:
    """Record the training in a block; one that goes on from its checkpoint goes on with its run.

    The run ends as the block does. Then this waits until the store has everything.
    """
    run = Run(Client(config.tracking, config.paths.output))
    try:
        run.begin(*description.of_training(config), **checkpoint.run)
        with run.ended():
            run.settings(config)
            yield run
    finally:
        run.client.close()
