"""Selections of training images: their sizes, their chance, and how they nest."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from numpy.random import RandomState
from numpy.typing import NDArray

from trainers.selection import UNKNOWN, fraction, held_out, long_tail, noisy_labels, relabel, without_classes

Rows = NDArray[np.int64]
SELECTIONS: dict[str, Callable[[Rows, RandomState], Rows]] = {
    "long_tail": lambda labels, rng: long_tail(labels, 10, rng),
    "fraction": lambda labels, rng: fraction(labels, 0.3, rng),
}


def _labels(classes: int = 10, each: int = 500) -> Rows:
    return RandomState(5).permutation(np.repeat(np.arange(classes), each))


def _counts(labels: Rows) -> list[int]:
    return np.bincount(labels).tolist()


@pytest.mark.parametrize("select", SELECTIONS.values(), ids=SELECTIONS)
class TestEverySelection:
    def test_the_seed_decides_all(self, select: Callable[[Rows, RandomState], Rows]) -> None:
        first, second, other = (select(_labels(), RandomState(seed)) for seed in (0, 0, 1))
        assert first.tolist() == second.tolist()
        assert first.tolist() != other.tolist()

    def test_rows_come_once_each_and_in_order(self, select: Callable[[Rows, RandomState], Rows]) -> None:
        rows = select(_labels(), RandomState(0))
        assert (np.diff(rows) > 0).all()
        assert rows.dtype == np.int64


class TestLongTail:
    @pytest.mark.parametrize("imbalance", [1, 10, 50, 100])
    @pytest.mark.parametrize("classes", [2, 10, 100])
    def test_each_class_has_what_the_formula_says(self, classes: int, imbalance: float) -> None:
        labels = _labels(classes)
        counts = _counts(labels[long_tail(labels, imbalance, RandomState(0))])
        assert counts == [int(500 * imbalance ** (-k / (classes - 1))) for k in range(classes)]
        assert counts == sorted(counts, reverse=True)
        assert counts[0] == 500
        assert counts[-1] == 500 // imbalance

    def test_cifar_10_at_imbalance_100_has_the_published_counts(self) -> None:
        labels = _labels(10, 5000)
        counts = _counts(labels[long_tail(labels, 100, RandomState(0))])
        assert counts == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]

    def test_a_longer_tail_lies_within_a_shorter_one(self) -> None:
        selections = [set(long_tail(_labels(), imbalance, RandomState(0))) for imbalance in (1, 10, 50, 100)]
        assert all(longer < shorter for shorter, longer in pairwise(selections))

    def test_imbalance_1_keeps_all_even_of_unequal_classes(self) -> None:
        labels = np.repeat(np.arange(3), [5, 9, 2])
        assert long_tail(labels, 1, RandomState(0)).tolist() == list(range(16))

    def test_a_class_that_has_fewer_keeps_all(self) -> None:
        labels = np.repeat(np.arange(3), [5, 90, 20])
        assert _counts(labels[long_tail(labels, 9, RandomState(0))]) == [5, 30, 10]

    @pytest.mark.parametrize("each", [49, 98, 103])  # n * (1 / n) is below 1 for these
    def test_the_highest_imbalance_leaves_one_image_of_the_last_class(self, each: int) -> None:
        labels = _labels(5, each)
        assert _counts(labels[long_tail(labels, each, RandomState(0))])[-1] == 1

    def test_one_class_stays_whole(self) -> None:
        assert len(long_tail(np.zeros(7, dtype=np.int64), 3, RandomState(0))) == 7

    @pytest.mark.parametrize("imbalance", [0.5, 501, float("nan")])
    def test_what_makes_no_tail_is_refused(self, imbalance: float) -> None:
        with pytest.raises(ValueError, match="between 1 and 500"):
            long_tail(_labels(), imbalance, RandomState(0))


class TestFraction:
    @pytest.mark.parametrize("share", [0.01, 0.25, 1])
    def test_every_class_keeps_its_share(self, share: float) -> None:
        labels = np.repeat(np.arange(3), [100, 300, 60])
        counts = _counts(labels[fraction(labels, share, RandomState(0))])
        assert counts == [max(1, round(share * count)) for count in (100, 300, 60)]

    def test_a_smaller_share_lies_within_a_larger_one(self) -> None:
        small, large = (set(fraction(_labels(), share, RandomState(0))) for share in (0.1, 0.4))
        assert small < large

    @pytest.mark.parametrize("share", [0, -0.1, 1.01])
    def test_other_shares_are_refused(self, share: float) -> None:
        with pytest.raises(ValueError, match="share is"):
            fraction(_labels(), share, RandomState(0))


class TestNoisyLabels:
    @pytest.mark.parametrize("share", [0.1, 0.4, 0.9])
    @pytest.mark.parametrize("seed", range(3))
    def test_the_share_of_changed_labels_is_binomial(self, share: float, seed: int) -> None:
        labels = _labels()
        changed = int((noisy_labels(labels, share, 10, RandomState(seed)) != labels).sum())
        assert changed == pytest.approx(5000 * share, abs=5 * (5000 * share * (1 - share)) ** 0.5)

    def test_at_share_1_no_label_is_its_own_and_every_other_is_as_likely(self) -> None:
        labels = np.repeat(np.arange(4), 6000)
        noisy = noisy_labels(labels, 1, 4, RandomState(0))
        table = np.zeros((4, 4), dtype=int)
        np.add.at(table, (labels, noisy), 1)
        assert table.diagonal().tolist() == [0] * 4
        assert table[~np.eye(4, dtype=bool)].tolist() == pytest.approx([2000] * 12, abs=5 * 2000**0.5)

    def test_at_share_0_nothing_changes(self) -> None:
        assert noisy_labels(_labels(), 0, 10, RandomState(0)).tolist() == _labels().tolist()

    def test_more_noise_changes_what_less_noise_changes_alike(self) -> None:
        labels = _labels()
        little, much = (noisy_labels(labels, share, 10, RandomState(0)) for share in (0.2, 0.5))
        assert (much[little != labels] == little[little != labels]).all()

    def test_labels_stay_classes_and_the_given_ones_as_they_were(self) -> None:
        labels = _labels()
        noisy = noisy_labels(labels, 0.5, 10, RandomState(0))
        assert noisy.dtype == np.int64
        assert set(noisy) == set(range(10))
        assert labels.tolist() == _labels().tolist()

    @pytest.mark.parametrize(
        ("share", "classes", "what"), [(1.1, 10, "share is"), (-0.1, 10, "share is"), (0.5, 1, "2 or more")]
    )
    def test_impossible_noise_is_refused(self, share: float, classes: int, what: str) -> None:
        with pytest.raises(ValueError, match=what):
            noisy_labels(_labels(), share, classes, RandomState(0))


class TestHeldOutClasses:
    def test_rows_without_classes_are_all_the_others(self) -> None:
        labels = np.array([3, 0, 1, 3, 2, 0])
        assert without_classes(labels, [0, 2]).tolist() == [0, 2, 3]
        assert without_classes(labels, ()).tolist() == list(range(6))

    def test_the_remaining_classes_are_numbered_in_their_order(self) -> None:
        labels, numbers = relabel(np.array([3, 0, 1, 3, 2, 4]), [0, 2], 5)
        assert numbers.tolist() == [UNKNOWN, 0, UNKNOWN, 1, 2]
        assert labels.tolist() == [1, UNKNOWN, 0, 1, UNKNOWN, 2]
        assert labels.dtype == numbers.dtype == np.int64

    def test_without_held_out_classes_nothing_changes(self) -> None:
        labels, numbers = relabel(_labels(), (), 10)
        assert labels.tolist() == _labels().tolist()
        assert numbers.tolist() == list(range(10))

    def test_a_class_that_does_not_exist_is_refused(self) -> None:
        with pytest.raises(ValueError, match="held_out names 10, 12"):
            relabel(_labels(), [3, 10, 12], 10)

    def test_holding_out_all_is_refused(self) -> None:
        with pytest.raises(ValueError, match="all 10 classes"):
            relabel(_labels(), range(10), 10)


class TestHeldOut:
    """A validation split: the same share of every class, and a class of each kind on either side."""

    @staticmethod
    def _split(labels: Rows, count: int) -> tuple[list[int], list[int]]:
        """How many of each class are held out, and how many are left."""
        rows = held_out(labels, count)
        classes = int(labels.max()) + 1
        assert len(np.unique(rows)) == len(rows)
        return tuple(  # pyright: ignore[reportReturnType]
            np.bincount(part, minlength=classes).tolist() for part in (labels[rows], np.delete(labels, rows))
        )

    def test_equal_classes_give_equally_many(self) -> None:
        assert self._split(_labels(), 500) == ([50] * 10, [450] * 10)

    def test_unequal_classes_give_the_same_share(self) -> None:
        labels = RandomState(1).permutation(np.repeat([0, 1, 2, 3], [1000, 300, 100, 20]))
        assert self._split(labels, 142) == ([100, 30, 10, 2], [900, 270, 90, 18])

    @pytest.mark.parametrize("seed", range(100))
    def test_no_class_of_a_long_tail_is_lost_on_either_side(self, seed: int) -> None:
        labels = RandomState(seed).permutation(_labels(10, 100)[long_tail(_labels(10, 100), 50, RandomState(seed))])
        sizes = np.bincount(labels)
        assert sizes.min() == 2
        gone, left = self._split(labels, round(0.1 * len(labels)))
        assert sum(gone) == round(0.1 * len(labels))
        assert min(gone) == 1
        assert min(left) == 1

    def test_a_class_of_one_image_trains(self) -> None:
        assert self._split(np.array([0, 1, 1, 1, 1, 2]), 3) == ([0, 3, 0], [1, 1, 1])

    def test_where_there_are_fewer_rows_than_classes_the_largest_give_one(self) -> None:
        assert self._split(np.repeat([0, 1, 2], [2, 9, 4]), 2) == ([0, 1, 1], [2, 8, 3])

    def test_it_takes_no_more_than_there_is(self) -> None:
        assert self._split(np.repeat([0, 1], [3, 3]), 6) == ([2, 2], [1, 1])

    def test_none_are_none(self) -> None:
        assert held_out(_labels(), 0).tolist() == []

    def test_a_smaller_split_lies_within_a_larger(self) -> None:
        labels = RandomState(3).permutation(np.repeat([0, 1, 2], [50, 20, 5]))
        splits = [set(held_out(labels, count).tolist()) for count in range(60)]
        assert all(small < large for small, large in pairwise(splits))
        assert [len(rows) for rows in splits] == list(range(60))

    def test_the_first_of_a_class_in_the_order_given_are_taken(self) -> None:
        assert held_out(np.array([1, 0, 1, 0, 1, 0]), 2).tolist() == [0, 1]
