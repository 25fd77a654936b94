"""Every command of the README is run, here or by the test named beside it."""

import json
import re

import numpy as np
import pytest

from tests.conftest import ROOT, Project

README = (ROOT / "README.md").read_text(encoding="utf-8")
ELSEWHERE = {
    "make repro": ".ci/run",
    "make test": ".ci/run",
    ". .venv/bin/activate": "",  # the tests' own environment
    "mlflow ui": "tests/test_tracking.py::test_a_bare_mlflow_ui_shows_the_run",
    "mlflow models serve --env-manager local -m runs:/RUN_ID/model": (
        "tests/test_serving.py::test_the_model_is_served"
    ),
    "python -m pipeline.verify": (
        "tests/test_verify.py::test_the_commit_is_reproduced_and_nothing_is_touched"
    ),
    "python -m pipeline.verify workspace=true": "tests/test_verify.py::test_the_workspace_as_it_is",
    "$EDITOR conf/hydra/launcher/slurm.yaml": "",  # by hand
    "export MLFLOW_TRACKING_URI=http://mlflow.example:5000": "",
    "python -m pipeline.train -m hydra/launcher=slurm train.learning_rate=0.03,0.1,0.3 seed=0,1": (
        "cluster/test_slurm.py::"
        "test_a_cancelled_job_takes_only_its_own_trial_and_the_same_command_makes_it"
    ),
}


def sections() -> dict[str, list[str]]:
    """Return the commands of each section that are run here."""
    found = {}
    for heading, text in re.findall(
        r"^## (.*?)\n(.*?)(?=^## |\Z)", README, re.DOTALL | re.MULTILINE
    ):
        blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        lines = [line.split(" #")[0].strip() for block in blocks for line in block.splitlines()]
        found[heading] = [line for line in lines if line and line not in ELSEWHERE]
    return {heading: lines for heading, lines in found.items() if lines}


SECTIONS = sections()


def test_commands_run_elsewhere_are_run_there() -> None:
    for command, where in ELSEWHERE.items():
        name, _, test = where.partition("::")
        if name:
            text = (ROOT / name).read_text(encoding="utf-8")
            assert (f"def {test}(" if test else command) in text


@pytest.mark.parametrize("cold", ["", pytest.param("1", marks=pytest.mark.slow)])
@pytest.mark.parametrize("section", SECTIONS)
def test_every_command_runs(reproduced: Project, section: str, cold: str) -> None:
    for command in SECTIONS[section]:
        done = reproduced.run("bash", "-c", command, COLD=cold)
        assert "Traceback" not in done.stderr, f"{command}: {done.stderr}"


def test_there_are_commands() -> None:
    assert sum(map(len, SECTIONS.values())) > 10


def test_the_example_of_a_model_works(reproduced: Project) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    path = reproduced / "pipeline/models.py"
    path.write_text(f"{path.read_text(encoding='utf-8')}\n\n{code}", encoding="utf-8")
    (reproduced / "conf/model/small.yaml").write_text("name: small\nscale: 2.0\n", encoding="utf-8")
    reproduced.stage("train", "model=small")
    with np.load(reproduced / "models/weights.npz") as weights:
        assert weights.files == ["weight"]
    (line,) = reproduced.stage("train", "model=small", "model.scale=x", code=1).stderr.splitlines()
    assert line == ("train: model.scale=x on the command line should be a valid number, not 'x'")


def test_links_and_numbers() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target
    assert len(README.splitlines()) < 250
    accuracy = json.loads((ROOT / "metrics/evaluation.json").read_text(encoding="utf-8"))[
        "accuracy"
    ]
    assert f"test_accuracy {accuracy}" in README
