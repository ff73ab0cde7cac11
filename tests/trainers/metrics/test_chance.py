"""Collapsed or not: against brute force over all permutations, scipy, and cases whose answer is known."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from numpy.random import RandomState
from scipy import stats

from trainers.metrics import chance
from trainers.metrics.chance import LEVEL, Spread, best_p, collapse, independence_p, looked_at, mean_recall


def _judged(labels: object, predictions: object) -> str | None:
    return collapse(np.asarray(labels), np.asarray(predictions), constant_features=False)


def _brute_force(labels: list[int], predictions: list[int]) -> Fraction:
    """p by every permutation, in whole numbers."""
    counts = {name: labels.count(name) for name in labels}

    def recall(order: tuple[int, ...]) -> Fraction:
        return sum((Fraction(1, counts[a]) for a, b in zip(order, predictions, strict=True) if a == b), Fraction())

    observed = recall(tuple(labels))
    orders = list(permutations(labels))
    return Fraction(sum(recall(order) >= observed for order in orders), len(orders))


@pytest.mark.parametrize(
    ("labels", "predictions"),
    [([0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1, 0]), ([0, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]), ([1, 0, 0], [0, 1, 1])],
)
def test_of_two_classes_p_is_exact(labels: list[int], predictions: list[int]) -> None:
    assert independence_p(np.array(labels), np.array(predictions)) == float(_brute_force(labels, predictions))


def test_of_two_classes_p_is_fishers() -> None:
    draw = RandomState(0)
    for _ in range(50):
        labels, predictions = draw.randint(0, 2, (2, 60))
        table = [[np.sum((labels == a) & (predictions == b)) for b in (0, 1)] for a in (0, 1)]
        expected = stats.fisher_exact(table, "greater").pvalue
        assert independence_p(labels, predictions) == pytest.approx(expected, rel=1e-9)


def test_of_more_classes_p_is_that_of_all_permutations(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = [0, 0, 0, 1, 1, 2, 2, 2]
    predictions = [0, 0, 1, 1, 2, 2, 2, 0]
    monkeypatch.setattr(chance, "LEVEL", 1)  # nothing ends the permutations early
    monkeypatch.setattr(chance, "_cantelli", lambda *_: 2)
    exact = float(_brute_force(labels, predictions))
    assert independence_p(np.array(labels), np.array(predictions)) == pytest.approx(exact, abs=0.015)


def test_the_mean_and_variance_of_the_bound_are_those_of_all_permutations() -> None:
    labels = [0, 0, 0, 1, 1, 2, 2]
    predictions = [0, 0, 3, 1, 2, 2, 3]  # of class 3 there is no image
    counts = np.array([3, 2, 2])
    sums = np.array(
        [
            sum(1 / counts[a] for a, b in zip(order, predictions, strict=True) if a == b)
            for order in permutations(labels)
        ]
    )
    observed = chance._recalls(np.array(labels), np.array(predictions), counts)
    expected = sums.var() / (sums.var() + (observed - sums.mean()) ** 2)
    assert chance._cantelli(np.array(labels), np.array(predictions), counts) == pytest.approx(expected, rel=1e-12)


def test_the_bound_is_one_at_or_below_the_mean() -> None:
    labels = np.repeat([0, 1, 2], 10)
    assert chance._cantelli(labels, np.roll(labels, 10), np.array([10, 10, 10])) == 1


def test_whatever_the_bound_accepts_permutations_accept_too() -> None:
    draw = RandomState(1)
    counted = 0
    for share in np.linspace(0, 1, 40):
        labels = draw.randint(0, 10, 600)
        predictions = np.where(draw.random_sample(600) < share, labels, draw.randint(0, 10, 600))
        _, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
        if chance._cantelli(places, predictions, counts) <= LEVEL:
            counted += 1
            assert chance._permutation_p(places, predictions, counts) == 1 / (chance.DRAWS + 1)
    assert counted > 15


def test_guesses_are_told_from_weak_models_at_the_level() -> None:
    draw = RandomState(2)
    labels = np.repeat(np.arange(10), 90)
    guesses = [_judged(labels, draw.randint(0, 10, 900)) for _ in range(300)]
    assert sum(reason is None for reason in guesses) <= 3  # 0.3 are expected
    weak = [
        _judged(labels, np.where(draw.random_sample(900) < 0.1, labels, draw.permutation(labels))) for _ in range(6)
    ]
    assert all(reason is None for reason in weak)  # 19 % are right instead of 10 %


def test_a_reason_says_how_good_the_guess_is() -> None:
    labels = np.repeat(np.arange(4), 50)
    reason = _judged(labels, np.tile([0, 1, 2, 3], 50))
    assert reason is not None
    assert "no better than a guess on 200 training images: mean class-wise recall 25" in reason


def test_worse_than_a_guess_is_no_better_than_one() -> None:
    labels = np.repeat(np.arange(4), 50)
    assert _judged(labels, np.roll(labels, 50)) is not None


class TestConstantPredictions:
    @pytest.mark.parametrize("labels", [np.arange(900) % 10, np.repeat([0, 1], [194, 6]), np.array([0, 1])])
    def test_they_are_a_collapse(self, labels: np.ndarray) -> None:
        assert "predicted as class 0" in str(_judged(labels, np.zeros_like(labels)))

    def test_a_single_class_has_nothing_to_tell_apart(self) -> None:
        assert _judged(np.zeros(50, int), np.zeros(50, int)) is None


class TestFewAndRareImages:
    def test_a_perfect_model_of_200_images_with_6_defects_is_sound(self) -> None:
        labels = np.repeat([0, 1], [194, 6])
        assert _judged(labels, labels) is None

    def test_one_that_finds_2_of_6_without_an_alarm_is_sound(self) -> None:
        labels = np.repeat([0, 1], [194, 6])
        assert _judged(labels, np.repeat([0, 1], [198, 2])) is None  # p = C(6, 2) / C(200, 2) = 7.5e-4

    def test_one_with_two_alarms_both_false_is_a_collapse(self) -> None:
        labels = np.repeat([0, 1], [194, 6])
        assert _judged(labels, np.repeat([1, 0], [2, 198])) is not None

    @pytest.mark.parametrize("counts", [[199, 1], [3, 3], [5, 2], [2, 2, 1]])
    def test_nothing_is_tested_that_a_perfect_model_could_not_pass(self, counts: list[int]) -> None:
        labels = np.repeat(np.arange(len(counts)), counts)
        assert best_p(labels) > LEVEL
        assert _judged(labels, np.roll(labels, 1)) is None

    @pytest.mark.parametrize("counts", [[198, 2], [7, 7], [3, 3, 3], [1] * 7])
    def test_a_perfect_model_passes_wherever_it_is_tested(self, counts: list[int]) -> None:
        labels = np.repeat(np.arange(len(counts)), counts)
        assert best_p(labels) <= LEVEL
        assert _judged(labels, labels) is None
        assert _judged(labels, np.roll(labels, len(labels) // 2)) is not None

    @pytest.mark.parametrize("labels", [[0, 0, 1, 1, 1], [0, 1, 2, 2], [0, 0, 1, 2, 2, 2]])
    def test_the_best_p_is_that_of_perfect_predictions(self, labels: list[int]) -> None:
        assert best_p(np.array(labels)) == pytest.approx(float(_brute_force(labels, labels)), rel=1e-12)


def test_the_recall_is_a_mean_over_the_classes_that_occur() -> None:
    assert mean_recall(np.array([0, 0, 0, 0, 2]), np.array([0, 1, 1, 1, 2])) == (1 / 4 + 1) / 2


class TestConstantFeatures:
    @staticmethod
    def _spread(*batches: np.ndarray) -> bool:
        spread = Spread()
        for batch in batches:
            spread.add(batch.astype(np.float32))
        return spread.is_constant

    def test_zeros_are_constant(self) -> None:
        assert self._spread(np.zeros((5, 3)), np.zeros((2, 3)))

    def test_equal_features_are_constant_to_rounding(self) -> None:
        feature = np.array([1e3, -2.0, 0.1])
        assert self._spread(np.tile(feature, (4, 1)), np.tile(feature * (1 + 3e-7), (4, 1)))

    def test_batches_that_differ_from_each_other_are_not(self) -> None:
        assert not self._spread(np.zeros((5, 3)), np.ones((5, 3)))

    def test_one_feature_that_varies_is_enough(self) -> None:
        features = np.ones((6, 4))
        features[2, 1] = 1.001
        assert not self._spread(features)

    def test_nothing_seen_is_nothing_said(self) -> None:
        assert not self._spread()

    def test_they_are_a_collapse_whatever_is_predicted(self) -> None:
        labels = np.arange(100) % 10
        reason = collapse(labels, labels, constant_features=True)
        assert reason == "the features of all 100 training images looked at are the same"


class TestImagesLookedAt:
    def test_all_of_a_small_set(self) -> None:
        labels = np.arange(chance.IMAGES) % 7
        assert looked_at(labels, RandomState(0)).tolist() == list(range(chance.IMAGES))

    def test_of_many_the_same_number_of_every_class_and_all_of_a_rare_one(self) -> None:
        labels = np.repeat([0, 1, 2], [6, 5000, 90_000])
        rows = looked_at(labels, RandomState(0))
        assert np.bincount(labels[rows]).tolist() == [6, 509, 509]
        assert (np.diff(rows) > 0).all()

    def test_two_of_every_class_however_many_there_are(self) -> None:
        labels = np.arange(30_000) % 3000
        assert np.bincount(labels[looked_at(labels, RandomState(0))]).tolist() == [2] * 3000

    def test_the_same_draw_is_the_same_images(self) -> None:
        labels = np.arange(5000) % 10
        one, again, other = (looked_at(labels, RandomState(seed)) for seed in (3, 3, 4))
        assert np.array_equal(one, again)
        assert not np.array_equal(one, other)
