"""Pairs, and what is accepted of them, against all pairs and scikit-learn."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from scipy.spatial.distance import cosine as cosine_distance
from sklearn.metrics import roc_auc_score, roc_curve

from trainers.metrics.verification import (
    accuracy_over_folds,
    cosine,
    draw_pairs,
    equal_error_rate,
    roc,
    true_accept_rate_at,
)

values = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e3, 1e3, width=32))
scores = st.lists(values, min_size=1, max_size=12)
label_lists = st.lists(st.integers(0, 3), max_size=14)


def _pairs_of(labels: list[int]) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """All genuine and all impostor pairs."""
    pairs = set(combinations(range(len(labels)), 2))
    genuine = {(i, j) for i, j in pairs if labels[i] == labels[j]}
    return genuine, pairs - genuine


def _both(genuine: list[float], impostor: list[float]) -> tuple[list[float], list[bool]]:
    return genuine + impostor, [True] * len(genuine) + [False] * len(impostor)


def _rows(pairs: NDArray[np.int64]) -> list[tuple[int, int]]:
    return [(int(i), int(j)) for i, j in pairs]


class TestPairs:
    @given(label_lists, st.integers(0, 60), st.integers(0, 2**32 - 1))
    def test_half_are_genuine_and_half_impostors_and_none_comes_twice(
        self, labels: list[int], count: int, seed: int
    ) -> None:
        genuine, impostor = _pairs_of(labels)
        drawn = _rows(draw_pairs(np.array(labels, np.int64), count, np.random.default_rng(seed)))
        assert len(set(drawn)) == len(drawn)
        assert len(genuine.intersection(drawn)) == min(count // 2, len(genuine))
        assert len(impostor.intersection(drawn)) == min(count // 2, len(impostor))
        assert set(drawn) <= genuine | impostor

    @given(label_lists)
    def test_asking_for_more_than_there_are_gives_them_all(self, labels: list[int]) -> None:
        genuine, impostor = _pairs_of(labels)
        drawn = draw_pairs(np.array(labels, np.int64), 1000, np.random.default_rng(0))
        assert set(_rows(drawn)) == genuine | impostor

    def test_the_generator_decides_alone(self) -> None:
        labels = np.arange(200) % 7
        first, again, other = (draw_pairs(labels, 50, np.random.default_rng(seed)) for seed in (3, 3, 4))
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()

    def test_every_pair_of_a_kind_is_equally_likely(self) -> None:
        labels = np.array([0, 1, 0, 1, 1, 2])
        draw = np.random.default_rng(0)
        seen = Counter(pair for _ in range(6000) for pair in _rows(draw_pairs(labels, 2, draw)))
        genuine, impostor = _pairs_of(labels.tolist())
        for kind in (genuine, impostor):
            shares = np.array([seen[pair] for pair in kind]) / 6000
            np.testing.assert_allclose(shares, 1 / len(kind), atol=4 * np.sqrt(1 / len(kind) / 6000))

    def test_pairs_of_many_samples_need_no_list_of_all(self) -> None:
        labels = np.random.default_rng(0).integers(0, 1000, 200_000)
        pairs = draw_pairs(labels, 20_000, np.random.default_rng(0))
        genuine = labels[pairs[:, 0]] == labels[pairs[:, 1]]
        assert pairs.shape == (20_000, 2)
        assert (pairs[:, 0] < pairs[:, 1]).all()
        assert genuine.sum() == 10_000

    @pytest.mark.parametrize("labels", [[], [0]])
    def test_fewer_than_two_samples_make_no_pair(self, labels: list[int]) -> None:
        assert draw_pairs(np.array(labels, np.int64), 10, np.random.default_rng(0)).shape == (0, 2)


class TestCosine:
    def test_it_agrees_with_scipy(self) -> None:
        draw = np.random.default_rng(0)
        features = draw.normal(size=(30, 5))
        pairs = draw.integers(0, 30, (9000, 2))
        expected = [1 - cosine_distance(features[i], features[j]) for i, j in pairs]
        np.testing.assert_allclose(cosine(features, pairs), expected, atol=1e-12)

    def test_length_is_irrelevant_even_of_10000_in_float32(self) -> None:
        features = np.float32([[1e4, 0], [1e-4, 0], [-1e4, 0], [0, 1e4]])
        np.testing.assert_array_equal(cosine(features, [[0, 1], [0, 2], [0, 3]]), [1, -1, 0])

    def test_a_zero_feature_is_like_no_other(self) -> None:
        assert cosine([[0.0, 0.0], [1.0, 0.0]], [[0, 1]]) == 0

    def test_no_pairs_have_no_similarity(self) -> None:
        assert cosine(np.ones((3, 2)), np.empty((0, 2), np.int64)).shape == (0,)


class TestRoc:
    @settings(max_examples=40)
    @given(scores, scores)
    def test_it_agrees_with_scikit_learn(self, genuine: list[float], impostor: list[float]) -> None:
        similarity, label = _both(genuine, impostor)
        threshold, false_accept, true_accept = roc(similarity, label)
        expected = roc_curve(label, similarity, drop_intermediate=False)
        np.testing.assert_allclose(false_accept, expected[0])
        np.testing.assert_allclose(true_accept, expected[1])
        np.testing.assert_array_equal(threshold, expected[2])

    @settings(max_examples=40)
    @given(scores, scores)
    def test_its_area_is_that_of_scikit_learn(self, genuine: list[float], impostor: list[float]) -> None:
        similarity, label = _both(genuine, impostor)
        curve = roc(similarity, label)
        area = np.trapezoid(curve.true_accept_rate, curve.false_accept_rate)
        assert area == pytest.approx(roc_auc_score(label, similarity))

    @given(scores, scores)
    def test_it_climbs_from_nothing_to_everything(self, genuine: list[float], impostor: list[float]) -> None:
        for rates in roc(*_both(genuine, impostor))[1:]:
            assert rates[0] == 0
            assert rates[-1] == 1
            assert (np.diff(rates) >= 0).all()

    def test_a_kind_of_which_there_are_no_pairs_has_no_rate(self) -> None:
        _, false_accept, true_accept = roc([0.5, 0.7], [True, True])
        assert np.isnan(false_accept).all()
        assert list(true_accept) == [0, 0.5, 1]
        assert [len(column) for column in roc([], [])] == [1, 1, 1]


class TestEqualErrorRate:
    @settings(max_examples=40)
    @given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
    def test_it_is_the_crossing_on_the_interpolated_curve(self, seed: int, genuine: int, impostor: int) -> None:
        draw = np.random.default_rng(seed)
        similarity, label = _both(list(draw.normal(1, 1, genuine)), list(draw.normal(size=impostor)))
        false_accept, true_accept, _ = roc_curve(label, similarity, drop_intermediate=False)
        path = np.linspace(0, 1, len(false_accept))  # along the curve, since it is no function of the rate
        excess = interp1d(path, false_accept + true_accept - 1)
        expected = interp1d(path, false_accept)(brentq(excess, 0, 1, xtol=1e-14))
        assert equal_error_rate(similarity, label) == pytest.approx(float(expected), abs=1e-9)

    @given(scores, scores)
    def test_only_order_matters(self, genuine: list[float], impostor: list[float]) -> None:
        similarity, label = _both(genuine, impostor)
        _, ranks = np.unique(similarity, return_inverse=True)
        assert equal_error_rate(ranks[::-1], label[::-1]) == equal_error_rate(similarity, label)

    @given(scores, scores)
    def test_exchanging_genuine_and_impostor_gives_the_complement(
        self, genuine: list[float], impostor: list[float]
    ) -> None:
        similarity, label = _both(genuine, impostor)
        exchanged = [not flag for flag in label]
        assert equal_error_rate(similarity, exchanged) == pytest.approx(1 - equal_error_rate(similarity, label))

    def test_perfect_separation_is_0_all_ties_a_half_and_reversal_1(self) -> None:
        assert equal_error_rate([3, 2, 1, 0], [True, True, False, False]) == 0
        assert equal_error_rate([1, 1, 1], [True, False, False]) == 0.5
        assert equal_error_rate([0, 1], [True, False]) == 1

    @pytest.mark.parametrize("genuine", [[True, True], [False, False]])
    def test_without_both_kinds_of_pairs_it_is_nan(self, genuine: list[bool]) -> None:
        assert np.isnan(equal_error_rate([1.0, 2.0], genuine))
        assert np.isnan(equal_error_rate([], []))


class TestTrueAcceptRate:
    @given(scores, scores, st.one_of(st.floats(0, 1), st.sampled_from([0, 0.1, 0.25, 0.5, 1])))
    def test_it_is_the_highest_point_of_the_curve_within_bounds(
        self, genuine: list[float], impostor: list[float], rate: float
    ) -> None:
        pairs = _both(genuine, impostor)
        curve = roc(*pairs)
        expected = curve.true_accept_rate[curve.false_accept_rate <= rate].max()
        assert true_accept_rate_at(*pairs, rate) == pytest.approx(expected)

    def test_a_rate_below_one_impostor_means_none(self) -> None:
        pairs = _both([0.9, 0.7, 0.2], [0.8, 0.1])
        assert true_accept_rate_at(*pairs, 1e-4) == true_accept_rate_at(*pairs, 0.0) == pytest.approx(1 / 3)
        assert true_accept_rate_at(*pairs, 0.5) == 1

    def test_without_both_kinds_of_pairs_it_is_nan(self) -> None:
        assert np.isnan(true_accept_rate_at([0.5], [True], 0.1))
        assert np.isnan(true_accept_rate_at([0.5], [False], 0.1))


def test_nan_similarities_are_errors() -> None:
    similarity = [np.nan, 0.9, 0.1, 0.2]
    genuine = [True, True, False, False]
    assert true_accept_rate_at(similarity, genuine, 0.0) == 0.5
    assert equal_error_rate(similarity, genuine) == 0.5
    similarity[2] = np.nan
    genuine[2] = False
    assert true_accept_rate_at(similarity, genuine, 0.0) == 0


class TestFolds:
    @given(st.integers(0, 2**32 - 1), st.integers(2, 5))
    def test_each_fold_is_judged_at_the_threshold_of_the_others(self, seed: int, folds: int) -> None:
        draw = np.random.RandomState(seed)
        fold = np.arange(40) % folds
        genuine = draw.rand(40) < 0.5
        similarity = np.round(draw.randn(40) + genuine, 1)
        expected: list[float] = []
        for part in range(folds):
            here = fold == part
            candidates = [*sorted(set(similarity[~here])), np.inf]
            right = [int(((similarity >= t) == genuine)[~here].sum()) for t in candidates]
            best = candidates[right.index(max(right))]
            expected.append(float(((similarity >= best) == genuine)[here].mean()))
        assert accuracy_over_folds(similarity, genuine, fold) == pytest.approx(np.mean(expected))

    def test_a_fold_has_no_say_in_its_own_threshold(self) -> None:
        # Each fold alone is told perfectly, but at a threshold that fails the other.
        similarity = [1.0, 2.0, 11.0, 12.0]
        genuine = [False, True, False, True]
        assert accuracy_over_folds(similarity, genuine, [0, 0, 1, 1]) == 0.5

    def test_one_fold_has_no_others(self) -> None:
        assert np.isnan(accuracy_over_folds([0.1, 0.9], [False, True], [0, 0]))

    def test_perfect_separation_is_all_right(self) -> None:
        genuine = np.arange(100) % 2 == 0
        assert accuracy_over_folds(genuine + 0.0, genuine, np.arange(100) // 10) == 1
