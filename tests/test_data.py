"""The order of the examples: each once, a pure function of (seed, epoch)."""

import numpy as np
import pytest

from pipeline import data


@pytest.mark.parametrize("rows", [1, 255, 65_536, 65_537, 200_001])
def test_every_row_once(rows: int) -> None:
    assert (np.sort(data.order(rows, seed=0, epoch=1)) == np.arange(rows)).all()


@pytest.mark.parametrize("rows", [1000, 150_000])
def test_the_order_depends_on_seed_and_epoch_alone(rows: int) -> None:
    first = data.order(rows, seed=0, epoch=1)
    np.random.seed(1)  # global state must not matter
    assert (data.order(rows, seed=0, epoch=1) == first).all()
    for seed, epoch in ((0, 2), (1, 1), (1, 0)):
        assert (data.order(rows, seed, epoch) != first).any()


def test_the_order_is_pinned() -> None:
    assert data.order(8, seed=0, epoch=1).tolist() == [1, 3, 7, 6, 0, 4, 2, 5]


def test_a_small_set_is_permuted_uniformly() -> None:
    first = [int(data.order(6, seed, 1)[0]) for seed in range(3000)]
    counts = np.bincount(first, minlength=6)
    assert ((counts - 500) ** 2 / 500).sum() < 25  # chi-squared, 5 degrees of freedom: p < 0.0002


def test_a_window_reads_whole_blocks() -> None:
    window = next(data.windows(300_000, seed=0, epoch=1))
    assert len(window) == data.WINDOW
    blocks, counts = np.unique(window // data.BLOCK, return_counts=True)
    assert len(blocks) == data.WINDOW // data.BLOCK
    assert (counts == data.BLOCK).all()


@pytest.mark.parametrize("rows", [100, 70_000])
def test_batches_follow_the_order(rows: int) -> None:
    x = np.arange(rows, dtype=np.float32)[:, None]
    y = (np.arange(rows) % 7).astype(np.uint8)
    got = list(data.batches(x, y, 64, seed=2, epoch=3))
    assert {len(batch_x) for batch_x, _ in got[:-1]} == {64}
    order = data.order(rows, 2, 3)
    assert (np.concatenate([batch_x for batch_x, _ in got])[:, 0] == order).all()
    assert (np.concatenate([batch_y for _, batch_y in got]) == order % 7).all()
