"""Promote: the best trial's settings become the pipeline's, with the same bits, or nothing does."""

import shutil

import numpy as np
import pytest
from scipy import stats

from pipeline.files import sha256
from pipeline.trials import trial_file
from pipeline.trials.trial_file import Trial
from tests.conftest import Project
from tests.test_sweep import better, runs, sweep, trials

RATES = ("train.learning_rate=0.05,0.5", "seed=5,6,7")


def best(found: list[Trial]) -> Trial:
    return max(found, key=better)


def test_the_promoted_trial_comes_out_with_the_same_bits(reproduced: Project) -> None:
    sweep(reproduced, "model=logistic_regression,mlp", "train.learning_rate=0.4", "seed=5")
    chosen = best(trials(reproduced))
    before = (reproduced / "params.yaml").read_text(encoding="utf-8")
    done = reproduced.stage("promote")
    assert f"Trial {chosen.number} ({chosen.name}), MLflow run {chosen.run_id}" in done.stdout
    assert "-seed: 0\n+seed: 5\n" in done.stdout
    after = (reproduced / "params.yaml").read_text(encoding="utf-8")
    assert [line.partition("#")[2] for line in after.splitlines()] == [
        line.partition("#")[2] for line in before.splitlines()
    ]
    assert f"model: {chosen.settings['model']['name']}\n" in after
    assert reproduced.repro("evaluate") == ["train", "evaluate"]
    trained = sha256(reproduced / "models/weights.npz")
    assert trained == sha256(reproduced / chosen.folder / "models/weights.npz")
    latest = runs(reproduced, "pipeline")[0]
    assert latest.data.tags["weights_sha256"] == trained
    assert latest.data.tags["trial_run_id"] == chosen.run_id
    again = reproduced.stage("promote").stdout
    assert "params.yaml and conf/ have its settings already" in again
    changed = (
        "The trial was of other data or code than lie here now: its metrics may not come out\n"
    )
    assert changed not in done.stdout + again

    (other,) = [one for one in trials(reproduced) if one.number != chosen.number]
    with (reproduced / "pipeline/files.py").open("a", encoding="utf-8") as file:
        file.write("# edited\n")
    assert changed in reproduced.stage("promote", f"run_id={other.run_id}").stdout
    assert f"model: {other.settings['model']['name']}\n" in (reproduced / "params.yaml").read_text(
        encoding="utf-8"
    )


def test_settings_are_written_into_their_files_of_conf(reproduced: Project) -> None:
    reproduced.edit("conf/optimizer/sgd.yaml", "nesterov: false\n", "")
    shutil.copy(reproduced / "conf/model/mlp.yaml", reproduced / "conf/model/small.yaml")
    reproduced.commit()
    done = sweep(
        reproduced,
        "model=small",
        "model.hidden=[8],[9,7]",
        "optimizer.momentum=0.5",
        "+optimizer.nesterov=true",
        "train.batch_size=null",
        "train.learning_rate=1e-3",
        "train.patience=3",
        "train.schedule=cosine",
        "sweep.objective=val_loss",
        "sweep.direction=minimize",
    )
    chosen = min(trials(reproduced), key=lambda one: one.metrics["val_loss"])
    assert "makes its settings those of the pipeline" in done.stdout
    promoted = reproduced.stage("promote").stdout
    changed = reproduced.run("git", "diff", "-U0").stdout.splitlines()
    hidden = ", ".join(map(str, chosen.settings["model"]["hidden"]))
    expected = {
        "params.yaml": [
            "-model: logistic_regression",
            "+model: small",
            f"-{'  batch_size: 16':31}# null: the whole training set in every step",
            f"+{'  batch_size: null':31}# null: the whole training set in every step",
            "-  learning_rate: 0.1",
            "+  learning_rate: 0.001",
            "-  schedule: constant",
            "+  schedule: cosine",
            "-  patience: null",
            "+  patience: 3",
        ],
        "conf/model/small.yaml": [
            "-hidden: [128]                  # units of each hidden layer",
            f"+{f'hidden: [{hidden}]':31}# units of each hidden layer",
        ],
        "conf/optimizer/sgd.yaml": ["-momentum: 0.0", "+momentum: 0.5", "+nesterov: true"],
    }
    for name, lines in expected.items():
        assert name in promoted
        assert set(lines) <= {*promoted.splitlines()} & {*changed}
    for line in ("  objective: val_loss", "  direction: minimize"):
        assert f"\n+{line:31}# " in promoted
    assert sum(line[0] in "-+" and line[:3] not in ("---", "+++") for line in changed) == 19
    shown = reproduced.stage("train", "--cfg", "job", "--resolve").stdout
    assert "  batch_size: null\n" in shown
    reproduced.repro("train")
    assert sha256(reproduced / "models/weights.npz") == sha256(
        reproduced / chosen.folder / "models/weights.npz"
    )


