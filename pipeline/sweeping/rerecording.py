"""A finished trial whose MLflow run is incomplete or missing is recorded again from its files.

The run or its store may have been deleted, its recorder may have been killed, or the store may have
been out of reach.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.settings.schema import Config
from pipeline.tracking.client import Client
from pipeline.tracking.run import Run

if TYPE_CHECKING:
    from pipeline.trials.trial_file import Trial

log = logging.getLogger(__name__)
PARENT = "mlflow.parentRunId"


def ensure_recorded(
    trial: "Trial", config: Config, client: Client, tags: dict[str, str], *, adopt: bool
) -> bool:
    """Record the trial as a new run with these tags if it has no complete run; return whether so.

    Parameters
    ----------
    config : Config
        With the trial's settings.
    adopt : bool
        Whether a complete run, whose sweep's run has been deleted, is put below the run that the
        tags name.
    """
    known = client.status(trial.run_id) if trial.run_id else {"status": "GONE"}
    if known.get("status") not in ("GONE", "KILLED"):
        if adopt and known.get("parent", tags[PARENT]) != tags[PARENT]:
            client.adopt(trial.run_id, tags[PARENT])
        return False
    run = Run(client)
    run.begin(trial.name, tags | {"restored": "true"})
    output = Path(trial.folder)
    folders = {"output": output, "models": output / "models", "metrics": output / "metrics"}
    run.restore(config.model_copy(update={"paths": config.paths.model_copy(update=folders)}))
    trial.run_id = run.id()
    client.wait()  # the sweep may end when this trial does
    log.info(
        "trial %d  %s  recorded again: MLflow had no whole run of it", trial.number, trial.name
    )
    return True
