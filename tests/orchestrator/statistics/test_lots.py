"""Tests of lots: exact evidence, and errors no more often than stated."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

from orchestrator.statistics.lots import (
    Kind,
    departure,
    evidence_above,
    evidence_below,
    log_evidence,
    more_units,
    p_between_lots,
    walk,
)


@pytest.mark.parametrize(("errors", "n", "bound"), [(0, 30, 0.1), (3, 40, 0.05), (5, 12, 0.2)])
def test_evidence_is_the_mixture_of_likelihood_ratios(errors: int, n: int, bound: float) -> None:
    def ratio(rate: float) -> float:
        return (rate / bound) ** errors * ((1 - rate) / (1 - bound)) ** (n - errors)

    prior: Any = stats.beta(0.5, 0.5)
    above, _ = integrate.quad(lambda rate: prior.pdf(rate) * ratio(rate), bound, 1, limit=200)
    below, _ = integrate.quad(lambda rate: prior.pdf(rate) * ratio(rate), 0, bound, limit=200)
    assert evidence_above(errors, n, bound) == pytest.approx(above / prior.sf(bound), rel=1e-5)
    assert evidence_below(errors, n, bound) == pytest.approx(below / prior.cdf(bound), rel=1e-5)


@pytest.mark.parametrize("bound", [0.01, 0.1, 0.5])
def test_at_the_bound_neither_side_is_claimed_more_often_than_stated(bound: float) -> None:
    rng = np.random.default_rng(1)
    draws = 1_000
    counts = np.cumsum(rng.random((draws, 600)) < bound, axis=1, dtype=np.int64)
    seen = np.broadcast_to(np.arange(1, 601), counts.shape)
    for above in (True, False):
        wrong = (log_evidence(counts, seen, bound, above=above) >= math.log(20)).any(axis=1).mean()
        assert wrong <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / draws)


def test_a_walk_ends_at_the_first_unit_that_decides() -> None:
    wrong = np.zeros(500, bool)
    kept = walk(wrong, 0.02, error_above=0.05, error_below=0.05)
    assert kept.verdict is True
    assert evidence_below(0, kept.seen, 0.02) >= 20 > evidence_below(0, kept.seen - 1, 0.02)
    wrong[:] = True
    broken = walk(wrong, 0.02, error_above=0.01, error_below=0.05)
    assert broken.verdict is False
    assert (
        evidence_above(broken.seen, broken.seen, 0.02) >= 100 > evidence_above(broken.seen - 1, broken.seen - 1, 0.02)
    )
    assert walk(wrong[:0], 0.02, error_above=0.05, error_below=0.05) == (None, 0, 0, 0)


def test_bounds_of_nothing_and_of_everything_need_no_bets() -> None:
    wrong = np.array([False, True, False])
    assert walk(wrong, 1.0, error_above=0.05, error_below=0.05).verdict is True
    assert walk(wrong, 0.0, error_above=0.05, error_below=0.05)[:2] == (False, 2)
    assert walk(~wrong[:0], 0.0, error_above=0.05, error_below=0.05).verdict is None


def test_so_many_more_units_show_it_and_no_fewer() -> None:
    more = more_units(2, 100, 0.01, 0.05)
    assert more is not None
    assert evidence_below(2, 100 + more, 0.01) >= 20 > evidence_below(2, 100 + more - 1, 0.01)


def counts(rng: np.random.Generator, n: int, shift: float = 0.0) -> np.ndarray:
    return np.bincount(np.clip(rng.normal(5 + shift, 2, n), 0, 9.99).astype(int), minlength=10)


def test_a_lot_of_the_certified_kind_is_rarely_called_changed_and_a_shifted_one_nearly_always() -> None:
    rng = np.random.default_rng(2)
    alarms = {0.0: 0, 1.0: 0}
    for _ in range(200):
        kinds = [Kind(0.8, counts(rng, 150)), Kind(0.2, counts(rng, 80, 2.0))]
        for shift in alarms:
            lot = counts(rng, 160, shift) + counts(rng, 40, 2.0 + shift)
            alarms[shift] += departure(kinds, lot, 0.05, rng, draws=400).p <= 0.05
    assert alarms[0.0] <= 20  # 10 expected; more than 20 has a probability of 0.1 %
    assert alarms[1.0] >= 180


def test_an_outcome_that_no_certified_image_had_is_no_proof_of_a_change() -> None:
    rng = np.random.default_rng(0)
    kinds = [Kind(1.0, np.array([100, 0, 0]))]
    assert departure(kinds, np.array([49, 1, 0]), 0.01, rng).p > 0.01
    assert departure(kinds, np.array([40, 10, 0]), 0.01, rng).p < 0.01


def test_the_mix_of_a_labelled_lot_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    kinds = [Kind(0.9, np.array([90, 10])), Kind(0.1, np.array([10, 90]))]
    lot = np.array([[45, 5], [50, 450]])
    found = departure(kinds, lot, 0.01, rng)
    assert found.distance == pytest.approx(0)
    assert found.p == 1
    assert departure(kinds, lot.sum(axis=0), 0.01, rng).p < 0.01


def test_between_lots_student_says_how_often() -> None:
    earlier = [1.0, 2.0, 0.5, 1.5, 1.0]
    scale = math.sqrt(sum(each**2 for each in earlier) / 5)
    assert p_between_lots(3.0, earlier) == pytest.approx(2 * stats.t(5).sf(3.0 / scale))


def test_lots_that_are_exactly_as_certified_excuse_no_distance() -> None:
    assert p_between_lots(3.0, [0.0] * 5) == 0
    assert p_between_lots(0.0, [0.0] * 5) == 1