def test_what_cannot_be_promoted_is_not_promised_and_changes_nothing(reproduced: Project) -> None:
    done = sweep(reproduced, "~optimizer.nesterov", "model=mlp", "train.learning_rate=0.1,0.2")
    why = (
        f"trial {best(trials(reproduced)).number} has settings that cannot be written into conf/: "
        "optimizer.nesterov is not set in the trial and false in conf/optimizer/sgd.yaml. "
        "Change them there and promote again; nothing was changed"
    )
    assert f"`python -m pipeline.promote` cannot make it that of the pipeline: {why}" in done.stdout
    assert "makes its settings" not in done.stdout
    assert reproduced.stage("promote", code=1).stderr == f"promote: {why}\n"
    assert reproduced.run("git", "status", "--porcelain").stdout == ""


def test_the_best_setting_keeps_the_seed_of_params(reproduced: Project) -> None:
    done = sweep(reproduced, *RATES, "sweep.objective=val_loss", "sweep.direction=minimize")
    found = trials(reproduced)
    rates = (0.05, 0.5)
    samples = [[one.metrics["val_loss"] for one in found[k : k + 3]] for k in (0, 3)]
    first = int(np.argmin(np.mean(samples, axis=1)))
    mean, name = np.mean(samples[first]), f"learning_rate={rates[first]}"
    assert f"Best: {name}: val_loss {mean:.4g}, mean of 3 seeds" in done.stdout
    ahead = stats.ttest_rel(samples[first], samples[1 - first]).confidence_interval(0.95)
    assert f"seed by seed, {ahead.low:+.5f} to {ahead.high:+.5f}" in done.stdout
    promoted = reproduced.stage("promote").stdout
    assert promoted.startswith(f"Setting {name}, the best mean over 3 seeds\n")
    assert "params.yaml keeps its seed, 0: " in promoted
    text = (reproduced / "params.yaml").read_text(encoding="utf-8")
    assert f"  learning_rate: {rates[first]}\n" in text
    assert "seed: 0\n" in text
    (parent,) = runs(reproduced, "sweep")
    assert parent.data.tags["best_setting"] == name
    assert parent.data.metrics["best_val_loss"] == pytest.approx(mean)
    for rate, sample in zip(rates, samples, strict=True):
        low, high = stats.ttest_1samp(sample, 0).confidence_interval(0.95)
        kept = {
            key.removeprefix("val_loss_").partition("/")[0]: value
            for key, value in parent.data.metrics.items()
            if key.endswith(f"/learning_rate:{rate}")
        }
        assert kept == {
            "mean": pytest.approx(np.mean(sample)),
            "deviation": pytest.approx(np.std(sample, ddof=1)),
            "interval_low": pytest.approx(low),
            "interval_high": pytest.approx(high),
            "seeds": 3,
        }
    one = found[1]
    by_hand = reproduced.stage("promote", f"run_id={one.run_id}").stdout
    assert "Its seed is one of 3 in multirun/" in by_hand
    assert "seed: 6\n" in (reproduced / "params.yaml").read_text(encoding="utf-8")

    near = f"did you mean run_id={one.run_id} (trial 1, {one.name})?\n"
    typed = one.run_id[:9] + ("a" if one.run_id[9] == "b" else "b") + one.run_id[10:]
    for wrong in (one.run_id[:10], one.run_id[:10].upper(), typed):
        refused = reproduced.stage("promote", f"run_id={wrong}", code=1).stderr
        assert refused == f"promote: multirun: has no trial with the run_id {wrong}; {near}"
    refused = reproduced.stage("promote", f"run_id={parent.info.run_id}", code=1).stderr
    assert ": it is that of the sweep multirun/" in refused


def test_there_is_nothing_to_promote(reproduced: Project) -> None:
    def refused(*arguments: str) -> str:
        return reproduced.stage("promote", *arguments, code=1).stderr

    assert refused() == (
        "promote: multirun: has no sweep: run `python -m pipeline.train -m KEY=VALUE,VALUE`\n"
    )
    assert refused("best") == ("promote: best is not known; known are run_id\n")
    assert refused("run_id=") == ("promote: run_id should have at least 1 character, not ''\n")
    assert refused("run_id=abc") == (
        "promote: multirun: has no trial with the run_id abc: the column `run` of a "
        "sweep's sweep.csv has them\n"
    )
    sweep(reproduced, "train.learning_rate=1e38,2e38", code=1)
    assert refused().endswith(": nothing to promote: no trial has finished: run the sweep again\n")
    failed = trial_file.read(next((reproduced / "multirun").glob("*/0/trial.json")))
    assert refused(f"run_id={failed.run_id}").endswith(
        "trial.json: the trial is FAILED, not FINISHED: run its sweep again, or choose another "
        "trial\n"
    )
