"""Hydra's joblib launcher, in which a worker that is killed takes only its own trial with it."""

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra_plugins.hydra_joblib_launcher.config import JobLibLauncherConf
from hydra_plugins.hydra_joblib_launcher.joblib_launcher import JoblibLauncher as Published

if TYPE_CHECKING:
    from joblib.externals.loky.process_executor import ProcessPoolExecutor

log = logging.getLogger(__name__)
END_SECONDS = 10  # that interrupted trials have to say that they were


class JoblibLauncher(Published):
    """Runs `n_jobs` trials at once, each worker a process pool of its own.

    joblib's own pool ends all its workers when one of them dies. A worker takes the next trial too,
    unless that has another `determinism`, which a process chooses but once.
    """

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the trials; return when all have ended."""
        from concurrent.futures import ThreadPoolExecutor
        from queue import SimpleQueue

        from hydra_plugins.hydra_joblib_launcher._core import execute_job
        from joblib import cpu_count, effective_n_jobs
        from joblib.externals.loky.process_executor import BrokenProcessPool, ProcessPoolExecutor

        from pipeline.sweeping import progress

        setup_globals()
        assert self.config is not None
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        sweep = Path(self.config.hydra.sweep.dir)
        workers = min(effective_n_jobs(self.joblib["n_jobs"]), len(job_overrides))
        threads = {"TF_NUM_INTEROP_THREADS": str(max(1, cpu_count() // workers))}
        log.info("Launching %d jobs, %d at once", len(job_overrides), workers)
        state = Singleton.get_state()
        pools: list[ProcessPoolExecutor] = []
        free: SimpleQueue[tuple[ProcessPoolExecutor | None, str]] = SimpleQueue()
        for _ in range(workers):
            free.put((None, ""))

        def run(number: int, overrides: Sequence[str]) -> JobReturn:
            pool, before = free.get()
            mode = next((item for item in overrides if item.startswith("determinism=")), "")
            if pool and mode != before:
                pool.shutdown()
                pool = None
            if pool is None:
                pool = ProcessPoolExecutor(max_workers=1, env=threads)
                pools.append(pool)
            job = (number, overrides, self.hydra_context, self.config, self.task_function, state)
            with suppress(BrokenProcessPool):  # the trial's own file says that it has not ended
                ended = pool.submit(execute_job, *job).result()
                free.put((pool, mode))
                return ended
            free.put((None, ""))
            log.info("trial %d (%s)  its process was killed", number, progress.count(sweep))
            return JobReturn(overrides=overrides, status=JobStatus.COMPLETED)

        numbers = range(initial_job_idx, initial_job_idx + len(job_overrides))
        lanes = ThreadPoolExecutor(workers)
        try:
            return list(lanes.map(run, numbers, job_overrides))
        except BaseException:
            lanes.shutdown(wait=False, cancel_futures=True)
            _terminate(pools)
            raise
        finally:
            for pool in pools:
                pool.shutdown()


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


def _terminate(pools: "list[ProcessPoolExecutor]") -> None:
    """Ask the workers to end, which their trials then record."""
    for pool in pools:
        for worker in list(pool._processes.values()):
            worker.terminate()
    deadline = time.monotonic() + END_SECONDS
    while time.monotonic() < deadline and any(pool._pending_work_items for pool in pools):
        time.sleep(0.05)
    for pool in pools:
        pool.shutdown(kill_workers=True)
