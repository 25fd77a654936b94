"""Promote: the best trial's settings become the pipeline's, with the same bits, or nothing does."""

from pipeline import trial_file
from pipeline.files import sha256
from pipeline.trial_file import Trial
from tests.conftest import Project
from tests.test_sweep import better, runs, sweep, trials


def best(found: list[Trial]) -> Trial:
    return max(found, key=better)


def test_the_promoted_trial_comes_out_with_the_same_bits(reproduced: Project) -> None:
    sweep(reproduced, "model=logistic_regression,mlp", "train.learning_rate=0.4,0.8", "seed=5")
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
    assert "params.yaml has its values already" in reproduced.stage("promote").stdout

    (other, *_) = [one for one in trials(reproduced) if one.number != chosen.number]
    reproduced.stage("promote", f"run_id={other.run_id}")
    assert f"learning_rate: {other.settings['train']['learning_rate']}" in (
        reproduced / "params.yaml"
    ).read_text(encoding="utf-8")


def test_a_trial_is_promoted_whole_or_not_at_all(reproduced: Project) -> None:
    sweep(reproduced, "optimizer.momentum=0.5", "train.learning_rate=0.1,0.2")
    before = (reproduced / "params.yaml").read_bytes()
    done = reproduced.stage("promote", code=1)
    chosen = best(trials(reproduced))
    assert done.stderr == (
        f"promote: trial {chosen.number} has settings that params.yaml does not hold: "
        "optimizer.momentum is 0.5 in the trial and 0.0 in conf/. Put them into their file of "
        "conf/ and promote again; nothing was changed\n"
    )
    assert (reproduced / "params.yaml").read_bytes() == before
    reproduced.edit("conf/optimizer/sgd.yaml", "momentum: 0.0", "momentum: 0.5")
    reproduced.stage("promote")
    reproduced.run("dvc", "repro", "train")
    assert sha256(reproduced / "models/weights.npz") == sha256(
        reproduced / chosen.folder / "models/weights.npz"
    )


def test_null_and_numbers_keep_their_types(reproduced: Project) -> None:
    sweep(reproduced, "train.batch_size=null", "train.learning_rate=1e-3,2")
    reproduced.stage("promote")
    assert "batch_size: null             # null:" in (reproduced / "params.yaml").read_text(
        encoding="utf-8"
    )
    shown = reproduced.stage("train", "--cfg", "job", "--resolve").stdout
    assert "  batch_size: null\n" in shown
    reproduced.stage("train")


def test_there_is_nothing_to_promote(reproduced: Project) -> None:
    def refused(*arguments: str) -> str:
        return reproduced.stage("promote", *arguments, code=1).stderr

    assert refused() == (
        "promote: multirun: has no sweep: run `python -m pipeline.train -m KEY=VALUE,VALUE`\n"
    )
    assert refused("best") == (
        "promote: best is not known: use no argument for the best trial of the latest sweep, "
        "or run_id=ID\n"
    )
    assert refused("run_id=abc") == "promote: multirun: has no trial with the run_id abc\n"
    sweep(reproduced, "train.learning_rate=1e38,2e38", code=1)
    assert refused().endswith(": has no finished trial: run the sweep again\n")
    failed = trial_file.read(next((reproduced / "multirun").glob("*/0/trial.json")))
    assert refused(f"run_id={failed.run_id}").endswith(
        "trial.json: the trial is FAILED, not FINISHED\n"
    )
