"""Ranks over settings, against Demšar's worked example."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scikit_posthocs import posthoc_nemenyi_friedman
from scipy.stats import friedmanchisquare, rankdata, wilcoxon

from orchestrator.statistics import ranks as ranks_module
from orchestrator.statistics.ranks import (
    Chance,
    Friedman,
    average_ranks,
    chance,
    cliques,
    critical_difference,
    friedman,
    holm_wilcoxon,
)

UNHURRIED = settings(deadline=None)

DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],  # both printed as 0.975, and ranked 2 and 3
        [0.957, 0.978, 0.946, 0.970],
    ]
)
"""Area under the ROC curve of C4.5, C4.5+m, C4.5+cf, C4.5+m+cf on 14 data sets (Demšar 2006, table 6)."""

scores = arrays(float, st.tuples(st.integers(2, 12), st.integers(3, 5)), elements=st.floats(0, 1), unique=True)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def judged(values: object) -> Friedman:
    return friedman(np.asarray(values, float), chance(np.asarray(values, float), rng()))


def by_brute_force(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean ranks (outcomes, methods) under every order of every setting."""
    ranks = rankdata(-values, axis=1)
    orders = [list(itertools.permutations(row)) for row in ranks]
    return np.array([np.mean(outcome, axis=0) for outcome in itertools.product(*orders)])


def test_demsars_example() -> None:
    assert average_ranks(DEMSAR) == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    found = judged(DEMSAR)
    assert found.statistic == pytest.approx(9.28, abs=5e-3)
    assert found.exact
    drawn = rng().permuted(np.tile(rankdata(-DEMSAR, axis=1), (20_000, 1, 1)), axis=2).mean(axis=1)
    away = ((drawn - 2.5) ** 2).sum(axis=1)
    expected = np.mean(away >= found.statistic * 4 * 5 / 12 / 14 - 1e-9)
    assert found.p == pytest.approx(expected, abs=0.003)  # chi-squared says 0.026
    assert critical_difference(14, chance(DEMSAR, rng())) == pytest.approx(1.25, abs=0.06)  # his is for many settings


def test_demsars_diagram() -> None:
    ranks = average_ranks(DEMSAR)
    assert cliques(ranks, 1.25) == [(3, 1, 2, 0)]  # "not powerful enough"
    assert cliques(ranks, 1.12) == [(3, 1, 2), (2, 0)]


@UNHURRIED
@given(scores)
def test_without_ties_the_statistic_is_scipys(values: NDArray[np.float64]) -> None:
    assert math.isnan(friedman(values, None).p)
    expected = friedmanchisquare(*values.T)
    found = friedman(values, Chance(np.zeros((1, values.shape[1]), np.int64), np.ones(1), exact=True))
    assert found.statistic == pytest.approx(expected.statistic, abs=1e-9)


@UNHURRIED
@given(
    arrays(
        float, st.sampled_from([(2, 2), (2, 3), (4, 3), (3, 4), (2, 5), (6, 2)]), elements=st.integers(0, 3).map(float)
    )
)
def test_p_counts_every_order_also_with_ties(values: NDArray[np.float64]) -> None:
    outcomes = by_brute_force(values)
    ranks = average_ranks(values)
    away = ((outcomes - outcomes[0].mean()) ** 2).sum(axis=1)
    observed = ((ranks - ranks.mean()) ** 2).sum()
    found = judged(values)
    assert found.exact
    assert found.p == pytest.approx((away >= observed - 1e-9).mean())
    ranges = np.ptp(outcomes, axis=1)
    rare = [each for each in np.unique(ranges.round(9)) if (ranges >= each - 1e-6).mean() <= 0.05]
    difference = critical_difference(len(values), chance(values, rng()))
    assert difference == pytest.approx(min(rare, default=math.inf))


@pytest.mark.parametrize(
    ("settings", "methods", "p"), [(2, 4, 1 / 24), (2, 2, 1 / 2), (3, 2, 1 / 4), (2, 3, 1 / 6), (4, 2, 1 / 8)]
)
def test_perfect_agreement_is_as_rare_as_it_is(settings: int, methods: int, p: float) -> None:
    """The F of Iman & Davenport said p < 0.001 to all of them."""
    found = judged([list(range(methods))] * settings)
    assert found.exact
    assert found.p == pytest.approx(p)


def test_kendalls_table_of_perfect_agreement() -> None:
    """The probabilities of Friedman's statistic for 3 methods and 4 settings (Kendall 1970, table 5)."""
    values = np.array([[1, 2, 3]] * 4, float)
    by_chance = chance(values, rng())
    doubled = 2 * rankdata(-values, axis=1).sum(axis=0)
    squares = (by_chance.sums**2).sum(axis=1)
    constant = int(doubled.sum() ** 2 / 3)
    published = {8: 0.931, 14: 0.273, 18: 0.125, 24: 0.069, 26: 0.042, 32: 0.0046}
    s_of = {8: 2, 14: 14, 18: 18, 24: 24, 26: 26, 32: 32}
    for key, p in published.items():
        assert by_chance.tail(squares, constant + 4 * s_of[key]) == pytest.approx(p, abs=6e-4), key


def test_where_orders_are_too_many_some_are_drawn_and_no_p_is_zero() -> None:
    values = np.tile(np.arange(12.0), (20, 1))
    found = judged(values)
    assert not found.exact
    assert found.p == pytest.approx(1 / (ranks_module.ORDERS + 1))
    assert judged(rng().normal(size=(20, 12))).p > 0.001


