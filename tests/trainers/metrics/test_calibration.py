"""Calibration error against its definition, bin by bin."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp, softmax

from trainers.metrics.calibration import expected_calibration_error, from_log_probabilities
from trainers.metrics.score_kinds import log_probabilities

Predictions = list[tuple[float, bool]]
"""A confidence and whether it was right, each."""

predictions = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30)


def _columns(rows: Predictions) -> tuple[list[float], list[bool]]:
    confidence, correct = zip(*rows, strict=True)
    return list(confidence), list(correct)


def _by_bin(rows: Predictions, bins: int) -> float:
    error = 0.0
    for number in range(1, bins + 1):
        inside = [row for row in rows if (number - 1) / bins < row[0] <= number / bins or (row[0] == 0 and number == 1)]
        error += abs(sum(correct for _, correct in inside) - sum(confidence for confidence, _ in inside))
    return error / len(rows)


@given(predictions, st.integers(1, 20))
def test_it_is_the_gap_of_each_bin_weighted_by_its_samples(rows: Predictions, bins: int) -> None:
    assert expected_calibration_error(*_columns(rows), bins) == pytest.approx(_by_bin(rows, bins), abs=1e-12)


@given(st.integers(1, 20))
def test_an_edge_belongs_to_the_bin_below(bins: int) -> None:
    rows = [(number / bins, number % 2 == 0) for number in range(bins + 1)]
    assert expected_calibration_error(*_columns(rows), bins) == pytest.approx(_by_bin(rows, bins), abs=1e-12)


@given(predictions, st.randoms(use_true_random=False))
def test_the_order_of_samples_is_irrelevant(rows: Predictions, draw: Random) -> None:
    shuffled = draw.sample(rows, len(rows))
    assert expected_calibration_error(*_columns(shuffled)) == pytest.approx(
        expected_calibration_error(*_columns(rows)), abs=1e-12
    )


def test_one_bin_compares_mean_confidence_with_accuracy() -> None:
    assert expected_calibration_error([0.9, 0.5], [True, False], bins=1) == pytest.approx(0.2)


def test_certainty_that_is_always_wrong_is_as_bad_as_it_gets() -> None:
    assert expected_calibration_error([1.0, 1.0], [False, False]) == 1
    assert expected_calibration_error([1.0, 1.0], [True, True]) == 0


def test_calibrated_confidence_has_an_error_near_0() -> None:
    draw = np.random.default_rng(0)
    confidence = draw.random(100_000)
    assert expected_calibration_error(confidence, draw.random(100_000) < confidence) < 0.01
    assert expected_calibration_error(confidence, draw.random(100_000) < confidence**2) > 0.1


def test_without_samples_or_with_nan_it_is_nan() -> None:
    assert np.isnan(expected_calibration_error([], []))
    assert np.isnan(expected_calibration_error([0.5, np.nan], [True, False]))


@given(st.integers(0, 2**32 - 1))
def test_confidence_is_the_highest_softmax_probability(seed: int) -> None:
    draw = np.random.default_rng(seed)
    scores = 3 * draw.normal(size=(20, 4))
    labels = draw.integers(0, 4, 20)
    own = np.arange(4) == labels[:, None]
    rival = np.where(own, -np.inf, scores).max(axis=1)
    confidence, correct = from_log_probabilities(*log_probabilities(scores[own], rival, logsumexp(scores, axis=1)))
    np.testing.assert_allclose(confidence, softmax(scores, axis=1).max(axis=1))
    np.testing.assert_array_equal(correct, scores.argmax(axis=1) == labels)


def test_a_rounded_logsumexp_gives_no_confidence_above_1() -> None:
    positive = np.float32([1e4, -1e4, 1e4])
    below = np.nextafter(positive, np.float32(-np.inf))
    confidence, correct = from_log_probabilities(*log_probabilities(positive, below, below))
    assert list(confidence) == [1, 1, 1]
    assert correct.all()
    assert expected_calibration_error(confidence, correct) == 0


def test_infinite_scores_give_nan_without_a_warning() -> None:
    assert np.isnan(from_log_probabilities(*log_probabilities([np.inf], [0.0], [np.inf]))[0]).all()
