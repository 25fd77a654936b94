"""Hydra's joblib launcher, but a worker that is killed takes only its own trial with it."""

import logging
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra_plugins.hydra_joblib_launcher.config import JobLibLauncherConf
from hydra_plugins.hydra_joblib_launcher.joblib_launcher import JoblibLauncher as Published

log = logging.getLogger(__name__)
END_SECONDS = 10  # so long, interrupted trials have time to record that they were


class Worker:
    """A process that runs trials one after the other, all with the same `determinism`."""

    def __init__(self, shared: bytes, threads: int, mode: str):
        self.mode = mode
        self.connection, other = Pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import work; work({other.fileno()})"],
            env=os.environ | {"TF_NUM_INTEROP_THREADS": str(threads)},
            pass_fds=[other.fileno()],
        )
        other.close()
        self.connection.send_bytes(shared)

    def end(self) -> None:
        """Let the process end, which has no trial to run, and wait for that."""
        self.connection.close()
        self.process.wait()


def work(descriptor: int) -> None:
    """Run the trials that the launcher sends, until it closes the connection."""
    import cloudpickle
    from hydra_plugins.hydra_joblib_launcher._core import execute_job

    from pipeline.cli.output import keep_printing

    keep_printing()
    trials: Connection[Any, Any] = Connection(descriptor)
    ended: Any = None
    with suppress(EOFError, OSError, KeyboardInterrupt, SystemExit):
        sys.argv, *context = cloudpickle.loads(trials.recv_bytes())  # what the trials share
        while not isinstance(ended, KeyboardInterrupt | SystemExit):
            number, overrides = trials.recv()
            try:
                ended = execute_job(number, overrides, *context)
            except BaseException as error:
                ended = error
            trials.send_bytes(cloudpickle.dumps(ended))


class JoblibLauncher(Published):
    """Runs `n_jobs` trials at once.

    joblib's own pool ends all its workers when one of them dies.
    """

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the trials; return when all have ended."""
        import cloudpickle
        from joblib import cpu_count, effective_n_jobs

        setup_globals()
        assert self.config is not None
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        context = self.hydra_context, self.config, self.task_function, Singleton.get_state()
        shared = cloudpickle.dumps((sys.argv, *context))
        most = min(effective_n_jobs(self.joblib["n_jobs"]), len(job_overrides))
        log.info("Launching %d jobs, %d at once", len(job_overrides), most)
        threads = max(1, cpu_count() // most)
        waiting = deque(enumerate(job_overrides))
        workers: list[Worker] = []
        running: dict[Any, tuple[Worker, int]] = {}
        returns: dict[int, JobReturn] = {}
        try:
            while waiting or running:
                while waiting and len(running) < most:
                    place, overrides = waiting.popleft()
                    mode = next((one for one in overrides if one.startswith("determinism=")), "")
                    idle = [one for one in workers if one.connection not in running]
                    fit = [one for one in idle if one.mode == mode and one.process.poll() is None]
                    if not fit:
                        for one in idle:
                            one.end()
                            workers.remove(one)
                        fit = [Worker(shared, threads, mode)]
                        workers += fit
                    running[fit[0].connection] = fit[0], place
                    fit[0].connection.send((initial_job_idx + place, overrides))
                for connection in wait(list(running)):
                    worker, place = running.pop(connection)
                    number, overrides = initial_job_idx + place, job_overrides[place]
                    returns[place] = self._ended(worker, number, overrides)
            return [returns[place] for place in sorted(returns)]
        except BaseException:
            _terminate([worker for worker, _ in running.values()])
            raise
        finally:
            for worker in workers:
                worker.end()

    def _ended(self, worker: Worker, number: int, overrides: Sequence[str]) -> JobReturn:
        """Return the outcome of a trial; a worker that was killed sends none."""
        import cloudpickle

        from pipeline.sweeping import folders, progress

        try:
            ended = cloudpickle.loads(worker.connection.recv_bytes())
        except (EOFError, OSError):
            worker.process.wait()
            loader, why = self.hydra_context.config_loader, "its process was killed"
            folders.settle(loader, self.config, overrides, number, why)
            counted = progress.count(Path(self.config.hydra.sweep.dir))
            log.info("trial %d (%s)  %s", number, counted, why)
            return JobReturn(status=JobStatus.COMPLETED)
        if isinstance(ended, BaseException):
            raise ended
        return ended


def _terminate(workers: Sequence[Worker]) -> None:
    """Terminate workers, and give their trials time to record that."""
    for worker in workers:
        worker.process.terminate()
    deadline = time.monotonic() + END_SECONDS
    for worker in workers:
        with suppress(subprocess.TimeoutExpired):
            worker.process.wait(max(0.0, deadline - time.monotonic()))
        worker.process.kill()


@dataclass
class Settings(JobLibLauncherConf):
    """The keys of `hydra.launcher`; of the published ones, `n_jobs` alone has an effect."""

    _target_: str = f"{__name__}.{JoblibLauncher.__name__}"


class Registration(SearchPathPlugin):
    """Lets `hydra/launcher=joblib` choose this launcher instead of the published one.

    Hydra calls search path plugins when it has loaded all plugins, the published one too. A file
    conf/hydra/launcher/joblib.yaml would do the same, but Hydra warns of it.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Replace the published settings; the search path stays."""
        ConfigStore.instance().store(group="hydra/launcher", name="joblib", node=Settings)
