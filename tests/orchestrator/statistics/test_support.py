"""The power of a claim: against independent references, and against simulated experiments."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from orchestrator.statistics.intervals import mean_interval
from orchestrator.statistics.scopes import in_all, in_some, levels
from orchestrator.statistics.support import (
    Asked,
    Assumed,
    correlation,
    probability,
    seeds_for,
    simulated,
    smallest_effect,
)
from orchestrator.statistics.verdicts import Direction

RUNS = 4000
SIGN = Asked("higher", 0, 0.05)


@pytest.mark.parametrize("n", [3, 5, 20])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 12])
def test_without_a_margin_it_is_one_side_of_statsmodels_power(n: int, alpha: float) -> None:
    expected = TTestPower().power(0.8, n, alpha / 2, alternative="larger")
    assert probability(0.008, 0.01, n, Asked("higher", 0, alpha)) == pytest.approx(expected, abs=2e-3)
    assert probability(-0.008, 0.01, n, Asked("lower", 0, alpha)) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("direction", get_args(Direction))
@pytest.mark.parametrize("n", [3, 5, 12])
def test_it_is_how_often_the_verdict_is_given(direction: Direction, n: int) -> None:
    effect = {"higher": 0.02, "lower": -0.02, "equal": 0.002}[direction]
    deviation = 0.008
    margin = 0.009
    alpha = 0.02
    rng = np.random.default_rng(n)
    found = [
        levels(mean_interval(list(rng.normal(effect, deviation, n))), direction, margin).supported <= alpha
        for _ in range(RUNS)
    ]
    expected = probability(effect, deviation, n, Asked(direction, margin, alpha))
    assert np.mean(found) == pytest.approx(expected, abs=4 * math.sqrt(0.25 / RUNS))


def test_equality_has_almost_no_power_where_the_spread_exceeds_the_margin() -> None:
    assert probability(0, 0.025, 5, Asked("equal", 0.005, 0.05 / 12)) < 0.01


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_than_three_seeds_decide_nothing(n: int) -> None:
    assert probability(1, 0.01, n, Asked("higher", 0, 0.05)) == 0
    assert simulated("all", Assumed([1], [0.01]), n, Asked("higher", 0, 0.05), rng=np.random.default_rng(0)) == 0


@pytest.mark.parametrize("over", ["all", "some"])
@pytest.mark.parametrize("direction", get_args(Direction))
def test_of_one_setting_the_simulation_agrees_with_the_integral(over: str, direction: Direction) -> None:
    assert over in {"all", "some"}
    effect = {"higher": 0.02, "lower": -0.02, "equal": 0.0}[direction]
    found = simulated(
        "all" if over == "all" else "some",
        Assumed([effect], [0.01]),
        6,
        Asked(direction, 0.01, 0.05),
        rng=np.random.default_rng(0),
        draws=20_000,
    )
    assert found == pytest.approx(probability(effect, 0.01, 6, Asked(direction, 0.01, 0.05)), abs=0.015)


@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_the_simulation_is_how_often_all_or_some_are_supported(rho: float) -> None:
    rng = np.random.default_rng(1)
    effects = np.array([0.015, 0.012, 0.02])
    spread = 0.008
    every = 0
    any_ = 0
    for _ in range(RUNS):
        noise = math.sqrt(rho) * rng.normal(size=5) + math.sqrt(1 - rho) * rng.normal(size=(3, 5))
        found = [levels(mean_interval(list(row)), "higher", 0) for row in effects[:, None] + spread * noise]
        every += in_all(found).supported <= 0.05
        any_ += in_some(found).supported <= 0.05
    assumed = Assumed(list(effects), [spread] * 3, rho)
    draws = np.random.default_rng(2)
    allowed = 4 * math.sqrt(2 * 0.25 / RUNS)
    assert simulated("all", assumed, 5, SIGN, rng=draws, draws=RUNS) == pytest.approx(every / RUNS, abs=allowed)
    assert simulated("some", assumed, 5, SIGN, rng=draws, draws=RUNS) == pytest.approx(any_ / RUNS, abs=allowed)


@pytest.mark.parametrize("n", [3, 7])
@pytest.mark.parametrize("rho", [0.0, 0.3, 0.9])
def test_the_simulation_gives_what_numbers_for_every_seed_give(rho: float, n: int) -> None:
    draws = 40_000
    rng = np.random.default_rng(3)
    effects = np.array([0.012, 0.01, 0.016])
    spreads = np.array([0.006, 0.004, 0.009])
    noise = math.sqrt(rho) * rng.normal(size=(draws, 1, n)) + math.sqrt(1 - rho) * rng.normal(size=(draws, 3, n))
    values = effects[:, None] + spreads[:, None] * noise
    reach = stats.t.ppf(0.975, n - 1) * values.std(axis=2, ddof=1) / math.sqrt(n)
    expected = float((values.mean(axis=2) - reach > 0.001).all(axis=1).mean())
    asked = Asked("higher", 0.001, 0.05)
    found = simulated("all", Assumed([*effects], [*spreads], rho), n, asked, rng=np.random.default_rng(4), draws=draws)
    assert expected > 0.01
    assert found == pytest.approx(expected, abs=4 * math.sqrt(2 * expected * (1 - expected) / draws))


def test_settings_that_share_noise_are_supported_together_more_often() -> None:
    def power(rho: float) -> float:
        return simulated(
            "all", Assumed([0.012] * 6, [0.008] * 6, rho), 6, SIGN, rng=np.random.default_rng(0), draws=8000
        )

    assert power(0.9) > power(0.0) + 0.1


def test_the_correlation_is_that_of_two_settings() -> None:
    values = np.random.default_rng(0).multivariate_normal([0, 1], [[1, 0.6], [0.6, 1]], 30).T
    assert correlation(values) == pytest.approx(stats.pearsonr(*values)[0])


def test_settings_in_step_are_correlated_by_1_and_have_a_power() -> None:
    for seed in range(20):  # rounded, some of these ratios are above 1
        values = np.random.default_rng(seed).normal(size=5) * np.array([[1], [1.7], [0.3]])
        found = correlation(values)
        assert found is not None
        assert 1 - 1e-12 < found <= 1
        assumed = Assumed([0.02] * 3, [0.01] * 3, found)
        assert simulated("all", assumed, 5, SIGN, rng=np.random.default_rng(0), draws=100) > 0.5


def test_a_seed_that_one_setting_lacks_is_in_no_correlation() -> None:
    values = np.array([[1.0, 2.0, 4.0, 99.0], [2.0, 2.5, 5.0, math.nan]])
    assert correlation(values) == pytest.approx(float(np.corrcoef(values[:, :3])[0, 1]))
    assert correlation(values[:, 2:]) is None
    assert correlation(np.zeros((2, 5))) is None


def test_the_seeds_for_a_power_are_the_fewest_that_have_it() -> None:
    def power(n: int) -> float:
        return probability(0.01, 0.01, n, SIGN)

    found = seeds_for(power)
    assert found == 10  # G*Power: 10 for d = 1 at one-sided 2.5 %
    assert power(10) >= 0.8 > power(9)
    assert seeds_for(lambda _: 0.5) is None


def test_the_smallest_effect_has_just_the_power() -> None:
    found = smallest_effect(lambda effect: probability(effect, 0.01, 100, Asked("higher", 0.005, 0.05)), 0.001)
    assert probability(found, 0.01, 100, Asked("higher", 0.005, 0.05)) == pytest.approx(0.8, abs=2e-3)
