"""Files that somebody edits while a command runs: no result says what it was not made from."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.files import sha256
from pipeline.settings import inputs
from pipeline.trials.trial_file import Trial
from tests.conftest import Project
from tests.test_sweep import runs, start, sweep, trials

EDITED_WHILE_IT_RUNS = """
import sys
from importlib import import_module
from pathlib import Path
from pipeline.cli import app

stage, name, *texts = sys.argv[1:5]
del sys.argv[1:5]
module = import_module(f"pipeline.{stage}")
old, new = (text.encode().decode("unicode_escape").encode("latin-1") for text in texts)

def main(config, inputs):
    content = Path(name).read_bytes()
    assert old in content
    Path(name).write_bytes(content.replace(old, new, 1))
    module.main(config, inputs)

main.__code__ = main.__code__.replace(co_filename=module.__file__)
app.run(main)
"""
IMAGES = "data/raw/tiny/t10k-images-idx3-ubyte"
CHANGED = [  # while which stage runs, in which file, what is replaced by what, and what is said
    ("download", "conf/dataset/tiny.yaml", "10000000", "20000000", "max_bytes was 10000000, is"),
    ("preprocess", "pipeline/data/idx.py", "import", "# edited\\nimport", ""),
    ("preprocess", IMAGES, "\\x63", "\\x64", ""),
    ("train", "params.yaml", "rate: 0.1", "rate: 0.9", "train.learning_rate was 0.1, is 0.9"),
    ("evaluate", "data/processed/x_test.npy", "\\0\\0\\0\\0", "\\0\\0\\0@", ""),
    ("plot", "metrics/predictions.csv", "actual", "is", ""),
]
MORE = [  # of the same stages
    ("train", "params.yaml", "rate: 0.1", "rate: [", ""),
    ("train", "requirements.txt", "absl", "abseil", ""),
    ("evaluate", "conf/config.yaml", "portable", "machine", 'determinism was "portable", is "mach'),
]
HARMLESS = [
    ("train", "params.yaml", "# What differs", "# What may differ"),
    ("train", "params.yaml", "rate: 0.1", "rate: 0.9", "train.learning_rate=0.2"),  # not read
    ("plot", "params.yaml", "rate: 0.1", "rate: 0.9"),  # not read either
    ("preprocess", "pipeline/data/idx.py", "import", "import"),  # written again, as it was
    ("preprocess", IMAGES, "\\x63", "\\x63"),
]
SHORT = "train.epochs=2"
ENDED = "^trial 0 .*FINISHED"
WAITS = "while not __import__('os').path.exists('edited'): __import__('time').sleep(0.01)"


def edited(project: Project, stage: str, *edit: str) -> "subprocess.CompletedProcess[str]":
    """Run a stage in whose time a file is edited."""
    return project.run(sys.executable, "-c", EDITED_WHILE_IT_RUNS, stage, *edit, code=None)


def results(project: Project) -> dict[str, str]:
    folders = ("data/processed", "models", "metrics")
    paths = [path for name in folders for path in (project / name).rglob("*") if path.is_file()]
    return {str(path.relative_to(project.folder)): sha256(path) for path in paths}


def of_latest(project: Project) -> list[Trial]:
    """Return the trials of the sweep that was begun last."""
    begun = (project / "multirun/.begun").read_text(encoding="utf-8").splitlines()
    return [one for one in trials(project) if one.folder.startswith(f"{begun[-1]}/")]


@pytest.mark.parametrize(
    "case", [*CHANGED, *(pytest.param(one, marks=pytest.mark.slow) for one in MORE)]
)
def test_a_stage_keeps_no_result_of_what_has_changed(
    reproduced: Project, case: tuple[str, str, str, str, str]
) -> None:
    stage, name, old, new, how = case
    before = results(reproduced)
    done = edited(reproduced, stage, name, old, new)
    assert done.returncode == 1
    (line,) = (line for line in done.stderr.splitlines() if line.startswith(f"{stage}: "))
    assert line.startswith(f"{stage}: {name} changed while {stage} ran: run it again")
    assert how in line
    assert "Traceback" not in done.stderr
    assert results(reproduced).items() - before.items() <= {(name, sha256(reproduced / name))}


@pytest.mark.parametrize("case", HARMLESS)
def test_what_a_stage_does_not_read_can_be_edited(
    reproduced: Project, case: tuple[str, ...]
) -> None:
    done = edited(reproduced, *case)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_code_of_a_process_stays_and_is_that_of_its_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for project in ("one", "other"):
        (tmp_path / project).mkdir()
        monkeypatch.chdir(tmp_path / project)
        Path("dvc.yaml").write_text("stages: {train: {deps: [lock.txt]}}", encoding="utf-8")
        Path("lock.txt").write_text(project, encoding="utf-8")
        before = {"lock.txt": sha256(Path("lock.txt"))}
        assert inputs.code("train") == before
        Path("lock.txt").write_text("edited", encoding="utf-8")
        assert inputs.code("train") == before


def go_on(project: Project, process: "subprocess.Popen[str]") -> str:
    """Let a command go on that waits until files are edited; return its errors."""
    (project / "edited").touch()
    return process.communicate(timeout=200)[1]


def test_dvc_believes_no_training_with_edited_settings(reproduced: Project) -> None:
    reproduced.edit("params.yaml", "epochs: 3", "epochs: 20")
    reproduced.edit("pipeline/train.py", "inputs.check()", f"{WAITS}\n        inputs.check()")
    before = sha256(reproduced / "models/weights.npz")
    process = reproduced.start("dvc", "repro", "train", killed=False)
    assert process.stdout is not None
    for line in process.stdout:
        if "epoch  10/" in line:
            break
    reproduced.edit("params.yaml", "learning_rate: 0.1", "learning_rate: 0.9")
    errors = go_on(reproduced, process)
    assert process.returncode != 0
    assert (
        "train: params.yaml changed while train ran: run `dvc repro` again "
        "(train.learning_rate was 0.1, is 0.9)"
    ) in errors.splitlines()
    assert sha256(reproduced / "models/weights.npz") == before
    assert "params.yaml" in reproduced.run("dvc", "status", "train").stdout
    (last,) = runs(reproduced, "training")
    assert last.info.status == "FAILED"
    assert "params.yaml changed while train ran" in last.data.tags["error"]

    reproduced.edit("params.yaml", "learning_rate: 0.9", "learning_rate: 0.1")
    again = reproduced.run("dvc", "repro", "train").stdout
    assert re.search("going on from epoch|is trained already", again)  # nothing was lost
    assert runs(reproduced, "training")[0].info.status == "FINISHED"


@pytest.fixture
def waiting(reproduced: Project) -> Project:
    """A project whose sweeps wait after their first trial until files are edited."""
    line = 'log.info("  ".join(part for part in said if part))'
    reproduced.edit("pipeline/sweeping/progress.py", line, f"{line}\n    {WAITS}")
    return reproduced


@pytest.mark.parametrize("launcher", ["basic", pytest.param("joblib", marks=pytest.mark.slow)])
def test_a_sweep_is_of_the_settings_that_it_began_with(waiting: Project, launcher: str) -> None:
    arguments = ("seed=20,21", SHORT, "sweep.together=false", f"hydra/launcher={launcher}")
    if launcher == "joblib":
        arguments += ("hydra.launcher.n_jobs=1",)
    process = start(waiting, *arguments, killed=False, until=ENDED)
    waiting.edit("conf/optimizer/sgd.yaml", "momentum: 0.0", "momentum: 0.5")
    # somebody is just writing it
    (waiting / "params.yaml").write_text("train: [", encoding="utf-8")
    errors = go_on(waiting, process)
    assert (process.returncode, errors) == (0, "")
    for one in trials(waiting):
        assert one.settings["train"]["learning_rate"] == 0.1
        assert one.settings["optimizer"]["momentum"] == 0.0


def test_a_trial_is_known_by_the_code_that_trained_it(waiting: Project) -> None:
    arguments = ("seed=5,6", SHORT, "sweep.together=false")
    process = start(waiting, *arguments, killed=False, until=ENDED)
    old, new = "return linear(", "return 0.5 * linear("
    waiting.edit("pipeline/models.py", old, new)
    errors = go_on(waiting, process)
    assert (process.returncode, errors) == (0, "")
    before = of_latest(waiting)
    assert "done before" not in sweep(waiting, *arguments).stdout
    after = of_latest(waiting)
    assert len(before) == len(after) == 2
    for one, other in zip(before, after, strict=True):
        assert one.metrics != other.metrics
        assert one.fingerprint != other.fingerprint
    waiting.edit("pipeline/models.py", new, old)
    assert sweep(waiting, *arguments).stdout.count("done before") == 2


@pytest.mark.slow
def test_a_worker_that_starts_after_an_edit_trains_nothing(waiting: Project) -> None:
    arguments = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=1", SHORT)
    modes = "determinism=portable,machine"  # each in a process of its own
    process = start(waiting, *arguments, modes, killed=False, until=ENDED)
    waiting.edit("pipeline/models.py", "class MLP(", "# edited\nclass MLP(")
    errors = go_on(waiting, process)
    assert process.returncode == 1
    assert [one.status for one in trials(waiting)] == ["FINISHED", "FAILED"]
    assert errors == (
        "train: trial 1 (determinism=machine) FAILED: pipeline/models.py changed since "
        "the sweep began: the same command trains this trial as it is now\n"
    )


def test_a_trial_whose_data_were_replaced_is_no_result(waiting: Project) -> None:
    arguments = ("train.epochs=1,2", "sweep.together=false")
    process = start(waiting, *arguments, killed=False, until=ENDED)
    path = waiting / "data/processed/x_train.npy"
    other = path.with_name("other.npy")
    np.save(other, 1 - np.load(path))
    other.replace(path)
    errors = go_on(waiting, process)
    assert [one.status for one in trials(waiting)] == ["FINISHED", "FAILED"]
    assert errors == (
        "train: trial 1 (epochs=2) FAILED: data/processed/x_train.npy changed since the "
        "sweep began: the same command trains this trial as it is now\n"
    )
    assert "done before" not in sweep(waiting, *arguments).stdout
    assert [one.status for one in of_latest(waiting)] == ["FINISHED", "FINISHED"]
