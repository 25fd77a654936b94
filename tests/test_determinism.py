"""The choice of determinism: what it promises, and that nothing else can undo it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from pipeline.errors import UserError
from pipeline.learning import determinism
from pipeline.settings.check import check
from tests.conftest import ROOT, Project

PROGRAM = """
import hashlib, json, sys
import numpy as np
from pipeline.learning import determinism
determinism.enable(0, sys.argv[1].replace("exact", "portable"), exact=sys.argv[1] == "exact")
from pipeline import models, optimizers
from pipeline.learning import training
generator = np.random.default_rng(1)
x = generator.random((2500, 784), np.float32)
y = generator.integers(0, 10, 2500).astype(np.uint8)
for size in (100, 1000, None, 128):
    if size == 128:
        model = models.CNN((28, 28), 10, 0, filters=[4], dropout=0.2)
    else:
        model = models.MLP((784,), 10, 0, hidden=[32])
        model.exact = sys.argv[1] == "exact"
    epochs = list(training.train(
        model, optimizers.adam(0.01), (x, y), (x[:99], y[:99]), epochs=1, batch_size=size, seed=0
    ))
    weights = b"".join(value.numpy().tobytes() for value in model.weights.values())
    print(size, epochs[0].loss, epochs[0].val_loss, hashlib.sha256(weights).hexdigest())
"""
ONE_CORE = str(min(os.sched_getaffinity(0))) if sys.platform == "linux" else ""
HOSTILE = {
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
    "DNNL_MAX_CPU_ISA": "SSE41",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "TF_SET_ONEDNN_FPMATH_MODE": "BF16",
    "TF_NUM_INTRAOP_THREADS": "3",
    "TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit",
    "OMP_NUM_THREADS": "3",
    "KERAS_BACKEND": "jax",
}


def bits(mode: str, cores: str = "", **environment: str) -> str:
    """Train in a process of its own; return its losses and the hashes of its weights."""
    pin = ["taskset", "-c", cores] if cores else []
    done = subprocess.run(
        [*pin, sys.executable, "-c", PROGRAM, mode],
        cwd=ROOT,
        env=Project(ROOT).environment(**environment),
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert len(done.stdout.splitlines()) == 4
    return done.stdout


def test_the_users_environment_does_not_change_portable_bits(tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text(
        json.dumps({"floatx": "float64", "backend": "torch"}), encoding="utf-8"
    )
    assert bits("portable") == bits("portable", KERAS_HOME=str(tmp_path), **HOSTILE)


@pytest.mark.slow
def test_machine_gives_the_same_bits_on_one_core_and_on_all() -> None:
    assert bits("machine", cores=ONE_CORE) == bits("machine", ONEDNN_MAX_CPU_ISA="SSE41")


def test_a_bare_off_is_off(reproduced: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(reproduced.folder)

    def chosen(*overrides: str) -> str:
        with initialize_config_dir(str(reproduced / "conf"), version_base="1.3"):
            return check(compose("config", ["paths.output=.", *overrides])).determinism

    assert chosen() == "portable"
    assert chosen("determinism=off") == "off"
    reproduced.edit("conf/config.yaml", "determinism: portable", "determinism: off")
    assert chosen() == "off"  # which is false in YAML
    assert chosen("determinism=machine") == "machine"


def test_another_choice_is_refused_in_the_same_process() -> None:
    determinism.enable(seed=0)
    line = (
        "^determinism=machine needs a process of its own, .* imported with determinism=portable: "
    )
    with pytest.raises(UserError, match=line):
        determinism.enable(0, "machine")
    assert determinism.notice("off", exact=True) == (
        "with determinism=off the bits are those of this run alone"
    )


@pytest.mark.slow
def test_two_choices_do_not_meet_in_one_process(reproduced: Project) -> None:
    sweep = ["-m", "determinism=off,machine", "train.epochs=1"]
    done = reproduced.stage("train", *sweep, code=1)
    assert "determinism=machine needs a process of its own" in done.stderr
    assert "with determinism=off the bits are those of this run alone" in done.stdout
    done = reproduced.stage("train", *sweep, "hydra/launcher=joblib", "hydra.launcher.n_jobs=1")
    assert "done before" in done.stdout, "the trial that was FINISHED"
    assert "those of this kind of processor" in done.stdout + done.stderr
