"""Other launchers than the shipped ones: Hydra's own, and the one that docs/cluster.md shows."""

import re

import pytest

from tests.conftest import ROOT, Project
from tests.test_sweep import sweep, trials

SCHEDULER = """\
#!/bin/sh
# one slot, as flock waits for it; the job of the second trial is killed once
echo "$*" >> jobs
case "$*" in *" 1") test -e killed || { touch killed; exit 137; } ;; esac
exec flock slot "$@"
"""
pytestmark = pytest.mark.slow


def ended(project: Project) -> list[tuple[str, str]]:
    return [(one.status, one.error) for one in trials(project)]


def test_a_launcher_of_hydra_runs_a_sweep_as_it_is(reproduced: Project) -> None:
    sweep(reproduced, "seed=0,1")
    here = [(one.fingerprint, one.metrics) for one in trials(reproduced)]
    local = ("hydra/launcher=submitit_local", "sweep.rerun=true")
    sweep(reproduced, "seed=0,1", *local)
    assert [(one.fingerprint, one.metrics) for one in trials(reproduced)] == here
    assert ended(reproduced) == [("FINISHED", "")] * 2


def test_the_launcher_of_the_document_waits_for_any_command(reproduced: Project) -> None:
    text = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (reproduced / "hydra_plugins/waiting_launcher.py").write_text(code, encoding="utf-8")
    (reproduced / "submit").write_text(SCHEDULER, encoding="utf-8")
    (reproduced / "submit").chmod(0o755)
    command = ("hydra/launcher=waiting", "hydra.launcher.command=./submit", "seed=0,1,2")
    done = sweep(reproduced, *command, code=1)
    assert ended(reproduced) == [
        ("FINISHED", ""),
        ("KILLED", "its job ended with the code 137"),
        ("FINISHED", ""),
    ]
    assert "train: trial 1 (seed=1) KILLED: its job ended with the code 137\n" in done.stderr
    assert sweep(reproduced, *command).stdout.count("done before") == 2
    assert ended(reproduced) == [("FINISHED", "")] * 3
    assert len((reproduced / "jobs").read_text(encoding="utf-8").splitlines()) == 6
