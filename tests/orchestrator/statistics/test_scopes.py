"""One verdict on several settings: against independent references, and by how often it errs."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from orchestrator.statistics.intervals import Interval, mean_interval
from orchestrator.statistics.scopes import (
    FEWEST_DATASETS,
    UNKNOWN,
    Levels,
    combined,
    in_all,
    in_some,
    levels,
    mean_factors,
    population_interval,
    trend_factors,
)
from orchestrator.statistics.verdicts import Direction, verdict

Array = NDArray[np.float64]

MARGIN = 0.01
RUNS = 4000
ALLOWED = 0.05 + 3 * math.sqrt(0.05 * 0.95 / RUNS)
"""5 %, and three standard errors of the simulation."""

chances = st.floats(0, 1)
found = st.builds(Levels, chances, chances, chances)


def by_seed(values: NDArray[np.floating]) -> list[dict[int, float]]:
    """Settings (settings, seeds) as the functions take them."""
    return [dict(enumerate(map(float, row))) for row in values]


def drawn(rng: np.random.Generator, means: NDArray[np.floating], seeds: int, correlation: float) -> Array:
    """Differences (settings, seeds) with unequal spreads, of which settings under one seed share a part."""
    shared = rng.normal(size=(1, seeds))
    own = rng.normal(size=(len(means), seeds))
    spreads = np.linspace(0.5, 2, len(means))[:, None] * MARGIN
    noise = math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * own
    return means[:, None] + spreads * noise


# One setting


@pytest.mark.parametrize("direction", get_args(Direction))
@pytest.mark.parametrize("seed", range(6))
def test_a_level_is_twice_the_p_of_scipys_one_sided_test(direction: Direction, seed: int) -> None:
    values = np.random.default_rng(seed).normal((seed - 2.5) * 0.006, 0.01, 5)

    def p(bound: float, alternative: str) -> float:
        return min(1.0, 2 * float(np.asarray(stats.ttest_1samp(values, bound, alternative=alternative))[1]))

    above = p(MARGIN, "greater")
    below = p(-MARGIN, "less")
    inside = max(p(MARGIN, "less"), p(-MARGIN, "greater"))
    expected = {
        "higher": (above, below, inside),
        "lower": (below, above, inside),
        "equal": (inside, min(above, below), 1.0),
    }
    assert levels(mean_interval(list(values)), direction, MARGIN) == pytest.approx(expected[direction], rel=1e-9)


@given(st.floats(-1, 1), st.floats(1e-6, 1), st.floats(0, 0.5), st.sampled_from(get_args(Direction)))
def test_at_5_percent_a_setting_gets_the_verdict_of_its_interval(
    estimate: float, half: float, margin: float, direction: Direction
) -> None:
    interval = Interval(estimate, estimate - half, estimate + half, 5)
    found = levels(interval, direction, margin)
    if all(abs(level - 0.05) > 1e-9 for level in found):
        assert found.verdict(0.05) == verdict(interval, direction, margin)


@pytest.mark.parametrize(
    "interval",
    [Interval(0.5, 0.5, 0.5, 3), Interval(0.5, math.nan, math.nan, 1), Interval(math.nan, math.nan, math.nan, 0)],
)
@pytest.mark.parametrize("direction", get_args(Direction))
def test_without_a_spread_nothing_is_decided(interval: Interval, direction: Direction) -> None:
    assert levels(interval, direction, 0.01) == UNKNOWN
    assert UNKNOWN.verdict(0.05) == "undecided"


# Several settings


def test_all_are_supported_as_surely_as_the_least_sure_setting() -> None:
    settings = [Levels(0.001, 1, 1), Levels(0.04, 1, 1), Levels(0.02, 1, 1)]
    assert in_all(settings) == Levels(0.04, 1, 1)
    assert in_all(settings).verdict(0.05) == "supported"


def test_all_are_refuted_by_one_setting_that_stands_among_the_others() -> None:
    assert in_all([Levels(0.001, 1, 1), Levels(1, 0.01, 1), Levels(1, 0.3, 1)]).refuted == pytest.approx(0.03)
    assert in_all([Levels(1, 0.02, 1)] + 2 * [Levels(0.001, 1, 1)]).verdict(0.05) == "undecided"


def test_some_is_supported_by_one_setting_and_refuted_by_all() -> None:
    settings = [Levels(0.001, 1, 1), Levels(1, 0.01, 1), Levels(1, 0.3, 1)]
    assert in_some(settings) == pytest.approx((0.003, 1, 1))
    assert in_some([Levels(1, 0.03, 1), Levels(1, 0.01, 1)]).verdict(0.05) == "refuted"


def test_a_setting_that_says_nothing_forbids_all_and_not_some() -> None:
    settings = [Levels(0.001, 1, 1), UNKNOWN]
    assert in_all(settings).verdict(0.05) == "undecided"
    assert in_some(settings).verdict(0.05) == "supported"


@given(found)
def test_of_one_setting_all_and_some_are_what_it_says(only: Levels) -> None:
    assert in_all([only]) == in_some([only]) == only


@given(st.lists(found, min_size=1, max_size=6))
def test_what_is_so_in_all_is_so_in_some_or_not_worse_than_bonferroni(settings: list[Levels]) -> None:
    assert in_some(settings).supported <= len(settings) * in_all(settings).supported
    assert in_all(settings).refuted <= len(settings) * in_some(settings).refuted


# Sums over settings, seed by seed


def test_the_mean_is_students_t_over_the_means_of_the_seeds() -> None:
    values = drawn(np.random.default_rng(0), np.full(4, 0.02), 6, 0.7)
    found = mean_interval(list(combined(by_seed(values), mean_factors(4)).values()))
    reference = stats.ttest_1samp(values.mean(axis=0), 0).confidence_interval(0.95)
    assert (found.estimate, found.low, found.high) == pytest.approx((values.mean(), reference.low, reference.high))


def test_a_seed_that_some_setting_lacks_is_in_no_sum() -> None:
    assert combined([{0: 1.0, 1: 2.0, 2: 4.0}, {0: 1.0, 2: 1.0}], [1, -1]) == {0: 0.0, 2: 3.0}
    assert combined([], []) == {}


def test_the_trend_is_the_slope_of_least_squares_in_every_seed() -> None:
    positions = [10, 50, 100, 200]
    values = drawn(np.random.default_rng(1), np.arange(4) * 0.01, 5, 0.5)
    found = combined(by_seed(values), trend_factors(positions))
    for seed in range(5):
        assert found[seed] == pytest.approx(stats.linregress(positions, values[:, seed])[0])


def test_positions_that_are_all_the_same_have_no_trend() -> None:
    with pytest.raises(ValueError, match="two different positions"):
        trend_factors([10, 10])


# A population of data sets


def test_a_population_is_regressed_on_the_means_of_its_data_sets() -> None:
    values = drawn(np.random.default_rng(2), np.arange(8) * 0.01, 4, 0.2)
    datasets = [0, 0, 0, 1, 2, 3, 4, 4]
    found = population_interval(by_seed(values), datasets)
    means = np.array([values[np.equal(datasets, each)].mean() for each in range(5)])
    fitted = sm.OLS(means, np.ones(5)).fit()
    assert (found.low, found.high) == pytest.approx(tuple(fitted.conf_int()[0]))
    assert (found.estimate, found.n) == (pytest.approx(means.mean()), 5)


def test_four_data_sets_are_no_population_however_many_backbones_they_have() -> None:
    values = drawn(np.random.default_rng(3), np.full(12, 0.05), 5, 0)
    found = population_interval(by_seed(values), [setting // 3 for setting in range(12)])
    assert found.n == FEWEST_DATASETS - 1
    assert math.isnan(found.low)


def test_a_data_set_without_a_value_leaves_the_population_unknown() -> None:
    values = [*by_seed(drawn(np.random.default_rng(4), np.full(5, 0.05), 5, 0)), {}]
    assert math.isnan(population_interval(values, range(6)).low)


# How often they err


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("correlation", [0.0, 0.8])
@pytest.mark.parametrize("means", [(1, 1, 1, 1), (1, 9, 9, 9), (-1, 1, 9, 9), (-1, -1, -1, -1)])
def test_all_and_some_err_at_most_at_alpha(seeds: int, correlation: float, means: tuple[float, ...]) -> None:
    """The means lie at the margin or far from it, where an error is most probable."""
    rng = np.random.default_rng(0)
    wrong_all = 0
    wrong_some = 0
    truth = np.array(means, float)
    for _ in range(RUNS // 4):
        values = drawn(rng, MARGIN * truth, seeds, correlation)
        found = [levels(mean_interval(list(row)), "higher", MARGIN) for row in values]
        # no setting is below -margin, and none of those at the margin is above it
        wrong_all += in_all(found).verdict(0.05) in {"supported", "refuted"}
        wrong_some += in_some(found).verdict(0.05) == "refuted" or (
            max(means) <= 1 and in_some(found).verdict(0.05) == "supported"
        )
    allowed = 0.05 + 3 * math.sqrt(0.05 * 0.95 / (RUNS // 4))
    assert wrong_all / (RUNS // 4) <= allowed
    assert wrong_some / (RUNS // 4) <= allowed


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("correlation", [0.0, 0.8])
@pytest.mark.parametrize("factors", [mean_factors(4), [1, -1, 0, 0], trend_factors([1, 2, 4, 8])])
def test_sums_over_dependent_settings_err_at_alpha(seeds: int, correlation: float, factors: list[float]) -> None:
    rng = np.random.default_rng(0)
    values = np.stack([drawn(rng, np.zeros(4), seeds, correlation) for _ in range(RUNS)])
    sums = np.einsum("rsn,s->rn", values, factors)
    p = np.asarray(stats.ttest_1samp(sums, 0, axis=1))[1]
    first = mean_interval(list(combined(by_seed(values[0]), factors).values()))
    assert first == pytest.approx(mean_interval(list(sums[0])))
    assert abs(np.mean(p <= 0.05) - 0.05) <= ALLOWED - 0.05


def test_a_population_errs_at_alpha_though_backbones_share_a_data_set() -> None:
    rng = np.random.default_rng(0)
    wrong = 0
    naive = 0
    datasets = [setting // 3 for setting in range(15)]
    for _ in range(RUNS // 2):
        effects = rng.normal(0, MARGIN, 5)
        values = np.concatenate([drawn(rng, np.full(3, effect), 5, 0.8) for effect in effects])
        found = population_interval(by_seed(values), datasets)
        wrong += not found.low <= 0 <= found.high
        over = mean_interval(list(values.mean(axis=1)))
        naive += not over.low <= 0 <= over.high
    assert wrong / (RUNS // 2) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / (RUNS // 2))
    assert naive / (RUNS // 2) > 0.15  # what settings as the unit would do
