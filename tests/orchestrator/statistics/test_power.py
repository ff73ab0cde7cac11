"""What a grid can show, before it runs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.power import TTestPower

from orchestrator.statistics.intervals import Interval, mean_interval
from orchestrator.statistics.paired import sign_flip_test, wilcoxon_test
from orchestrator.statistics.power import (
    advice,
    chances,
    is_impossible,
    seeds_to_decide,
    smallest_p,
)
from orchestrator.statistics.verdicts import verdict

UNHURRIED = settings(deadline=None)

alphas = st.sampled_from([0.05, 0.01, 0.001])


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


# --- verdicts -----------------------------------------------------------------------------------


@UNHURRIED
@given(st.floats(0, 3), st.integers(3, 60), alphas)
def test_without_a_margin_the_chances_are_the_t_tests_power(effect: float, n: int, alpha: float) -> None:
    found = chances(effect, 1.0, n, alpha=alpha)
    power = TTestPower().power(effect, n, alpha, alternative="two-sided")
    if not math.isnan(power):
        assert found.decided == pytest.approx(power, abs=2e-4)
    assert found.equivalent == 0
    assert found.higher >= found.lower


@pytest.mark.parametrize(
    ("difference", "deviation", "n", "margin", "step"),
    [(0.6, 1.0, 5, 0.0, 0.0), (0.0, 0.5, 3, 1.0, 0.0), (0.2, 1.0, 30, 0.8, 0.0), (-2.0, 1.0, 5, 0.5, 0.0),
     (0.3, 0.2, 4, 0.3, 0.0), (0.3, 0.1, 5, 0.1, 1.0), (0.0, 0.3, 6, 0.7, 1.0), (5.0, 0.001, 3, 0.0, 0.0)],
)  # fmt: skip
def test_the_chances_are_how_often_each_verdict_is_given(
    difference: float, deviation: float, n: int, margin: float, step: float
) -> None:
    rng = np.random.default_rng(5)
    runs = 3000
    drawn = rng.normal(difference, deviation, size=(runs, n))
    found = [verdict(mean_interval(list(run), step=step), "higher", margin) for run in drawn]
    expected = chances(difference, deviation, n, margin, step=step)
    for name, chance in zip(("refuted", "equivalent", "supported"), expected, strict=True):
        rate = found.count(name) / runs
        assert rate == pytest.approx(chance, abs=4 * math.sqrt(max(chance * (1 - chance), 1e-4) / runs)), name


def test_a_claim_of_equality_is_not_a_claim_of_difference() -> None:
    """What finds a difference 4 times in 5 supports equality in next to no run."""
    smallest = 0.01 * TTestPower().solve_power(nobs=5, alpha=0.05, power=0.8)
    assert chances(smallest, 0.01, 5, margin=0.005).supports("equal") < 0.01
    assert chances(0.0, 0.01, 5, margin=0.05).supports("equal") > 0.99
    assert chances(0.05, 0.01, 5).supports("higher") == pytest.approx(chances(-0.05, 0.01, 5).supports("lower"))


def test_fewer_than_three_seeds_and_no_spread_at_all_decide_nothing() -> None:
    assert chances(1.0, 0.1, 2) == (0, 0, 0)
    assert chances(1.0, 0.0, 5) == (0, 0, 0)
    assert chances(1.0, 0.0, 5, 0.1, step=0.01) == (0, 0, 1)
    assert chances(0.0, 0.0, 5, 0.1, step=0.01) == (0, 1, 0)
    assert chances(-0.1, 0.0, 5, 0.1, step=0.01) == (0, 0, 0)


@UNHURRIED
@given(st.floats(0.3, 3), st.floats(0, 0.2), alphas)
def test_one_seed_less_would_not_decide(effect: float, margin: float, alpha: float) -> None:
    n = seeds_to_decide(effect, 1.0, margin, alpha, most=400)
    if n is None:
        assert chances(effect, 1.0, 400, margin, alpha).decided < 0.8
    else:
        assert chances(effect, 1.0, n, margin, alpha).decided >= 0.8
        assert n == 3 or chances(effect, 1.0, n - 1, margin, alpha).decided < 0.8


def test_the_advice_is_what_would_decide_if_all_is_as_estimated() -> None:
    values = [0.004, 0.012, -0.006, 0.010, 0.001]
    interval = mean_interval(values)
    found = advice(interval, 0.0, 0.05)
    assert found is not None
    n = seeds_to_decide(float(np.mean(values)), float(np.std(values, ddof=1)))
    assert found.seeds == n
    assert n is not None
    assert n > 5
    assert found.bound == pytest.approx(max(abs(interval.low), abs(interval.high)))
    stricter = advice(interval, 0.0, 0.05 / 12)
    assert stricter is not None
    assert stricter.seeds is not None
    assert stricter.seeds > n


def test_the_advice_never_names_fewer_seeds_than_there_are_nor_more_than_are_practical() -> None:
    close = advice(mean_interval([0.1, 0.5, 0.3]), 0.0, 0.05)
    assert close is not None
    assert close.seeds is not None
    assert close.seeds >= 4
    hopeless = advice(mean_interval([0.1, -0.1, 0.1001, -0.1, 0.0]), 0.0, 0.05)
    assert hopeless is not None
    assert hopeless.seeds is None
    assert hopeless.bound == pytest.approx(0.124, abs=0.001)
    assert advice(Interval(0.3, math.nan, math.nan, 1), 0.0, 0.05) is None
