"""Seeds: one setting, trained with several seeds and tested, in a table that can be defended."""

import csv
import json
import math
from pathlib import Path
from statistics import fmean

import mlflow
import numpy as np
import pytest
from scipy import stats

from pipeline import seeds
from pipeline.errors import UserError
from pipeline.report.intervals import sampling_error
from pipeline.seeding import figures, results
from pipeline.seeding.group import Group
from pipeline.seeding.results import Results
from pipeline.trials import trial_file
from tests.conftest import Project, make_project
from tests.test_sweep import runs, sweep

FRAGILE = """

class Fragile(LogisticRegression):
    def __init__(self, shape, classes, seed):
        if seed == 1:
            raise ValueError("not this seed")
        super().__init__(shape, classes, seed)


MODELS["fragile"] = Fragile
"""


def group(project: Project, name: str = "as_in_params") -> Path:
    (folder,) = (project / "seeds").glob(f"{name}-*")
    return folder


def table(folder: Path) -> list[dict[str, float]]:
    with (folder / "seeds.csv").open(newline="", encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def children(project: Project) -> list[mlflow.entities.Run]:
    """Return the runs below that of the only group."""
    (parent,) = [run for run in runs(project, "sweep") if run.info.run_name.startswith("seeds ")]
    key = "mlflow.parentRunId"
    return [run for run in runs(project, "trial") if run.data.tags.get(key) == parent.info.run_id]


def test_seeds_are_trained_once_and_tested_as_the_pipeline_is(reproduced: Project) -> None:
    sweep(reproduced, "seed=0")  # one of them is known from a sweep
    done = reproduced.stage("seeds", "n=2")
    folder = group(reproduced)
    assert done.stdout.count("(done before, in multirun/seed-") == 1
    assert "recorded again" not in done.stdout
    rows = table(folder)
    assert [row.pop("seed") for row in rows] == [0, 1]
    evaluation = (reproduced / "metrics/evaluation.json").read_bytes()
    assert (folder / "0/metrics/evaluation.json").read_bytes() == evaluation
    predictions = (reproduced / "metrics/predictions.csv").read_bytes()
    assert (folder / "0/metrics/predictions.csv").read_bytes() == predictions
    for seed, row in enumerate(rows):
        assert row == json.loads(
            (folder / f"{seed}/metrics/evaluation.json").read_text(encoding="utf-8")
        )
    assert rows[0] != rows[1]
    accuracies = [row["accuracy"] for row in rows]
    mean = np.mean(accuracies)
    low, high = stats.ttest_1samp(accuracies, 0).confidence_interval(0.95)
    assert (
        f"Test accuracy over 2 seeds: {mean:.4f}, standard deviation "
        f"{np.std(accuracies, ddof=1):.4f}, 95 % interval of the mean {low:.4f} to {high:.4f}.\n"
        "Another test set of this size would move a single accuracy by about ±"
        f"{sampling_error(mean, 80):.4f}."
    ) in done.stdout
    assert "Trial 0 (seed=0)" in reproduced.stage("promote").stdout  # of the latest sweep

    before = {path: path.read_bytes() for path in folder.glob("seeds.*")}
    assert [path.suffix for path in sorted(before)] == [".csv", ".json", ".png"]
    again = reproduced.stage("seeds", "n=2")
    assert again.stdout.count("(done before, in seeds/") == 2
    assert {path: path.read_bytes() for path in before} == before
    more = reproduced.stage("seeds", "n=3")
    assert more.stdout.count("(done before") == 2
    assert table(folder)[:2] == [{"seed": seed} | row for seed, row in enumerate(rows)]
    assert len(table(folder)) == 3

    below = children(reproduced)
    assert sorted(run.data.tags["mlflow.runName"] for run in below) == [
        f"seed={seed}" for seed in range(3)
    ]
    of_runs = {run.data.params["seed"]: run.data.metrics["test_accuracy"] for run in below}
    assert [of_runs[str(seed)] for seed in range(2)] == accuracies
    client = mlflow.MlflowClient(f"sqlite:///{reproduced / 'mlflow.db'}")
    history = client.get_metric_history(below[0].info.run_id, "test_accuracy")
    assert len(history) == 1
    assert all(client.list_artifacts(run.info.run_id) for run in below)
    (parent,) = [run for run in runs(reproduced, "sweep") if run.data.metrics.get("seeds")]
    assert parent.data.metrics["test_accuracy_mean"] == fmean(
        row["accuracy"] for row in table(folder)
    )
    assert "python -m pipeline.seeds n=3" in parent.data.tags["mlflow.note.content"]

    sweep(reproduced, "seed=0,1")  # what was tested is of no use to what chooses
    trained = [trial_file.read(path) for path in reproduced.folder.glob("multirun/*/1/trial.json")]
    assert [one.repeats for one in trained] == [""]
    tested = {run.info.run_id for run in below}
    others = [run for run in runs(reproduced, "trial") if run.info.run_id not in tested]
    assert others
    assert not any(name.startswith("test_") for run in others for name in run.data.metrics)
    assert not [*reproduced.folder.glob("multirun/**/evaluation.json")]
    assert reproduced.run("git", "status", "--porcelain").stdout == ""


def test_a_seed_that_fails_leaves_the_others(reproduced: Project) -> None:
    models = reproduced / "pipeline/models.py"
    models.write_text(models.read_text(encoding="utf-8") + FRAGILE, encoding="utf-8")
    (reproduced / "conf/model/fragile.yaml").write_text("name: fragile\n", encoding="utf-8")
    done = reproduced.stage("seeds", "n=3", "model=fragile", code=1)
    assert done.stderr.splitlines()[-1] == "seeds: trial 1 (seed=1) FAILED: not this seed"
    assert "Test accuracy over 2 of 3 seeds: " in done.stdout
    folder = group(reproduced, "model_fragile")
    assert [row["seed"] for row in table(folder)] == [0, 2]
    found = results.read(folder)
    assert found.planned == 3
    assert found.about["settings"]["model"] == {"name": "fragile"}

    (reproduced / "data/processed/x_test.npy").unlink()
    (line,) = reproduced.stage("seeds", "n=2", code=1).stderr.splitlines()
    assert line == (
        "seeds: data/processed/x_test.npy: not found: run `dvc repro preprocess`, which makes it"
    )


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("ready") / "project")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["n=1"], "n=1: a deviation needs two seeds or more"),
        (["n=-3"], "n=-3: a deviation needs two seeds or more"),
        (["n=many"], "n should be a valid integer, unable to parse string as an integer, not"),
        (["n=1001"], "n should be less than or equal to 1000, not '1001'"),
        (["10"], "10 is not known: the arguments are n=N and KEY=VALUE"),
        (["-m"], "-m is not known: the arguments are n=N and KEY=VALUE"),
        (["n=3", "seed=4"], "seed=4: the seeds are 0 to n - 1: leave it out"),
        (["hydra/sweeper=optuna"], "hydra/sweeper=optuna: seeds are not searched: leave it out"),
        (["train.learning_rate=0.1,0.3"], "train.learning_rate=0.1,0.3: has several values, and"),
        (["+experiment=grid"], "+experiment=grid is a sweep: run it as"),
        (["epochs=3"], "epochs is not known; did you mean train.epochs?"),
    ],
)
def test_what_is_no_group_of_seeds_is_refused(
    ready: Project, monkeypatch: pytest.MonkeyPatch, arguments: list[str], line: str
) -> None:
    monkeypatch.chdir(ready.folder)
    with pytest.raises(UserError) as refused:
        seeds.main(arguments)
    assert str(refused.value).startswith(line)
    assert not (ready / "seeds").exists()


