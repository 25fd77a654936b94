"""The order of the examples: each once, a pure function of (seed, epoch)."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.data import arrays


@pytest.mark.parametrize("rows", [1, 255, 65_536, 65_537, 200_001])
def test_every_row_once(rows: int) -> None:
    assert (np.sort(arrays.order(rows, seed=0, epoch=1)) == np.arange(rows)).all()


@pytest.mark.parametrize("rows", [1000, 150_000])
def test_the_order_depends_on_seed_and_epoch_alone(rows: int) -> None:
    first = arrays.order(rows, seed=0, epoch=1)
    np.random.seed(1)  # global state must not matter
    assert (arrays.order(rows, seed=0, epoch=1) == first).all()
    for seed, epoch in ((0, 2), (1, 1), (1, 0)):
        assert (arrays.order(rows, seed, epoch) != first).any()


def test_the_order_is_pinned() -> None:
    assert arrays.order(8, seed=0, epoch=1).tolist() == [1, 3, 7, 6, 0, 4, 2, 5]


def test_a_small_set_is_permuted_uniformly() -> None:
    first = [int(arrays.order(6, seed, 1)[0]) for seed in range(3000)]
    counts = np.bincount(first, minlength=6)
    assert ((counts - 500) ** 2 / 500).sum() < 25  # chi-squared, 5 degrees of freedom: p < 0.0002


def test_a_window_reads_whole_blocks() -> None:
    window = next(arrays.windows(300_000, seed=0, epoch=1))
    assert len(window) == arrays.WINDOW
    blocks, counts = np.unique(window // arrays.BLOCK, return_counts=True)
    assert len(blocks) == arrays.WINDOW // arrays.BLOCK
    assert (counts == arrays.BLOCK).all()


@pytest.mark.parametrize("size", [1, 64, 999, 70_000])
@pytest.mark.parametrize("most", [1, 5000, 200_000])
def test_pieces_are_the_order_in_whole_batches(size: int, most: int) -> None:
    rows = 150_000
    pieces = list(arrays.pieces(rows, size, seed=2, epoch=3, most=max(most, rows // 1000)))
    assert (np.concatenate(pieces) == arrays.order(rows, 2, 3)).all()
    assert {len(piece) % size for piece in pieces[:-1]} <= {0}
    assert max(map(len, pieces)) <= max(most, rows // 1000, size)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_a_file_is_read_in_pieces_of_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: type[np.generic]
) -> None:
    monkeypatch.setattr(arrays, "READ_AHEAD", 2**18)
    rows = 70_000
    stored = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", dtype, (rows, 40))
    stored[:] = np.arange(rows)[:, None] % 251
    x = np.load(tmp_path / "x.npy", mmap_mode="c")
    y = (np.arange(rows) % 7).astype(np.uint8)
    got: list[np.ndarray] = []
    for read_x, read_y, order in arrays.streamed(x[:-5], y[:-5], 64, seed=1, epoch=2):
        assert read_x.nbytes <= max(2**18, 64 * x[0].nbytes)
        got.append(np.stack([read_x[order, 0], read_x[order, -1], read_y[order]]))
    order = arrays.order(rows - 5, 1, 2)
    expected = [order % 251, order % 251, order % 7]
    assert (np.concatenate(got, axis=1) == expected).all()
