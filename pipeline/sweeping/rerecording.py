"""A finished trial whose MLflow run is not whole, or not there, is recorded again from its files.

The run may have been deleted, with its store or alone, its recorder killed before the end, or the
store out of reach.
"""

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.settings.schema import Config
from pipeline.tracking import results
from pipeline.tracking.client import Record

if TYPE_CHECKING:
    from pipeline.trials.trial_file import Trial

log = logging.getLogger(__name__)
PARENT = "mlflow.parentRunId"


def see_to(
    trial: "Trial", config: Config, record: Record, tags: dict[str, str], *, adopt: bool
) -> bool:
    """Record the trial if need be, with these tags; return whether it was, as another run.

    `config` has its settings. A run that is whole, but below a sweep's run that is not the one that
    the tags name, as that has been deleted, is put below that if we `adopt` it.
    """
    known = record.ask("status", run_id=trial.run_id) if trial.run_id else {"status": "GONE"}
    if known.get("status") not in ("GONE", "KILLED"):
        if adopt and known.get("parent", tags[PARENT]) != tags[PARENT]:
            record.ask("adopt", run_id=trial.run_id, parent=tags[PARENT])
        return False
    begin = {"name": trial.name, "tags": tags | {"restored": "true"}, "started": time.time()}
    trial.run_id = record.ask("begin", **begin).get("run_id", "")
    output = Path(trial.folder)
    folders = {"output": output, "models": output / "models", "metrics": output / "metrics"}
    config = config.model_copy(update={"paths": config.paths.model_copy(update=folders)})
    results.add_settings(record, config)
    results.add_finished(record, config)
    record.ask("flush")  # the sweep may end when this trial does
    log.info(
        "trial %d  %s  recorded again: MLflow had no whole run of it", trial.number, trial.name
    )
    return True
