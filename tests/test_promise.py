"""On which machines a training has the same bits: models and optimizers of one's own keep less."""

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.files import sha256
from pipeline.learning import determinism
from tests.conftest import Project
from tests.test_sweep import trials
from tests.test_tracking import promised

determinism.enable(seed=0)

import tensorflow as tf  # noqa: E402  # after the settings that decide its bits

from pipeline.learning.training import train  # noqa: E402
from pipeline.models import LogisticRegression  # noqa: E402
from pipeline.optimizers import sgd  # noqa: E402

FILES = ("models/weights.npz", "metrics/history.csv")
MODEL = """

class Own(Model):
    def __init__(self, shape: tuple[int], classes: int, seed: int):
        import tensorflow as tf

        self.weights = {"weight": tf.Variable(tf.zeros([math.prod(shape), classes]))}

    def __call__(self, x: "tf.Tensor") -> "tf.Tensor":
        import os

        import tensorflow as tf

        assert x.dtype == tf.float32
        assert os.environ["ONEDNN_MAX_CPU_ISA"] == "AVX2"
        return tf.matmul(tf.sin(x), self.weights["weight"])


MODELS["own"] = Own
"""
OPTIMIZER = """

def own(learning_rate: float) -> "keras.optimizers.Optimizer":
    import os

    import keras

    assert os.environ["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    return keras.optimizers.RMSprop(learning_rate)


OPTIMIZERS["own"] = own
"""


@pytest.fixture
def extended(reproduced: Project) -> Project:
    """A project with a model and an optimizer of its own."""
    for group, code in {"model": MODEL, "optimizer": OPTIMIZER}.items():
        with (reproduced / f"pipeline/{group}s.py").open("a", encoding="utf-8") as file:
            file.write(code)
        (reproduced / f"conf/{group}/own.yaml").write_text("name: own\n", encoding="utf-8")
    return reproduced


def bits(project: Project, folder: str = ".") -> list[str]:
    return [sha256(project / folder / name) for name in FILES]


@pytest.mark.slow
def test_each_run_says_on_which_machines_its_bits_come_out(extended: Project) -> None:
    assert promised(extended) == "every machine"
    extended.stage("train", "determinism=machine")
    assert promised(extended) == "processors of the same kind"
    extended.stage("train", "determinism=off")
    assert promised(extended) == "no other machine, and perhaps not twice on this one"
    extended.stage("train", "optimizer=own", COLD="1")
    assert promised(extended) == "x86-64 with AVX2"

    extended.edit("params.yaml", "model: logistic_regression", "model: own")
    assert extended.repro(COLD="1") == ["train", "evaluate", "plot"]
    assert promised(extended) == "x86-64 with AVX2"
    extended.commit()
    verify = extended.run("python", "-m", "pipeline.verify", "stage=train", COLD="1").stdout
    assert "\nPromised  the same bits on x86-64 with AVX2\n" in verify
    assert "All 2 results are identical, bit for bit." in verify


@pytest.mark.slow
def test_a_sweep_trains_what_is_exact_beside_what_is_not(extended: Project) -> None:
    """One process imports TensorFlow once, as all its trials need it; the first one is refused."""
    alone = {("logistic_regression", "sgd"): bits(extended)}
    for model, optimizer in (("own", "sgd"), ("logistic_regression", "own")):
        extended.stage("train", f"model={model}", f"optimizer={optimizer}", COLD="1")
        alone[model, optimizer] = bits(extended)
    both = ("model=logistic_regression,own", "optimizer=sgd,own")
    for launcher in ((), ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "sweep.rerun=true")):
        extended.stage(
            "train", "-m", "train.learning_rate=-1,0.1", *both, *launcher, code=1, COLD="1"
        )
        ended = trials(extended)
        assert [one.status for one in ended] == ["FAILED"] * 4 + ["FINISHED"] * 4
        found = {(one.choices["model"], one.choices["optimizer"]): one for one in ended[4:]}
        assert {names: bits(extended, found[names].folder) for names in alone} == alone


def test_what_only_claims_to_be_exact_is_refused() -> None:
    class Narrow(LogisticRegression):
        def __call__(self, x: tf.Tensor) -> tf.Tensor:
            return tf.cast(super().__call__(x), tf.float32)

    x, y = np.zeros((9, 4), np.float32), np.zeros(9, np.uint8)
    sentence = "Narrow has exact = True, but gives logits of float32: compute them by `linear`"
    with pytest.raises(UserError, match=sentence):
        list(train(Narrow((4,), 2, 0), sgd(0.1), (x, y), (x, y), epochs=1, batch_size=3, seed=0))
