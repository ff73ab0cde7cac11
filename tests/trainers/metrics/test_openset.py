"""Open-set measures against all pairs, against curves swept threshold by threshold, and scikit-learn."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from trainers.metrics.openset import auroc, fpr_at_tpr, oscr

values = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e3, 1e3, width=32))
scores = st.lists(values, min_size=1, max_size=12)
known_samples = st.lists(st.tuples(values, st.booleans()), min_size=1, max_size=12)


def _share(flags: list[bool]) -> float:
    return sum(flags) / len(flags)


def _swept_oscr(known: list[tuple[float, bool]], unknown: list[float]) -> float:
    """Trapezoids under the curve of CCR against false positives, over all thresholds from the highest."""
    thresholds = [*sorted({score for score, _ in known} | set(unknown), reverse=True), -np.inf]
    curve = [
        (_share([score > t for score in unknown]), _share([score > t and right for score, right in known]))
        for t in thresholds
    ]
    return sum((right - left) * (low + high) / 2 for (left, low), (right, high) in pairwise(curve))


def _both(known: list[float], unknown: list[float]) -> tuple[list[int], list[float]]:
    return [1] * len(known) + [0] * len(unknown), known + unknown


class TestAuroc:
    @given(scores, scores)
    def test_it_is_the_share_of_pairs_in_order_with_ties_counting_half(
        self, known: list[float], unknown: list[float]
    ) -> None:
        pairs = [(k > u) + (k == u) / 2 for k in known for u in unknown]
        assert auroc(known, unknown) == sum(pairs) / len(pairs)

    @settings(max_examples=40)
    @given(scores, scores)
    def test_it_agrees_with_scikit_learn(self, known: list[float], unknown: list[float]) -> None:
        assert auroc(known, unknown) == pytest.approx(roc_auc_score(*_both(known, unknown)))

    @given(scores, scores)
    def test_exchanging_known_and_unknown_gives_the_complement(self, known: list[float], unknown: list[float]) -> None:
        assert auroc(unknown, known) == pytest.approx(1 - auroc(known, unknown))


class TestFprAtTpr:
    @settings(max_examples=40)
    @given(scores, scores, st.sampled_from([0.05, 0.5, 0.8, 0.95, 1.0]))
    def test_it_is_the_least_that_accepts_enough_known_samples(
        self, known: list[float], unknown: list[float], rate: float
    ) -> None:
        false_positive, true_positive, _ = roc_curve(*_both(known, unknown), drop_intermediate=False)
        expected = false_positive[true_positive >= rate].min()
        assert fpr_at_tpr(known, unknown, rate) == pytest.approx(expected)

    @pytest.mark.parametrize("samples", [7, 20, 100, 1000])
    def test_a_rate_given_as_a_share_of_samples_is_met_exactly(self, samples: int) -> None:
        known = np.arange(samples)
        for accepted in range(1, samples + 1):
            assert fpr_at_tpr(known, known, accepted / samples) == pytest.approx(accepted / samples)

    def test_accepting_no_known_sample_accepts_no_unknown_one(self) -> None:
        assert fpr_at_tpr([1, 2], [5, 6], 0.0) == 0

    def test_95_percent_is_the_default(self) -> None:
        known = np.arange(100)
        assert fpr_at_tpr(known, [4.5, 5.5, 0.0, 5.0]) == 0.5


class TestOscr:
    @given(known_samples, scores)
    def test_it_is_the_area_under_the_swept_curve(self, known: list[tuple[float, bool]], unknown: list[float]) -> None:
        score, correct = map(list, zip(*known, strict=True))
        assert oscr(score, correct, unknown) == pytest.approx(_swept_oscr(known, unknown), abs=1e-12)

    @given(known_samples, scores)
    def test_it_is_at_most_accuracy_and_at_most_auroc(
        self, known: list[tuple[float, bool]], unknown: list[float]
    ) -> None:
        score, correct = map(list, zip(*known, strict=True))
        area = oscr(score, correct, unknown)
        assert area <= _share(correct) + 1e-12
        assert area <= auroc(score, unknown) + 1e-12

    @given(scores, scores)
    def test_where_all_are_right_it_is_auroc(self, known: list[float], unknown: list[float]) -> None:
        assert oscr(known, [True] * len(known), unknown) == auroc(known, unknown)

    def test_perfect_rejection_leaves_accuracy(self) -> None:
        assert oscr([5, 6, 7, 8], [True, False, True, True], [0, 1]) == 0.75

    def test_where_none_is_right_it_is_0(self) -> None:
        assert oscr([5, 6], [False, False], [0]) == 0


@given(known_samples, scores)
def test_only_the_order_of_scores_matters(known: list[tuple[float, bool]], unknown: list[float]) -> None:
    score, correct = map(list, zip(*known, strict=True))
    _, ranks = np.unique([*score, *unknown], return_inverse=True)
    of_known = ranks[: len(score)]
    of_unknown = ranks[len(score) :]
    assert auroc(of_known, of_unknown) == auroc(score, unknown)
    assert fpr_at_tpr(of_known, of_unknown) == fpr_at_tpr(score, unknown)
    assert oscr(of_known, correct, of_unknown) == oscr(score, correct, unknown)
    assert oscr(of_known[::-1], correct[::-1], of_unknown[::-1]) == oscr(score, correct, unknown)


def test_all_ties_are_chance() -> None:
    assert auroc([1, 1], [1, 1, 1]) == 0.5
    assert fpr_at_tpr([1, 1], [1, 1, 1]) == 1
    assert oscr([1, 1], [True, False], [1, 1, 1]) == 0.25


@pytest.mark.parametrize(("known", "unknown"), [([], [1.0]), ([1.0], []), ([], [])])
def test_without_known_or_unknown_samples_all_are_nan(known: list[float], unknown: list[float]) -> None:
    assert np.isnan(auroc(known, unknown))
    assert np.isnan(fpr_at_tpr(known, unknown))
    assert np.isnan(oscr(known, [True] * len(known), unknown))


def test_nan_scores_are_errors() -> None:
    assert auroc([np.nan, 3.0], [1.0]) == 0.5
    assert auroc([3.0], [np.nan, 1.0]) == 0.5
    assert fpr_at_tpr([3.0], [np.nan, 1.0]) == 0.5
    assert fpr_at_tpr([np.nan, 3.0], [1.0]) == 1
    assert oscr([np.nan, 3.0], [True, True], [1.0]) == 0.5


def test_neighbouring_scores_of_10000_in_float32_are_no_ties() -> None:
    low = np.float32(1e4)
    high = np.nextafter(low, np.float32(np.inf))
    assert auroc([high], [low]) == oscr([high], [True], [low]) == 1
    assert fpr_at_tpr([high], [low]) == 0


def test_many_normal_scores_reach_the_areas_of_their_distributions() -> None:
    draw = np.random.default_rng(0)
    known = draw.normal(1, 1, 200_000)
    unknown = draw.normal(size=200_000)
    assert auroc(known, unknown) == pytest.approx(0.7602, abs=4e-3)  # Phi(1 / sqrt 2)
    assert oscr(known, np.arange(200_000) % 2 == 0, unknown) == pytest.approx(0.3801, abs=4e-3)
