"""Each stage killed at random moments: `make crash KILLS=1000 SEED=7`.

Whatever is killed and when, the next `dvc repro` ends with the dvc.lock of an uninterrupted one, no
out was ever seen in part, no MLflow run stays RUNNING and no file is left over.
"""

import random
from pathlib import Path

import pytest

from crash import kill, outs, state
from crash.conftest import EPOCHS, KILLS, SEED, STAGES
from tests.conftest import Project, make_project

EACH = 10  # kills that one project gets
TURNS = (
    *STAGES,
    "download",
    "preprocess",
)  # quick stages are killed twice as often
AGAIN = 0.7  # probability that the recovery from a kill is killed as well


@pytest.mark.parametrize("first", range(0, KILLS, EACH))
def test_any_stage_killed_at_any_moment(
    project: Project, seconds: dict[str, float], first: int
) -> None:
    chance = random.Random(SEED + first)
    turns = [TURNS[n % len(TURNS)] for n in range(first, min(first + EACH, KILLS))]
    chance.shuffle(turns)
    lock, files = (project / "dvc.lock").read_text(encoding="utf-8"), state.files(project)
    stages = outs.of_stages(project.folder)
    expected = {name: md5 for one in stages.values() for name, md5 in one.items()}
    story: list[str] = []
    with outs.Watch(project.folder, expected) as watch:
        while turns:
            stage = turns[-1]
            names = list(stages[stage])
            stale = chance.sample(names, chance.randint(1, len(names)))
            state.make_stale(project, {name: expected[name] for name in stale})
            said, output = kill.repro(
                project, stage, outs=names, seconds=seconds[stage], chance=chance
            )
            print(said or f"{stage}: ended before it was killed")
            story += [said, output]
            if said:
                turns.pop()
                if turns and chance.random() < AGAIN:
                    continue
            print(state.recover(project), end="")
            assert (project / "dvc.lock").read_text(encoding="utf-8") == lock, "\n".join(story)
            assert state.files(project) == files, "\n".join(story)
            assert not watch.wrong, "\n".join([*watch.wrong, *story])
            story.clear()
    state.check_record(project, EPOCHS)
    print(f"{watch.seen} outs appeared, each whole")


def test_the_watch_sees_a_file_in_part(tmp_path: Path) -> None:
    """Test that the watcher notices a pipeline that writes under the final names."""
    project = make_project(tmp_path / "project", train=4000, test=1000, shape=(28, 28))
    project.run("dvc", "repro", "preprocess")
    expected = outs.of_stages(project.folder)["preprocess"]
    seen = "path.touch(); __import__('time').sleep(0.5)"  # longer than a look at the others takes
    project.edit("pipeline/files.py", "yield temporary", f"{seen}; yield path")
    project.edit("pipeline/files.py", "temporary.replace(path)", "pass")
    for name in expected:
        (project / name).unlink()
    with outs.Watch(project.folder, expected) as watch:
        project.stage("preprocess", code=None)
    assert any(name.startswith("data/processed/x_train.npy (") for name in watch.wrong)
