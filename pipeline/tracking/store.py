"""The MLflow store, where runs are found, opened and ended: a method of `Store` does one message.

Messages that put something on the run that is open are done by `pipeline.tracking.open_run`.
"""

import gc
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.files import sha256
from pipeline.learning.fingerprint import fingerprint
from pipeline.tracking import abandoned, database
from pipeline.tracking.open_run import OpenRun, hold

if TYPE_CHECKING:
    from filelock import FileLock
    from mlflow import MlflowClient
    from mlflow.entities import Run

PARENT = "mlflow.parentRunId"
PLACE = "pipeline.place"  # where the results lie


class Store:
    """A connection and the open runs; what a method returns is the answer to a question."""

    def __init__(self) -> None:
        self.client: MlflowClient
        self.experiment_id = ""
        self.runs: list[OpenRun] = []  # that are open: a sweep's, and in it a trial's

    @property
    def run(self) -> OpenRun:
        """The run that messages are about: the one that was opened last."""
        if not self.runs:
            raise LookupError("the run was not found")
        return self.runs[-1]

    def connect(self, uri: str, experiment: str, timeout: int) -> None:
        """Open the store and the experiment; make them if they are not there."""
        self.client, self.experiment_id = database.connect(uri, experiment, timeout)
        abandoned.end(self.client, self.experiment_id)
        gc.freeze()
        gc.enable()

    def begin(
        self,
        name: str,
        tags: dict[str, str],
        started: float,
        *,
        identity: dict[str, Any] | None = None,
        training: str = "",
        lock: str = "",
    ) -> dict[str, Any]:
        """Make a run; it is RUNNING from now on, and what follows is of this run.

        `identity` is what `learning.fingerprint` takes; a run that is not itself a trial is tagged
        with the trial that it repeats, if there is one. `training` and `lock` are those of
        `learning.checkpoint`: if the store has the run of a training that goes on, and no other
        process records it, that run goes on, and of what follows takes only what it lacks.
        """
        held = hold(lock) if lock else None
        if held and training:
            tags = tags | {"pipeline.training": training}
            run = self._first(f"tags.`pipeline.training` = '{training}'")
            if run and (run.info.status != "FINISHED" or run.data.tags[PLACE] == tags[PLACE]):
                return self._go_on(run, tags[PLACE], held)
        if identity:
            same = fingerprint(**identity)
            tags = tags | {"pipeline.fingerprint": same}
            if origin := self._trial(same):
                tags = tags | {"trial_run_id": origin}
            tags = tags | self._latest(tags[PLACE])
        tags = tags | {"pipeline.recorder": abandoned.signature()}
        run = self.client.create_run(self.experiment_id, int(started * 1000), tags, name)
        self.runs.append(OpenRun(self.client, self.experiment_id, run.info.run_id, held))
        return {"run_id": self.run.run_id}

    def _latest(self, place: str) -> dict[str, str]:
        """Take the tag from the latest run of a place, and return it for the next.

        Start times would not do: clocks are set back.
        """
        for run in self.client.search_runs([self.experiment_id], "tags.`pipeline.latest` = 'true'"):
            if run.data.tags.get(PLACE) == place:
                self.client.delete_tag(run.info.run_id, "pipeline.latest")
        return {"pipeline.latest": "true"}

    def _trial(self, fingerprint: str) -> str | None:
        """Return the finished trial of a sweep that has the fingerprint, if there is one."""
        found = self._first(
            f"tags.`pipeline.fingerprint` = '{fingerprint}' and tags.kind = 'trial' "
            "and attributes.status = 'FINISHED'"
        )
        return str(found.info.run_id) if found else None

    def _first(self, condition: str) -> "Run | None":
        """Return the latest run that meets a condition, if there is one."""
        found = self.client.search_runs([self.experiment_id], condition, max_results=1)
        return found[0] if found else None

    def _go_on(self, run: "Run", place: str, lock: "FileLock") -> dict[str, Any]:
        run_id, data = run.info.run_id, run.data
        again = OpenRun(self.client, self.experiment_id, run_id, lock)
        again.look(run)
        self.client.update_run(run_id, "RUNNING")
        for tag in {"error", "pipeline.status"} & set(data.tags):
            self.client.delete_tag(run_id, tag)
        self.runs.append(again)
        tags = {PLACE: place, "resumed": str(int(data.tags.get("resumed", 0)) + 1)}
        latest = self._latest(place) if data.tags.get("kind") != "trial" else {}
        again.tags(tags | latest | {"pipeline.recorder": abandoned.signature()})
        return {"run_id": run_id}

    def reopen(self, run_id: str, lock: str) -> dict[str, Any]:
        """Go on with a run that has ended."""
        held = hold(lock)
        self.client.update_run(run_id, "RUNNING")
        self.runs.append(OpenRun(self.client, self.experiment_id, run_id, held))
        self.run.tags({"pipeline.recorder": abandoned.signature()})
        return {"run_id": run_id}

    def status(self, run_id: str) -> dict[str, Any]:
        """Answer the status of any run, which may be GONE, and the run that it is below."""
        from mlflow import MlflowException

        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {"status": "GONE"}
        if run.info.lifecycle_stage == "deleted":
            return {"status": "GONE"}
        return {"status": run.info.status, "parent": run.data.tags.get(PARENT, "")}

    def adopt(self, run_id: str, parent: str) -> None:
        """Put a run below another one."""
        self.client.set_tag(run_id, PARENT, parent)

    def kill_children(self) -> None:
        """End as KILLED the runs below this one that are RUNNING: their processes have died."""
        children = self.client.search_runs(
            [self.experiment_id],
            f"tags.{PARENT} = '{self.run.run_id}' and attributes.status = 'RUNNING'",
        )
        for child in children:
            self.client.set_terminated(child.info.run_id, "KILLED")

    def flush(self) -> None:
        """Do nothing: the answer says that all before is done."""

    def find(self, weights: str, place: str) -> dict[str, Any]:
        """Go on with the latest run of that place with those weights; answer what it holds.

        If there is none, with that of an experiment which DVC has run in a copy of the place.
        Such a run has all of its training; if its end was not recorded, it is now.
        """
        runs = self.client.search_runs(
            [self.experiment_id],
            f"tags.weights_sha256 = '{sha256(Path(weights))}'",
            order_by=["tags.`pipeline.latest` DESC", "attributes.start_time DESC"],
        )
        places = [(run.data.tags.get(PLACE, ""), run) for run in runs]
        found = [run for where, run in places if where == place]
        found += [run for where, run in places if where.startswith(f"{place}#")]
        if not found:
            return {"run": None}
        run = found[0]
        self.runs = [OpenRun(self.client, self.experiment_id, run.info.run_id)]
        if run.info.status != "FINISHED":
            self.client.set_terminated(self.run.run_id, "FINISHED")
        return {
            "run": run.info.run_name,
            "experiment_id": self.experiment_id,
            "metrics": run.data.metrics,
            "figures": bool(self.client.list_artifacts(self.run.run_id, "plots")),
        }

    def end(self, status: str) -> None:
        """End the run as FINISHED, FAILED or KILLED, not before it began: clocks are set back."""
        began = self.client.get_run(self.run.run_id).info.start_time
        self.client.set_terminated(self.run.run_id, status, max(began, int(time.time() * 1000)))
        if lock := self.runs.pop().lock:
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release(force=True)
