"""The three accuracies against brute force, and facts 1-7 of uniform classification."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trainers.metrics.uniform import (
    Optimum,
    accuracy_at,
    accuracy_curve,
    class_wise_accuracy,
    sample_wise_accuracy,
    uniform_accuracy,
)

Samples = list[tuple[float, float]]
"""A positive and a rival each."""

small_integers = st.integers(-3, 3).map(float)
floats = st.floats(-1e3, 1e3, width=32)
values = st.one_of(small_integers, floats)
samples = st.lists(st.tuples(values, values), min_size=1, max_size=12)
labelled = st.lists(st.tuples(values, values, st.integers(0, 3)), min_size=1, max_size=12)
precision = st.sampled_from([np.float32, np.float64])


def _columns(pairs: Samples) -> tuple[list[float], list[float]]:
    positive, rival = zip(*pairs, strict=True)
    return list(positive), list(rival)


def _right(threshold: float, pairs: Samples) -> int:
    return sum(rival < threshold < positive for positive, rival in pairs)


def _most_right(pairs: Samples) -> int:
    """The most samples that a single threshold gets right, trying one between any two endpoints."""
    endpoints = sorted({endpoint for pair in pairs for endpoint in pair})
    return max((_right((low + high) / 2, pairs) for low, high in pairwise(endpoints)), default=0)


def _optimum(pairs: Samples) -> tuple[float, float, float]:
    """Accuracy and interval by trying every interval between endpoints of samples that can be right."""
    endpoints = sorted({endpoint for positive, rival in pairs if rival < positive for endpoint in (positive, rival)})
    tried = [(_right((low + high) / 2, pairs), high - low, -low, high) for low, high in pairwise(endpoints)]
    right, _, low, high = max(tried)
    return right / len(pairs), -low, high


def _scores(seed: int, samples: int = 40, classes: int = 5) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, samples)
    # Whole numbers, so that sums are exact; far enough apart that ties are rare but occur.
    scores = np.rint(30 * draw.normal(size=(samples, classes)) + 30 * np.eye(classes)[labels])
    return scores, labels


def _positive_and_rival(
    scores: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    own = np.arange(scores.shape[1]) == labels[:, None]
    return scores[own], np.where(own, -np.inf, scores).max(axis=1)


def _accuracies(positive: Sequence[float], rival: Sequence[float], label: Sequence[int]) -> tuple[float, float, float]:
    return (
        sample_wise_accuracy(positive, rival),
        class_wise_accuracy(positive, rival, label),
        uniform_accuracy(positive, rival).accuracy,
    )


class TestAgainstBruteForce:
    @given(samples, precision)
    def test_uniform_accuracy_is_the_best_over_all_thresholds(self, pairs: Samples, precision: type) -> None:
        positive, rival = (np.asarray(column, precision) for column in _columns(pairs))
        assert uniform_accuracy(positive, rival).accuracy == _most_right(pairs) / len(pairs)

    @given(samples, precision)
    def test_the_interval_is_the_widest_and_of_equally_wide_ones_the_lowest(
        self, pairs: Samples, precision: type
    ) -> None:
        positive, rival = (np.asarray(column, precision) for column in _columns(pairs))
        best = uniform_accuracy(positive, rival)
        if any(rival < positive for positive, rival in pairs):
            assert tuple(best) == _optimum(pairs)
        else:
            assert best.accuracy == 0.0
            assert np.isnan([best.low, best.high, best.threshold]).all()

    @given(samples, precision)
    def test_the_curve_is_the_accuracy_between_any_two_endpoints(self, pairs: Samples, precision: type) -> None:
        separable = [pair for pair in pairs if pair[1] < pair[0]]
        endpoints = sorted({endpoint for pair in separable for endpoint in pair})
        thresholds, heights = accuracy_curve(*(np.asarray(column, precision) for column in _columns(pairs)))
        assert thresholds.dtype == heights.dtype == np.float64
        assert thresholds.tolist() == endpoints
        assert heights.tolist() == [_right((low + high) / 2, pairs) / len(pairs) for low, high in pairwise(endpoints)]

    @given(samples)
    def test_float32_says_what_float64_does(self, pairs: Samples) -> None:
        single, double = ([np.asarray(column, kind) for column in _columns(pairs)] for kind in (np.float32, np.float64))
        for positive, rival in (single, (single[0], double[1]), (double[0], single[1])):
            np.testing.assert_array_equal(uniform_accuracy(positive, rival), uniform_accuracy(*double))

    @given(labelled)
    def test_class_wise_accuracy_adds_up_the_best_of_each_class(self, rows: list[tuple[float, float, int]]) -> None:
        positive, rival, label = zip(*rows, strict=True)
        by_class = [[(p, r) for p, r, own in rows if own == k] for k in range(4)]
        assert class_wise_accuracy(positive, rival, label) == sum(map(_most_right, by_class)) / len(rows)

    @given(samples, values)
    def test_accuracy_at_a_threshold_counts_the_samples_it_separates(self, pairs: Samples, threshold: float) -> None:
        assert accuracy_at(threshold, *_columns(pairs)) == _right(threshold, pairs) / len(pairs)

    @given(samples)
    def test_sample_wise_accuracy_counts_positives_above_their_rival(self, pairs: Samples) -> None:
        expected = sum(rival < positive for positive, rival in pairs) / len(pairs)
        assert sample_wise_accuracy(*_columns(pairs)) == expected


class TestThresholds:
    @given(samples, st.lists(values, max_size=8))
    def test_no_threshold_beats_the_best_one(self, pairs: Samples, thresholds: list[float]) -> None:
        positive, rival = _columns(pairs)
        best = uniform_accuracy(positive, rival).accuracy
        assert all(accuracy_at(threshold, positive, rival) <= best for threshold in [*thresholds, *positive, *rival])

    @given(samples)
    def test_the_best_threshold_reaches_the_best_accuracy(self, pairs: Samples) -> None:
        positive, rival = _columns(pairs)
        best = uniform_accuracy(positive, rival)
        assert accuracy_at(best.threshold, positive, rival) == best.accuracy

    def test_the_threshold_is_the_midpoint_of_the_interval(self) -> None:
        assert Optimum(accuracy=1.0, low=-1.0, high=4.0).threshold == 1.5

    def test_of_two_equally_good_intervals_the_wider_is_reported(self) -> None:
        assert uniform_accuracy([1, 5, 8], [0, 3, 7])[1:] == (3, 5)

    def test_of_two_equally_wide_intervals_the_lower_is_reported(self) -> None:
        assert uniform_accuracy([6, 2], [4, 0])[1:] == (0, 2)

    def test_an_endpoint_inside_splits_an_interval_even_where_the_count_stays(self) -> None:
        assert uniform_accuracy([1, 2], [0, 1]) == (0.5, 0, 1)

    def test_samples_that_no_threshold_gets_right_do_not_split_the_interval(self) -> None:
        assert uniform_accuracy([4, 1], [0, 3]) == (0.5, 0, 4)

    def test_an_infinite_interval_is_the_widest(self) -> None:
        assert uniform_accuracy([1, np.inf, np.inf], [0, 3, 5])[1:] == (5, np.inf)
        assert uniform_accuracy([1.0, 3.0], [-np.inf, 2.0])[1:] == (-np.inf, 1)

    def test_no_end_is_minus_zero(self) -> None:
        low = uniform_accuracy([1.0], [-0.0])[1:]
        high = uniform_accuracy([-0.0], [-1.0])[1:]
        assert [math.copysign(1, end) for end in (*low, *high)] == [1, 1, -1, 1]

    def test_a_threshold_is_not_rounded_to_the_precision_of_the_scores(self) -> None:
        """In float32 0.1 is a little more, and 0.3 a little more, too."""
        tenth = np.float32([0.1])
        three = np.float32([0.3])
        assert accuracy_at(0.1, tenth, np.float32([0.0])) == 1
        assert accuracy_at(0.3, np.float32([1.0]), three) == 0
        assert accuracy_at(float(tenth[0]), tenth, np.float32([0.0])) == 0

    def test_the_two_ends_themselves_are_no_right_thresholds(self) -> None:
        assert accuracy_at(0.0, [1.0], [0.0]) == accuracy_at(1.0, [1.0], [0.0]) == 0.0


class TestErrors:
    def test_a_tie_with_the_rival_is_an_error(self) -> None:
        assert _accuracies([2, 1], [2, 0], [0, 1]) == (0.5, 0.5, 0.5)

    def test_where_nothing_is_separable_accuracy_is_0_and_the_interval_nan(self) -> None:
        best = uniform_accuracy([1, 2], [1, 3])
        assert best.accuracy == 0.0
        assert math.isnan(best.low)
        assert math.isnan(best.high)
        assert class_wise_accuracy([1, 2], [1, 3], [0, 1]) == 0.0

    @pytest.mark.parametrize(("positive", "rival"), [(np.nan, 0.0), (1.0, np.nan), (np.nan, np.nan)])
    def test_nan_is_an_error_and_disturbs_no_other_sample(self, positive: float, rival: float) -> None:
        assert _accuracies([positive, 1.0], [rival, 0.0], [0, 0]) == (0.5, 0.5, 0.5)
        assert uniform_accuracy([positive, 1.0], [rival, 0.0])[1:] == (0, 1)


@given(labelled)
def test_uniform_is_at_most_class_wise_is_at_most_sample_wise(rows: list[tuple[float, float, int]]) -> None:
    sample_wise, class_wise, uniform = _accuracies(*zip(*rows, strict=True))
    assert uniform <= class_wise <= sample_wise


@given(labelled, st.randoms(use_true_random=False))
def test_the_order_of_samples_is_irrelevant(rows: list[tuple[float, float, int]], draw: Random) -> None:
    shuffled = list(rows)
    draw.shuffle(shuffled)
    positive, rival, label = zip(*rows, strict=True)
    assert _accuracies(*zip(*shuffled, strict=True)) == _accuracies(positive, rival, label)
    np.testing.assert_array_equal(
        uniform_accuracy(*_columns([row[:2] for row in shuffled])), uniform_accuracy(positive, rival)
    )


@given(labelled, st.lists(st.integers(1, 1000), min_size=24, max_size=24))
def test_a_strictly_increasing_map_of_all_scores_changes_no_accuracy(
    rows: list[tuple[float, float, int]], gaps: list[int]
) -> None:
    positive, rival, label = zip(*rows, strict=True)
    _, ranks = np.unique([*positive, *rival], return_inverse=True)
    mapped = np.cumsum(gaps)[ranks]
    assert _accuracies(mapped[: len(rows)], mapped[len(rows) :], label) == _accuracies(positive, rival, label)


@given(samples, st.sampled_from([0.25, 2.0, 64.0]), st.integers(-64, 64))
def test_scale_and_shift_move_the_threshold_along(pairs: Samples, scale: float, shift: int) -> None:
    positive, rival = (np.rint(column) for column in _columns(pairs))
    best = uniform_accuracy(positive, rival)
    mapped = uniform_accuracy(scale * positive - shift, scale * rival - shift)
    np.testing.assert_array_equal(mapped, Optimum(best.accuracy, scale * best.low - shift, scale * best.high - shift))


@pytest.mark.parametrize("seed", range(5))
def test_shifting_each_sample_keeps_sample_wise_accuracy_only(seed: int) -> None:
    scores, labels = _scores(seed)
    far_apart = 1000.0 * np.arange(len(scores))[:, None]
    positive, rival = _positive_and_rival(scores, labels)
    shifted = _positive_and_rival(scores + far_apart, labels)
    assert sample_wise_accuracy(*shifted) == sample_wise_accuracy(positive, rival) > 0
    assert uniform_accuracy(*shifted).accuracy == 1 / len(scores) < uniform_accuracy(positive, rival).accuracy


@pytest.mark.parametrize("seed", range(5))
def test_subtracting_the_midpoint_of_the_top_two_logits_makes_uniform_equal_sample_wise(seed: int) -> None:
    scores, labels = _scores(seed)
    midpoint = np.sort(scores, axis=1)[:, -2:].mean(axis=1, keepdims=True)
    closed = _positive_and_rival(scores - midpoint, labels)
    sample_wise = sample_wise_accuracy(*_positive_and_rival(scores, labels))
    assert accuracy_at(0.0, *closed) == uniform_accuracy(*closed).accuracy == sample_wise
    assert uniform_accuracy(*_positive_and_rival(scores, labels)).accuracy < sample_wise


@pytest.mark.parametrize("seed", range(5))
def test_softmax_of_two_classes_makes_uniform_equal_sample_wise(seed: int) -> None:
    scores, labels = _scores(seed, classes=2)
    positive, rival = _positive_and_rival(scores, labels)
    probability = 1 / (1 + np.exp((rival - positive) / 30))
    assert accuracy_at(0.5, probability, 1 - probability) == sample_wise_accuracy(positive, rival)


def test_a_threshold_per_score_column_would_exceed_sample_wise_accuracy() -> None:
    scores = (1.0, 2.0)
    own = 0
    thresholds = (0.5, 3.0)
    by_column = scores[own] > thresholds[own] and scores[1] < thresholds[1]
    assert by_column
    assert _accuracies([scores[own]], [scores[1]], [own]) == (0.0, 0.0, 0.0)


def test_random_scores_reach_chance_level() -> None:
    samples = 40_000
    classes = 10
    scores = np.random.default_rng(0).random((samples, classes))
    positive, rival = _positive_and_rival(scores, np.arange(samples) % classes)
    spread = math.sqrt(0.1 * 0.9 / samples)
    assert sample_wise_accuracy(positive, rival) == pytest.approx(1 / classes, abs=4 * spread)
    chance = (1 / classes) * (1 - 1 / classes) ** (classes - 1)
    assert chance == pytest.approx(0.0387, abs=5e-5)
    # The best of all thresholds on finitely many samples lies a little above.
    assert uniform_accuracy(positive, rival).accuracy == pytest.approx(chance, abs=4 * spread)


def test_a_million_samples_are_no_burden() -> None:
    draw = np.random.default_rng(0)
    rival = draw.normal(size=10**6).astype(np.float32)
    positive = rival + draw.normal(1, 1, 10**6).astype(np.float32)
    best = uniform_accuracy(positive, rival)
    assert best.accuracy == accuracy_at(best.threshold, positive.astype(np.float64), rival.astype(np.float64))
    assert best.accuracy <= class_wise_accuracy(positive, rival, np.arange(10**6) % 10)
