"""Other kinds of scores against those of the full score matrix, and temperatures against an optimiser."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from trainers.metrics.score_kinds import Temperatures, centred, log_probabilities
from trainers.metrics.uniform import accuracy_at, sample_wise_accuracy, uniform_accuracy

seeds = st.integers(0, 2**32 - 1)


def _scores(seed: int, samples: int = 60, classes: int = 5) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, samples)
    return 3 * draw.normal(size=(samples, classes)) + 3 * np.eye(classes)[labels], labels


def _pair(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    own = np.arange(scores.shape[1]) == labels[:, None]
    return scores[own], np.where(own, -np.inf, scores).max(axis=1)


def _loss(scores: NDArray[np.float64], labels: NDArray[np.int64], temperature: float) -> float:
    divided = scores / temperature
    return float((logsumexp(divided, axis=1) - _pair(divided, labels)[0]).sum())


def _fed(scores: NDArray[np.float64], labels: NDArray[np.int64], batch: int = 16) -> Temperatures:
    temperatures = Temperatures()
    for start in range(0, len(labels), batch):
        rows = scores[start : start + batch]
        level = logsumexp(rows / temperatures.grid[:, None, None], axis=2)
        temperatures.add(level, _pair(rows, labels[start : start + batch])[0])
    return temperatures


class TestLogProbabilities:
    @given(seeds, st.sampled_from([0.1, 1.0, 7.0]))
    def test_they_are_those_of_the_softmax_of_all_scores(self, seed: int, temperature: float) -> None:
        scores, labels = _scores(seed)
        divided = scores / temperature
        level = logsumexp(divided, axis=1)
        derived = log_probabilities(*_pair(divided, labels), level)
        np.testing.assert_allclose(derived, _pair(divided - level[:, None], labels), atol=1e-12)

    def test_they_do_not_saturate_where_float32_probabilities_do(self) -> None:
        positive, rival = np.float32([10_000, 10_000]), np.float32([9_000, 9_500])
        _, derived = log_probabilities(positive, rival, positive)
        assert list(derived) == [-1000, -500]
        assert list(np.exp(derived.astype(np.float32))) == [0, 0]

    @given(seeds)
    def test_rounding_the_logsumexp_to_float32_moves_a_sample_at_most(self, seed: int) -> None:
        scores, labels = _scores(seed)
        scores = np.float32(100 * scores).astype(np.float64)
        positive, rival = _pair(scores, labels)
        level = logsumexp(scores, axis=1)
        exact = uniform_accuracy(*log_probabilities(positive, rival, level))
        rounded = uniform_accuracy(*log_probabilities(positive, rival, np.float32(level)))
        assert rounded.accuracy == pytest.approx(exact.accuracy, abs=1 / len(labels) + 1e-12)
        assert sample_wise_accuracy(*log_probabilities(positive, rival, np.float32(level))) == sample_wise_accuracy(
            positive, rival
        )

    def test_infinite_scores_become_errors_without_a_warning(self) -> None:
        derived = log_probabilities([np.inf, 1.0], [0.0, 0.0], [np.inf, 1.5])
        assert sample_wise_accuracy(*derived) == 0.5


class TestCentred:
    @given(seeds)
    def test_they_are_exact_for_right_samples_and_right_nowhere_for_wrong_ones(self, seed: int) -> None:
        scores, labels = _scores(seed)
        positive, rival = _pair(scores, labels)
        midpoint = np.sort(scores, axis=1)[:, -2:].mean(axis=1)
        right = rival < positive
        derived = np.array(centred(positive, rival))
        np.testing.assert_allclose(derived[:, right], np.array([positive - midpoint, rival - midpoint])[:, right])
        assert (derived[0, ~right] <= derived[1, ~right]).all()

    @given(seeds)
    def test_uniform_accuracy_is_that_of_the_centred_score_matrix(self, seed: int) -> None:
        scores, labels = _scores(seed)
        matrix = scores - np.sort(scores, axis=1)[:, -2:].mean(axis=1, keepdims=True)
        derived = uniform_accuracy(*centred(*_pair(scores, labels)))
        np.testing.assert_allclose(derived, uniform_accuracy(*_pair(matrix, labels)), atol=1e-12)

    def test_a_gap_of_huge_float32_scores_survives(self) -> None:
        positive, rival = centred(np.float32([1e4, -1e4]), np.float32([-1e4, 1e4]))
        assert list(positive) == [1e4, -1e4]
        assert accuracy_at(0.0, positive, rival) == 0.5

    def test_infinite_scores_become_errors_without_a_warning(self) -> None:
        assert sample_wise_accuracy(*centred([np.inf, 1.0], [np.inf, 0.0])) == 0.5


class TestTemperatures:
    @pytest.mark.parametrize("seed", range(8))
    @pytest.mark.parametrize("scale", [0.2, 1.0, 4.0])
    def test_the_best_one_minimises_the_likelihood(self, seed: int, scale: float) -> None:
        scores, labels = _scores(seed, samples=300)
        scores *= scale
        best = minimize_scalar(
            lambda logarithm: _loss(scores, labels, np.exp(logarithm)), bounds=np.log([0.05, 20]), method="bounded"
        )
        assert _fed(scores, labels).best() == pytest.approx(np.exp(best.x), rel=5e-3)

    @settings(max_examples=30)
    @given(seeds, st.integers(1, 70))
    def test_the_size_of_batches_is_irrelevant(self, seed: int, batch: int) -> None:
        scores, labels = _scores(seed)
        streamed = _fed(scores, labels, batch)
        np.testing.assert_allclose(streamed.losses, _fed(scores, labels, len(labels)).losses)
        assert streamed.samples == len(labels)

    def test_losses_are_those_of_softmax_at_every_temperature(self) -> None:
        scores, labels = _scores(0)
        streamed = _fed(scores, labels)
        np.testing.assert_allclose(streamed.losses, [_loss(scores, labels, t) for t in streamed.grid])

    def test_doubling_all_scores_doubles_the_temperature(self) -> None:
        scores, labels = _scores(0, samples=300)
        assert _fed(2 * scores, labels).best() == pytest.approx(2 * _fed(scores, labels).best(), rel=5e-3)

    def test_the_choice_stays_on_the_grid(self) -> None:
        scores, labels = _scores(0, samples=300)
        assert _fed(1e4 * scores, labels).best() == pytest.approx(20)
        assert _fed(scores / 1e3, labels).best() == pytest.approx(0.05)

    def test_scores_that_say_nothing_leave_the_temperature_at_1(self) -> None:
        scores, labels = _scores(0)
        assert _fed(np.zeros_like(scores), labels).best() == pytest.approx(1)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_a_sample_that_is_not_finite_is_left_out(self, value: float) -> None:
        scores, labels = _scores(0)
        spoilt = np.vstack([scores, np.full(scores.shape[1], value)])
        with np.errstate(invalid="ignore"):
            streamed = _fed(spoilt, np.append(labels, 0))
        assert streamed.best() == pytest.approx(_fed(scores, labels).best())
        assert streamed.samples == len(labels)

    def test_without_samples_there_is_no_temperature(self) -> None:
        temperatures = Temperatures()
        assert np.isnan(temperatures.best())
        temperatures.add(np.zeros((len(temperatures.grid), 0)), [])
        assert np.isnan(temperatures.best())

    def test_another_grid_can_be_asked_for(self) -> None:
        temperatures = Temperatures(np.array([1.0, 2.0, 3.0]))
        temperatures.add([[3.0], [1.0], [2.0]], [0.0])
        assert 1 < temperatures.best() < 3
