"""Hydra's Slurm launcher, but a job that dies takes only its own trial with it."""

import logging
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher as Published
from omegaconf import OmegaConf

if TYPE_CHECKING:
    from submitit import Job

log = logging.getLogger(__name__)
CANCEL_SECONDS = 45  # Slurm kills a cancelled job that has not ended after KillWait, 30 s
ADVICE = {
    "OUT_OF_MEMORY": "raise hydra.launcher.mem_gb",
    "TIMEOUT": "raise hydra.launcher.timeout_min",
    "UNKNOWN": "squeue does not know it any more",
}


class SlurmLauncher(Published):
    """Runs each trial as a Slurm job and waits for all of them, whatever becomes of one.

    The published one stops waiting at the first job that was killed.
    """

    def __call__(self, *arguments: Any) -> JobReturn:
        """Run a trial, in its job.

        When a job is cancelled or reaches its time limit, Slurm sends SIGTERM, and the trial ends
        as KILLED. submitit lets Slurm send another signal before, on which it would raise an
        exception in the trial; that signal is ignored. Whether a preempted job starts again is up
        to Slurm.
        """
        with suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        if cores := os.environ.get("SLURM_CPUS_PER_TASK"):
            os.environ.setdefault("TF_NUM_INTEROP_THREADS", cores)
        return super().__call__(*arguments)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the trials; return when all have ended."""
        from hydra_plugins.softmax_pipeline._slurm_jobs import Jobs

        submitted = self._submit(job_overrides, initial_job_idx)
        numbers = {job.job_id: place for place, job in enumerate(submitted)}
        jobs, returns = Jobs(submitted), {}

        def settle(job: "Job[JobReturn]", state: str) -> JobReturn:
            place = numbers[job.job_id]
            return self._settle(job, state, initial_job_idx + place, job_overrides[place])

        try:
            for job, state in jobs.ended():
                returns[job.job_id] = settle(job, state)
        except BaseException:
            log.info("Cancelling the %d Slurm jobs that have not ended", len(jobs.left))
            jobs.cancel()
            for job, state in jobs.ended(CANCEL_SECONDS):
                settle(job, state)
            raise
        return [returns[name] for name in numbers]

    def _submit(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> "list[Job[JobReturn]]":
        """Submit a job for each trial, several of them as one array.

        Raises
        ------
        UserError
            If Slurm does not take them, or they would hold a password.
        """
        from submitit import AutoExecutor

        from pipeline.errors import UserError
        from pipeline.masking import masked

        if masked(composed := OmegaConf.to_yaml(self.config)) != composed:
            raise UserError(
                "a password in the configuration would be written into the jobs' files: set "
                "MLFLOW_TRACKING_URI, or write ${oc.env:NAME} in its place, which each job reads"
            )

        arguments = [
            (list(overrides), "hydra.sweep.dir", number, str(number), Singleton.get_state())
            for number, overrides in enumerate(job_overrides, initial_job_idx)
        ]
        common = OmegaConf.structured(BaseQueueConf)
        settings = {
            key if key in common else f"slurm_{key}": value
            for key, value in self.params.items()
            if key not in ("submitit_folder", "max_num_timeout")
        }
        try:
            executor = AutoExecutor(self.params["submitit_folder"], cluster="slurm")
            executor.update_parameters(**settings)
            jobs = executor.map_array(self, *zip(*arguments, strict=True))
        except RuntimeError as error:  # there is no Slurm, or it does not take these settings
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise UserError(f"Slurm does not take the jobs: {reason[-1]}") from error
        log.info("Submitted as Slurm job %s", jobs[0].job_id.partition("_")[0])
        return jobs

    def _settle(
        self, job: "Job[JobReturn]", state: str, number: int, overrides: Sequence[str]
    ) -> JobReturn:
        """Say how a job has ended and return its result."""
        from submitit.core.utils import pickle_load

        from pipeline.files import shown
        from pipeline.sweeping import folders, progress

        assert self.config is not None
        assert self.hydra_context is not None
        sweep, result = Path(self.config.hydra.sweep.dir), job.paths.result_pickle
        outcome, returned = pickle_load(result) if result.exists() else ("", None)
        state = "FAILED" if outcome == "error" else state
        advice = ADVICE.get(state, f"its output is in {shown(job.paths.folder)}")
        why = f"Slurm job {job.job_id} ended as {state}; {advice}"
        loader = self.hydra_context.config_loader
        trial = folders.settle(loader, self.config, overrides, number, why)
        said = progress.count(sweep) if trial.error == why else progress.shown(sweep)
        log.info("Slurm job %s %s: trial %d (%s)  %s", job.job_id, state, number, said, trial.name)
        if isinstance(returned, JobReturn):
            return returned
        return JobReturn(overrides=overrides, status=JobStatus.COMPLETED)
