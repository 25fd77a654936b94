"""The order of the examples: each once, a pure function of (seed, epoch)."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.data import arrays, description, shuffling
from pipeline.data.description import Description, Scale
from pipeline.errors import UserError
from pipeline.settings.dataset import Dataset
from pipeline.settings.schema import Config, Paths, Train


@pytest.mark.parametrize("rows", [1, 255, 65_536, 65_537, 200_001])
def test_every_row_once(rows: int) -> None:
    assert (np.sort(shuffling.order(rows, seed=0, epoch=1)) == np.arange(rows)).all()


@pytest.mark.parametrize("rows", [1000, 150_000])
def test_the_order_depends_on_seed_and_epoch_alone(rows: int) -> None:
    first = shuffling.order(rows, seed=0, epoch=1)
    np.random.seed(1)  # global state must not matter
    assert (shuffling.order(rows, seed=0, epoch=1) == first).all()
    for seed, epoch in ((0, 2), (1, 1), (1, 0)):
        assert (shuffling.order(rows, seed, epoch) != first).any()


def test_the_order_is_pinned() -> None:
    assert shuffling.order(8, seed=0, epoch=1).tolist() == [1, 3, 7, 6, 0, 4, 2, 5]


def test_a_small_set_is_permuted_uniformly() -> None:
    first = [int(shuffling.order(6, seed, 1)[0]) for seed in range(3000)]
    counts = np.bincount(first, minlength=6)
    assert ((counts - 500) ** 2 / 500).sum() < 25  # chi-squared, 5 degrees of freedom: p < 0.0002


def test_a_window_reads_whole_blocks() -> None:
    window = next(shuffling.windows(300_000, seed=0, epoch=1))
    assert len(window) == shuffling.WINDOW
    blocks, counts = np.unique(window // shuffling.BLOCK, return_counts=True)
    assert len(blocks) == shuffling.WINDOW // shuffling.BLOCK
    assert (counts == shuffling.BLOCK).all()


@pytest.mark.parametrize("size", [1, 64, 999, 70_000])
@pytest.mark.parametrize("most", [1, 5000, 200_000])
def test_pieces_are_the_order_in_whole_batches(size: int, most: int) -> None:
    rows = 150_000
    pieces = list(shuffling.pieces(rows, size, seed=2, epoch=3, most=max(most, rows // 1000)))
    assert (np.concatenate(pieces) == shuffling.order(rows, 2, 3)).all()
    assert {len(piece) % size for piece in pieces[:-1]} <= {0}
    assert max(map(len, pieces)) <= max(most, rows // 1000, size)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_a_file_is_read_in_pieces_of_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: type[np.generic]
) -> None:
    monkeypatch.setattr(shuffling, "READ_AHEAD", 2**18)
    rows = 70_000
    stored = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", dtype, (rows, 40))
    stored[:] = np.arange(rows)[:, None] % 251
    x = np.load(tmp_path / "x.npy", mmap_mode="c")
    y = (np.arange(rows) % 7).astype(np.uint8)
    got: list[np.ndarray] = []
    for read_x, read_y, order in shuffling.streamed(x[:-5], y[:-5], 64, seed=1, epoch=2):
        assert read_x.nbytes <= max(2**18, 64 * x[0].nbytes)
        got.append(np.stack([read_x[order, 0], read_x[order, -1], read_y[order]]))
    order = shuffling.order(rows - 5, 1, 2)
    expected = [order % 251, order % 251, order % 7]
    assert (np.concatenate(got, axis=1) == expected).all()


def written(folder: Path, rows: int) -> Config:
    """Write arrays of so many rows; return a configuration for them."""
    dataset = Dataset(
        name="tiny",
        reader="idx",
        classes=["a", "b"],
        shape=[2, 2],
        split="files",
        scale="bytes",
        max_bytes=1,
        files={"a": "0" * 64},
    )
    x, y = np.arange(rows * 4, dtype=np.float32).reshape(rows, 4), np.zeros(rows, np.uint8)
    np.save(folder / "x_train.npy", x)
    np.save(folder / "y_train.npy", y)
    described = Description(
        name="tiny",
        shape=(2, 2),
        classes=["a", "b"],
        features=None,
        scale=Scale(kind="bytes"),
        hashes={"dataset": description.digest(dataset), "y_train": description.sha256_of(y)},
    )
    (folder / "dataset.json").write_text(described.text(), encoding="utf-8")
    return Config.model_construct(dataset=dataset, paths=Paths.model_construct(processed=folder))


@pytest.mark.parametrize(
    ("size", "held_out"), [(0, 0), (7, 7), (0.1, 2), (0.08333, 2), (0.001, 1), (0.97, 19)]
)
def test_a_number_or_a_share_is_held_out_at_the_end(
    tmp_path: Path, size: float, held_out: int
) -> None:
    config = written(tmp_path, 20)
    train = Train.model_construct(validation_size=size)
    split = arrays.split(config.model_copy(update={"train": train}))
    x = np.arange(80, dtype=np.float32).reshape(20, 4)
    np.testing.assert_array_equal(split.training[0], x[: 20 - held_out])
    np.testing.assert_array_equal(split.validation[0], x[20 - held_out :])
    assert split.shape == (2, 2)


def test_nothing_left_to_train_on(tmp_path: Path) -> None:
    for size, held_out in ((20, 20), (21, 21), (0.99, 20)):
        train = Train.model_construct(validation_size=size)
        with pytest.raises(UserError) as caught:
            arrays.split(written(tmp_path, 20).model_copy(update={"train": train}))
        assert str(caught.value) == (
            "params.yaml: train.validation_size should be less than the 20 training examples, "
            f"not {held_out}"
        )
