"""Whether two results differ: of the workspace, commits, experiments, runs and trials."""

import json
import shutil
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from scipy import stats
from statsmodels.stats import contingency_tables, multitest

from pipeline import compare
from pipeline.comparison import answers, groups, named, paired, picture, words
from pipeline.comparison.answers import UNIT, Answers
from pipeline.comparison.paired import Counts
from pipeline.comparison.result import Result
from pipeline.comparison.side import Side, check_same_examples
from pipeline.errors import UserError
from pipeline.seeding.results import Results
from tests.conftest import Project
from tests.test_tracking import runs


def result(of_a: list[int], of_b: list[int], actual: list[int], shift: int = 0) -> Result:
    """Return the comparison of two sides that answer so; B's losses are higher by so much."""
    labels, losses = np.array(actual), np.arange(len(actual)) * 10**8
    dataset = {"name": "tiny", "classes": ["ant", "bee", "cat"]}
    sides = [
        Side(title, Answers(labels, np.array(said), losses + more), dataset, {"seed": more})
        for title, said, more in (("one", of_a, 0), ("other", of_b, shift))
    ]
    return Result(*sides, "test examples of tiny")


def test_mcnemars_test_and_holms_correction_are_those_of_statsmodels() -> None:
    generator = np.random.default_rng(0)
    for both, only_a, only_b, neither in generator.integers(0, 60, (50, 4)).tolist():
        table = [[both, only_a], [only_b, neither]]
        expected = contingency_tables.mcnemar(table, exact=True).pvalue
        assert Counts(both, only_a, only_b, neither).p == pytest.approx(expected, rel=1e-9)
    assert Counts(9, 0, 0, 1).p == 1
    for size in (1, 3, 10):
        p = generator.uniform(0, 0.2, size).tolist()
        assert paired.holm(p) == pytest.approx(multitest.multipletests(p, method="holm")[1])
    # Fagerland, Lydersen and Laake, Statistical Analysis of Contingency Tables (2017), chapter 8
    assert Counts(1, 1, 7, 12).p == pytest.approx(0.0703, abs=5e-5)


def test_the_loss_has_the_interval_of_scipys_bootstrap_and_the_same_bits_everywhere() -> None:
    generator = np.random.default_rng(1)
    one = np.rint(generator.standard_normal(400) ** 2 / UNIT).astype(np.int64)
    other = one + np.rint((generator.standard_normal(400) / 5 + 0.02) / UNIT).astype(np.int64)
    found = paired.losses(one, other)
    for estimate, values in zip(found, (one, other, other - one), strict=True):
        assert estimate.value == pytest.approx(values.mean() * UNIT, rel=1e-12)
        low, high = stats.bootstrap(
            (values * UNIT,), np.mean, method="percentile", rng=2
        ).confidence_interval
        width = high - low
        assert estimate.low == pytest.approx(low, abs=0.06 * width)
        assert estimate.high == pytest.approx(high, abs=0.06 * width)
    first, _, third = paired.losses(np.arange(5), np.arange(5) ** 2)
    assert [round(number / UNIT, 6) for number in first] == [2, 0.8, 3.2]
    assert [round(number / UNIT, 6) for number in third] == [4, 0.4, 8.4]


def test_predictions_are_read_with_every_digit(tmp_path: Path) -> None:
    text = "actual,predicted,probability,loss\n2,1,0.5,14.589603961\n1,1,0.99,0.000000001\n"
    found = answers.parse(text, "x.csv")
    assert (found.actual.tolist(), found.predicted.tolist()) == ([2, 1], [1, 1])
    assert found.losses is not None
    assert found.losses.tolist() == [14589603961, 1]
    assert answers.parse("actual,predicted\n2,1\n", "x.csv").losses is None
    for loss in ("inf", "nan", "1e30"):
        many = f"actual,predicted,probability,loss\n2,1,0.5,{loss}\n"
        assert answers.parse(many, "x.csv").losses is None
    for wrong in ("", "actual,predicted\n2\n", "a,b\n1,2\n", "actual,predicted\nx,1\n"):
        with pytest.raises(UserError, match=r"x\.csv cannot be read"):
            answers.parse(wrong, "x.csv")


