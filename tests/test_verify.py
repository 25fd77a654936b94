"""Verify: identical bits are called so, and each kind of difference is found at its place."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.cli import arguments
from pipeline.errors import UserError
from pipeline.verification import lock, machine
from pipeline.verification.lock import Out
from pipeline.verify import Options
from tests.conftest import Project
from tests.idx_files import write_split_files

RESULTS = 17


def temporary(project: Project) -> Path:
    """Return the folder in which the command makes its own; outside of the project."""
    folder = project.folder.parent / "temporary folder"
    folder.mkdir(exist_ok=True)
    return folder


def verify(project: Project, *options: str, code: int = 0, **environment: str) -> str:
    """Run the command; return what it printed. It may leave nothing behind."""
    environment = {"TMPDIR": str(temporary(project))} | environment
    done = project.stage("verify", *options, code=code, **environment)
    assert not list(temporary(project).iterdir())
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


def snapshot(folder: Path) -> dict[str, object]:
    """Return the bytes of every file of a folder, and what else a careless reader changes."""
    files = {path: path.stat() for path in folder.rglob("*") if path.is_file()}
    return {
        str(path): (stat.st_mtime_ns, stat.st_mode, stat.st_nlink, path.read_bytes())
        for path, stat in files.items()
        if path.suffix != ".pyc"
    }


def commit_results(project: Project, stage: str) -> None:
    """Commit the results that lie there as if the stage had made them."""
    project.run("dvc", "commit", "--force", stage)
    project.commit()


@pytest.mark.parametrize("threads", [(), pytest.param(("threads=1",), marks=pytest.mark.slow)])
def test_the_commit_is_reproduced_and_nothing_is_touched(
    reproduced: Project, threads: tuple[str, ...]
) -> None:
    project = Project(reproduced.folder.rename(reproduced.folder.parent / "my project"))
    foreign = f"sqlite:///{project.folder.parent}/foreign.db"  # where nothing may be recorded
    default = '${environment:MLFLOW_TRACKING_URI,"sqlite:///mlflow.db"}'
    project.edit("conf/config.yaml", default, foreign)
    project.commit()
    project.edit("params.yaml", "seed: 0", "seed: 1")
    before = snapshot(project.folder)
    out = verify(project, "record=true", *threads, MLFLOW_TRACKING_URI=foreign)
    after = snapshot(project.folder)
    made_on = after.pop(str(project / "docs/made_on.json"))
    assert after == before
    assert not (project.folder.parent / "foreign.db").exists()

    assert f"All {RESULTS} results are identical, bit for bit." in out
    assert out.count("  same\n") == RESULTS
    for stage in ("download", "preprocess", "train", "evaluate", "plot"):
        assert f"\n  {stage} ...\n" in out
    assert "Not verified: uncommitted changes (1), which workspace=true is for" in out
    assert (", threads=1" in out) == bool(threads)
    assert "Made on   not known: there is no docs/made_on.json" in out
    here = machine.line(machine.here())
    assert f"Runs on   {here}" in out
    assert isinstance(made_on, tuple)
    assert json.loads(made_on[-1])["tensorflow"] == version("tensorflow")

    project.edit("params.yaml", "seed: 1", "seed: 0")
    project.commit()
    out = verify(project, "stage=download", "repeat=2")
    assert f"Made on   {here}\n" in out
    assert "Reproduction 2 of 2" in out
    assert out.count("The result is identical") == 2


@pytest.mark.parametrize(
    ("stage", "readers"),
    [("stage=train", "train"), pytest.param("", "train, evaluate", marks=pytest.mark.slow)],
)
def test_another_seed(reproduced: Project, stage: str, readers: str) -> None:
    reproduced.edit("params.yaml", "seed: 0", "seed: 1")
    reproduced.commit()
    out = verify(reproduced, *filter(None, [stage]), "tolerance=1e-6", code=1)
    assert "identical" not in out
    first = out[out.index("First difference") : out.index("Likely cause")]
    assert "First difference: stage train\n" in first
    assert "metrics/history.csv: column loss, row 1: expected " in first
    assert "models/weights.npz: array weight, index [0, 0]: expected " in first
    assert "at most by" in first
    assert "The two trainings part in epoch 1." in first
    assert f"params.yaml seed is 1, but 0 in dvc.lock (read by {readers})" in out
    assert stage or "data/processed" in out.partition("First difference")[0]
    assert "Not reproduced: " in out


def test_results_of_other_inputs_are_found_though_the_lock_looks_right(reproduced: Project) -> None:
    """The history was edited by hand and committed with `dvc commit`."""
    path = reproduced / "metrics/history.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    cells = lines[3].split(",")
    lines[3] = ",".join([cells[0], "0.5", *cells[2:]])
    path.write_text("".join(lines), encoding="utf-8")
    commit_results(reproduced, "train")
    out = verify(reproduced, "stage=train", code=1)
    assert "models/weights.npz   " in out
    assert f"metrics/history.csv: column loss, row 3: expected 0.5, got {cells[1]}; 1 of 15" in out
    assert "The two trainings part in epoch 3." in out
    assert "none is known: code, parameters and versions are those of dvc.lock" in out
    assert "1 of 2 results are not the same" in out


def test_a_changed_pixel_of_the_raw_data(reproduced: Project, tmp_path: Path) -> None:
    source = tmp_path / "other source"
    hashes = write_split_files(source, train=200, test=80)
    name = "train-images-idx3-ubyte"
    images = bytearray((source / name).read_bytes())
    pixel = images[16 + 7 * 20 + 2 * 5 + 3]
    images[16 + 7 * 20 + 2 * 5 + 3] ^= 1
    (source / name).write_bytes(images)
    conf = yaml.safe_load((reproduced / "conf/dataset/tiny.yaml").read_text(encoding="utf-8"))
    conf["files"] = hashes | {name: hashlib.sha256(images).hexdigest()}
    conf["sources"] = [{"folder": str(source)}]
    (reproduced / "conf/dataset/tiny.yaml").write_text(yaml.safe_dump(conf), encoding="utf-8")
    reproduced.commit()
    out = verify(reproduced, "stage=download", code=1)
    assert (
        f"First difference: stage download\n  data/raw/tiny: {name}: array, index [7, 2, 3]: "
        f"expected {pixel}, got {pixel ^ 1}; 1 of 4,000 values differ, at most by 1 "
    ) in out
    assert f"conf/dataset/tiny.yaml files.{name} is " in out


def test_a_changed_pixel_of_the_processed_data(reproduced: Project) -> None:
    path = reproduced / "data/processed/x_train.npy"
    x = np.load(path)
    right, x[7, 13] = x[7, 13], x[7, 13] + 2e-7
    path.unlink()  # a link into the cache
    np.save(path, x)
    commit_results(reproduced, "preprocess")

    out = verify(reproduced, "stage=preprocess", "tolerance=1e-6")
    assert "Equal within 1e-06: 1 of 5 results; the others are the same bits." in out
    assert out.count("equal within 1e-06\n") == 1
    assert "identical" not in out

    path.unlink()
    out = verify(reproduced, "stage=preprocess", "tolerance=1e-8", code=1)
    place = f"array, index [7, 13]: expected {x[7, 13]!s}, got {right!s}; 1 of 4,000 values differ"
    assert f"First difference: stage preprocess\n  data/processed/x_train.npy: {place}" in out

    shutil.rmtree(reproduced / ".dvc/cache")
    out = verify(reproduced, "stage=preprocess", code=1)
    assert "is not in git, the workspace or DVC's cache: only its hash could be compared" in out

    line = verify(reproduced, "stage=train", code=1).splitlines()[-1]
    assert line.startswith("verify: data/processed/x_train.npy: no file with the MD5 ")


def test_other_arithmetic(reproduced: Project) -> None:
    reproduced.edit("pipeline/exact/tables.py", "LOGIT = 24", "LOGIT = 20")
    reproduced.commit()
    out = verify(reproduced, "stage=train", code=1)
    assert "First difference: stage train\n" in out
    assert "models/weights.npz: array " in out
    assert "The two trainings part in epoch " in out
    assert "pipeline/exact/tables.py is not the one that dvc.lock names (read by train)" in out


def test_another_version_than_the_locked_one(reproduced: Project) -> None:
    installed = version("numpy")
    reproduced.edit("requirements.txt", f"numpy=={installed} ", "numpy==2.0.1 ")
    reproduced.commit()
    out = verify(reproduced, "stage=preprocess", code=1)
    assert "All 5 results are identical, bit for bit.\nBut dvc.lock names other inputs" in out
    assert "requirements.txt is not the one that dvc.lock names (read by preprocess)" in out
    assert f"numpy is {installed}, but locked as ==2.0.1" in out
    out = verify(reproduced, "stage=preprocess", "rev=HEAD~1")
    assert "Verifying HEAD~1 (" in out
    assert "All 5 results are identical, bit for bit.\nTook" in out


def test_the_workspace_as_it_is(reproduced: Project) -> None:
    described = reproduced / "data/processed/dataset.json"
    text = described.read_text(encoding="utf-8")
    described.unlink()  # it may be a link into DVC's cache
    described.write_text(text.replace('"tiny"', '"tidy"'), encoding="utf-8")
    out = verify(reproduced, "workspace=true", "stage=preprocess", code=1)
    assert "Likely cause\n  data/processed/dataset.json is modified since `dvc repro`\n" in out
    described.write_text(text, encoding="utf-8")

    name = "pipeline/data/description.py"
    reproduced.edit(name, "np.float32(255), dtype", "np.float32(WHITE), dtype")
    reproduced.edit(name, "import Path\n", "import Path\n\nfrom pipeline.white import WHITE\n")
    untracked = reproduced / "pipeline/white.py"
    untracked.write_text("WHITE = 256\n", encoding="utf-8")
    out = verify(reproduced, "workspace=true", "stage=preprocess", code=1)
    assert "data/processed/x_test.npy: array, index [0, " in out
    assert f"{name} is not the one that dvc.lock names (read by preprocess)" in out
    assert "2 of 5 results are not the same" in out
    reproduced.stage("preprocess")
    out = verify(reproduced, "workspace=true", "stage=preprocess", code=1)
    assert "All 5 results are identical, bit for bit.\nBut dvc.lock names other inputs" in out


def test_a_stage_that_fails(reproduced: Project) -> None:
    conf = reproduced / "conf/dataset/tiny.yaml"
    conf.write_text(
        conf.read_text(encoding="utf-8").replace("- folder: ", "- folder: /not there"),
        encoding="utf-8",
    )
    reproduced.commit()
    out = verify(reproduced, "stage=download", code=1)  # the raw files here are enough
    assert "The result is identical" in out
    assert "conf/dataset/tiny.yaml sources is " in out
    (reproduced / "data/raw/tiny/train-labels-idx1-ubyte").unlink()
    shutil.rmtree(reproduced / ".dvc/cache")
    out = verify(reproduced, "stage=download", code=1)
    assert "download: tiny: no source has train-labels-idx1-ubyte" in out
    assert out.count("NOT MADE") == 1
    assert "Not reproduced: it ended with an error." in out


def test_an_interruption_leaves_nothing(reproduced: Project) -> None:
    folder = temporary(reproduced)
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "pipeline.verify", "stage=train"],
        cwd=reproduced.folder,
        env=reproduced.environment(TMPDIR=str(folder)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdout is not None
    assert any("train ..." in line for line in process.stdout)
    assert list(folder.iterdir())
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "verify: interrupted\n"
    assert not list(folder.iterdir())
    deadline = time.monotonic() + 10
    while (left := of_folder(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left


def of_folder(folder: Path) -> list[str]:
    """Return the processes that work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append((process / "cmdline").read_text(encoding="utf-8"))
        except OSError:
            continue
    return found


