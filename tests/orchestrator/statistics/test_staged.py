"""A mean over settings with unequal numbers of seeds: its error, its looks, and how seeds are shared out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from benchmarks.allocation import GRIDS, rates
from orchestrator.statistics import staged
from orchestrator.statistics.intervals import mean_interval


def test_looks_double_and_the_last_one_has_all_seeds() -> None:
    assert staged.looks(5, 30) == (5, 10, 20, 30)
    assert staged.looks(3, 6) == (3, 6)
    assert staged.looks(4, 5) == (4, 5)


def test_seeds_are_in_proportion_to_spread_and_to_the_square_root_of_what_they_save() -> None:
    assert staged.shares([1, 2, 3], [1, 1, 1], each=16, least=4, most=100) == [10, 16, 22]
    cheap, dear = staged.shares([1, 1], [1, 4], each=12, least=4, most=100)
    assert (cheap - 4) / (dear - 4) == pytest.approx(2, rel=0.15)


@pytest.mark.parametrize("seed", range(20))
def test_a_look_costs_no_more_than_equally_many_seeds_and_nearly_as_much(seed: int) -> None:
    rng = np.random.default_rng(seed)
    deviations = rng.lognormal(size=5).tolist()
    costs = rng.lognormal(size=5).tolist()
    shares = staged.shares(deviations, costs, each=20, least=5, most=40)
    budget = 20 * sum(costs)
    spent = float(np.dot(shares, costs))
    assert budget - sum(costs) <= spent <= budget * (1 + 1e-9)
    assert all(5 + math.ceil(15 * staged.FLOOR) <= share <= 40 for share in shares)


def test_every_setting_has_at_least_half_of_the_further_seeds_and_at_most_all() -> None:
    assert staged.shares([0, 0, 9], [1, 1, 1], each=10, least=4, most=12) == [7, 7, 12]
    assert staged.shares([0, 0], [1, 1], each=10, least=4, most=12) == [7, 7]


def test_at_the_first_look_and_at_the_last_all_settings_have_equally_many() -> None:
    assert staged.shares([1, 9], [1, 1], each=5, least=5, most=20) == [5, 5]
    assert staged.shares([1, 9], [1, 1], each=20, least=5, most=20) == [20, 20]


def test_with_the_same_seeds_in_all_settings_it_is_students_t_on_one_number_per_seed() -> None:
    values = np.random.default_rng(0).normal(size=(3, 12)) * [[1], [2], [5]] + 2
    factors = [0.5, 0.3, 0.2]
    first = np.broadcast_to(np.arange(12) < 4, values.shape)
    found = staged.weighted(values, factors, first, share=4 / 12)
    sums = factors @ values
    assert found.estimate == pytest.approx(sums.mean())
    assert found.freedom == pytest.approx(11)
    assert staged.level(found.estimate / found.error, found.freedom, 1, 2) / 2 == pytest.approx(
        ttest_1samp(sums, 0).pvalue
    )
    expected = mean_interval(list(sums), 0.975)
    assert staged.interval(found, 1, 2, 12)[1:3] == pytest.approx(expected[1:3])


def drawn(rng: np.random.Generator, correlation: float) -> staged.Array:
    shared = rng.normal(size=(1, 16))
    values = [[1], [3]] * (math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * rng.normal(size=(2, 16)))
    values[0, 7:] = np.nan
    return values


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_the_error_is_that_of_the_sum_whether_or_not_settings_depend_on_each_other(correlation: float) -> None:
    rng = np.random.default_rng(1)
    first = np.broadcast_to(np.arange(16) < 5, (2, 16))
    found = [staged.weighted(drawn(rng, correlation), [0.5, 0.5], first, share=0.5) for _ in range(3000)]
    variance = np.var([each.estimate for each in found])
    squares = np.array([each.error**2 for each in found])
    assert squares.mean() == pytest.approx(variance, rel=0.08)
    freedom = 2 * squares.mean() ** 2 / squares.var()
    assert np.median([each.freedom for each in found]) == pytest.approx(freedom, rel=0.25)


def test_the_first_seeds_keep_their_weight() -> None:
    values = np.array([[2.0, 2, 0, 0, 0, 0, 0, 0]])
    first = np.array([[True, True, *[False] * 6]])
    assert staged.weighted(values, [1.0], first, share=0.5).estimate == pytest.approx(1.0)


def test_what_has_no_spread_has_no_error_unless_the_measure_moves_in_steps() -> None:
    values = np.full((2, 6), 0.25)
    first = np.broadcast_to(np.arange(6) < 3, values.shape)
    assert math.isnan(staged.weighted(values, [0.5, 0.5], first, share=0.5).error)
    assert staged.weighted(values, [0.5, 0.5], first, share=0.5, step=0.1).error == pytest.approx(0.05 / math.sqrt(6))


def test_a_setting_without_further_seeds_leaves_no_estimate() -> None:
    values = np.array([[1.0, 2, 3, 4], [1.0, 2, np.nan, np.nan]])
    first = np.broadcast_to(np.arange(4) < 2, values.shape)
    assert math.isnan(staged.weighted(values, [0.5, 0.5], first, share=0.5).estimate)


def test_half_of_alpha_is_for_the_last_look_and_the_rest_in_equal_parts_for_the_others() -> None:
    numbers = 4
    assert sum(1 / staged.parts(look, numbers) for look in range(numbers)) == pytest.approx(1)
    assert staged.parts(3, numbers) == 2


@pytest.mark.parametrize("shape", ["Gaussian", pytest.param("exponential", marks=pytest.mark.slow)])
def test_where_nothing_differs_shares_by_spread_and_cost_err_no_more_than_they_may(shape: str) -> None:
    """`benchmarks/allocation.py` draws more of them."""
    runs = 400
    for grid in GRIDS[1:]:
        found = rates(grid, shape, 0.0, runs)
        assert found.within(shape, runs), (grid.name, found)
