"""Other kinds of scores against those of the full score matrix, and temperatures against an optimiser."""

from __future__ import annotations

from dataclasses import replace

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from trainers.evaluation import Evaluation
from trainers.metrics.score_kinds import Temperatures, centred, level, log_odds, log_probabilities
from trainers.metrics.uniform import accuracy_at, sample_wise_accuracy, uniform_accuracy

seeds = st.integers(0, 2**32 - 1)


def _scores(seed: int, samples: int = 60, classes: int = 5) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, samples)
    return 3 * draw.normal(size=(samples, classes)) + 3 * np.eye(classes)[labels], labels


def evaluation_of(
    scores: NDArray[np.float32], labels: NDArray[np.int64], exact: NDArray[np.float64] | None = None
) -> Evaluation:
    """The rows of scores (n, K) in float32, with log-odds of the exact ones."""
    exact = np.asarray(scores if exact is None else exact, np.float64)
    each = np.arange(len(labels))
    highest = exact.argmax(axis=1)
    others = np.where(np.arange(exact.shape[1]) == highest[:, None], -np.inf, exact)
    positive, rival = _pair(scores.astype(np.float64), labels)
    level = logsumexp(scores.astype(np.float64), axis=1).astype(np.float32)
    return Evaluation(
        sample=each.astype(np.int32),
        label=labels.astype(np.int32),
        prediction=highest.astype(np.int32),
        positive=positive.astype(np.float32),
        rival=rival.astype(np.float32),
        logsumexp=level,
        logsumexp_tuned=level,
        log_odds=exact[each, highest] - logsumexp(others, axis=1),
        scores=scores,
    )


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
        positive = np.float32([10_000, 10_000])
        rival = np.float32([9_000, 9_500])
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
            lambda logarithm: _loss(scores, labels, np.exp(logarithm)), bounds=np.log([0.01, 100]), method="bounded"
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
        for scale, end in ((1e4, 100), (1e-4, 0.01)):
            found = _fed(scale * scores, labels)
            assert found.best() == pytest.approx(end)
            assert found.is_at_edge

    def test_a_temperature_that_was_found_is_not_at_the_edge(self) -> None:
        scores, labels = _scores(0, samples=300)
        found = _fed(scores, labels)
        assert not found.is_at_edge
        assert 0.01 < found.best() < 100

    @pytest.mark.parametrize("gap", [1e-3, 0.5, 5.0, 500.0])
    def test_where_every_sample_is_right_none_is_found_and_that_is_said(self, gap: float) -> None:
        """A gap of 500 gives a loss of exactly 0 long before the end of the grid."""
        labels = np.arange(5)
        found = _fed(gap * np.eye(5), labels)
        assert found.is_at_edge

    @pytest.mark.parametrize("gap", [0.5, 5.0, 50.0])
    def test_one_wrong_sample_is_enough_to_find_one(self, gap: float) -> None:
        scores = np.vstack([gap * np.eye(5), gap * np.eye(5)[[1]]])
        assert not _fed(scores, np.append(np.arange(5), 0)).is_at_edge

    def test_without_samples_no_edge_was_met(self) -> None:
        assert not Temperatures().is_at_edge

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


class TestLogOdds:
    """Against sixty digits, for scores so far apart that float32 probabilities are all one."""

    @staticmethod
    def _exact(row: list[float], k: int) -> mpmath.mpf:
        with mpmath.workdps(60):
            others = mpmath.fsum(mpmath.exp(mpmath.mpf(score)) for place, score in enumerate(row) if place != k)
            return mpmath.mpf(row[k]) - mpmath.log(others)

    @given(seeds, st.sampled_from([0.3, 3.0, 30.0]), st.integers(2, 6), st.booleans())
    def test_odds_of_own_class_and_rival_are_exact(
        self, seed: int, scale: float, classes: int, as_probabilities: bool
    ) -> None:
        scores, labels = _scores(seed, 12, classes)
        scores = np.float32(scale * scores).astype(np.float64)
        kept = scores - logsumexp(scores, axis=1)[:, None] if as_probabilities else scores
        rows = evaluation_of(np.float32(kept), labels, exact=scores)
        found = log_odds(rows)
        assert found is not None
        for place, row in enumerate(scores.tolist()):
            own = int(labels[place])
            rival = max((k for k in range(classes) if k != own), key=row.__getitem__)
            for value, k in zip(found, (own, rival), strict=True):
                assert value[place] == pytest.approx(float(self._exact(row, k)), rel=2e-6, abs=2e-5)

    @given(seeds, st.sampled_from([0.3, 3.0, 30.0]))
    def test_the_level_is_the_logsumexp_of_all_scores(self, seed: int, scale: float) -> None:
        scores, labels = _scores(seed)
        scores = np.float32(scale * scores).astype(np.float64)
        np.testing.assert_allclose(
            level(evaluation_of(np.float32(scores), labels)), logsumexp(scores, axis=1), rtol=1e-14
        )

    def test_without_kept_odds_there_are_none_and_the_level_is_the_rounded_one(self) -> None:
        rows = replace(evaluation_of(np.float32([[3, 1], [0, 2]]), np.array([0, 1])), log_odds=None)
        assert log_odds(rows) is None
        assert level(rows).tolist() == rows.logsumexp.tolist()
