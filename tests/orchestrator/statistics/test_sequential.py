"""Looking after every seed: the error stays at alpha, and seeds are saved."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from orchestrator.statistics.intervals import Interval, mean_interval
from orchestrator.statistics.sequential import interval, level
from orchestrator.statistics.verdicts import verdict

UNHURRIED = settings(deadline=None)

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, int]], Array]

LEAST = 5
MOST = 30
RUNS = 20_000

BOUNDED: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "uniform": lambda rng, shape: rng.uniform(-1, 1, shape),
    "arcsine": lambda rng, shape: rng.beta(0.5, 0.5, shape) - 0.5,
    "two values": lambda rng, shape: rng.choice([-1.0, 1.0], shape),
    "of skewed accuracies": lambda rng, shape: rng.beta(20, 1, shape) - rng.beta(20, 1, shape),
    "of counts near 1": lambda rng, shape: (rng.binomial(200, 0.98, shape) - rng.binomial(200, 0.98, shape)) / 200,
    "with outliers": lambda rng, shape: rng.standard_t(3, shape).clip(-20, 20),
}


def critical(n: int, most: int) -> float:
    """The half-width in standard errors, which depends on nothing but the numbers of seeds."""
    values = [-1.0, 1.0] * (n // 2) + [0.0] * (n % 2)
    found = interval(values, LEAST, most)
    error = float(np.std(values, ddof=1)) / math.sqrt(n)
    return math.inf if math.isnan(found.high) else (found.high - found.estimate) / error


def excludes(values: Array, truth: float = 0.0) -> NDArray[np.bool_]:
    """Whether the interval of each run excludes the truth at each look, (runs, looks)."""
    looks = np.arange(LEAST, values.shape[1] + 1)
    bounds = np.array([critical(int(n), values.shape[1]) for n in looks])
    away = values - truth
    sums = np.cumsum(away, axis=1)[:, LEAST - 1 :]
    squares = np.cumsum(away**2, axis=1)[:, LEAST - 1 :]
    deviation = np.sqrt(np.maximum(squares - sums**2 / looks, 0) / (looks - 1))
    deviation[deviation < 1e-9] = 0  # equal differences
    unknown = (deviation == 0) & (looks < values.shape[1])
    reach = np.where(unknown, np.inf, bounds * np.where(np.isinf(bounds) & (deviation == 0), 1, deviation))
    return np.abs(sums) / np.sqrt(looks) > reach + 1e-12


@pytest.mark.parametrize("most", [8, MOST])
@pytest.mark.parametrize("name", BOUNDED)
def test_without_a_difference_at_most_alpha_of_all_runs_ever_find_one(name: str, most: int) -> None:
    found = excludes(BOUNDED[name](np.random.default_rng(0), (RUNS, most)))
    rate = found.any(axis=1).mean()
    early = found[:, :-1].any(axis=1).mean()
    print(f"{name}, {LEAST} to {most} seeds: {rate:.4f}, {early:.4f} before the last look")
    assert early < 0.025 + 3 * math.sqrt(0.025 * 0.975 / RUNS)
    if (name, most) != ("two values", 8):  # 7 of one and 1 of the other: t finds that too rare at any single look
        assert rate < 0.05 + 3 * math.sqrt(0.05 * 0.95 / RUNS)


def test_the_t_interval_looked_at_again_and_again_does_not_keep_its_level() -> None:
    """The fault that the rule avoids."""
    values = np.random.default_rng(0).normal(size=(500, MOST))
    found = [
        any(mean_interval(run[:n]).low > 0 or mean_interval(run[:n]).high < 0 for n in range(LEAST, MOST + 1))
        for run in values
    ]
    assert np.mean(found) > 0.15


@pytest.mark.parametrize(
    ("effect", "least_power", "most_seeds"),
    [(0.5, 0.6, 28), (0.7, 0.9, 24), (1.0, 0.99, 17), (2.0, 1.0, 9), (5.0, 1.0, 7)],
)
def test_seeds_are_saved_against_the_fixed_design(effect: float, least_power: float, most_seeds: float) -> None:
    """Where the fixed design always runs 30."""
    found = excludes(np.random.default_rng(1).normal(effect, 1, (RUNS // 4, MOST)))
    power = found.any(axis=1).mean()
    seeds = np.where(found.any(axis=1), LEAST + found.argmax(axis=1), MOST).mean()
    print(f"effect {effect}: power {power:.2f} with {seeds:.1f} seeds on average, {MOST - seeds:.1f} saved")
    assert power >= least_power
    assert seeds < most_seeds


def test_the_verdicts_at_all_looks_are_right_in_95_of_100_runs() -> None:
    """A true difference just at the margin supports nothing."""
    rng = np.random.default_rng(2)
    wrong = 0
    for _ in range(300):
        values = rng.normal(0.01, 0.02, MOST)
        looks = [verdict(interval(values[:n], LEAST, MOST), "higher", 0.01) for n in range(LEAST, MOST + 1)]
        wrong += "supported" in looks
    assert wrong / 300 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


runs = st.lists(st.integers(-100, 100).map(lambda percent: percent / 100), min_size=6, max_size=20)


@UNHURRIED
@given(runs, st.floats(0.1, 10), st.floats(-5, 5))
def test_the_interval_moves_and_scales_with_the_differences(values: list[float], scale: float, shift: float) -> None:
    assume(np.ptp(values) > 0)
    found = interval(values, 5, 20)
    moved = interval([scale * value + shift for value in values], 5, 20)
    assert moved[:3] == pytest.approx([scale * bound + shift for bound in found[:3]], rel=1e-6, abs=1e-6)
    back = interval([-value for value in values], 5, 20)
    assert back[:3] == pytest.approx((-found.estimate, -found.high, -found.low))
    assert interval(values[::-1], 5, 20)[:3] == pytest.approx(found[:3])


@UNHURRIED
@given(runs)
def test_it_is_never_narrower_than_the_interval_of_one_look(values: list[float]) -> None:
    assume(np.ptp(values) > 0)
    once = mean_interval(values)
    always = interval(values, 5, 20)
    assert always.low <= once.low
    assert once.high <= always.high
    assert always.estimate == once.estimate


def test_one_look_alone_is_the_fixed_design() -> None:
    values = [0.1, 0.3, 0.2, 0.15, 0.4]
    assert interval(values, 5, 5) == pytest.approx(mean_interval(values))


@pytest.mark.parametrize("n", [0, 1, 4, 5])
def test_too_few_seeds_bound_nothing(n: int) -> None:
    found = interval(list(np.linspace(0.1, 0.2, n)), 5, 30)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.n == n


def test_six_seeds_may_decide() -> None:
    assert interval([0.30, 0.31, 0.29, 0.32, 0.30, 0.31], 5, 30).low > 0.2


@pytest.mark.parametrize("n", [10, 30])
def test_equal_differences_without_steps_tell_nothing_at_any_look(n: int) -> None:
    assert math.isnan(interval([0.1] * n, 5, 30).low)


@pytest.mark.parametrize("n", [6, 10, 30])
def test_equal_differences_have_the_spread_of_half_a_step(n: int) -> None:
    values = [-1.0, 1.0] * (n // 2)
    deviation = float(np.std(values, ddof=1))
    floored = interval([0.1] * n, 5, 30, step=0.02)
    scattered = interval(values, 5, 30)
    assert floored.high - 0.1 == pytest.approx(0.01 / deviation * scattered.high)


def test_there_is_no_look_before_the_first() -> None:
    values = list(np.random.default_rng(0).normal(size=9))
    assert math.isnan(interval(values, 10, 30).low)
    assert interval(values, 9, 30).low < interval(values, 9, 30).high


def test_with_steps_at_most_alpha_of_all_runs_ever_find_a_difference() -> None:
    rng = np.random.default_rng(3)
    runs = 1000
    wrong = 0
    for _ in range(runs):
        values = (rng.poisson(0.1, 12) - rng.poisson(0.1, 12)) / 100
        looks = [interval(values[:n], LEAST, 12, step=0.01) for n in range(LEAST, 13)]
        wrong += any(look.low > 0 or look.high < 0 for look in looks)
    assert wrong / runs < 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)


def test_a_plan_that_grew_on_sight_is_refused() -> None:
    with pytest.raises(ValueError, match="31 differences, but the last look was planned at 30"):
        interval([0.1, 0.2, *[0.3] * 29], 5, 30)


def test_an_earlier_first_look_may_be_skipped() -> None:
    assert interval([0.1, 0.2], 1, 30) == Interval(pytest.approx(0.15), *[pytest.approx(math.nan, nan_ok=True)] * 2, 2)


@UNHURRIED
@given(st.integers(5, 12), st.integers(1, 10_000), st.floats(1e-4, 0.4), st.booleans())
def test_a_level_is_where_the_interval_begins_to_leave_a_value_out(
    n: int, seed: int, alpha: float, is_fixed: bool
) -> None:
    values = np.random.default_rng(seed).normal(0.5, 1, n).tolist()
    error = float(np.std(values, ddof=1)) / math.sqrt(n)
    least = n if is_fixed else 5
    most = n if is_fixed else 12
    found = level(abs(float(np.mean(values))) / error, n, least, most)
    excluded = interval(values, least, most, alpha)
    assume(abs(found - alpha) > 1e-9)
    is_out = not math.isnan(excluded.low) and not excluded.low <= 0 <= excluded.high
    assert is_out == (found < alpha)


def test_there_is_no_level_before_the_first_look() -> None:
    assert level(100.0, 4, 5, 12) == level(100.0, 1, 1, 12) == 1.0
    assert level(0.0, 7, 5, 12) == 1.0
