"""Record: make sure that MLflow has a complete run of the results in the workspace.

DVC leaves out stages whose results are already there (a fresh clone brings metrics and plots, the
cache may bring the rest), and a tracking server may have been down. `make repro` ends with this.
"""

import logging

from pipeline import results, tracking
from pipeline.app import run
from pipeline.config import Config
from pipeline.evaluate import read_evaluation
from pipeline.files import require

log = logging.getLogger(__name__)


def main(config: Config) -> None:
    """Find or make the run of these weights and add what it lacks."""
    require(config.paths.models / "weights.npz", "train")
    evaluation = read_evaluation(config.paths.metrics / "evaluation.json")
    record = results.resume(config)
    if record.run_id is None:
        return
    client = tracking.connect(config)
    run_data = client.get_run(record.run_id)
    if "test_accuracy" not in run_data.data.metrics:
        results.add_evaluation(record, config, evaluation)
    if not client.list_artifacts(record.run_id, "plots"):
        results.add_figures(record, config)
    log.info(
        "MLflow: run %r in experiment %r of %s; look at it with `mlflow ui`",
        run_data.info.run_name,
        config.tracking.experiment,
        config.tracking.uri,
    )


if __name__ == "__main__":
    run(main)
