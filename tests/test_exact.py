"""Each operation of pipeline/exact: its largest error, and that only values decide its bits."""

import hashlib
import subprocess
import sys
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.learning import determinism

determinism.enable(seed=0)

import tensorflow as tf  # noqa: E402  # after the settings that decide its bits

from pipeline.exact import linear as exact  # noqa: E402
from pipeline.exact import softmax, tables  # noqa: E402
from pipeline.exact.features import are_bytes, resident  # noqa: E402
from pipeline.exact.grid import on_grid, product, shares, transposed  # noqa: E402
from pipeline.exact.optimizers import SGD, Adam, power  # noqa: E402
from pipeline.learning.inference import judge  # noqa: E402
from pipeline.learning.training import train  # noqa: E402
from pipeline.modelling.step import block_rows  # noqa: E402
from pipeline.modelling.step import gradients as of_parts  # noqa: E402
from pipeline.models import MLP, LogisticRegression, Model  # noqa: E402
from tests import oracle  # noqa: E402
from tests.conftest import ROOT  # noqa: E402

Arrays = list[np.ndarray]
some = settings(max_examples=15, derandomize=True, database=None, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def same(ours: Any, theirs: Any) -> bool:
    """Tell whether all bits are the same."""
    a, b = np.asarray(ours), np.asarray(theirs)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def gradients(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, dy: np.ndarray) -> Arrays:
    """Return x @ weight + bias, and its gradients by weight and bias, of a graph as in training.

    A zero is +0 here: the sign of a sum of zeros depends on their order.
    """
    variables = tf.Variable(weight), tf.Variable(bias)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def compute(x: tf.Tensor, dy: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            y = exact.linear(x, *variables)
        return y, *tape.gradient(y, variables, dy)

    return [one.numpy() + np.float32(0) for one in compute(tf.constant(x), tf.constant(dy))]


def case(seed: int, rows: int, inputs: int, units: int, kind: str) -> Arrays:
    """Return x, weight, bias and dy with magnitudes from 2^-30 to 2^3, some of them zero."""
    generator = np.random.default_rng(seed)

    def floats(*shape: int) -> np.ndarray:
        scale = np.exp2(generator.integers(-30, 4, shape)) * generator.integers(0, 2, shape)
        return generator.uniform(-1, 1, shape) * scale

    pixels = generator.integers(0, 256, (rows, inputs))
    x = {
        "bytes": pixels.astype(np.uint8),
        "fixed": generator.integers(-(2**31), 2**31, (rows, inputs)).astype(np.int32),
        "floats": floats(rows, inputs),
    }[kind]
    weight, bias = floats(inputs, units).astype(np.float32), floats(units).astype(np.float32)
    return [x, weight, bias, np.clip(floats(rows, units), -1, 1)]


kinds = pytest.mark.parametrize("kind", ["bytes", "fixed", "floats"])
UNIT = {"bytes": 255, "fixed": 255 * 2**14, "floats": 1}


@kinds
@given(seeds, st.integers(1, 256), st.integers(1, 300), st.integers(1, 12))
@some
def test_linear_is_within_2_to_the_minus_18_of_the_largest_terms_its_gradients_2_to_the_minus_16(
    kind: str, seed: int, rows: int, inputs: int, units: int
) -> None:
    """Against float64: of x @ weight and both gradients, relative to the sum of the largest."""
    x, weight, bias, dy = case(seed, rows, inputs, units, kind)
    y, by_weight, by_bias = gradients(x, weight, bias, dy)
    wide, w = x.astype(np.float64) / UNIT[kind], weight.astype(np.float64)
    bound = np.abs(wide).max(1, keepdims=True) * np.maximum(np.abs(w).max(0), 2.0**-20) * inputs
    assert (np.abs(y - (wide @ w + bias)) <= bound * 2.0**-18 + 1e-9).all()
    largest = np.maximum(np.abs(dy).max(0), 2.0**-20) * rows
    bound = np.maximum(np.abs(wide).max(0), 2.0**-20)[:, None] * largest
    assert (np.abs(by_weight - wide.T @ dy) <= bound * 2.0**-16 + 2.0**-56).all()
    assert (np.abs(by_bias - dy.sum(0)) <= largest * 2.0**-16).all()


@kinds
@given(seeds, st.integers(2, 256), st.integers(1, 300), st.integers(1, 12))
@settings(some, max_examples=5)  # each traces six graphs
def test_order_padding_and_neighbours_change_no_bit(
    kind: str, seed: int, rows: int, inputs: int, units: int
) -> None:
    x, weight, bias, dy = case(seed, rows, inputs, units, kind)
    y, by_weight, by_bias = gradients(x, weight, bias, dy)
    generator = np.random.default_rng(seed)
    order, across = generator.permutation(rows), generator.permutation(inputs)
    shuffled = gradients(x[order][:, across], weight[across], bias, dy[order])
    assert same(shuffled[0], y[order])
    assert same(shuffled[1], by_weight[across])
    assert same(shuffled[2], by_bias)
    beside = generator.standard_normal((inputs, 3)).astype(np.float32) * 1e6
    more = [weight, beside], [bias, beside[0]], [dy, generator.uniform(-1, 1, (rows, 3))]
    wide = gradients(x, *(np.concatenate(parts, -1) for parts in more))
    assert same(wide[0][:, :units], y)
    assert same(wide[1][:, :units], by_weight)
    assert same(wide[2][:units], by_bias)
    no_rows = np.zeros((256 - rows, inputs), x.dtype), np.zeros((256 - rows, units))
    padded = gradients(
        np.concatenate([x, no_rows[0]]), weight, bias, np.concatenate([dy, no_rows[1]])
    )
    assert same(padded[0][:rows], y)
    assert same(padded[1], by_weight)
    assert same(padded[2], by_bias)
    part = int(generator.integers(1, rows))
    assert same(gradients(x[:part], weight, bias, dy[:part])[0], y[:part])


@given(seeds, st.integers(1, 6), st.sampled_from([1, 200, 257, 500, 784, 1028]))
@some
def test_the_forms_of_a_byte_have_the_same_bits(seed: int, rows: int, inputs: int) -> None:
    """Digits in float32, one product in float64, integers with binary digits after the point."""
    x, weight, bias, dy = case(seed, rows, inputs, 5, "bytes")
    digits, unit = exact._byte_sums(tf.constant(x, tf.float32), tf.constant(weight))
    grid = exact._weight_grid(tf.constant(weight), exact.BYTE_BITS)
    assert (digits * unit == x.astype(np.float64) @ grid.integers * grid.unit).numpy().all()
    forward, *_ = gradients(x, weight, bias, dy)
    assert same(gradients(x.astype(np.int32) << 14, weight, bias, dy)[0], forward)
    floats = x / np.float32(255)
    assert are_bytes(floats)
    assert same(resident(floats, whole=True), x)
    assert same(resident(floats, whole=False), x.astype(np.int32) << 14)


@pytest.mark.parametrize("inputs", [1, 257, 784, 1028, 1029, 5000])
def test_no_sum_of_the_largest_bytes_is_rounded(inputs: int) -> None:
    """Python's integers have any length: the sums are those of the worst case, and of one less."""
    x = np.full((256, inputs), 255, np.uint8)
    x[1, 0] -= 1
    weight = np.full((inputs, 2), np.nextafter(np.float32(2), np.float32(0)))
    weight[:, 1] *= -1
    sums, unit = exact._byte_sums(tf.constant(x, tf.float32), tf.constant(weight))
    integers = exact._weight_grid(tf.constant(weight), exact.BYTE_BITS).integers.numpy()
    expected = x[:2].astype(object) @ np.vectorize(int, otypes=[object])(integers)
    scale = exact._weight_grid(tf.constant(weight), exact.BYTE_BITS).unit / unit
    assert (sums[:2] / scale).numpy().tolist() == expected.tolist()
    dy = np.full((256, 2), np.nextafter(1.0, 0))
    dy[0, 1] = 2.0**-17
    by_weight = gradients(x[:, :3], weight[:3], weight[0], dy)[1]
    np.testing.assert_allclose(by_weight, x[:, :3].T / 255 @ dy, rtol=2.0**-16)


@pytest.mark.parametrize("terms", [1, 2, 10, 127, 256, 1024, 65_536])
def test_no_sum_of_the_largest_floats_is_rounded(terms: int) -> None:
    bits = shares(terms)
    largest = np.nextafter(2.0, 0)
    a = np.full((1, terms), largest)
    b = np.full((terms, 2), largest)
    b[-1] = [-1.25, 2.0**-30]
    grids = on_grid(tf.constant(a), 1, bits[0]), on_grid(tf.constant(b), 0, bits[1])
    integers = [np.vectorize(int, otypes=[object])(grid.integers.numpy()) for grid in grids]
    ((first, second),) = integers[0] @ integers[1]
    units = (grids[0].unit * grids[1].unit).numpy()
    assert product(*grids).numpy().tolist() == (np.array([[first, second]], float) * units).tolist()
    assert max(abs(first), abs(second)) <= 2**53
    assert same(transposed(grids[1]).integers, grids[1].integers.numpy().T)


def test_the_tables_are_those_of_decimal() -> None:
    made, (coarse, fine, logs) = tables.tables(), oracle.tables()
    assert same(made.coarse, coarse)
    assert same(made.fine, fine)
    for octave, row in enumerate(logs):
        start = (1023 + tables.EXP + octave) % 16 * 2**tables.STEPS
        assert same(made.log[start : start + 2**tables.STEPS], row)


@given(seeds, st.integers(1, 20), st.sampled_from([2, 10, 256]), st.sampled_from([0.01, 1, 30]))
@some
def test_losses_and_probabilities_are_within_1e_7(
    seed: int, rows: int, classes: int, spread: float
) -> None:
    """Largest errors against float64: loss 7e-8 nats, gradient 6e-8; probabilities add up to 1."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, spread, (rows, classes))
    y = generator.integers(0, classes, rows).astype(np.int32)
    loss, correct, gradient = softmax.cross_entropy(tf.constant(logits), tf.constant(y))
    z = logits - logits.max(1, keepdims=True)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    label = np.arange(rows), y
    np.testing.assert_allclose(loss, np.log(np.exp(z).sum(1)) - z[label], rtol=0, atol=1.1e-7)
    probability = softmax.probabilities(tf.constant(logits)).numpy()
    np.testing.assert_allclose(probability, p, rtol=0, atol=6e-8)
    np.testing.assert_allclose(probability.sum(1), 1, atol=1e-13)
    p[label] -= 1
    np.testing.assert_allclose(gradient, p, rtol=0, atol=6e-8)
    assert same(correct, logits.argmax(1) == y)


def test_of_equal_logits_the_first_is_the_answer() -> None:
    for classes in (2, 10, 33, 256):
        logits = np.zeros((classes, classes))
        logits[:, 0] = -1
        correct = softmax.cross_entropy(tf.constant(logits), tf.range(classes))[1].numpy()
        assert correct.nonzero()[0].tolist() == [1]
        assert (
            softmax.probabilities(tf.constant(logits)).numpy().argmax(1).tolist() == [1] * classes
        )


def random_model(model: Model) -> Model:
    generator = np.random.default_rng(1)
    for variable in model.weights.values():
        variable.assign(generator.normal(0, 0.3, variable.shape))
    model.exact = True
    return model


@pytest.mark.parametrize("hidden", [[], [6], [5, 1, 4]], ids=str)
def test_gradients_are_finite_differences(hidden: list[int]) -> None:
    """Central differences of the mean loss with a step of 2^-11: within 1e-4."""
    generator = np.random.default_rng(2)
    x, y = generator.integers(0, 256, (64, 9)).astype(np.uint8), generator.integers(0, 3, 64)
    batch = tf.constant(x), tf.constant(y.astype(np.int32))
    model = random_model(
        MLP((9,), 3, 0, hidden=hidden) if hidden else LogisticRegression((9,), 3, 0)
    )
    _, _, *found = of_parts(model, [batch])
    for variable, gradient in zip(model.weights.values(), found, strict=True):
        values = variable.numpy()
        for place in list(np.ndindex(*values.shape))[::3]:
            losses = []
            for step in (2.0**-11, -(2.0**-11)):
                moved = values.copy()
                moved[place] += step
                variable.assign(moved)
                losses.append(of_parts(model, [batch])[0].numpy())
            variable.assign(values)
            difference = (losses[0] - losses[1]) / 2**-10
            assert gradient.numpy()[place] / 64 == pytest.approx(difference / 64, abs=1e-4)


WEIGHTS = [0.0, 1e-45, 1e-30, 1e30, 1e38, float("inf"), float("nan")]


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("kind", ["bytes", "fixed"])
def test_extreme_weights_are_right_or_give_no_finite_loss(weight: float, kind: str) -> None:
    generator = np.random.default_rng(3)
    x = generator.integers(0, 256, (64, 7)).astype(np.uint8)
    split: Any = ((x if kind == "bytes" else x / np.float32(255.5)), np.zeros(64, np.uint8))
    model = LogisticRegression((7,), 3, 0)
    model.exact = True
    values = np.full((7, 3), weight, np.float32)
    values[:, 1] *= -1
    model.weight.assign(values)
    empty = (split[0][:0], split[1][:0])
    (epoch,) = train(model, SGD(0.1), split, empty, epochs=1, batch_size=64, seed=0)
    expected = np.log(3) if abs(weight) < 1 else np.log(2)  # of three or two equal logits
    if np.isfinite(weight):
        assert epoch.loss == pytest.approx(expected, abs=1e-6)
        assert np.isfinite(model.weight.numpy()).all()
    else:
        assert not np.isfinite(epoch.loss)


@pytest.mark.parametrize(("features", "classes", "rows"), [(1, 2, 1), (1, 256, 300), (5000, 2, 30)])
@pytest.mark.parametrize("hidden", [[], [1]], ids=str)
@pytest.mark.parametrize("kind", ["bytes", "fixed"])
def test_any_shape_trains(
    features: int, classes: int, rows: int, hidden: list[int], kind: str
) -> None:
    generator = np.random.default_rng(4)
    x: Any = generator.integers(0, 256, (rows, features)).astype(np.uint8)
    x = x if kind == "bytes" else x / np.float32(254)
    y = generator.integers(0, classes, rows).astype(np.uint8)
    make = partial(MLP, hidden=hidden) if hidden else LogisticRegression
    model = make((features,), classes, 0)
    model.exact = True
    first, *_, last = train(model, SGD(1e-4), (x, y), (x, y), epochs=5, batch_size=64, seed=0)
    assert last.loss < first.loss or rows == 1 or hidden
    assert np.isfinite([last.loss, last.val_loss]).all()


def test_a_batch_of_60_000_is_the_sum_of_its_blocks() -> None:
    generator = np.random.default_rng(5)
    x = generator.integers(0, 256, (60_000, 3)).astype(np.uint8)
    y = generator.integers(0, 2, 60_000).astype(np.uint8)
    model = LogisticRegression((3,), 2, 0)
    model.exact = True
    (epoch,) = train(model, SGD(1.0), (x, y), (x[:9], y[:9]), epochs=1, batch_size=None, seed=0)
    layers = [(np.ones((3, 2), np.float32), np.zeros(2, np.float32))]
    update = partial(oracle.sgd, rate=1.0)
    options = {"epochs": 1, "batch_size": None, "seed": 0}
    (expected,) = oracle.train(layers, update, (x, y), (x[:9], y[:9]), **options)
    assert list(epoch.metrics.values()) == expected
    assert same(model.weight, layers[0][0])


def test_what_cannot_be_exact_is_refused_in_one_line() -> None:
    x = tf.zeros([1, 70_000], tf.int32)
    with pytest.raises(UserError, match="70,000 features are too many"):
        exact.linear(x, tf.ones([70_000, 2]), tf.zeros(2))
    exact.linear(tf.cast(x, tf.uint8), tf.ones([70_000, 2]), tf.zeros(2))  # of bytes it can
    with pytest.raises(ValueError, match="256 examples at a time, not of 257"):
        gradients(*case(0, 257, 2, 2, "bytes"))
    with pytest.raises(UserError, match="example 700 has a feature that is not between"):
        are_bytes(np.vstack([np.ones((700, 2), np.float32), [[1, np.nan]]]).astype(np.float32))


OPTIMIZERS = [
    (SGD, oracle.sgd, {}),
    (SGD, oracle.sgd, {"momentum": 0.9}),
    (SGD, oracle.sgd, {"momentum": 0.99, "nesterov": True}),
    (Adam, oracle.adam, {}),
    (Adam, oracle.adam, {"beta_1": 0.0, "beta_2": 0.5, "epsilon": 1e-3}),
]


@pytest.mark.parametrize(("make", "formula", "options"), OPTIMIZERS)
def test_optimizers_follow_their_formulas_and_end_without_denormals(
    make: Any, formula: Any, options: dict[str, Any]
) -> None:
    generator = np.random.default_rng(6)
    variable = tf.Variable(generator.standard_normal(40).astype(np.float32))
    expected, state = variable.numpy(), {}
    optimizer = make(0.05, **options)
    optimizer.build([variable])
    step = tf.function(lambda gradient: optimizer.apply_gradients([(gradient, variable)]))
    for number in range(1, 2031):
        sizes = np.exp2(generator.integers(-56, 3, 40)) * (number <= 30)
        gradient = (generator.standard_normal(40) * sizes).astype(np.float32)
        step(tf.constant(gradient))
        expected = expected - formula(gradient, state, number, rate=0.05, **options)
    assert same(variable, expected)
    smallest = np.finfo(np.float32).tiny
    for one in (variable, *optimizer.variables):
        size = np.abs(one.numpy().astype(np.float64))
        assert ((size == 0) | (size >= smallest)).all(), one.path


@pytest.mark.parametrize(("make", "formula", "options"), OPTIMIZERS)
def test_the_sign_of_a_zero_gradient_ends_in_the_optimizer(
    make: Any, formula: Any, options: dict[str, Any]
) -> None:
    found = []
    for zero in (0.0, -0.0):
        variable, optimizer = tf.Variable([0.0, 1.0]), make(0.1, **options)
        optimizer.build([variable])
        optimizer.apply_gradients([(tf.constant([zero, zero]), variable)])
        found.append([one.numpy().tobytes() for one in (variable, *optimizer.variables)])
    assert found[0] == found[1]


@given(st.floats(0, 1), st.integers(0, 2**31))
@some
def test_powers(base: float, exponent: int) -> None:
    """Largest relative error: exponent 2^-52."""
    found = power(base, tf.constant(exponent, tf.int64)).numpy()
    assert 1 - found == 1 - oracle.power(base, exponent)  # as Adam has it: denormals are nothing
    assert found == pytest.approx(base**exponent, rel=(exponent + 2) * 2.0**-52, abs=1e-300)


PROGRAM = """
from pipeline.learning import determinism
determinism.enable = lambda *_, **__: None
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(16)
from tests.test_exact import hash_of_a_step
print(hash_of_a_step())
"""


def hash_of_a_step() -> str:
    generator = np.random.default_rng(7)
    x = generator.integers(0, 256, (256, 784)).astype(np.uint8)
    y = generator.integers(0, 10, 256).astype(np.int32)
    model = random_model(MLP((784,), 10, 0, hidden=[64]))
    found = tf.function(of_parts)(model, [(tf.constant(x), tf.constant(y))])
    return hashlib.sha256(b"".join(one.numpy().tobytes() for one in found)).hexdigest()


@pytest.mark.slow
def test_threads_and_kernels_change_no_bit() -> None:
    """16 threads an operation, without oneDNN, against one thread with it."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={"KERAS_BACKEND": "tensorflow", "TF_ENABLE_ONEDNN_OPTS": "0"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.stdout.strip() == hash_of_a_step(), done.stderr[-2000:]


def test_no_block_of_a_batch_has_more_rows_than_a_gradient_may() -> None:
    assert max(map(block_rows, range(1, 2000))) == block_rows(10**7) == exact.ROWS


def test_what_is_predicted_is_what_is_judged() -> None:
    """Of the logits of many rows the best two differ by less than a float32 can tell."""
    generator = np.random.default_rng(4)
    logits = generator.uniform(-1, 1, (500, 3))
    logits[:, 1] = logits[:, 0] + generator.integers(-2, 3, 500) * 2.0**-24

    class Known(Model):
        exact = True

        def __call__(self, x: tf.Tensor) -> tf.Tensor:
            return tf.constant(logits)

    y = tf.constant(generator.integers(0, 3, 500), tf.int32)
    model = Known.__new__(Known)
    model.weights = {}
    probability, losses = judge(model, tf.zeros([500, 1]), y)
    answer = probability.argmax(1)
    _, correct, _ = softmax.cross_entropy(tf.constant(logits), tf.constant(answer, tf.int32))
    assert correct.numpy().all()
    assert (losses == softmax.cross_entropy(tf.constant(logits), y)[0].numpy()).all()
