"""What a grid can show, before it runs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.power import TTestPower

from orchestrator.statistics.paired import paired_t_test, sign_flip_test, wilcoxon_test
from orchestrator.statistics.power import (
    achieved_power,
    is_impossible,
    minimum_detectable_difference,
    seeds_needed,
    smallest_p,
)

UNHURRIED = settings(deadline=None)

alphas = st.sampled_from([0.05, 0.01, 0.001])


@pytest.mark.parametrize(("effect", "n"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_the_seeds_are_those_of_g_power(effect: float, n: int) -> None:
    assert seeds_needed(effect, 1.0) == n


@UNHURRIED
@given(st.floats(0.05, 5), st.integers(2, 100), alphas)
def test_the_power_is_that_of_statsmodels(effect: float, n: int, alpha: float) -> None:
    expected = TTestPower().power(effect, n, alpha, alternative="two-sided")
    if not math.isnan(expected):
        assert achieved_power(effect, 1.0, n, alpha) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("n", [3, 5, 20])
def test_the_power_is_how_often_the_t_test_sees_it(n: int) -> None:
    p = paired_t_test(np.random.default_rng(n).normal(1, 1.5, size=(10_000, n)))
    expected = achieved_power(1, 1.5, n)
    assert np.mean(p <= 0.05) == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 10_000))


@UNHURRIED
@given(st.floats(0.001, 10), st.integers(2, 200), alphas, st.floats(0.3, 0.95))
def test_the_detectable_difference_has_the_power_asked_for(
    deviation: float, n: int, alpha: float, power: float
) -> None:
    difference = minimum_detectable_difference(deviation, n, alpha, power)
    assert achieved_power(difference, deviation, n, alpha) == pytest.approx(power, abs=1e-6)
    assert difference == pytest.approx(deviation * minimum_detectable_difference(1, n, alpha, power))
    assert minimum_detectable_difference(deviation, n + 1, alpha, power) < difference


@UNHURRIED
@given(st.floats(0.05, 3), alphas)
def test_one_seed_less_would_not_do(effect: float, alpha: float) -> None:
    n = seeds_needed(effect, 1.0, alpha)
    assert n is not None
    assert achieved_power(effect, 1.0, n, alpha) >= 0.8
    assert n == 2 or achieved_power(effect, 1.0, n - 1, alpha) < 0.8
    assert seeds_needed(-effect, 1.0, alpha) == n


def test_no_number_of_seeds_shows_what_is_not_there() -> None:
    assert seeds_needed(0, 1) is None
    assert seeds_needed(0.01, 1, most=100) is None
    assert seeds_needed(0.01, 0) == 2
    assert achieved_power(0, 1, 10) == pytest.approx(0.05)
    assert achieved_power(0, 0, 10) == 0.05


def test_one_seed_shows_nothing() -> None:
    assert math.isnan(achieved_power(1, 1, 1))
    assert math.isnan(minimum_detectable_difference(1, 1))


@pytest.mark.parametrize("n", [0, 1, 2, 5, 6, 13, 14, 20])
def test_the_smallest_p_is_what_the_tests_give_at_best(n: int) -> None:
    rng = np.random.default_rng(0)
    best = rng.uniform(1, 2, size=n)
    if n:
        assert smallest_p(n, "wilcoxon") == pytest.approx(float(wilcoxon_test(best)))
        assert smallest_p(n, "sign_flip", draws=999) <= sign_flip_test(best, rng, draws=999) < 0.001 + 2 / 2**n
    else:
        assert smallest_p(n, "wilcoxon") == 1


def test_what_no_data_can_show() -> None:
    assert smallest_p(6, "wilcoxon") == pytest.approx(0.03125)  # issue 7
    assert is_impossible(5, 1, 0.05, "sign_flip")
    assert not is_impossible(6, 1, 0.05, "sign_flip")
    assert is_impossible(8, 10, 0.05, "wilcoxon")  # 0.0078 > 0.005
    assert not is_impossible(9, 10, 0.05, "wilcoxon")
    assert is_impossible(30, 1000, 0.05, "sign_flip")  # 10 000 draws resolve 0.0001, Holm asks for 0.00005
    assert not is_impossible(30, 1000, 0.05, "sign_flip", draws=100_000)
