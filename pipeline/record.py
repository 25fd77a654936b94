"""Record: make sure that MLflow has a complete run of the results in the workspace.

DVC leaves out stages whose results are already there (a fresh clone brings metrics and plots,
`dvc pull` the rest), a tracking server may have been down, a local store may have been deleted.
`make repro` ends with this.
"""

import logging

from pipeline import results
from pipeline.app import run
from pipeline.config import Config
from pipeline.evaluate import read_evaluation
from pipeline.files import require

log = logging.getLogger(__name__)


def main(config: Config) -> None:
    """Find or make the run of these weights and add what it lacks."""
    require(config.paths.models / "weights.npz", "train")
    evaluation = read_evaluation(config.paths.metrics / "evaluation.json")
    record = results.look_up(config)
    found = results.resume(record, config)
    if not found["problem"]:
        if "test_accuracy" not in found["metrics"]:
            results.add_evaluation(record, config, evaluation, found["metrics"])
        if not found["figures"]:
            results.add_figures(record, config)
        log.info("test_loss %.4f  test_accuracy %.4f", evaluation["loss"], evaluation["accuracy"])
        log.info(
            "MLflow has the run %r in experiment %r; look at it with `mlflow ui`",
            found["run"],
            config.tracking.experiment,
        )
    record.close()


if __name__ == "__main__":
    run(main)
