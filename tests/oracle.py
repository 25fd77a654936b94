"""The arithmetic of `determinism: portable`, in NumPy alone; docs/exact.md says why it is so.

It imports nothing of the project. Products are of float64, tables by decimal. A sum is of integers
times a power of two and stays below 2^53: no rounding, hence no order. All else rounds once an
element: + - * / sqrt rint astype. A layer is a weight (inputs, units) and a bias, float32.
"""

from decimal import Decimal, localcontext
from functools import cache
from itertools import accumulate

import numpy as np

F = np.float32


def load(folder: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return bytes k, uint8 (n, features), of which the file has k / 255, and y, uint8 (n,)."""
    x, y = (np.load(f"{folder}/{array}_{name}.npy", mmap_mode="r") for array in "xy")
    return np.rint(x * F(255)).astype(np.uint8), np.array(y)


@cache
def tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return 2^40 exp(-i / 2^10) rounded, exp(-i / 2^24), and where tangents of 2^24 log begin."""
    with localcontext(prec=50):
        coarse = [float(round(2**40 * (Decimal(-i) / 2**10).exp())) for i in range(2**15)]
        fine = [float((Decimal(-i) / 2**24).exp()) for i in range(2**14)]
        middles = [(Decimal(2 * i + 1) / 2**13 + 1).ln() for i in range(2**12)]  # from 1 to 2
        octaves = [octave * Decimal(2).ln() - 1 for octave in range(9)]
        logs = [[float(2**24 * (log + octave)) for log in middles] for octave in octaves]
    return np.array(coarse), np.array(fine), np.array(logs)


def grid(values: np.ndarray, axis: int, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Round to integers of up to 2^bits; their unit follows from the largest along the axis."""
    largest = np.abs(values).max(axis, keepdims=True, initial=2.0**-20)
    unit = np.ldexp(1.0, np.frexp(largest)[1] - bits)
    return np.rint(values / unit), unit


def product(a: np.ndarray, b: np.ndarray, terms: int) -> np.ndarray:
    """Return a @ b of floats: sums of so many terms leave so many bits to the factors."""
    bits = 53 - int(np.ceil(np.log2(terms)))
    (left, row), (right, column) = grid(a, 1, bits // 2), grid(b, 0, bits - bits // 2)
    return left @ right * (row * column)


def forward(k: np.ndarray, layers: list) -> list:
    """Return the input of each layer, and the logits, float64."""
    digit = min(max(int(np.log2(max(2**24 // (255 * k.shape[1]), 1))), 6), 8)
    integers, unit = grid(layers[0][0].astype(float), 0, 3 * digit + 2)  # 20 bits for 784 inputs
    found = [k, k @ integers * (unit * (1 / 255)) + layers[0][1]]
    for weight, bias in layers[1:]:
        found[-1] = np.maximum(found[-1], 0)
        found.append(product(found[-1], weight.astype(float), len(weight)) + bias)
    return found


def score(z: np.ndarray, y: np.ndarray) -> tuple[float, int, np.ndarray]:
    """Return the sum of the losses, how many are right, and the gradient: softmax(z) - onehot."""
    (coarse, fine, logs), label = tables(), (np.arange(len(y)), y)
    z = np.rint(z * 2.0**24)
    below = z.max(1, keepdims=True) - z
    t = np.minimum(below, 2**29 - 1).astype(int)  # exp(-32) is 0
    exps = np.rint(coarse[t >> 14] * fine[t % 2**14])
    total = exps.sum(1)
    fraction, exponent = np.frexp(total)  # from 2^40 to 2^48
    place = (fraction * 2**13).astype(int) - 2**12
    slope = np.ldexp(2.0**13 / (2**13 + 2 * place + 1), 25 - exponent)
    losses = np.rint(logs[exponent - 41, place] + slope * total + below[label])
    correct = int((below.argmin(1) == y).sum())
    return losses.sum() * 2.0**-24, correct, exps / total[:, None] - np.eye(z.shape[1])[y]


def backward(inputs: list, layers: list, dy: np.ndarray) -> list:
    """Return the gradients by weight 0, bias 0, weight 1 ... of up to 256 rows."""
    found = []
    for x, (weight, _) in zip(inputs[-2:0:-1], layers[:0:-1], strict=True):
        found += [narrow(product(np.ones((1, len(x))), dy, 256)[0]), narrow(product(x.T, dy, 256))]
        dy = np.where(x > 0, product(dy, weight.T.astype(float), dy.shape[1]), 0)
    unit, by_digit = grid(dy, 0, 8)[1], []
    rest = dy / unit
    for place in range(2):  # two digits of base 2^9, whose sums float32 holds exactly
        by_digit.append((inputs[0].T @ np.rint(rest)).astype(F) * F(2.0 ** (-9 * place)))
        rest = (rest - np.rint(rest)) * 2**9
    by_weight = (by_digit[0] + by_digit[1]) * (unit * (1 / 255)).astype(F)
    integers, unit = grid(dy, 0, 17)
    return [by_weight, narrow(integers.sum(0) * unit[0]), *found[::-1]]


def narrow(values: np.ndarray) -> np.ndarray:
    """Return multiples of 2^-56 as float32, none of which is denormal."""
    return (np.rint(values * 2.0**56) * 2.0**-56).astype(F)


def settled(values: np.ndarray, least: float = 2.0**-60) -> np.ndarray:
    """Return 0 for values so small that later ones might be denormal."""
    return np.where(np.abs(values) < least, F(0), values)


def sgd(gradient, state, step, *, rate, momentum=0.0, nesterov=False):
    """Return how much less a weight will be; `state` is kept from step to step."""
    less = gradient * F(rate)
    if momentum:
        state["velocity"] = velocity = settled(state.get("velocity", F(0)) * F(momentum) - less)
        less = less - velocity * F(momentum) if nesterov else -velocity
    return settled(less)


def adam(gradient, state, step, *, rate, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    """Return what `sgd` does, of Adam."""
    mean, square = state.get("mean", F(0)), state.get("square", F(0))
    state["mean"] = mean = settled(mean + (gradient - mean) * F(1 - beta_1))
    square = settled(square + (gradient * gradient - square) * F(1 - beta_2), 2.0**-100)
    state["square"] = square
    unbiased = np.sqrt(1 - power(beta_2, step)) / (1 - power(beta_1, step))
    return settled(mean * F(float(F(rate)) * unbiased) / (np.sqrt(square) + F(epsilon)))


def power(base: float, exponent: int) -> float:
    """Return base^exponent: base^(2^k) of its bits k, half of the factors times the other half."""
    squares = accumulate(range(31), lambda square, _: square * square, initial=base)
    factors = np.array([square if exponent >> k & 1 else 1.0 for k, square in enumerate(squares)])
    while len(factors) > 1:
        factors = np.multiply(*np.split(factors, 2))
    return float(factors[0])


def train(layers, update, training, validation, *, epochs, batch_size, seed, l2=0.0):
    """Train in place; yield loss, accuracy, val_loss and val_accuracy after each epoch."""
    (k, y), weights, step = training, [one for layer in layers for one in layer], 0
    states: list[dict[str, np.ndarray]] = [{} for _ in weights]
    size = batch_size or len(y)
    block = min(max(-(-size // 2), 64), 256)  # rows
    for epoch in range(1, epochs + 1):
        order = np.random.default_rng([seed, epoch]).permutation(len(y))  # up to 65,536 rows
        order, sums = order if batch_size else np.arange(len(y)), np.zeros(2)
        for batch in np.split(order, range(size, len(y), size)):
            total = [np.zeros_like(weight) for weight in weights]
            for rows in np.split(batch, range(block, len(batch), block)):
                inputs = forward(k[rows], layers)
                loss, correct, dy = score(inputs[-1], y[rows])
                sums += loss, correct
                total = [a + b for a, b in zip(total, backward(inputs, layers, dy), strict=True)]
            step += 1
            for weight, gradient, state in zip(weights, total, states, strict=True):
                mean = gradient / F(len(batch))
                mean = mean + F(l2) * weight if l2 and weight.ndim == 2 else mean
                np.subtract(weight, update(mean, state, step), out=weight)
        loss, correct, _ = score(forward(validation[0], layers)[-1], validation[1])
        yield [*(sums / len(y)).tolist(), loss / len(validation[1]), correct / len(validation[1])]
