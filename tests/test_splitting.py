"""Which examples are tested, held out and trained on: of each class its share, by the seed."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from pipeline.data import splitting
from pipeline.data.examples import Examples
from pipeline.errors import UserError
from pipeline.settings.dataset import Dataset

SORTED = np.repeat(np.arange(4, dtype=np.uint8), [500, 300, 7, 2])  # as a folder a class is read


def examples(labels: np.ndarray) -> Examples:
    x = np.zeros((len(labels), 1))
    return Examples(
        labels=labels, shape=(1,), dtype=x.dtype, blocks=lambda: iter([x]), place="a.csv"
    )


def dataset(**values: Any) -> Dataset:
    return Dataset.model_construct(
        **{"classes": list("abcd"), "seed": 0, "validation": "stratified", "split": 0.2} | values
    )


@pytest.mark.parametrize("share", [0.001, 0.2, 0.5, 0.999])
def test_each_class_has_its_share_in_the_test_part(share: float) -> None:
    chosen = splitting.test_rows(SORTED, share, seed=0)
    whole = np.bincount(SORTED)
    expected = np.clip(np.floor(share * whole + 0.5), 1, whole - 1)
    assert np.bincount(SORTED[chosen]).tolist() == expected.tolist()


@pytest.mark.parametrize("seed", range(3))
def test_the_last_rows_are_stratified_however_many_they_are(seed: int) -> None:
    order = splitting.order(SORTED, seed)
    assert np.array_equal(np.sort(order), np.arange(len(SORTED)))
    seats, whole = np.zeros(4, int), np.bincount(SORTED)
    for label in SORTED[order][::-1]:  # Webster's method: the next seat is the largest quotient's
        quotients = [Fraction(int(n), int(2 * k + 1)) for n, k in zip(whole, seats, strict=True)]
        assert label == max(range(4), key=lambda one: (quotients[one], -one))
        seats[label] += 1
        assert (np.abs(seats - seats.sum() * whole / len(SORTED)) < 1.1).all()


ORDER, TESTED = [7, 1, 8, 3, 5, 0, 6, 9, 2, 4], [2, 5, 7, 8]


def test_an_order_is_a_pure_function_of_labels_and_seed() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 1, 2, 2], np.uint8)
    assert splitting.order(labels, 0).tolist() == ORDER
    assert np.flatnonzero(splitting.test_rows(labels, 0.3, 0)).tolist() == TESTED
    assert splitting.order(labels, 1).tolist() != ORDER
    first = [int(splitting.order(labels, seed)[-1]) for seed in range(300)]
    assert set(first) == set(range(3, 8))  # of the largest class, each


def test_a_share_is_taken_from_one_source_and_nothing_is_lost() -> None:
    source = examples(SORTED)
    parts = splitting.split({"train": source}, dataset())
    train, test = parts["train"].rows, parts["test"].rows
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(len(SORTED)))
    assert np.array_equal(test, np.sort(test))  # in the order of the file
    assert np.array_equal(
        train,
        np.flatnonzero(~np.isin(np.arange(809), test))[splitting.order(SORTED[np.sort(train)], 0)],
    )
    again = splitting.split({"train": source}, dataset(validation="last"))
    assert np.array_equal(again["train"].rows, np.sort(train))
    assert np.array_equal(again["test"].rows, test)


def test_what_cannot_be_split() -> None:
    one, two = examples(SORTED), examples(SORTED[:20])
    lone = examples(np.array([0, 0, 1, 2, 2, 3, 3], np.uint8))
    for found, values, message in (
        (
            {"train": lone},
            {},
            "a.csv: class b has one example, which cannot be both in the "
            "training and in the test part: leave the class out, or find more",
        ),
        (
            {"train": one},
            {"split": "files"},
            "conf/dataset/*.yaml: dataset.split is files, but "
            "a.csv has no test part: set a share, such as 0.2",
        ),
        (
            {"train": one, "test": two},
            {},
            "conf/dataset/*.yaml: dataset.split is a share, but "
            "a.csv is the test part: set it to files",
        ),
    ):
        with pytest.raises(UserError) as caught:
            splitting.split(found, dataset(**values))
        assert str(caught.value) == message
