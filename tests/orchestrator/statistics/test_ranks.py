"""Ranks over settings, against Demšar's worked example."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scikit_posthocs import posthoc_nemenyi_friedman
from scipy.stats import friedmanchisquare, wilcoxon

from orchestrator.statistics.ranks import average_ranks, cliques, friedman, holm_wilcoxon, nemenyi_difference

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


def test_demsars_example() -> None:
    assert average_ranks(DEMSAR) == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    found = friedman(DEMSAR)
    assert found.statistic == pytest.approx(9.28, abs=5e-3)
    assert found.iman_davenport == pytest.approx(3.69, abs=5e-3)
    assert found.p == pytest.approx(0.0258, abs=5e-4)
    assert found.iman_davenport_p < 0.05  # the paper: F(3, 39) = 2.85 at 0.05
    assert nemenyi_difference(4, 14) == pytest.approx(1.25, abs=5e-3)
    assert nemenyi_difference(4, 14, alpha=0.1) == pytest.approx(1.12, abs=5e-3)


def test_demsars_diagram() -> None:
    ranks = average_ranks(DEMSAR)
    assert cliques(ranks, nemenyi_difference(4, 14)) == [(3, 1, 2, 0)]  # "not powerful enough"
    assert cliques(ranks, nemenyi_difference(4, 14, alpha=0.1)) == [(3, 1, 2), (2, 0)]


@pytest.mark.parametrize(("methods", "q"), [(2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)])
def test_demsars_critical_values(methods: int, q: float) -> None:
    assert nemenyi_difference(methods, 1) == pytest.approx(q * math.sqrt(methods * (methods + 1) / 6), rel=5e-4)


@UNHURRIED
@given(scores)
def test_without_ties_friedman_is_scipys(values: NDArray[np.float64]) -> None:
    expected = friedmanchisquare(*values.T)
    found = friedman(values)
    assert found.statistic == pytest.approx(expected.statistic, abs=1e-9)
    assert found.p == pytest.approx(expected.pvalue, abs=1e-9)
    assert 0 <= found.iman_davenport_p <= 1


@pytest.mark.parametrize("seed", range(5))
def test_methods_share_a_clique_unless_scikit_posthocs_tells_them_apart(seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(20, 6)) + np.linspace(0, 1.5, 6)
    found = cliques(average_ranks(values), nemenyi_difference(6, 20))
    p = posthoc_nemenyi_friedman(values).to_numpy()
    together = np.eye(6, dtype=bool)
    for group in found:
        together[np.ix_(group, group)] = True
    np.testing.assert_array_equal(together, p > 0.05)


@UNHURRIED
@given(st.lists(st.floats(1, 9), min_size=1, max_size=9), st.floats(0.1, 9))
def test_cliques_are_the_largest_groups_within_the_difference(ranks: list[float], difference: float) -> None:
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


def test_perfect_agreement_is_as_far_as_iman_davenport_goes() -> None:
    found = friedman([[3, 2, 1]] * 5)
    assert found.statistic == pytest.approx(10)
    assert found.iman_davenport_p == pytest.approx(0)


def test_what_diverged_ranks_last() -> None:
    assert list(average_ranks([[0.5, -math.inf, 0.6], [0.5, -math.inf, -math.inf]])) == [1.5, 2.75, 1.75]


def test_a_missing_score_has_no_rank() -> None:
    values = [[0.5, math.nan, 0.6], [0.5, 0.4, 0.3]]
    assert np.isnan(average_ranks(values)).all()
    assert np.isnan(friedman(values)).all()
    assert cliques(average_ranks(values), 1.0) == []


def test_holms_wilcoxon_compares_each_with_the_baseline() -> None:
    values = np.random.default_rng(0).normal([0, 0.3, 0.9, 1.5], size=(12, 4))
    raw = sorted((wilcoxon(values[:, i], values[:, 0]).pvalue, i) for i in (1, 2, 3))
    expected, highest = np.full(4, np.nan), 0.0
    for left, (p, i) in zip((3, 2, 1), raw, strict=True):
        highest = max(highest, min(1, left * p))
        expected[i] = highest
    np.testing.assert_allclose(holm_wilcoxon(values, 0), expected)


def test_both_diverged_is_no_difference() -> None:
    values = np.array([[-math.inf, -math.inf], *[[0.5, 0.6 + i / 100] for i in range(6)]])
    assert holm_wilcoxon(values, 0)[1] == 2 / 2**6


def test_without_a_difference_the_rank_tests_keep_their_level() -> None:
    rng = np.random.default_rng(0)
    runs = 1000
    false = np.zeros(4)
    for _ in range(runs):
        values = rng.uniform(size=(14, 4))
        found, ranks = friedman(values), average_ranks(values)
        false += [
            found.p <= 0.05,
            found.iman_davenport_p <= 0.05,
            cliques(ranks, 1.2536) != [tuple(np.argsort(ranks, kind="stable"))],
            np.nanmin(holm_wilcoxon(values, 0)) <= 0.05,
        ]
    print(dict(zip(("friedman", "iman-davenport", "nemenyi", "holm-wilcoxon"), false / runs, strict=True)))
    assert (false / runs < 0.05 + 4 * math.sqrt(0.05 * 0.95 / runs)).all()