def of(accuracies: list[float], examples: int = 100, planned: int = 0) -> Results:
    scores = {
        seed: {
            "loss": 1 - value,
            "accuracy": value,
            "accuracy_low": value - 0.1,
            "accuracy_high": value + 0.1,
            "examples": examples,
        }
        for seed, value in enumerate(accuracies)
    }
    return Results(scores, planned or len(scores), {"dataset": "tiny"})


def test_the_error_of_the_test_set_is_that_of_a_share() -> None:
    low, high = stats.binomtest(4, 4).proportion_ci(method="wilson")
    assert sampling_error(1.0, 4) == pytest.approx((high - low) / 2, rel=1e-9)  # and not 0
    low, high = stats.binomtest(8050, 10000).proportion_ci(method="wilson")
    assert sampling_error(0.805, 10000) == pytest.approx((high - low) / 2, rel=1e-9)
    generator = np.random.default_rng(0)
    sets = generator.binomial(1000, 0.9, 20_000) / 1000
    within = np.abs(sets - 0.9) <= sampling_error(0.9, 1000)
    assert within.mean() == pytest.approx(0.95, abs=0.01)
    assert of([0.9] * 3, 1000).sampling_error == pytest.approx(0.0186213, abs=1e-7)


def test_what_is_said_and_written_can_be_read_back(tmp_path: Path) -> None:
    sleep = [0.12, 0.24, 0.13, 0.13, 0.0, 0.10, 0.18, 0.08, 0.46, 0.14]  # Student's, a tenth
    found = of(sleep, planned=12)
    assert str(found) == (
        "Test accuracy over 10 of 12 seeds: 0.1580, standard deviation 0.1230, 95 % interval of "
        "the mean 0.0700 to 0.2460.\nAnother test set of this size would move a single accuracy by "
        "about ±0.0713."
    )
    assert found.metrics == ["accuracy", "loss"]
    found.write(tmp_path)
    assert results.read(tmp_path).scores == found.scores
    assert results.read(tmp_path).planned == 12
    said = json.loads((tmp_path / "seeds.json").read_text(encoding="utf-8"))
    interval = [said["metrics"]["accuracy"][f"interval_{end}"] for end in ("low", "high")]
    assert interval == pytest.approx([0.07001142, 0.24598858], abs=1e-8)  # as R's t.test has it
    assert "All seeds give the same" not in str(found)
    scores = {seed: dict(one) for seed, one in found.scores.items()}
    scores[3]["loss"] = math.inf
    assert Results(scores, 10).metrics == ["accuracy"]
    assert str(of([0.5, 0.5])).endswith("nothing in this setting depends on the seed.")
    assert str(of([0.5], planned=2)).startswith(
        "Test accuracy of 1 of 2 seeds: 0.5000; a deviation needs two."
    )
    with pytest.raises(UserError, match=r"seeds.json: not found: `python -m pipeline.s"):
        results.read(tmp_path / "nowhere")
    for name, text in (("seeds.csv", "seed\nx\n"), ("seeds.csv", "a\n1\n"), ("seeds.json", "[]")):
        whole = (tmp_path / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=r"cannot be read \(.*\): the command that"):
            results.read(tmp_path)
        (tmp_path / name).write_text(whole, encoding="utf-8")
    assert results.read(tmp_path).scores == found.scores


@pytest.mark.parametrize("accuracies", [[0.5], [0.5, 0.5], [0.9, 0.91, 0.9, 0.93], [0.7] * 300])
def test_the_figure_has_the_same_bytes(tmp_path: Path, accuracies: list[float]) -> None:
    for name in ("a.png", "b.png"):
        figures.seeds(tmp_path / name, of(accuracies))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_group_is_named_by_what_is_set() -> None:
    def name(*arguments: str) -> str:
        return Group(3, arguments, seeds.test).folder.partition("seeds/")[2].rstrip("}")

    assert name("n=3") == name("n=3", "hydra/launcher=joblib") == "as_in_params"
    assert name("n=3", "train.learning_rate=0.3", "model=mlp") == "learning_rate_0.3-model_mlp"
    assert name("+experiment=tutorial") == "experiment_tutorial"
    assert name("model.hidden=[8,9]", "paths.data=a b/ü") == "hidden__8_9_-data_a_b__"