def test_options_that_are_wrong(reproduced: Project) -> None:
    for given, line in {
        ("stages=train",): "stages is not known; did you mean stage?",
        ("stage",): "stage needs a value: stage=VALUE; `--help` lists the keys",
        ("threads=0",): "threads should be greater than or equal to 1, not '0'",
        ("threads=two",): "threads should be a valid integer, "
        "unable to parse string as an integer, not 'two'",
        ("repeat=0",): "repeat should be greater than or equal to 1, not '0'",
        ("tolerance=0",): "tolerance should be greater than 0, not '0'",
        ("tolerance=nan",): "tolerance should be a finite number, not 'nan'",
        ("keep=perhaps",): "keep should be a valid boolean, "
        "unable to interpret input, not 'perhaps'",
        ("rev=",): "rev should have at least 1 character, not ''",
        ("rev=HEAD", "workspace=true"): "rev and workspace exclude each other: "
        "one is a commit, the other is not",
        ("record=true", "stage=train"): "record goes with neither rev, stage nor tolerance: "
        "it says that all bits of the results here come out of this machine",
    }.items():
        with pytest.raises(UserError) as error:
            arguments.parse(Options, list(given))
        assert str(error.value) == line
    assert "tolerance=1e-6" in verify(reproduced, "--help")
    assert verify(reproduced, "rev=--all", code=1) == "verify: rev: git knows no commit '--all'\n"
    assert verify(reproduced, "stage=trian", code=1).endswith(
        "verify: stage: there is no 'trian'; "
        "choose one of download, preprocess, train, evaluate, plot\n"
    )
    (reproduced / "dvc.lock").write_text("stages: [\n", encoding="utf-8")
    assert "verify: dvc.lock: cannot be read (" in verify(reproduced, "workspace=true", code=1)
    shutil.rmtree(reproduced / ".git")
    line = verify(reproduced, code=1)
    assert line.startswith("verify: needs a git repository, whose commit it verifies: git ")


