"""Numbered facts of uniform classification that tests of the single measures do not yet state.

Facts 1, 2 and 7, and the first parts of 3, 4 and 6, are in `test_uniform.py`.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit, logsumexp, softmax

from trainers.metrics.calibration import expected_calibration_error, from_log_probabilities
from trainers.metrics.score_kinds import centred, log_probabilities
from trainers.metrics.uniform import accuracy_at, class_wise_accuracy, sample_wise_accuracy, uniform_accuracy

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

seeds = st.integers(0, 2**32 - 1)


def _scores(seed: int, samples: int = 400, classes: int = 10, wander: float = 0.0) -> tuple[Floats, Labels]:
    """Scores with the own class ahead, and a level of each sample's own that wanders."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, samples)
    scores = draw.normal(size=(samples, classes)) + 2 * np.eye(classes)[labels]
    return scores + wander * draw.normal(size=(samples, 1)), labels


def _pair(scores: Floats, labels: Labels) -> tuple[Floats, Floats]:
    own = np.arange(scores.shape[1]) == labels[:, None]
    return scores[own], np.where(own, -np.inf, scores).max(axis=1)


def _softmax_pair(scores: Floats, labels: Labels, temperature: float = 1.0) -> tuple[Floats, Floats]:
    divided = scores / temperature
    return log_probabilities(*_pair(divided, labels), logsumexp(divided, axis=1))


def _uniform(positive: Floats, rival: Floats) -> float:
    return uniform_accuracy(positive, rival).accuracy


def test_fact_3_a_sigmoid_in_float32_saturates_into_ties_and_destroys_uniform_accuracy() -> None:
    scores, labels = _scores(0)
    positive, rival = (column + 30 for column in _pair(scores, labels))
    saturated = _uniform(expit(np.float32(positive)), expit(np.float32(rival)))
    assert _uniform(np.float32(positive), np.float32(rival)) == _uniform(positive, rival) > 0.2
    assert saturated < 0.01


@given(seeds)
def test_fact_4_softmax_keeps_sample_wise_accuracy(seed: int) -> None:
    scores, labels = _scores(seed, samples=50, wander=5)
    assert sample_wise_accuracy(*_softmax_pair(scores, labels)) == sample_wise_accuracy(*_pair(scores, labels))


def test_fact_4_softmax_changes_uniform_accuracy() -> None:
    scores, labels = _scores(0, wander=5)
    assert _uniform(*_softmax_pair(scores, labels)) > 2 * _uniform(*_pair(scores, labels))


def test_fact_4_at_equal_softmax_loss_shifts_give_any_uniform_accuracy() -> None:
    scores, labels = _scores(0, samples=40)
    positive, rival = _pair(scores, labels)
    right = np.flatnonzero(rival < positive)
    midpoint = (positive + rival) / 2
    for wanted in range(1, len(right) + 1):
        shift = 1000.0 * np.arange(1, 41)
        shift[right[:wanted]] = -midpoint[right[:wanted]]
        shifted = scores + shift[:, None]
        assert _uniform(*_pair(shifted, labels)) == wanted / 40
        np.testing.assert_allclose(_softmax_pair(shifted, labels)[0], _softmax_pair(scores, labels)[0], atol=1e-9)


@given(seeds)
def test_fact_6_centring_each_sample_on_its_top_two_makes_uniform_equal_sample_wise(seed: int) -> None:
    pair = _pair(*_scores(seed, samples=50, wander=5))
    assert _uniform(*centred(*pair)) == accuracy_at(0.0, *centred(*pair)) == sample_wise_accuracy(*pair)


@given(seeds, st.integers(3, 20), st.floats(0.05, 0.99))
def test_fact_6_a_cold_enough_softmax_gives_every_right_sample_more_than_one_half(
    seed: int, classes: int, share: float
) -> None:
    scores, labels = _scores(seed, samples=50, classes=classes)
    positive, rival = _pair(scores, labels)
    right = rival < positive
    assume(right.any())
    temperature = share * float((positive - rival)[right].min()) / np.log(classes - 1)
    colder = _softmax_pair(scores, labels, temperature)
    assert (colder[0][right] > np.log(0.5)).all()
    assert _uniform(*colder) == accuracy_at(np.log(0.5), *colder) == right.mean()


@given(seeds)
def test_fact_6_a_hot_softmax_ranks_as_logits_less_the_mean_of_each_sample(seed: int) -> None:
    scores, labels = _scores(seed, samples=50, wander=5)
    hot = _uniform(*_softmax_pair(scores, labels, 1e7))
    mean_centred = _uniform(*_pair(scores - scores.mean(axis=1, keepdims=True), labels))
    assert hot == pytest.approx(mean_centred, abs=1 / 50 + 1e-12)


