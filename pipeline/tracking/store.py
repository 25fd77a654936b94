"""The MLflow store, in which runs are found and opened."""

import gc
import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from pipeline.tracking import connection
from pipeline.tracking.open_run import EXPERIMENT, PARENT, OpenRun, hold

if TYPE_CHECKING:
    from filelock import FileLock
    from mlflow import MlflowClient
    from mlflow.entities import Run

PLACE = "pipeline.place"  # where the results lie
LATEST = "pipeline.latest"  # the tag of the run of the pipeline that began last at its place
OF_SWEEPS = ("sweep", "trial")  # kinds of runs; runs of other kinds are of the pipeline


class Store:
    """A store and one experiment in it; its methods carry out messages to the recorder."""

    def __init__(self, uri: str, experiment: str, timeout: int):
        self._place = (uri, experiment, timeout)
        self._client: MlflowClient
        self._experiment_id = ""

    @property
    def connected(self) -> bool:
        """Whether the store has been opened."""
        return bool(self._experiment_id)

    def connect(self) -> None:
        """Open the store and the experiment, unless they are open; make them if need be."""
        if not self.connected:
            self._client, self._experiment_id = connection.connect(*self._place)
            gc.freeze()
            gc.enable()

    def begin(
        self,
        *,
        name: str,
        tags: dict[str, str],
        started: float,
        training: str = "",
        lock: str = "",
        again: str = "",
    ) -> OpenRun:
        """Make a run, or go on with an earlier one.

        Parameters
        ----------
        name : str
        tags : dict of str to str
        started : float
            Seconds since 1970.
        training, lock : str
            Those of `learning.checkpoint`. If the store has the run of that training, and no other
            process records it, that run goes on.
        again : str
            The id of a run that goes on, unless it is gone.
        """
        held = hold(lock) if lock else None
        if again and (run := self._existing(again)):
            return self._go_on(run, name, tags, held)
        if held and training:
            tags = tags | {"pipeline.training": training}
            known = f"tags.`pipeline.training` = '{training}'"
            for run in self._client.search_runs([self._experiment_id], known, max_results=1):
                if run.info.status != "FINISHED" or run.data.tags[PLACE] == tags[PLACE]:
                    return self._go_on(run, name, tags, held)
        tags = self._latest(tags) | tags | {connection.SIGNED: connection.signature()}
        run = self._client.create_run(self._experiment_id, int(started * 1000), tags, name)
        return OpenRun(self._client, run, held)

    def find(self, weights: str, place: str) -> OpenRun | None:
        """Open the latest run of a place with weights of that SHA-256, if there is one.

        Otherwise, it is the run of an experiment that DVC has made in a copy of the place. A run
        with weights has all of its training, so it is FINISHED now, even if its end was not
        recorded.
        """
        runs = self._client.search_runs(
            [self._experiment_id],
            f"tags.weights_sha256 = '{weights}'",
            order_by=[f"tags.`{LATEST}` DESC", "attributes.start_time DESC"],
        )
        places = [(run.data.tags.get(PLACE, ""), run) for run in runs]
        found = [run for where, run in places if where == place]
        found += [run for where, run in places if where.startswith(f"{place}#")]
        if not found:
            return None
        if found[0].info.status != "FINISHED":
            self._client.set_terminated(found[0].info.run_id, "FINISHED")
        return OpenRun(self._client, found[0])

    def status(self, run_id: str) -> dict[str, Any]:
        """Return the status of any run, which may be GONE, and the id of its parent."""
        run = self._existing(run_id)
        if not run:
            return {"status": "GONE"}
        return {"status": run.info.status, "parent": run.data.tags.get(PARENT, "")}

    def copy(self, run_id: str, names: Collection[str], folder: str) -> str:
        """Copy files of a run, as far as it has them; return its name, empty if it is gone."""
        run = self._existing(run_id)
        if not run:
            return ""
        for file in self._client.list_artifacts(run_id):
            if file.path in names:
                self._client.download_artifacts(run_id, file.path, folder)
        return str(run.info.run_name)

    def adopt(self, run_id: str, parent: str) -> dict[str, Any]:
        """Put a run below another one."""
        self._client.set_tag(run_id, PARENT, parent)
        return {}

    def tested(
        self, run_id: str, metrics: dict[str, float], files: list[str], line: str
    ) -> dict[str, Any]:
        """Log metrics, files and the result of a run that has ended."""
        run = self._client.get_run(run_id)
        known, opened = run.data.metrics, OpenRun(self._client, run)
        new = {key: value for key, value in metrics.items() if known.get(key) != value}
        opened.metrics([(new, 0, time.time())])
        opened.files(files, "")
        opened.result(line)
        return {}

    def _go_on(
        self, run: "Run", name: str, tags: dict[str, str], lock: "FileLock | None"
    ) -> OpenRun:
        """Open a run again; one that goes on in another experiment of DVC gets that one's name."""
        run_id, known = run.info.run_id, run.data.tags
        again = OpenRun(self._client, run, lock)
        again.look()
        moved = known.get(EXPERIMENT) != tags.get(EXPERIMENT)
        self._client.update_run(run_id, "RUNNING", name if moved else None)
        for tag in {"error", "pipeline.status", EXPERIMENT} & set(known):
            self._client.delete_tag(run_id, tag)
        given = {tag: tags[tag] for tag in (PLACE, EXPERIMENT) if tag in tags}
        resumed = given | {"resumed": str(int(known.get("resumed", 0)) + 1)}
        again.tags(self._latest(tags) | resumed | {connection.SIGNED: connection.signature()})
        return again

    def _latest(self, tags: dict[str, str]) -> dict[str, str]:
        """Take the tag LATEST from the run of a place that has it; return it for the next run.

        Runs of sweeps do not get it. Start times would not do, as clocks may be set back.
        """
        if tags.get("kind") in OF_SWEEPS:
            return {}
        for run in self._client.search_runs([self._experiment_id], f"tags.`{LATEST}` = 'true'"):
            if run.data.tags.get(PLACE) == tags[PLACE]:
                self._client.delete_tag(run.info.run_id, LATEST)
        return {LATEST: "true"}

    def _existing(self, run_id: str) -> "Run | None":
        """Return a run, unless it has been deleted."""
        from mlflow import MlflowException

        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return None if run.info.lifecycle_stage == "deleted" else run
