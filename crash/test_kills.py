"""Each stage killed at random moments: `make crash KILLS=1000 SEED=7`.

Whatever is killed and when, the next `dvc repro` ends with the dvc.lock of an uninterrupted one, no
out was ever seen in part, no MLflow run stays RUNNING and no file is left over.
"""

import os
import random
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest
from mlflow import MlflowClient

from crash import kill, outs
from tests.conftest import Project, make_project
from tests.test_tracking import runs

KILLS = int(os.environ.get("KILLS") or 100)
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
PROJECTS = 2  # side by side
VICTIMS = {"stage": 50, "everything": 25, "recorder": 15, "dvc": 10}  # how often, in percent
STAGES = ("download", "preprocess", "train", "evaluate", "plot")
TURNS = (*STAGES, "download", "preprocess", "download", "preprocess")  # cheap ones more often
AGAIN = 0.5  # how often the recovery from a kill is killed too
SETTLE_SECONDS = 30  # in which a recorder that has outlived its stage ends
PARAMS = {"epochs: 3": "epochs: 100", "batch_size: 16 ": "batch_size: 256 "}
ELSEWHERE = {".git", "cache", "tmp", "mlruns", "__pycache__"}

pytestmark = pytest.mark.timeout(300 + 30 * KILLS)


@pytest.mark.parametrize("number", range(PROJECTS))
def test_any_stage_killed_at_any_moment(tmp_path: Path, number: int) -> None:
    print(f"project {number}; the same kills again: make crash KILLS={KILLS} SEED={SEED}")
    chance = random.Random(SEED + number)
    project = make_project(tmp_path / "project", train=4000, test=1000, shape=(28, 28))
    for old, new in PARAMS.items():
        project.edit("params.yaml", old, new)
    seconds = kill.lifetimes(project, STAGES)
    project.commit()
    lock, files = (project / "dvc.lock").read_bytes(), listing(project)
    stages = outs.of_stages(project.folder)
    done: Counter[tuple[str, str]] = Counter()
    repaired, dvc_died, story = 0, False, []
    expected = {name: digest for one in stages.values() for name, digest in one.items()}
    with outs.Watch(project.folder, expected) as watch:
        while done.total() < KILLS // PROJECTS or story:
            stage = TURNS[done.total() % len(TURNS)]
            victim = draw(chance, stage)
            make_stale(project, stages[stage], chance)
            said = kill.repro(
                project,
                stage,
                victim,
                outs=list(stages[stage]),
                seconds=seconds[stage],
                chance=chance,
            )
            if said:
                done[stage, victim] += 1
                dvc_died |= victim in ("dvc", "everything")
                story.append(f"kill {done.total()}, {victim} in {stage} {said}")
            if said and chance.random() < AGAIN:
                continue
            again = project.run("dvc", "repro", code=None)
            if again.returncode and dvc_died:
                repaired += bool(project.stage("repair").stdout)
                again = project.run("dvc", "repro", code=None)
            assert again.returncode == 0, [*story, again.stdout, again.stderr]
            assert (project / "dvc.lock").read_bytes() == lock, story
            assert listing(project) == files, story
            assert not watch.wrong, story
            dvc_died, story = False, []
    assert running(project) == []
    project.stage("record")
    check_record(project)
    for (stage, victim), count in sorted(done.items()):
        print(f"{stage:12}{victim:12}{count:5}")
    print(f"{watch.seen} outs appeared, each whole; {repaired} times DVC's own files were not")


def draw(chance: random.Random, stage: str) -> str:
    recorded = stage in ("train", "evaluate", "plot")
    victims = [name for name in VICTIMS if recorded or name != "recorder"]
    return chance.choices(victims, [VICTIMS[name] for name in victims])[0]


def make_stale(project: Project, names: dict[str, str], chance: random.Random) -> None:
    """Remove some outs of a stage, and what DVC would restore them from."""
    shutil.rmtree(project / ".dvc/cache", ignore_errors=True)
    for name in chance.sample(list(names), chance.randint(1, len(names))):
        (project / name).unlink(missing_ok=True)


def listing(project: Project) -> set[str]:
    """Return the files of the project, but for locks and those of git, DVC, MLflow and Python."""
    found = set()
    for folder, folders, names in os.walk(project.folder):
        folders[:] = [name for name in folders if name not in ELSEWHERE]
        found |= {os.path.relpath(Path(folder, name), project.folder) for name in names}
    return {name for name in found if not name.startswith("mlflow.db") and name[-5:] != ".lock"}


def running(project: Project) -> list[str]:
    """Return the runs that stay RUNNING."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        found = [run.info.run_id for run in runs(project) if run.info.status == "RUNNING"]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.5)


def check_record(project: Project) -> None:
    """Check that the latest finished run has all results, each epoch once."""
    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    run = next(run for run in runs(project) if run.info.status == "FINISHED")
    assert len(client.list_artifacts(run.info.run_id, "plots")) == 5
    assert "test_loss" in run.data.metrics
    for name in ("loss", "val_accuracy"):
        steps = [point.step for point in client.get_metric_history(run.info.run_id, name)]
        assert steps == list(range(1, 101))


def test_the_watch_sees_a_file_in_part(tmp_path: Path) -> None:
    """Check the check, on a pipeline that writes under the final names."""
    project = make_project(tmp_path / "project", train=4000, test=1000, shape=(28, 28))
    project.run("dvc", "repro", "preprocess")
    expected = outs.of_stages(project.folder)["preprocess"]
    project.edit("pipeline/files.py", "yield temporary", "yield path")
    project.edit("pipeline/files.py", "temporary.replace(path)", "pass")
    for name in expected:
        (project / name).unlink()
    with outs.Watch(project.folder, expected) as watch:
        project.stage("preprocess", code=None)
    assert any(name.startswith("data/processed/x_train.npy (") for name in watch.wrong)
