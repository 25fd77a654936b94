"""Scales: learned on the training examples alone, the same bits however they are read."""

import logging
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from pipeline.data import scaling
from pipeline.data.description import Description, Scale
from pipeline.data.examples import Examples
from pipeline.data.scaling import Encoder, learn
from pipeline.data.splitting import Part
from pipeline.errors import UserError
from pipeline.exact import features

GENERATOR = np.random.default_rng(0)
TABLE = GENERATOR.standard_normal((3000, 3)) * [1.0, 1e-3, 1e6] + [0.0, 5.0, -1e9]


def part(x: np.ndarray, rows: Any = None, block: int = 700, names: Any = "abc") -> Part:
    source = Examples(
        labels=np.zeros(len(x), np.uint8),
        shape=x.shape[1:],
        dtype=x.dtype,
        blocks=lambda: (x[k : k + block] for k in range(0, len(x), block)),
        features=tuple(names) if x.ndim == 2 and names else None,
        place="a.csv",
    )
    return Part(source, np.arange(len(x)) if rows is None else rows)


def described(scale: Scale, shape: tuple[int, ...] = (3,)) -> Description:
    return Description(
        name="t", shape=shape, classes=["a", "b"], features=None, scale=scale, hashes={}
    )


def encoded(x: np.ndarray, scale: Scale, storage: str = "float32", exact: bool = True) -> Any:
    encode = Encoder(described(scale, x.shape[1:]), storage, exact=exact)
    source = part(x).source
    found = np.concatenate([encode(source, start, rows) for start, rows in source.flat()])
    encode.finish(source)
    return found


def test_moments_are_those_of_exact_arithmetic() -> None:
    scale = learn("standardise", part(TABLE))
    for column, offset, width in zip(TABLE.T, scale.offset, scale.width, strict=True):
        values = [Fraction(float(value)) for value in column]
        mean = sum(values) / len(values)
        variance = sum((value - mean) ** 2 for value in values) / len(values)
        assert abs(offset - float(mean)) <= 1e-15 * float(np.abs(column).max())
        assert width == pytest.approx(math.sqrt(float(variance)), rel=1e-13)
    x = encoded(TABLE, scale)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(0), 1, atol=1e-5)


@pytest.mark.parametrize("kind", ["minmax", "standardise"])
def test_neither_blocks_nor_the_order_of_rows_nor_test_rows_matter(kind: Any) -> None:
    rows = np.flatnonzero(GENERATOR.random(3000) < 0.7)
    expected = learn(kind, part(TABLE, rows))
    other = TABLE.copy()
    other[np.setdiff1d(np.arange(3000), rows)] = 1e12  # not trained on
    for block in (1, 699, 1024, 3000):
        assert learn(kind, part(other, GENERATOR.permutation(rows), block)) == expected
    if kind == "minmax":
        assert expected.offset == TABLE[rows].min(0).tolist()
        x = encoded(TABLE[rows], expected)
        assert (x.min(0).tolist(), x.max(0).tolist()) == ([0] * 3, [1] * 3)


def test_an_image_has_one_scale() -> None:
    images = GENERATOR.random((50, 4, 5)) * 7 + 3
    scale = learn("minmax", part(images))
    assert scale.offset == [images.min()]
    assert scale.width == [images.max() - images.min()]
    found = described(scale, (4, 5)).scaled(images)
    assert found.shape == (50, 20)
    np.testing.assert_allclose(described(scale, (4, 5)).unscaled(found), images, rtol=1e-6)


def test_bytes_come_back_as_bytes() -> None:
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    for dtype in (np.uint8, np.int64, np.float64):  # a table of pixels may hold any of them
        for storage in ("float32", "uint8"):
            x = encoded(images.astype(dtype), Scale(kind="bytes"), storage)
            assert x.dtype == storage
            pictures = described(Scale(kind="bytes"), (16, 16)).unscaled(x)
            np.testing.assert_array_equal(pictures, images, strict=True)


def test_a_constant_column_is_named_and_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    x = np.column_stack([np.full(3000, 0.1), TABLE[:, 0], np.full(3000, 7.0)])
    with caplog.at_level(logging.WARNING):
        scale = learn("standardise", part(x))
    (line,) = caplog.messages
    assert line == (
        "a.csv: all training examples have the same value in column a, column c: it teaches nothing"
    )
    assert scale.width[::2] == [1.0, 1.0]
    assert np.abs(encoded(x, scale)[:, ::2]).max() < 1e-12