def test_fact_6_uniform_accuracy_on_probabilities_depends_on_temperature_up_to_sample_wise() -> None:
    scores, labels = _scores(0, wander=5)
    raw = _uniform(*_pair(scores, labels))
    hot, warm, cold = (_uniform(*_softmax_pair(scores, labels, temperature)) for temperature in (100, 1, 0.003))
    assert raw < hot < warm < cold
    assert cold == pytest.approx(sample_wise_accuracy(*_pair(scores, labels)), abs=0.005)


def test_fact_13_positive_and_rival_suffice_for_all_accuracies_of_the_score_matrix() -> None:
    scores, labels = _scores(0)
    positive, rival = _pair(scores, labels)
    thresholds = np.unique(scores)
    thresholds = (thresholds[:-1] + thresholds[1:]) / 2
    above = scores > thresholds[:, None, None]
    own = np.arange(scores.shape[1]) == labels[:, None]
    right = (above == own).all(axis=2)  # only the own class is above
    by_class = [right[:, labels == k].sum(axis=1).max() for k in range(10)]
    assert _uniform(positive, rival) == right.mean(axis=1).max()
    assert class_wise_accuracy(positive, rival, labels) == sum(by_class) / len(labels)
    np.testing.assert_array_equal(right.mean(axis=1), [accuracy_at(t, positive, rival) for t in thresholds])


def test_fact_13_positive_and_rival_do_not_suffice_for_probabilities_or_calibration() -> None:
    labels = np.zeros(2, np.int64)
    crowded = np.array([[2.0, 1, 1], [3.0, 2, 2]])
    lonely = np.array([[2.0, 1, -9], [3.0, 2, -9]])
    pair = _pair(crowded, labels)
    np.testing.assert_array_equal(pair, _pair(lonely, labels))
    confidences = [
        from_log_probabilities(*log_probabilities(*pair, logsumexp(scores, axis=1))) for scores in (crowded, lonely)
    ]
    assert expected_calibration_error(*confidences[0]) > expected_calibration_error(*confidences[1]) + 0.1


def test_fact_13_nor_does_the_logsumexp_at_one_temperature_for_another() -> None:
    labels = np.zeros(2, np.int64)
    # Rivals e^s of 3, 3, 0 and of 3, 1, 2 have one sum and one maximum at T = 1, but not one sum of squares.
    first = np.log([[4.0, 3, 3, 1e-9]] * 2)
    second = np.log([[4.0, 3, 1, 2 + 1e-9]] * 2)
    np.testing.assert_allclose(_softmax_pair(first, labels), _softmax_pair(second, labels))
    colder = [_softmax_pair(scores, labels, 0.5)[0] for scores in (first, second)]
    assert (colder[1] > colder[0] + 0.1).all()
    np.testing.assert_allclose(np.exp(colder[0]), softmax(first / 0.5, axis=1)[:, 0])


@given(seeds)
def test_fact_14_a_threshold_of_other_data_never_beats_that_of_the_data_scored(seed: int) -> None:
    validation, test = (_pair(*_scores(seed + offset, samples=50)) for offset in (0, 1))
    assert accuracy_at(uniform_accuracy(*validation).threshold, *test) <= _uniform(*test)


def test_fact_14_on_scores_of_chance_the_threshold_picked_on_the_data_looks_better_than_it_is() -> None:
    excess = []
    for seed in range(200):
        draw = np.random.default_rng(seed)
        validation, test = (_pair(draw.random((50, 10)), np.arange(50) % 10) for _ in range(2))
        excess.append(_uniform(*test) - accuracy_at(uniform_accuracy(*validation).threshold, *test))
    assert np.mean(excess) > 0.02


def test_fact_14_with_a_long_tail_the_head_classes_choose_the_threshold() -> None:
    draw = np.random.default_rng(0)
    labels = np.repeat([0, 1], [500, 5])
    rival = np.where(labels == 0, 0.0, 10.0) + 0.1 * draw.random(505)
    best = uniform_accuracy(rival + 1, rival)
    recalls = [accuracy_at(best.threshold, (rival + 1)[labels == k], rival[labels == k]) for k in (0, 1)]
    assert best.accuracy > 0.99
    assert recalls == [1, 0]
    assert class_wise_accuracy(rival + 1, rival, labels) == 1
