"""Whether models side by side have the bits that each has alone, on this processor."""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np


def keeps_bits(
    shape: tuple[int, int],
    options: str,
    heads: int,
    trained: Iterable[int],
    held_out: Iterable[int],
) -> bool:
    """Tell whether each model side by side has the bits that it has alone.

    Which kernel multiplies, and in which order it adds, depends on the processor and on shapes but
    not on values: examples and weights are random.

    Parameters
    ----------
    shape : tuple of int
        Features and classes.
    options : str
        Of the model, as JSON.
    heads : int
        How many there are.
    trained, held_out : iterable of int
        How many rows there are in the blocks of a training step, and of an evaluation.
    """
    from pipeline.learning.inference import block_metrics
    from pipeline.learning.training import block_gradients

    blocks = [(block_gradients, rows) for rows in trained]
    blocks += [(block_metrics, rows) for rows in held_out]
    return all(_of_block(function, rows, shape, options, heads) for function, rows in blocks)


@lru_cache
def _of_block(
    function: Callable[..., Sequence[Any]],
    rows: int,
    shape: tuple[int, int],
    options: str,
    heads: int,
) -> bool:
    from pipeline.learning.inference import Score
    from pipeline.models import LogisticRegression
    from pipeline.side_by_side.model import EachHead, SideBySide

    features, classes = shape
    generator = np.random.default_rng(0)
    models = [LogisticRegression(*shape, 0, **json.loads(options)) for _ in range(heads)]
    for model in models:
        model.weight.assign(generator.standard_normal(shape, np.float32))
    x = generator.random((rows, features), np.float32)
    y = generator.integers(0, classes, rows).astype(np.int32)
    wide = function(SideBySide(models), EachHead(heads), x, y)
    values = [value.numpy()[..., : heads * classes] for value in wide]
    of_heads = zip(*(np.split(value, heads, -1) for value in values), strict=True)
    return all(
        alone.numpy().tobytes() == part.tobytes()
        for model, parts in zip(models, of_heads, strict=True)
        for alone, part in zip(function(model, Score(), x, y), parts, strict=True)
    )
