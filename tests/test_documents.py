"""Every command of the documents is run, here or by the test named beside it; no link is broken."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.io import savemat

from pipeline.files import sha256
from tests.conftest import ROOT, Project
from tests.test_own import MERGE
from tests.test_serving import ASKED
from tests.test_tracking import promised

README = ROOT / "README.md"
OWN = ROOT / "own/README.md"
DOCUMENTS = [README, OWN, *(ROOT / f"{name}.md" for name in ("CONTRIBUTING", "CHANGELOG"))]
DOCUMENTS += sorted((ROOT / "docs").glob("*.md"))
TEXTS = {path: path.read_text(encoding="utf-8") for path in DOCUMENTS}
BY_HAND = ""
ELSEWHERE = {  # commands of make are looked for in the Makefile
    ". .venv/bin/activate": BY_HAND,  # the tests' own environment
    "mlflow ui": "test_tracking.py::test_a_bare_mlflow_ui_shows_the_run",
    "mlflow models serve --env-manager local --port 5001 -m runs:/RUN_ID/model": (
        "test_serving.py::test_the_model_is_served"
    ),
    **dict.fromkeys(ASKED.splitlines(), "test_serving.py::test_the_model_is_served"),
    "python -m pipeline.predict seven.png fit=true": (
        "test_predict.py::test_answers_are_those_of_the_evaluation_bit_for_bit"
    ),
    "python -m pipeline": "test_config.py::test_the_commands_are_listed",
    "python -m pipeline.train --help": "test_config.py::test_help_and_completion",
    "python -m pipeline.train --cfg job --resolve": (
        "test_config.py::test_the_configuration_is_shown_as_it_is_used"
    ),
    ". conf/completion.bash": "test_config.py::test_help_and_completion",
    "python -m pipeline.train +experiment=grid": "test_sweep.py::test_every_preset_runs",
    "python -m pipeline.train -m +experiment=cnn": "test_sweep.py::test_every_preset_runs",
    "python -m pipeline.train +experiment=seeds": "test_sweep.py::test_every_preset_runs",
    "python -m pipeline.verify": (
        "test_verify.py::test_the_commit_is_reproduced_and_nothing_is_touched"
    ),
    "python -m pipeline.verify workspace=true": "test_verify.py::test_the_workspace_as_it_is",
    "python -m pipeline.verify record=true": (
        "test_verify.py::test_the_commit_is_reproduced_and_nothing_is_touched"
    ),
    "python -m pipeline.adopt measurements.csv label=species": (
        "test_walks.py::test_from_files_to_figures"
    ),
    "dvc exp run -S dataset=measurements": "test_walks.py::test_from_files_to_figures",
    "dvc exp run -S model=mlp": (
        "test_pipeline.py::test_dvc_exp_run_edits_params_and_keeps_comments"
    ),
    "dvc exp run -S train.learning_rate=0.3": (
        "test_pipeline.py::test_dvc_exp_run_edits_params_and_keeps_comments"
    ),
    "$EDITOR conf/hydra/launcher/slurm.yaml": BY_HAND,
    "dvc remote add --default team s3://BUCKET/PATH": (
        "../cluster/test_storage.py::test_a_team_shares_its_data_models_and_record_on_s3"
    ),
    **dict.fromkeys(MERGE, "test_own.py::test_a_merge_from_upstream_has_no_conflict"),
    "export MLFLOW_TRACKING_URI=http://mlflow.example:5000": BY_HAND,
    "python -m pipeline.train -m hydra/launcher=slurm train.learning_rate=0.03,0.1,0.3 seed=0,1": (
        "../cluster/test_slurm.py::"
        "test_a_cancelled_job_takes_only_its_own_trial_and_the_same_command_makes_it"
    ),
}
# sections whose commands `make slow` alone runs, and the test that runs the like of them as well
LONG = {
    "comparing: Two results": ("test_comparison.py::test_results_are_compared_wherever_they_are"),
    "comparing: Two trials": "test_comparison.py::test_trials_are_asked_what_was_held_out",
    "comparing: Two settings over several seeds": (
        "test_comparison.py::test_seeds_are_compared_as_groups_and_one_by_one"
    ),
    "sweeps: A grid": "test_sweep.py::test_a_sweep_ends_in_an_answer_and_is_not_run_twice",
    "sweeps: What a setting reaches on the test set": (
        "test_seeds.py::test_seeds_are_trained_once_and_tested_as_the_pipeline_is"
    ),
    "sweeps: End a training that gets no better": (
        "test_schedules.py::test_patience_keeps_the_best_epoch"
    ),
    "sweeps: Several trials at once": (
        "test_sweep.py::test_a_worker_that_is_killed_before_it_has_written_anything"
    ),
    "sweeps: Let Optuna choose the values": (
        "test_optuna.py::test_a_study_searches_its_space_and_goes_on"
    ),
    "team: Data and models": (
        "test_verify.py::test_the_commit_is_reproduced_and_nothing_is_touched"
    ),
}
FEWER = ("range(0,5)", "range(0,2)")  # trials, where `make test` runs a command


def sections() -> dict[str, list[str]]:
    """Return the commands of each section, by document and heading."""
    found = {}
    for path, text in TEXTS.items():
        for heading, section in re.findall(
            r"^## (.*?)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE
        ):
            blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
            lines = [line.split(" #")[0].strip() for block in blocks for line in block.splitlines()]
            found[f"{path.stem}: {heading}"] = [line for line in lines if line]
    return found


def examples(path: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", TEXTS[path], re.DOTALL)


def run_here() -> dict[str, list[str]]:
    """Return the commands of each section that are run here; a repeated one, where it is first."""
    seen = {*ELSEWHERE}
    found: dict[str, list[str]] = {}
    for heading, lines in ALL.items():
        for command in lines:
            if command not in seen and not command.startswith("make "):
                found.setdefault(heading, []).append(command)
        seen.update(lines)
    return found


ALL = sections()
HERE = run_here()
RENAMED = "yours: Another name for the project"


def test_commands_run_elsewhere_are_run_there() -> None:
    commands = {command for lines in ALL.values() for command in lines}
    assert commands >= ELSEWHERE.keys()
    assert LONG.keys() <= HERE.keys()
    for where in filter(None, [*ELSEWHERE.values(), *LONG.values()]):
        name, _, test = where.partition("::")
        assert f"def {test}(" in (ROOT / "tests" / name).read_text(encoding="utf-8")
    targets = re.findall(
        r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    shown = [one for one in commands if one.startswith("make ")]
    shown += [one for text in TEXTS.values() for one in re.findall(r"`(make [^`]+)`", text)]
    assert {one.split()[1] for one in shown} <= {*targets}
    for name in (".ci/run", ".github/workflows/ci.yml"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert all(f"{command}\n" in text for command in ("make test", "make repro")), name


@pytest.mark.parametrize("section", sorted({*HERE} - {RENAMED, *LONG}))
def test_every_command_runs(reproduced: Project, section: str) -> None:
    run_each(reproduced, [command.replace(*FEWER) for command in HERE[section]])


@pytest.mark.slow
@pytest.mark.parametrize("section", sorted({*HERE} - {RENAMED}))
def test_every_command_runs_as_it_is_written(reproduced: Project, section: str) -> None:
    run_each(reproduced, HERE[section])


def run_each(project: Project, commands: list[str]) -> None:
    for command in commands:
        done = project.run("bash", "-c", command)
        assert "Traceback" not in done.stderr, f"{command}: {done.stderr}"


def test_a_project_of_another_name_is_the_same(reproduced: Project) -> None:
    if not (ROOT / HERE[RENAMED][0].split()[2]).exists():
        pytest.skip("this project has been renamed")
    for command in HERE[RENAMED]:
        reproduced.run("bash", "-c", command)
    reproduced.commit()
    reproduced.run("git", "grep", "-i", "softmax[-_]", code=1)  # there is none
    config = reproduced.stage("train", "--cfg", "job", "--resolve").stdout
    assert "experiment: digits-mnist" in config
    assert reproduced.repro() == []
    reproduced.stage("train", "-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=1", "seed=1,2")


@pytest.fixture
def own(reproduced: Project) -> Project:
    """A project with the examples of docs/yours.md in it."""
    _, model, net, deep, optimizer, schedule, metric = examples(ROOT / "docs/yours.md")
    files = {
        "own/models/small.py": model,
        "own/models/net.py": net,
        "own/models/deep.py": deep,
        "own/optimizers/rmsprop.py": optimizer,
        "own/schedules/triangle.py": schedule,
        "own/metrics/sure.py": metric,
        "conf/model/small.yaml": "name: small\nscale: 2.0\n",
        "conf/model/net.yaml": "name: net\nunits: 9\n",
        "conf/model/deep.yaml": "name: deep\nunits: 32\n",
        "conf/optimizer/rmsprop.yaml": "name: rmsprop\nrho: 0.95\n",
    }
    for name, text in files.items():
        (reproduced / name).write_text(text, encoding="utf-8")
    return reproduced


CHOSEN = ("model=small", "optimizer=rmsprop")


def test_the_examples_of_code_work(own: Project) -> None:
    deep = ("model=deep", "model.units=9", "train.schedule=triangle")
    own.stage("train", *deep)
    with np.load(own / "models/weights.npz") as weights:
        assert [weights[name].shape for name in weights.files] == [(20, 9), (9,), (9, 3), (3,)]
    assert promised(own) == "every machine"
    own.stage("evaluate", *deep, "metrics=[sure,{name: sure, above: 0.0}]")
    scores = json.loads((own / "metrics/evaluation.json").read_text(encoding="utf-8"))
    assert list(scores)[:2] == ["loss", "accuracy"]
    assert scores["sure_0.0"] == scores["accuracy"]
    assert 0 <= scores.get("sure", 0) <= 1
    (line,) = own.stage("train", *CHOSEN, "model.scale=x", code=1).stderr.splitlines()
    assert line == ("train: model.scale=x on the command line should be a valid number, not 'x'")


@pytest.mark.slow
def test_the_examples_that_do_not_compute_exactly_work(own: Project) -> None:
    own.stage("train", *CHOSEN, COLD="1")
    with np.load(own / "models/weights.npz") as weights:
        assert weights.files == ["weight"]
    assert promised(own) == "x86-64 with AVX2"
    net = ("model=net", "model.units=6")
    own.stage("train", *net, COLD="1")
    with np.load(own / "models/weights.npz") as weights:
        names = ["kernel", "bias", "gamma", "beta", "kernel", "bias", "moving_mean"]
        assert [name[2:] for name in weights.files] == [*names, "moving_variance"]
    assert promised(own) == "x86-64 with AVX2"
    own.stage("evaluate", *net, COLD="1")


def test_the_example_of_a_reader_works(project: Project) -> None:
    code, *_ = examples(ROOT / "docs/yours.md")
    (project / "own/readers/mat.py").write_text(code, encoding="utf-8")
    images = np.random.default_rng(0).integers(0, 256, (4, 5, 3, 60), np.uint8)
    file = project / "data/raw/street/train_32x32.mat"
    file.parent.mkdir(parents=True)
    savemat(file, {"X": images, "y": np.arange(60)[:, None] % 10 + 1})
    street = {
        "name": "street",
        "reader": "mat",
        "options": {"file": file.name},
        "classes": [*"1234567890"],
        "shape": [4, 5, 3],
        "split": 0.2,
        "scale": "bytes",
        "max_bytes": 10_000,
        "files": {file.name: sha256(file)},
    }
    path = project / "conf/dataset/street.yaml"
    path.write_text(yaml.safe_dump(street), encoding="utf-8")
    project.stage("preprocess", "dataset=street")
    x, y = (np.load(project / f"data/processed/{name}_train.npy") for name in "xy")
    assert sorted(y.tolist()) == sorted([*range(10)] * 5)
    rows = images.transpose(3, 0, 1, 2).reshape(60, 60)
    expected = {(k % 10, tuple(row)) for k, row in enumerate(rows.tolist())}
    found = {
        (int(k), tuple(np.rint(row * 255).astype(int).tolist()))
        for k, row in zip(y, x, strict=True)
    }
    assert len(found) == 50
    assert found < expected


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_links(path: Path) -> None:
    prose = re.sub(r"```.*?```", "", TEXTS[path], flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)]+)\)", prose):
        if link.startswith("https://"):
            continue
        name, _, place = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), link
        if place:
            headings = re.findall(r"^#+ (.*)", target.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings]
            assert place in slugs, link


def test_the_readme_is_short_and_true() -> None:
    assert len(TEXTS[README].split()) <= 900
    scores = json.loads((ROOT / "metrics/evaluation.json").read_text(encoding="utf-8"))
    chosen = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    if "{optimizer} {model} {dataset}'".format(**chosen) in TEXTS[README]:  # else a team's own
        assert f"test_accuracy {scores['accuracy']}" in TEXTS[README]
    linked = set(re.findall(r"\]\((?:docs/)?([\w-]+\.md)\)", TEXTS[README]))
    assert linked >= {path.name for path in DOCUMENTS} - {"README.md"}
