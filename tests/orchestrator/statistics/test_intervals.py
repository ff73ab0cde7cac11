"""Intervals: Student's, paired by seed, and right 95 times in 100."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import t as student_t
from scipy.stats import ttest_1samp, ttest_rel

from orchestrator.statistics.intervals import CONFIDENCE, mean_interval, paired_interval

numbers = st.floats(-1e3, 1e3)
samples = st.lists(numbers, min_size=2, max_size=30)
by_seed = st.dictionaries(st.integers(0, 40), numbers, max_size=20)


@given(samples)
def test_the_interval_of_a_mean_is_that_of_the_t_test(values: list[float]) -> None:
    assume(np.std(values) > 1e-6)
    expected = ttest_1samp(values, 0.0).confidence_interval(CONFIDENCE)
    interval = mean_interval(values)
    assert interval.estimate == pytest.approx(np.mean(values), rel=1e-9, abs=1e-9)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-9)
    assert interval.n == len(values)


def test_without_values_there_is_no_estimate() -> None:
    interval = mean_interval([])
    assert interval.n == 0
    assert all(math.isnan(value) for value in interval[:3])


def test_one_value_has_no_spread() -> None:
    interval = mean_interval([0.25])
    assert (interval.estimate, interval.n) == (0.25, 1)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_equal_values_without_steps_tell_no_spread(n: int) -> None:
    found = mean_interval([0.1 + 0.2, 0.3, *[0.3] * (n - 2)])  # the same but for rounding
    assert (found.estimate, found.n) == (pytest.approx(0.3), n)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("samples", [100, 797, 10_000])
def test_equal_values_of_a_measure_with_steps_have_the_spread_of_half_a_step(n: int, samples: int) -> None:
    found = mean_interval([0.5] * n, step=1 / samples)
    half = float(student_t(n - 1).ppf(0.975)) / (2 * samples) / math.sqrt(n)
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-12)


@given(samples, st.floats(0, 10))
def test_the_floor_widens_an_interval_or_leaves_it(values: list[float], step: float) -> None:
    assume(np.std(values) > 1e-6)
    plain = mean_interval(values)
    floored = mean_interval(values, step=step)
    wider = step / 2 > np.std(values, ddof=1)
    assert (floored.high > plain.high) == wider or floored.high == pytest.approx(plain.high)
    assert floored.high >= plain.high
    assert floored.estimate == plain.estimate


@given(samples)
def test_the_estimate_lies_in_the_middle(values: list[float]) -> None:
    interval = mean_interval(values, step=1e-3)
    assert interval.low <= interval.estimate <= interval.high
    assert interval.high - interval.estimate == pytest.approx(interval.estimate - interval.low, abs=1e-9)


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=20))
def test_the_paired_interval_is_that_of_the_paired_t_test(pairs: list[tuple[float, float]]) -> None:
    first, second = zip(*pairs, strict=True)
    assume(np.std(np.subtract(first, second)) > 1e-6)
    expected = ttest_rel(first, second).confidence_interval(CONFIDENCE)
    interval = paired_interval(dict(enumerate(first)), dict(enumerate(second)))
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-9)


@given(by_seed, by_seed)
def test_swapping_the_two_flips_the_sign(one: dict[int, float], other: dict[int, float]) -> None:
    forth = paired_interval(one, other)
    back = paired_interval(other, one)
    np.testing.assert_array_equal((back.estimate, back.low, back.high), (-forth.estimate, -forth.high, -forth.low))
    assert back.n == forth.n


@given(by_seed, by_seed, st.randoms(use_true_random=False))
def test_renaming_the_seeds_of_both_changes_nothing(
    one: dict[int, float], other: dict[int, float], random: Random
) -> None:
    seeds = list(range(41))
    random.shuffle(seeds)
    renamed = paired_interval({seeds[s]: v for s, v in one.items()}, {seeds[s]: v for s, v in other.items()})
    expected = paired_interval(one, other)
    assert renamed.n == expected.n
    np.testing.assert_allclose(renamed[:3], expected[:3], rtol=1e-9, atol=1e-9)


@given(by_seed, by_seed)
def test_only_seeds_that_both_have_count(one: dict[int, float], other: dict[int, float]) -> None:
    shared = one.keys() & other.keys()
    interval = paired_interval(one, other)
    assert interval.n == len(shared)
    alone = paired_interval({seed: one[seed] for seed in shared}, {seed: other[seed] for seed in shared})
    np.testing.assert_array_equal(interval, alone)


def test_pairing_removes_what_the_seeds_share() -> None:
    noise = np.random.default_rng(0).normal(size=5)
    interval = paired_interval(dict(enumerate(noise + 0.01)), dict(enumerate(noise)), step=1e-6)
    assert interval.low == pytest.approx(0.01, abs=1e-6)
    assert interval.high == pytest.approx(0.01, abs=1e-6)


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_95_of_100_intervals_hold_the_truth(n: int) -> None:
    draws = np.random.default_rng(n).normal(3.0, 2.0, size=(4000, n))
    held = np.mean([low <= 3.0 <= high for _, low, high, _ in map(mean_interval, draws)])
    assert held == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 4000))
