"""Thresholds under a limit or a price against all thresholds tried one by one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.metrics.operating_points import (
    area_under_risk_coverage,
    cost_threshold,
    risk_coverage,
    threshold_at,
    threshold_spread,
    true_accept_rate,
)
from trainers.metrics.uniform import sample_wise_accuracy, uniform_accuracy

Samples = list[tuple[float, float]]
"""A positive and a rival each."""

small_integers = st.integers(-3, 3).map(float)
values = st.one_of(small_integers, st.floats(-1e3, 1e3, width=32))
samples = st.lists(st.tuples(values, values), min_size=1, max_size=12)
labelled = st.lists(st.tuples(values, values, st.integers(0, 3)), min_size=1, max_size=16)
rates = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]))
prices = st.integers(0, 10).map(float)


def _columns(pairs: Samples) -> tuple[list[float], list[float]]:
    positive, rival = zip(*pairs, strict=True)
    return list(positive), list(rival)


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags)


def _between(pairs: Samples) -> list[float]:
    """Every endpoint, a threshold between any two and one outside on either side."""
    endpoints = sorted({endpoint for pair in pairs for endpoint in pair})
    midpoints = [(low + high) / 2 for low, high in pairwise(endpoints)]
    return [endpoints[0] - 1, *endpoints, *midpoints, endpoints[-1] + 1]


def _cost(threshold: float, pairs: Samples, accept: float, reject: float) -> float:
    return sum(accept * (r >= threshold) + reject * (p <= threshold) for p, r in pairs) / len(pairs)


class TestTrueAcceptRate:
    @given(samples, rates)
    def test_no_admissible_threshold_accepts_more(self, pairs: Samples, rate: float) -> None:
        positive, rival = _columns(pairs)
        admissible = [t for t in _between(pairs) if _share([r > t for r in rival]) <= rate]
        most = max(_share([p > t for p in positive]) for t in admissible)
        assert true_accept_rate(positive, rival, rate) == most

    @given(st.lists(values, min_size=1, max_size=12), rates)
    def test_the_threshold_is_the_lowest_admissible_one(self, rival: list[float], rate: float) -> None:
        threshold = threshold_at(rival, rate)
        assert _share([r > threshold for r in rival]) <= rate
        if threshold > -np.inf:
            assert threshold in rival
            assert _share([r >= threshold for r in rival]) > rate

    @pytest.mark.parametrize("samples", [7, 49, 100, 1000])
    def test_a_rate_given_as_a_share_of_samples_is_met_exactly(self, samples: int) -> None:
        rival = np.arange(samples)
        for allowed in range(samples):
            assert threshold_at(rival, allowed / samples) == samples - 1 - allowed

    @given(samples, rates, rates)
    def test_allowing_more_false_accepts_never_accepts_less(self, pairs: Samples, first: float, second: float) -> None:
        low, high = sorted([first, second])
        assert true_accept_rate(*_columns(pairs), low) <= true_accept_rate(*_columns(pairs), high)

    def test_a_sample_is_one_false_accept_and_ties_are_rejected(self) -> None:
        assert true_accept_rate([3, 2, 1, 5], [2, 2, 0, 1], 0.0) == 0.5
        assert true_accept_rate([3, 2, 1, 5], [2, 2, 0, 1], 0.5) == 0.75

    def test_all_ties_accept_nothing_until_all_may_be_accepted(self) -> None:
        assert true_accept_rate([1, 1], [1, 1], 0.5) == 0
        assert true_accept_rate([1, 1], [1, 1], 1.0) == 1

    def test_nan_scores_are_errors(self) -> None:
        assert true_accept_rate([np.nan, 5.0], [0.0, 0.0], 0.0) == 0.5
        assert true_accept_rate([4.0, 5.0], [np.nan, 0.0], 0.0) == 0
        assert true_accept_rate([4.0, 5.0], [np.nan, 0.0], 0.5) == 1

    def test_scores_of_10000_in_float32_keep_their_order(self) -> None:
        rival = np.float32([1e4, np.nextafter(np.float32(1e4), np.float32(0))])
        assert true_accept_rate(rival, rival, 0.5) == 0.5

    def test_without_samples_it_is_nan(self) -> None:
        assert np.isnan(true_accept_rate([], [], 0.1))
        assert np.isnan(threshold_at([], 0.1))


class TestCost:
    @given(samples, prices, prices)
    def test_no_threshold_is_cheaper(self, pairs: Samples, accept: float, reject: float) -> None:
        best = cost_threshold(*_columns(pairs), accept, reject)
        assert best.cost == min(_cost(t, pairs, accept, reject) for t in _between(pairs))

    @given(samples, prices, prices)
    def test_every_threshold_inside_the_interval_costs_the_least(
        self, pairs: Samples, accept: float, reject: float
    ) -> None:
        best = cost_threshold(*_columns(pairs), accept, reject)
        inside = (max(best.low, min(map(min, pairs)) - 2) + min(best.high, max(map(max, pairs)) + 2)) / 2
        assert best.low < inside < best.high
        assert _cost(inside, pairs, accept, reject) == best.cost

    @given(samples, prices, prices)
    def test_it_never_costs_more_than_accepting_or_rejecting_everything(
        self, pairs: Samples, accept: float, reject: float
    ) -> None:
        assert cost_threshold(*_columns(pairs), accept, reject).cost <= min(accept, reject)

    @given(samples)
    def test_at_equal_prices_of_1_it_is_between_one_and_two_errors_a_wrong_sample(self, pairs: Samples) -> None:
        wrong = 1 - uniform_accuracy(*_columns(pairs)).accuracy
        assert wrong - 1e-12 <= cost_threshold(*_columns(pairs), 1, 1).cost <= 2 * wrong + 1e-12

    def test_where_everything_is_separable_the_gap_is_free(self) -> None:
        assert cost_threshold([4, 5], [1, 2], 1, 1) == (0, 2, 4)
        assert cost_threshold([4, 5], [1, 2], 1, 1).threshold == 3

    def test_of_equally_cheap_intervals_the_widest_and_then_the_lowest_bounded_one(self) -> None:
        assert cost_threshold([2, 6], [0, 4], 1, 1)[1:] == (0, 2)
        assert cost_threshold([2, 7], [0, 4], 1, 1)[1:] == (4, 7)

    def test_a_free_kind_of_error_leads_to_accepting_or_rejecting_everything(self) -> None:
        assert cost_threshold([0], [1], 0, 1) == (0, -np.inf, 0)
        assert cost_threshold([0], [1], 1, 0) == (0, 1, np.inf)

    def test_all_ties_leave_only_the_outside(self) -> None:
        assert cost_threshold([1, 1], [1, 1], 1, 2) == (1, -np.inf, 1)

    def test_nan_scores_always_cost(self) -> None:
        assert cost_threshold([np.nan, 4.0], [np.nan, 1.0], 3, 5) == (4, 1, 4)
        assert cost_threshold([np.nan, 4.0], [0.0, 1.0], 3, 5).cost == 2.5
        assert cost_threshold([3.0, 4.0], [np.nan, 1.0], 3, 5).cost == 1.5

    def test_without_samples_it_is_nan(self) -> None:
        assert np.isnan(cost_threshold([], [], 1, 1)).all()


class TestRiskCoverage:
    @given(samples)
    def test_each_point_is_the_accuracy_of_the_samples_kept(self, pairs: Samples) -> None:
        confidences = sorted({max(pair) for pair in pairs}, reverse=True)
        kept = [[p > r for p, r in pairs if max(p, r) >= threshold] for threshold in confidences]
        coverage, accuracy = risk_coverage(*_columns(pairs))
        np.testing.assert_array_equal(coverage, [len(flags) / len(pairs) for flags in kept])
        np.testing.assert_array_equal(accuracy, [_share(flags) for flags in kept])

    @given(samples)
    def test_the_area_is_the_mean_risk_among_the_at_least_as_confident(self, pairs: Samples) -> None:
        risks = [1 - _share([p > r for p, r in pairs if max(p, r) >= max(own)]) for own in pairs]
        assert area_under_risk_coverage(*_columns(pairs)) == pytest.approx(np.mean(risks), abs=1e-12)

    @given(samples, st.randoms(use_true_random=False))
    def test_the_order_of_samples_is_irrelevant(self, pairs: Samples, draw: Random) -> None:
        shuffled = draw.sample(pairs, len(pairs))
        np.testing.assert_array_equal(risk_coverage(*_columns(shuffled)), risk_coverage(*_columns(pairs)))

    @given(samples)
    def test_a_strictly_increasing_map_changes_nothing(self, pairs: Samples) -> None:
        flat = np.array(_columns(pairs))
        _, ranks = np.unique(flat, return_inverse=True)
        np.testing.assert_array_equal(risk_coverage(*ranks.reshape(flat.shape)), risk_coverage(*flat))

    @given(samples)
    def test_keeping_everything_gives_sample_wise_accuracy(self, pairs: Samples) -> None:
        coverage, accuracy = risk_coverage(*_columns(pairs))
        assert coverage[-1] == 1
        assert accuracy[-1] == sample_wise_accuracy(*_columns(pairs))

    def test_right_samples_first_is_the_best_order_and_wrong_ones_first_the_worst(self) -> None:
        best = ([9, 8, 1], [0, 0, 2])
        worst = ([2, 1, 3], [0, 0, 9])
        assert area_under_risk_coverage(*best) == pytest.approx(1 / 9)
        assert area_under_risk_coverage(*worst) == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)

    def test_a_sample_with_nan_is_wrong_and_kept_last(self) -> None:
        coverage, accuracy = risk_coverage([1.0, np.nan, 1.0], [0.0, 9.0, 0.0])
        np.testing.assert_allclose(coverage, [2 / 3, 1])
        np.testing.assert_allclose(accuracy, [1, 2 / 3])

    def test_all_ties_are_one_point(self) -> None:
        np.testing.assert_array_equal(risk_coverage([1, 1], [1, 1]), [[1], [0]])
        assert area_under_risk_coverage([1, 1], [1, 1]) == 1

    def test_without_samples_there_is_no_point_and_no_area(self) -> None:
        assert [column.size for column in risk_coverage([], [])] == [0, 0]
        assert np.isnan(area_under_risk_coverage([], []))


class TestThresholdSpread:
    @given(labelled)
    def test_it_is_the_spread_of_the_best_threshold_of_each_class(self, rows: list[tuple[float, float, int]]) -> None:
        positive, rival, label = map(np.array, zip(*rows, strict=True))
        best = [uniform_accuracy(positive[label == k], rival[label == k]) for k in range(4)]
        thresholds = [optimum.threshold for optimum in best if optimum.accuracy > 0]
        expected = np.std(thresholds, ddof=1) if len(thresholds) > 1 else np.nan
        assert threshold_spread(positive, rival, label) == pytest.approx(expected, nan_ok=True)

    def test_shifting_classes_apart_spreads_their_thresholds(self) -> None:
        assert threshold_spread([1, 1], [0, 0], [0, 1]) == 0
        assert threshold_spread([1, 5], [0, 4], [0, 1]) == pytest.approx(4 / np.sqrt(2))

    def test_a_class_without_a_separable_sample_is_left_out(self) -> None:
        assert threshold_spread([1, 5, 0], [0, 4, 9], [0, 1, 2]) == threshold_spread([1, 5], [0, 4], [0, 1])

    @pytest.mark.parametrize("columns", [([], [], []), ([1, 2], [0, 0], [3, 3]), ([1, 1], [0, 1], [0, 1])])
    def test_with_fewer_than_two_thresholds_it_is_nan(self, columns: tuple[list[int], ...]) -> None:
        assert np.isnan(threshold_spread(*columns))

    def test_a_lone_class_has_no_rival_and_no_threshold(self) -> None:
        assert np.isnan(threshold_spread([1, 2], [-np.inf, -np.inf], [0, 1]))


def test_a_million_samples_are_no_burden() -> None:
    draw = np.random.default_rng(0)
    rival = draw.normal(size=10**6).astype(np.float32)
    positive = rival + draw.normal(1, 1, 10**6).astype(np.float32)
    assert 0 < true_accept_rate(positive, rival, 1e-3) < 1
    assert cost_threshold(positive, rival, 1, 1).cost < 1
    assert 0 < area_under_risk_coverage(positive, rival) < 1
    assert threshold_spread(positive, rival, np.arange(10**6) % 1000) >= 0
