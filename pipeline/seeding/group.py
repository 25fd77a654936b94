"""A group of seeds: one setting, trained as a sweep over the seed, then tested seed by seed."""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.files import sha256_once
from pipeline.seeding.results import Results
from pipeline.settings.schema import Config
from pipeline.tracking import description
from pipeline.tracking.run import EVALUATION, Run
from pipeline.trials import tables
from pipeline.trials.trial_file import Trial

log = logging.getLogger(__name__)
ROOT = "seeds"
MOST_NAME = 60


@dataclass(frozen=True)
class Group:
    """What `python -m pipeline.seeds` does.

    Attributes
    ----------
    seeds : int
        How many; they are 0, 1, 2 ...
    arguments : sequence of str
        Those of the command.
    test : callable
        Evaluates the weights of `paths.models` on the test set, writes what the evaluate stage
        writes into `paths.metrics`, and returns evaluation.json.
    """

    seeds: int
    arguments: Sequence[str]
    test: Callable[[Config], dict[str, float]]

    @property
    def folder(self) -> str:
        """The override that gives the group a folder, whose name is that of the given settings."""
        items = [one.lstrip("+") for one in self.arguments if not one.startswith(("n=", "hydra"))]
        short = [re.sub(r"^[\w.]*\.(?=\w+=)", "", one) for one in items]  # without their sections
        name = re.sub(r"[^\w.-]", "_", "-".join(short), flags=re.ASCII)[:MOST_NAME]
        return f"hydra.sweep.dir=${{sweep_folder:{ROOT}/{name or 'as_in_params'}}}"

    def give(self, trials: Sequence[Trial], config: Config, folder: Path, run: Run) -> None:
        """Test the seeds that have been trained; print and record what they reach."""
        trials = sorted((one for one in trials if one.number < self.seeds), key=lambda t: t.number)
        finished = [one for one in trials if one.status == "FINISHED"]
        if not finished:
            run.result(line := "No seed has been trained.")
            print(line)
            return
        log.info("testing %d seeds", len(finished))
        scores = {}
        for one in finished:
            scores[one.number] = evaluation = self.test(of_trial(config, one))
            if one.run_id:
                files = [Path(one.folder) / "metrics" / name for name in EVALUATION]
                metrics = description.test_metrics(evaluation)
                line = description.result(one.metrics | metrics)
                run.client.tested(one.run_id, metrics, files, line)
        results = Results(scores, self.seeds, about(config, finished[0]))
        files = results.write(folder)
        from pipeline.seeding import figures

        files.append(folder / "seeds.png")
        figures.seeds(files[-1], results)
        for table in (results.table(), results.means()):
            print(tables.aligned(table, "accuracy").rstrip())
        print(f"\n{results}")
        run.metrics(metrics_of(results), len(scores))
        run.files(files)
        run.result(str(results).replace("\n", " "))


def of_trial(config: Config, trial: Trial) -> Config:
    """Return the configuration of a trial: its seed, and its own folder."""
    paths = config.paths.with_output(Path(trial.folder))
    return config.model_copy(update={"seed": trial.settings["seed"], "paths": paths})


def about(config: Config, trial: Trial) -> dict[str, object]:
    """Return what the results are about, as `Results.about` has it."""
    return {
        "dataset": config.dataset.name,
        "data": trial.dataset,
        "test_labels_sha256": sha256_once(config.paths.processed / "y_test.npy"),
        "choices": trial.choices,
        "settings": {key: value for key, value in trial.settings.items() if key != "seed"},
    }


def metrics_of(results: Results) -> dict[str, float]:
    """Return the metrics of the group's MLflow run."""
    numbers = {
        f"{name}_{key}": value
        for name in results.metrics
        for key, value in results.spread(name)._asdict().items()
        if value is not None
    }
    numbers["accuracy_sampling_error"] = results.sampling_error
    return description.test_metrics(numbers) | {"seeds": len(results.scores)}