def test_what_follows_is_said_in_a_sentence() -> None:
    right, wrong = [0] * 400, [1] * 400
    better = result(right[:300] + wrong[:100], right[:330] + wrong[:70], right, -(10**8))
    assert better.differ
    assert words.sentence(better) == "B is better: 7.50 points, 95 % interval 4.90 to 10.24."
    worse = Result(better.b, better.a, better.of)
    assert words.sentence(worse) == "A is better: 7.50 points, 95 % interval 4.90 to 10.24."
    near = result(right[:300] + wrong[:100], wrong[:3] + right[:299] + wrong[:98], right, -(10**8))
    assert not near.differ
    assert words.sentence(near) == (
        "The data do not tell them apart: B - A is -0.25 points, 95 % interval -1.54 to +1.03; "
        "B's loss is lower, by 0.1000."
    )
    same = result(right, right, right)
    assert words.sentence(same) == "A and B give the same answer to every example."
    assert "Their settings are the same." in words.report(same)
    assert "seed     0  -100000000" in words.report(better)
    # the interval and the test need not agree: Cavo et al. (2012), as in the book by Fagerland
    cavo = result([0] * 65 + [1] * 96, [0] * 59 + [1] * 6 + [0] * 16 + [1] * 80, [0] * 161)
    assert (cavo.counts, cavo.differ) == ((59, 6, 16, 80), False)
    assert "; McNemar's exact test has p = 0.052, which is not below 0.05." in words.sentence(cavo)


def test_a_class_counts_only_if_it_survives_holms_correction() -> None:
    labels = [0] * 60 + [1] * 60 + [2] * 60
    said = [0] * 60 + [1] * 60 + [2] * 60
    other = [1] * 6 + [0] * 54 + [2] * 9 + [1] * 51 + [0] * 1 + [2] * 59
    found = result(said, other, labels)
    assert [one.p < 0.05 for one in found.classes] == [False, True, False]
    assert found.classes[0].counts.p < 0.05  # alone it would have
    content = json.loads(json.dumps(found.numbers()))
    assert [one["only_a"] for one in content["classes"]] == [6, 9, 1]
    assert content["classes"][1]["class"] == "bee"
    assert content["both"] + content["only_a"] + content["only_b"] + content["neither"] == 180
    assert "bee    60        9       0" in words.report(found)


def test_other_examples_are_refused() -> None:
    one = result([0, 1], [0, 1], [0, 1]).a
    for dataset, labels, why in (
        ({"name": "other"}, [0, 1], r"another data set \(tiny and other\)"),
        ({"name": "tiny"}, [1, 1], "their labels differ"),
        ({"name": "tiny"}, [1], "A has 2 and B 1"),
    ):
        other = Side("x", Answers(np.array(labels), np.array(labels), None), dataset, {})
        with pytest.raises(UserError, match=why):
            check_same_examples(one, other)
    split = [
        Side("x", one.answers, {"name": "tiny", "split": {"seed": seed}}, {}) for seed in (0, 1)
    ]
    with pytest.raises(UserError, match="another split"):
        check_same_examples(*split)


def test_the_picture_shows_the_clearest_examples_of_each(tmp_path: Path) -> None:
    found = result([0, 1, 2, 0], [0, 0, 0, 1], [0, 1, 0, 0], 0)
    assert picture.parting(found) == {"A": [1, 3], "B": [2]}
    images = {row: np.full((4, 5), 9.0) for row in range(4)}
    for name, shown in (("with", images), ("without", {})):
        picture.draw(tmp_path / name, found, shown)
        assert (tmp_path / name).stat().st_size > 5000


def compared(project: Project, a: str, b: str) -> tuple[str, Any]:
    """Return what the command prints, and what it writes."""
    said = project.stage("compare", a, b).stdout
    return said, json.loads((project / "comparison/comparison.json").read_text(encoding="utf-8"))


