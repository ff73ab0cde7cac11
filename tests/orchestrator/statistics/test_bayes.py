"""Bayesian tests over settings, against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, dirichlet

from orchestrator.statistics.bayes import Posterior, sign, signed_rank

UNHURRIED = settings(deadline=None, derandomize=True)

both = pytest.mark.parametrize("test", [signed_rank, sign])
percents = st.lists(st.integers(-5, 5).map(lambda percent: percent / 100), max_size=12)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def by_definition(values: list[float], rope: float, draws: int) -> Posterior:
    """Benavoli et al. 2017, pair by pair, as their package baycomp sums them."""
    values = [0.0, *values]
    sums = np.add.outer(values, values)
    higher = sums > 2 * rope + 1e-12
    lower = sums < -2 * rope - 1e-12
    weights = dirichlet([0.5] + [1.0] * (len(values) - 1), seed=1).rvs(draws)
    masses = np.array([[w @ lower @ w, w @ ~(lower | higher) @ w, w @ higher @ w] for w in weights])
    return Posterior(*np.bincount(masses.argmax(axis=1), minlength=3) / draws)


@pytest.mark.parametrize("rope", [0.0, 0.01, 0.025])
def test_the_signed_rank_test_is_what_its_definition_says(rope: float) -> None:
    values = [0.02, -0.01, 0.03, 0.005, 0.01, 0.04, -0.02, 0.0, 0.015, 0.02]
    expected = by_definition(values, rope, 10_000)
    assert signed_rank(values, rope, rng(), draws=10_000) == pytest.approx(expected, abs=0.03)


def test_the_sign_test_of_two_regions_is_a_beta_distribution() -> None:
    higher = beta(7, 4).sf(0.5)  # 7 settings, against 3 and the prior's one
    found = sign([0.1] * 7 + [0.0] * 3, 0.01, rng())
    assert found == pytest.approx((0, 1 - higher, higher), abs=0.01)


@both
@UNHURRIED
@given(values=percents, rope=st.sampled_from([0.0, 0.01, 0.02]))
def test_the_three_sum_to_one_and_swap_sides(test: type, values: list[float], rope: float) -> None:
    forth = test(values, rope, rng(), draws=2000)
    back = test([-value for value in values], rope, rng(), draws=2000)
    assert sum(forth) == pytest.approx(1)
    assert tuple(back)[::-1] == pytest.approx(tuple(forth), abs=0.08)
    assert sum(test(values[::-1], rope, rng(), draws=2000)) == pytest.approx(1)


@both
def test_what_is_plain_is_nearly_certain(test: type) -> None:
    assert test([0.1] * 20, 0.01, rng()).higher > 0.999
    assert test([-0.1] * 20, 0.01, rng()).lower > 0.999
    assert test([0.001] * 20, 0.01, rng()).equivalent > 0.999


@both
def test_what_lies_at_the_border_within_a_step_speaks_for_both_sides(test: type) -> None:
    assert test([0.01] * 12, 0.01, rng()).equivalent > 0.99
    assert test([0.0104] * 12, 0.01, rng()).higher > 0.99
    for near in (0.0096, 0.01, 0.0104):
        halved = test([near] * 12, 0.01, rng(), step=0.001)
        assert halved.higher < 0.6
        assert halved.lower == 0
    assert test([0.02] * 20, 0.01, rng(), step=0.001) == pytest.approx(test([0.02] * 20, 0.01, rng()), abs=0.01)
    assert test([0.0] * 12, 0.0, rng(), step=0.001).equivalent > 0.99


@both
def test_without_settings_the_prior_speaks(test: type) -> None:
    assert test([], 0.01, rng(), draws=10) == Posterior(0, 1, 0)


@both
def test_a_missing_setting_is_not_left_out_silently(test: type) -> None:
    assert np.isnan(test([0.1, math.nan], 0.01, rng())).all()


def test_many_settings_take_seconds() -> None:
    assert signed_rank(rng().normal(0.01, 0.1, size=1000), 0.0, rng(), draws=10_000).higher > 0.9


@both
def test_without_a_difference_neither_side_is_nearly_certain_more_than_it_should(test: type) -> None:
    found = [test(rng.normal(size=20), 0.0, rng, draws=400) for rng in map(np.random.default_rng, range(400))]
    rate = np.mean([max(posterior.lower, posterior.higher) > 0.95 for posterior in found])
    print(f"{rate:.3f}")
    assert rate < 0.1 + 4 * math.sqrt(0.1 * 0.9 / 400)