def changed(row: int, column: int, value: float, x: np.ndarray = TABLE) -> np.ndarray:
    other = x.copy()
    other[row, column] = value
    return other


def test_what_cannot_be_scaled_is_named() -> None:
    limit = " (from 512 on, features need `determinism: machine`)"
    standard = learn("standardise", part(TABLE))
    pixels = np.zeros((2, 4, 5))
    pixels[1, 3, 2] = 0.5
    nothing = Scale(kind="none")
    for call, message in (
        (
            lambda: learn("minmax", part(changed(2999, 1, np.nan))),
            "a.csv: column b of example 2,999 is nan: correct it, or leave it out",
        ),
        (
            lambda: encoded(changed(5, 2, -np.inf), nothing),
            "a.csv: column c of example 5 is -inf: correct it, or leave it out",
        ),
        (
            lambda: learn("standardise", part(changed(5, 0, 1e200))),
            "a.csv: column a has values that are too large to be scaled: correct them",
        ),
        (
            lambda: learn("standardise", part(TABLE * 1e-160)),
            "a.csv: column a has values that differ too little to be scaled: write them in a "
            "smaller unit",
        ),
        (
            lambda: encoded(changed(9, 0, 600.0), standard),
            "a.csv: column a of example 9 is 600: it is too far from the training examples: "
            f"correct it, or leave it out{limit}",
        ),
        (
            lambda: encoded(TABLE, nothing),
            f"a.csv: column c of example 0 is {TABLE[0, 2]:.6g}: set `scale: standardise` or "
            f"`scale: minmax`{limit}",
        ),
        (
            lambda: encoded(changed(3, 1, 1e39), nothing, exact=False),
            "a.csv: column b of example 3 is 1e+39: set `scale: standardise` or `scale: minmax`",
        ),
        (
            lambda: encoded(pixels, Scale(kind="bytes")),
            "a.csv: value [3, 2] of example 1 is 0.5: `scale: bytes` takes whole numbers from 0 to "
            "255: set it to standardise",
        ),
        (
            lambda: encoded(pixels + 300, Scale(kind="bytes")),
            "a.csv: value [0, 0] of example 0 is 300: `scale: bytes` takes whole numbers from 0 to "
            "255: set it to standardise",
        ),
    ):
        with pytest.raises(UserError) as caught:
            call()
        assert str(caught.value) == message
    assert np.abs(encoded(changed(9, 0, 600.0), standard, exact=False)).max() > 512


def test_features_that_exact_arithmetic_would_round_away_are_named() -> None:
    x, nothing = np.array([[1.0, 1e-5, 0.0], [0.5, -2e-5, 0.0]]), Scale(kind="none")
    with pytest.raises(UserError) as caught:
        encoded(x, nothing)
    assert str(caught.value) == (
        "a.csv: column b is never beyond 2e-05, and exact arithmetic rounds to 2.4e-07: set "
        "`scale: standardise` or `scale: minmax`, or `determinism: machine`"
    )
    encoded(x, nothing, exact=False)
    encoded(x, learn("minmax", part(x)))
    encoded(x.reshape(2, 1, 3), nothing)  # pixels have one scale


def test_a_reader_is_held_to_what_it_announces() -> None:
    good = part(np.zeros((4, 3))).source
    for blocks, message in (
        ([np.zeros((4, 2))], "a.csv: its reader gives float64 (2,) where numbers (3,) were"),
        ([np.zeros((4, 3), object)], "a.csv: its reader gives object (3,) where numbers (3,) were"),
        ([np.zeros((3, 3))], "a.csv: has 4 labels for 3 examples"),
    ):
        source = Examples(**vars(good) | {"blocks": lambda blocks=blocks: iter(blocks)})
        with pytest.raises(UserError) as caught:
            list(source.flat())
        assert str(caught.value).startswith(message)
    for labels, found in (
        (np.zeros(4, int), "int64 (4,)"),
        (np.eye(4, dtype=np.uint8), "uint8 (4, 4)"),
        (list("abab"), "<U1 (4,)"),
    ):
        with pytest.raises(UserError) as caught:
            Examples(**vars(good) | {"labels": labels})
        assert str(caught.value) == (
            f"a.csv: its reader gives labels {found} where the number of each example's class is "
            "needed, from 0 on, uint8 (n,)"
        )


def test_the_limits_are_those_of_exact_arithmetic() -> None:
    assert scaling.LARGEST == features.MOST