def test_what_is_known_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outs = [Out("train", "models/weights.npz", "0" * 32)]
    machine.record(outs)
    assert machine.made_on(tmp_path, outs) == machine.line(machine.here())
    other = [outs[0]._replace(md5="1" * 32)]
    assert machine.made_on(tmp_path, other) == "not known: docs/made_on.json is about other results"
    machine.FILE.write_text("[]", encoding="utf-8")
    assert machine.made_on(tmp_path, outs) == "not known: docs/made_on.json cannot be read"
    pins = Path("requirements.txt")
    pins.write_text(
        f"# a comment\nnumpy=={version('numpy')} \\\n    --hash=sha256:0\n"
        "no-such-package==1 ; sys_platform == 'win32' \\\nno-such-package==2\ndvc==1.0 \\\n",
        encoding="utf-8",
    )
    assert machine.unlike(pins) == [
        "no-such-package is not installed, but locked as ==2",
        f"dvc is {version('dvc')}, but locked as ==1.0",
    ]


def test_stages_come_in_the_order_of_the_pipeline(tmp_path: Path) -> None:
    path = tmp_path / "dvc.lock"
    path.write_text(
        yaml.safe_dump(
            {
                "stages": {
                    "a": {"deps": [{"path": "b.out"}], "outs": [{"path": "a.out", "md5": "1"}]},
                    "b": {"deps": [{"path": "code.py"}], "outs": [{"path": "b.out", "md5": "2"}]},
                }
            },
        ),
        encoding="utf-8",
    )
    assert [out.path for out in lock.outs(lock.read(path))] == ["b.out", "a.out"]