def test_drawn_orders_come_near_the_counted_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    values = rng().normal([0, 0, 0.5, 1], size=(7, 4))
    counted = judged(values)
    difference = critical_difference(7, chance(values, rng()))
    monkeypatch.setattr(ranks_module, "METHODS_COUNTED", 1)
    drawn = judged(values)
    assert counted.exact
    assert not drawn.exact
    assert drawn.p == pytest.approx(counted.p, abs=4 * math.sqrt(counted.p / ranks_module.ORDERS))
    assert critical_difference(7, chance(values, rng())) == pytest.approx(difference, abs=0.15)


def test_for_many_settings_the_critical_difference_nears_nemenyis() -> None:
    values = rng().normal(size=(60, 3))
    q = 2.343  # Demšar, table 5
    assert critical_difference(60, chance(values, rng())) == pytest.approx(q * math.sqrt(3 * 4 / (6 * 60)), abs=2 / 60)


@pytest.mark.parametrize("seed", range(5))
def test_methods_share_a_clique_unless_scikit_posthocs_tells_them_apart(seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(20, 6)) + np.linspace(0, 1.5, 6)
    ranks = average_ranks(values)
    found = cliques(ranks, critical_difference(20, chance(values, rng())))
    p = posthoc_nemenyi_friedman(values).to_numpy()
    together = np.eye(6, dtype=bool)
    for group in found:
        together[np.ix_(group, group)] = True
    unclear = (p > 0.03) & (p < 0.07)  # hers holds for many settings
    np.testing.assert_array_equal(together | unclear, (p > 0.05) | unclear)


def test_ranks_just_the_critical_difference_apart_differ_however_they_are_rounded() -> None:
    assert cliques([1.1, 1.1 + 1.3], 1.3) == []
    assert cliques([1 / 3, 1 / 3 + 0.7], 0.7) == []


@UNHURRIED
@given(st.lists(st.floats(1, 9), min_size=1, max_size=9), st.floats(0.1, 9))
def test_cliques_are_the_largest_groups_within_the_difference(ranks: list[float], difference: float) -> None:
    apart = [abs(one - other) for one, other in itertools.combinations(ranks, 2)]
    assume(all(abs(each - difference) > 1e-9 for each in apart))  # closer, it is the same but for rounding
    groups = cliques(ranks, difference)
    for group in groups:
        assert len(group) > 1
        assert ranks[group[-1]] - ranks[group[0]] < difference
        outside = [rank for i, rank in enumerate(ranks) if i not in group]
        within = [ranks[i] for i in group]
        assert all(max([*within, rank]) - min([*within, rank]) >= difference for rank in outside)
    joined = {frozenset((i, j)) for group in groups for i in group for j in group if i != j}
    close = {
        frozenset((i, j))
        for i in range(len(ranks))
        for j in range(len(ranks))
        if i != j and abs(ranks[i] - ranks[j]) < difference
    }
    assert joined == close


def test_what_diverged_ranks_last() -> None:
    assert list(average_ranks([[0.5, -math.inf, 0.6], [0.5, -math.inf, -math.inf]])) == [1.5, 2.75, 1.75]


def test_a_missing_score_has_no_rank() -> None:
    values = [[0.5, math.nan, 0.6], [0.5, 0.4, 0.3]]
    assert np.isnan(average_ranks(values)).all()
    assert np.isnan(friedman(values, None)[:2]).all()
    assert cliques(average_ranks(values), 1.0) == []


def test_holms_wilcoxon_compares_each_with_the_baseline() -> None:
    values = np.random.default_rng(0).normal([0, 0.3, 0.9, 1.5], size=(12, 4))
    raw = sorted((wilcoxon(values[:, i], values[:, 0]).pvalue, i) for i in (1, 2, 3))
    expected = np.full(4, np.nan)
    highest = 0.0
    for left, (p, i) in zip((3, 2, 1), raw, strict=True):
        highest = max(highest, min(1, left * p))
        expected[i] = highest
    np.testing.assert_allclose(holm_wilcoxon(values, 0, rng()), expected)


def test_both_diverged_is_no_difference() -> None:
    values = np.array([[-math.inf, -math.inf], *[[0.5, 0.6 + i / 100] for i in range(6)]])
    assert holm_wilcoxon(values, 0, rng())[1] == 2 / 2**6


def test_beyond_what_is_counted_signs_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    values = rng().normal([0, 0.3, 0.2], size=(30, 3)).round(1)  # with ties
    exact = holm_wilcoxon(values, 0, rng())
    monkeypatch.setattr(ranks_module, "SETTINGS_COUNTED", 10)
    drawn = holm_wilcoxon(values, 0, rng())
    assert not np.array_equal(drawn, exact, equal_nan=True)
    np.testing.assert_allclose(drawn, exact, atol=0.02)


@pytest.mark.parametrize(("settings", "methods"), [(2, 2), (2, 4), (3, 2), (5, 3), (14, 4)])
def test_without_a_difference_the_rank_tests_keep_their_level(settings: int, methods: int) -> None:
    draws = np.random.default_rng(0)
    runs = 400
    false = np.zeros(3)
    by_chance = chance(draws.uniform(size=(settings, methods)), rng())  # without ties it is the same for all
    difference = critical_difference(settings, by_chance)
    for _ in range(runs):
        values = draws.uniform(size=(settings, methods))
        ranks = average_ranks(values)
        false += [
            friedman(values, by_chance).p <= 0.05,
            bool(ranks.max() - ranks.min() >= difference - 1e-9),
            np.nanmin(holm_wilcoxon(values, 0, draws)) <= 0.05,
        ]
    print(dict(zip(("friedman", "nemenyi", "holm-wilcoxon"), false / runs, strict=True)))
    assert (false / runs < 0.05 + 4 * math.sqrt(0.05 * 0.95 / runs)).all()
