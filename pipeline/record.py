"""Record: make sure that MLflow has a complete run of the results in the workspace.

DVC leaves out stages whose results are already there (a fresh clone brings metrics and plots,
`dvc pull` the rest), a tracking server may have been down, a local store may have been deleted.
`make repro` ends with this.
"""

import logging
import shlex
from urllib.parse import urlsplit

from pipeline.cli import app
from pipeline.errors import UserError
from pipeline.evaluate import in_words, read_evaluation
from pipeline.settings.inputs import Inputs
from pipeline.settings.schema import Config
from pipeline.tracking import description
from pipeline.tracking.run import Run
from pipeline.verification.unchanged import changed

log = logging.getLogger(__name__)
LOCAL = "sqlite:///mlflow.db"  # which a bare `mlflow ui` opens


def main(config: Config, _: Inputs) -> None:
    """Find or make the run of these weights, and add what it lacks or has otherwise.

    It refuses results that do not belong together.
    """
    evaluation = read_evaluation(config.paths.metrics / "evaluation.json")
    if what := changed("train", "evaluate", "plot"):
        raise UserError(
            f"{what} since `dvc repro`: run it again, so that what is recorded belongs together"
        )
    run = Run.look_up(config)
    found = run.resume(config)
    if not found.problem:
        # a stage that was run by hand may have given the run an evaluation of other data
        known = description.test_metrics(evaluation).items() <= found.metrics.items()
        if not known:
            run.evaluation(config, evaluation)
        if not (known and found.figures):
            run.figures(config)
        log.info("%s", in_words(evaluation))
        log.info(
            "MLflow has the run %r in experiment %r. To look at it: %s",
            found.name,
            config.tracking.experiment,
            way_to(config.tracking.uri, found.experiment_id),
        )
    run.client.close()


def way_to(uri: str, experiment_id: str) -> str:
    """Return what opens the runs of an experiment, as MLflow shows them for model training.

    Its first page is about traces. Who has to log in is asked for it: the address has no password.
    """
    page = f"#/experiments/{experiment_id}/runs?workflowType=machine_learning"
    address = urlsplit(uri)
    if address.scheme in ("http", "https"):
        host = address.netloc.rpartition("@")[2]
        return f"{address.scheme}://{host}{address.path.rstrip('/')}/{page}"
    store = "" if uri == LOCAL else f" --backend-store-uri {shlex.quote(uri)}"
    return f"`mlflow ui{store}`, then http://127.0.0.1:5000/{page}"


if __name__ == "__main__":
    app.run(main)
