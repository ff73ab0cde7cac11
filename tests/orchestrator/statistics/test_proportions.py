"""Accuracies near 0 and 1 keep an interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from orchestrator.statistics.proportions import clopper_pearson, wilson

UNHURRIED = settings(deadline=None)

both = pytest.mark.parametrize("interval", [wilson])
counts = st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_newcombes_examples(k: int, n: int, low: float, high: float) -> None:
    assert wilson(k, n) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@UNHURRIED
@given(counts)
def test_wilsons_interval_is_scipys(pair: tuple[int, int]) -> None:
    k, n = pair
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k, n) == (pytest.approx(expected.low, abs=1e-12), pytest.approx(expected.high, abs=1e-12))


@UNHURRIED
@given(counts)
def test_the_exact_interval_is_scipys(pair: tuple[int, int]) -> None:
    expected = binomtest(*pair).proportion_ci(method="exact")
    assert clopper_pearson(*pair) == pytest.approx((expected.low, expected.high))


def test_fractions_of_successes_lie_between_whole_ones() -> None:
    (low, high), *others = (clopper_pearson(count, 6) for count in (3.5, 3, 4))
    assert others[0][0] < low < others[1][0]
    assert others[0][1] < high < others[1][1]


@both
@UNHURRIED
@given(pair=counts)
def test_the_interval_has_a_width_and_mirrors(interval: object, pair: tuple[int, int]) -> None:
    assert callable(interval)
    k, n = pair
    low, high = interval(k, n)
    assert 0 <= low <= k / n <= high <= 1
    assert high - low > 0.001
    mirrored_low, mirrored_high = interval(n - k, n)
    assert (mirrored_low, mirrored_high) == (pytest.approx(1 - high), pytest.approx(1 - low))


@both
def test_many_settings_at_once(interval: object) -> None:
    assert callable(interval)
    low, high = interval(np.array([0, 5, 10, 0]), np.array([10, 10, 10, 0]))
    np.testing.assert_array_equal(low[[0, 3]], [0, math.nan])
    np.testing.assert_array_equal(high[[2, 3]], [1, math.nan])
    assert (low[1], high[1]) == interval(5, 10)


@both
@pytest.mark.parametrize("chance", [0.5, 0.9, 0.99])
def test_on_average_it_covers_95_of_100(interval: object, chance: float) -> None:
    """Over accuracies near this one, since at a single one no interval of a count is exact."""
    assert callable(interval)
    k = np.arange(201)
    low, high = interval(k, 200)
    near = chance + np.linspace(-0.009, 0.009, 50)
    covered = [binom.pmf(k, 200, p)[(low <= p) & (high >= p)].sum() for p in near]
    print(f"{chance}: {np.mean(covered):.3f}")
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)
