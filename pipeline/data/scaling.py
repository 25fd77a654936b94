"""Scales: learned on the training examples, and checked where they are applied."""

import logging
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.description import Description, Scale
from pipeline.data.examples import Examples
from pipeline.data.splitting import Part
from pipeline.errors import UserError, listed
from pipeline.settings.dataset import Scaling

log = logging.getLogger(__name__)
CHUNK = 1024  # examples whose sums are computed together, whatever blocks the reader gives
LARGEST = 512  # features of exact arithmetic are smaller; it is MOST of pipeline/exact/features.py
STEP = 2.0**-14 / 255  # exact arithmetic rounds features to multiples of it
LEAST = 2.0**-10  # a feature that is always smaller would keep too few bits in that
LEAST_DEVIATION = 2.0**-510  # the square of a smaller deviation may be denormal
SET_SCALE = "set `scale: standardise` or `scale: minmax`"
SHOWN = 5  # columns that a warning names

Floats = NDArray[np.float64]


def learn(kind: Scaling, part: Part) -> Scale:
    """Return the scale of a kind for the training examples, in one pass over them.

    Means and deviations are computed as by Chan, Golub and LeVeque (1983): for fixed chunks, which
    are merged in their order. Each operation is correctly rounded, so the bits are the same
    everywhere.

    Raises
    ------
    UserError
        If a value is not finite, or so large that its square is not.
    """
    if kind in ("bytes", "none"):
        return Scale(kind=kind)
    as_one = len(part.source.shape) > 1  # of an image, pixels have one scale
    count, mean, squares = 0, np.zeros(1), np.zeros(1)
    low, high = np.full(1, np.inf), np.full(1, -np.inf)
    with np.errstate(over="ignore", invalid="ignore"):
        for chunk in _chunks(part):
            values = chunk.reshape(-1, 1) if as_one else chunk
            own = _total(values) / len(values)
            away, whole = own - mean, count + len(values)
            distances = values - own
            squares = squares + _total(distances * distances)
            squares = squares + away * away * (count * len(values) / whole)
            mean, count = mean + away * (len(values) / whole), whole
            low, high = np.minimum(low, values.min(0)), np.maximum(high, values.max(0))
        standard = kind == "standardise"
        offset, width = (mean, np.sqrt(squares / count)) if standard else (low, high - low)
    if not np.isfinite([offset, width]).all():
        column = int(np.argmin(np.isfinite(offset) & np.isfinite(width)))
        raise UserError(
            f"{part.source.place}: {part.source.column(column)} has values that are too large to "
            "be scaled: correct them"
        )
    if standard and (alike := (low < high) & (width < LEAST_DEVIATION)).any():
        raise UserError(
            f"{part.source.place}: {part.source.column(int(np.argmax(alike)))} has values that "
            "differ too little to be scaled: write them in a smaller unit"
        )
    if (constant := np.flatnonzero(low == high)).size:
        names = [part.source.column(number) for number in constant.tolist()]
        log.warning(
            "%s: all training examples have the same value in %s: it teaches nothing",
            part.source.place,
            "all pixels" if as_one else listed(names, SHOWN),
        )
    width = np.where(low == high, 1.0, width)
    return Scale(kind=kind, offset=offset.tolist(), width=width.tolist())


def _chunks(part: Part) -> Iterator[Floats]:
    """Yield the examples of a part as float64 (CHUNK, features), in the order of their files."""
    chosen = np.zeros(part.source.rows, bool)
    chosen[part.rows] = True
    rest = np.empty((0, prod(part.source.shape)))
    for start, block in part.source.flat():
        rows = block[chosen[start : start + len(block)]]
        rest = np.concatenate([rest, rows], dtype=np.float64)
        while len(rest) >= CHUNK:
            yield rest[:CHUNK]
            rest = rest[CHUNK:]
    if len(rest):
        yield rest


def _total(values: Floats) -> Floats:
    """Return the sums of the columns, by halves, so that no library decides the order of a sum."""
    while len(values) > 1:
        half = len(values) // 2
        odd = values[2 * half :]
        values = np.concatenate([values[:half] + values[half : 2 * half], odd])
    return values[0]


class Encoder:
    """Turns values of a file into rows of x, and refuses values that x could not represent."""

    def __init__(self, described: Description, storage: str, *, exact: bool):
        self._described, self._storage, self._exact = described, storage, exact
        self._peak: NDArray[np.float32] | None = None  # of each feature, where that matters

    def __call__(
        self, source: Examples, start: int, rows: NDArray[Any]
    ) -> NDArray[np.float32] | NDArray[np.uint8]:
        """Return x, (k, features), of examples from `start` on.

        Raises
        ------
        UserError
            If a value is no byte with `scale: bytes`, or is too large for float32, or for the exact
            arithmetic of `determinism: portable`.
        """
        kind = self._described.scale.kind
        if kind == "bytes":
            if rows.dtype != np.uint8:
                other = (rows < 0) | (rows > 255) | (rows != np.floor(rows))
                remedy = "`scale: bytes` takes whole numbers from 0 to 255: set it to standardise"
                source.refuse(other, start, rows, remedy)
                rows = rows.astype(np.uint8)
            return rows if self._storage == "uint8" else self._described.scaled(rows)
        with np.errstate(over="ignore"):
            x = self._described.scaled(rows)
        wrong = ~(np.abs(x) < LARGEST) if self._exact else ~np.isfinite(x)
        remedy = "it is too far from the training examples: correct it, or leave it out"
        if kind == "none":
            remedy = SET_SCALE
        if self._exact:
            remedy += f" (from {LARGEST} on, features need `determinism: machine`)"
        source.refuse(wrong, start, rows, remedy)
        if self._exact and kind == "none":
            peak = np.abs(x).max(0)
            self._peak = peak if self._peak is None else np.maximum(peak, self._peak)
        return x

    def finish(self, source: Examples) -> None:
        """Raise a UserError if a feature is so small that exact arithmetic would round it away."""
        if self._peak is None:
            return
        peak = self._peak if len(source.shape) == 1 else self._peak.max(keepdims=True)
        if (small := np.flatnonzero((peak > 0) & (peak < LEAST))).size:
            raise UserError(
                f"{source.place}: {source.column(int(small[0]))} is never beyond "
                f"{peak[small[0]]:.2g}, and exact arithmetic rounds to {STEP:.2g}: {SET_SCALE}, or "
                "`determinism: machine`"
            )