def test_results_are_compared_wherever_they_are(
    reproduced: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the workspace, in a commit, in an experiment, in an MLflow run."""
    (run,) = runs(reproduced)
    setting = "train.learning_rate=0.5"
    reproduced.run("dvc", "exp", "run", "--name", "owl", "-S", setting)
    said, content = compared(reproduced, "HEAD", "owl")
    assert "B  experiment owl, commit" in said
    assert content["settings"] == {"train.learning_rate": {"a": 0.1, "b": 0.5}}
    assert content["examples"] == 80
    assert content["sentence"] in said
    evaluation = json.loads((reproduced / "metrics/evaluation.json").read_text(encoding="utf-8"))
    for key in ("accuracy", "accuracy_low", "accuracy_high"):
        assert content["b"][key] == evaluation[key]
    assert content["b"]["loss"] == pytest.approx(evaluation["loss"], abs=1e-9)
    assert (reproduced / "comparison/comparison.png").stat().st_size > 5000
    said, again = compared(reproduced, run.info.run_id, "workspace")
    assert f"A  MLflow run {run.info.run_name}" in said
    assert again["settings"] == content["settings"]  # as the lock and the run have them
    assert again["difference"] == content["difference"]
    assert reproduced.run("git", "status", "--porcelain", "comparison").stdout == ""

    path = reproduced / "metrics/predictions.csv"
    answered = path.read_text(encoding="utf-8")
    path.write_text(answered.replace("0.", "1."), encoding="utf-8")
    assert "the workspace, made by hand" in compared(reproduced, "owl", "workspace")[0]
    monkeypatch.chdir(reproduced.folder)
    header, rows = answered.split("\n", 1)
    many = f"{header}\n{rows * 100}"  # 200 KB
    client = mlflow.MlflowClient(f"sqlite:///{reproduced / 'mlflow.db'}")
    client.log_text(run.info.run_id, many, "predictions.csv")
    assert len(named.find(run.info.run_id).answers.actual) == 8000
    for names, why in (
        (("HEAD",), "needs two names, A and B, not 1: `--help` says what they are"),
        (("HEAD", "owI"), "owI is not known; did you mean owl? It may be workspace, a git rev"),
        (("HEAD", "f" * 32), f"{'f' * 32} is not known: it may be workspace, a git revision, an"),
        (("HEAD", "owl", "in=x"), "in is not known"),
    ):
        with pytest.raises(UserError) as refused:
            compare.main(list(names))
        assert str(refused.value).startswith(why)


def test_answers_have_the_settings_of_the_weights_that_gave_them(reproduced: Project) -> None:
    reproduced.edit("params.yaml", "seed: 0", "seed: 6")
    reproduced.repro("--single-item", "evaluate")
    assert compared(reproduced, "HEAD", "workspace")[1]["settings"] == {}
    reproduced.repro("train")
    (line,) = reproduced.stage("compare", "HEAD", "workspace", code=1).stderr.splitlines()
    assert line == (
        "compare: the workspace: evaluate was not run after train, which has made another "
        "models/weights.npz since: `dvc repro` runs both"
    )


@pytest.mark.slow
def test_predictions_that_dvc_caches_are_found(reproduced: Project) -> None:
    reproduced.run("git", "tag", "before")
    reproduced.edit("dvc.yaml", "predictions.csv: {cache: false}", "predictions.csv")
    reproduced.run("git", "rm", "-q", "--cached", "metrics/predictions.csv")
    reproduced.edit("params.yaml", "epochs: 3", "epochs: 1")
    reproduced.repro()
    reproduced.commit()
    assert "predictions.csv" not in reproduced.run("git", "ls-files", "metrics").stdout
    _, content = compared(reproduced, "before", "HEAD")
    evaluation = json.loads((reproduced / "metrics/evaluation.json").read_text(encoding="utf-8"))
    assert content["b"]["accuracy"] == evaluation["accuracy"]
    shutil.rmtree(reproduced / ".dvc/cache")
    (line,) = reproduced.stage("compare", "before", "HEAD", code=1).stderr.splitlines()
    assert "has no results that could be compared: " in line


def test_seeds_are_compared_as_groups_and_one_by_one(reproduced: Project) -> None:
    for more in ((), ("train.learning_rate=0.5",)):
        reproduced.stage("seeds", "n=2", *more)
    found = [path.parent for path in reproduced.folder.glob("seeds/*/seeds.json")]
    ours, theirs = sorted(found, key=lambda path: "learning_rate" in path.name)
    one, other = (path.relative_to(reproduced.folder) for path in (ours, theirs))
    said, content = compared(reproduced, str(one), str(other))
    assert "Means of the same 2 seeds, each tested on the same examples of tiny" in said
    assert content["settings"] == {"train.learning_rate": {"a": 0.1, "b": 0.5}}
    reproduced.edit("conf/dataset/tiny.yaml", "scale: bytes", "scale: standardise")
    said, content = compared(reproduced, f"{one}/0", "workspace")  # both are of before
    assert f"A  seed 0 of {one}" in said
    assert content["sentence"] == "A and B give the same answer to every example."
    assert content["settings"] == {}
    assert content["of"] == "test examples of tiny"


def test_trials_are_asked_what_was_held_out(
    reproduced: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (reproduced / "data/processed/x_test.npy").unlink()  # no trial needs it
    reproduced.stage("train", "-m", "train.learning_rate=0.1,0.5")
    (sweep,) = (path.parent for path in reproduced.folder.glob("multirun/*/sweep.json"))
    first, second = (f"multirun/{sweep.name}/{number}" for number in (0, 1))
    said, content = compared(reproduced, first, second)
    assert "the same 40 examples that were held out from the training set of tiny" in said
    assert content["settings"] == {"train.learning_rate": {"a": 0.1, "b": 0.5}}
    for side, folder in (("a", first), ("b", second)):
        metrics = json.loads((reproduced / folder / "trial.json").read_text(encoding="utf-8"))[
            "metrics"
        ]
        assert content[side]["accuracy"] == metrics["val_accuracy"]
        assert content[side]["loss"] == pytest.approx(metrics["val_loss"], abs=1e-9)
    said, content = compared(reproduced, "workspace", first)
    assert content["sentence"] == "A and B give the same answer to every example."
    assert "Their settings are the same." in said
    reproduced.stage("train", "-m", "train.validation_size=30", "train.epochs=1")
    (other,) = (path.parent for path in reproduced.folder.glob("multirun/*size*/sweep.json"))
    monkeypatch.chdir(reproduced.folder)
    for a, b, why in (
        (
            first,
            "HEAD",
            "HEAD cannot be compared with a trial, whose weights lie here: name two tr",
        ),
        (first, f"multirun/{other.name}/0", "A and B have held out other examples: 40 and 30"),
        (f"multirun/{sweep.name}", first, f"multirun/{sweep.name} is a sweep: name one of its"),
    ):
        with pytest.raises(UserError) as refused:
            compare.main([a, b])
        assert str(refused.value).startswith(why)
    reproduced.edit("conf/dataset/tiny.yaml", "scale: bytes", "scale: standardise")
    said = reproduced.stage("compare", first, second, code=1).stderr
    assert said.startswith(
        f"compare: {first}: was trained when conf/dataset/tiny.yaml had another scale: "
    )


def group(folder: Path, accuracy: dict[int, float], **about: object) -> str:
    """Write what `pipeline.seeds` writes of such seeds."""
    scores = {
        seed: {"loss": 1 - value, "accuracy": value, "examples": 80.0}
        for seed, value in accuracy.items()
    }
    known = {"dataset": "tiny", "test_labels_sha256": "a", "settings": {"train": {"epochs": 3}}}
    folder.mkdir()
    Results(scores, len(scores), known | about).write(folder)
    return str(folder)


def test_groups_are_paired_by_their_seeds(tmp_path: Path) -> None:
    ours = {0: 0.90, 1: 0.95, 2: 0.85, 3: 0.91, 7: 0.1}
    theirs = {3: 0.92, 2: 0.87, 1: 0.965, 0: 0.915, 8: 0.99}
    a = group(tmp_path / "a", ours, data={"scale": "bytes", "files": {}})
    other = {"settings": {"train": {"epochs": 4}}, "data": {"scale": "none", "files": {}}}
    b = group(tmp_path / "b", theirs, **other)
    found = groups.find(a, b)
    assert found
    shared = [0, 1, 2, 3]
    pairs = np.array([[ours[seed], theirs[seed]] for seed in shared])
    low, high = stats.ttest_rel(pairs[:, 1], pairs[:, 0]).confidence_interval(0.95)
    content = json.loads(json.dumps(found.numbers()))
    difference = content["accuracy"]["difference"]
    assert content["seeds"] == shared
    assert difference["mean"] == pytest.approx((pairs[:, 1] - pairs[:, 0]).mean())
    assert difference["interval_low"] == pytest.approx(low)
    assert difference["interval_high"] == pytest.approx(high)
    assert content["settings"] == {
        "train.epochs": {"a": 3, "b": 4},
        "dataset.scale": {"a": "bytes", "b": "none"},
    }
    # unpaired, nothing could be said of these few seeds
    assert stats.ttest_ind(pairs[:, 1], pairs[:, 0]).pvalue > 0.5
    said = f"{1.5:.2f} points, 95 % interval {100 * low:.2f} to {100 * high:.2f}"
    assert found.sentence == f"B is better: {said}, the mean of 4 seeds."
    turned = groups.find(b, a)
    assert turned
    assert turned.sentence == f"A is better: {said}, the mean of 4 seeds."
    assert "accuracy  0.9025 (" in found.report()
    found.draw(tmp_path / "seeds.png")
    assert (tmp_path / "seeds.png").stat().st_size > 5000


def test_groups_that_cannot_be_told_apart_or_compared(tmp_path: Path) -> None:
    one = group(tmp_path / "one", {0: 0.9, 1: 0.92, 2: 0.95})
    other = group(tmp_path / "other", {0: 0.92, 1: 0.91, 2: 0.94})
    found, same = groups.find(one, other), groups.find(one, one)
    assert found
    assert found.sentence.startswith("The seeds do not tell them apart: B - A is +0.00 points, the")
    assert same
    assert same.sentence.startswith("B - A is +0.00 points with every seed, so what a seed moves")
    for name, about, seeds, why in (
        ("data", {"dataset": "x"}, (0, 1), "their test sets differ"),
        ("labels", {"test_labels_sha256": "b"}, (0, 1), "their test sets differ"),
        ("few", {}, (1, 8), "too few seeds in common: 1, and 2 are needed"),
    ):
        third = group(tmp_path / name, dict.fromkeys(seeds, 0.5), **about)
        with pytest.raises(UserError, match=why):
            groups.find(one, third)
    with pytest.raises(UserError, match="one is a group of seeds, and workspace is not"):
        groups.find("workspace", one)
    assert groups.find("workspace", "HEAD") is None


@pytest.mark.slow
def test_the_intervals_hold_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(3)
    shares = (0.90, 0.01, 0.02, 0.07)  # right by both, by A alone, by B alone, by none
    held, found = 0, generator.multinomial(2000, shares, 5000)
    for row in found.tolist():
        difference = Counts(*row).difference
        held += difference.low <= 0.01 <= difference.high
    assert 0.94 < held / 5000 < 0.96
    equal = generator.multinomial(2000, (0.90, 0.015, 0.015, 0.07), 3000)
    assert np.mean([Counts(*row).p < paired.LEVEL for row in equal.tolist()]) <= 0.05
    held = 0
    for _ in range(600):  # losses, which are skewed, and another model's, which go with them
        losses = generator.exponential(0.3, 500)
        others = losses * generator.uniform(0.5, 1.5, 500)
        *_, difference = paired.losses(
            *(np.rint(x / UNIT).astype(np.int64) for x in (losses, others))
        )
        held += difference.low <= 0 <= difference.high
    assert 0.92 < held / 600 < 0.97
