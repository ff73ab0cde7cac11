"""Challenger against baseline, paired by seed: published examples, scipy's answers, and simulations."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.stats import PermutationMethod, bootstrap, permutation_test, ttest_1samp, wilcoxon
from scipy.stats import t as student_t

from orchestrator.statistics.paired import (
    Array,
    bca_interval,
    effect_size,
    paired_t_test,
    sign_flip_test,
    wilcoxon_test,
    wins,
)

UNHURRIED = settings(deadline=None)

DARWIN = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48])
"""Heights of crossed less self-fertilised maize, in eighths of an inch (Fisher 1935, section 17)."""

# Multiples of a power of two add up exactly: scipy's test takes equal sums that round differently for unequal ones.
lines = arrays(float, st.integers(2, 9), elements=st.integers(-50, 50).map(lambda parts: parts / 128))
every_test = pytest.mark.parametrize(
    "test",
    [lambda d: sign_flip_test(d, rng(0), draws=500), paired_t_test, wilcoxon_test],
    ids=["flip", "t", "wilcoxon"],
)
PValue = Callable[[Array], Array]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def deviates(rate: float, expected: float, n: int) -> bool:
    """Whether a simulated rate lies more than four standard errors off."""
    return abs(rate - expected) > 4 * math.sqrt(expected * (1 - expected) / n)


def test_darwins_maize_as_fisher_gives_it() -> None:
    flips = np.array(np.meshgrid(*[[1, -1]] * 15)).reshape(15, -1)
    patterns = int((np.abs(DARWIN @ flips) >= 314).sum())
    assert patterns == 2 * 863
    assert sign_flip_test(DARWIN, rng(), draws=200_000) == pytest.approx(2 * 863 / 32768, abs=0.002)
    assert paired_t_test(DARWIN) == pytest.approx(0.0497, abs=1e-4)
    assert wilcoxon_test(DARWIN) == pytest.approx(0.04126, abs=1e-5)


# --- the bootstrap -------------------------------------------------------------------------


@pytest.mark.parametrize("n", [5, 10, 20])
def test_the_bca_interval_is_scipys(n: int) -> None:
    values = rng(n).gamma(1, size=n)
    expected = bootstrap((values,), np.mean, n_resamples=50_000, method="BCa", rng=rng(1)).confidence_interval
    low, high = bca_interval(values, rng(2), draws=50_000)
    spread = values.std() / math.sqrt(n)
    assert low == pytest.approx(expected.low, abs=0.06 * spread)
    assert high == pytest.approx(expected.high, abs=0.06 * spread)


def test_many_lines_take_a_fraction_of_scipys_time_each() -> None:
    values = rng().normal(size=(300, 20))
    bca_interval(values[:2], rng())
    start = time.process_time()
    bca_interval(values, rng())
    ours = (time.process_time() - start) / 300
    start = time.process_time()
    for line in values[:5]:
        bootstrap((line,), np.mean, n_resamples=10_000, method="BCa", rng=rng())
    scipys = (time.process_time() - start) / 5
    print(f"per line: {1e3 * ours:.2f} ms, scipy {1e3 * scipys:.2f} ms, ratio {scipys / ours:.0f}")
    assert scipys > ours


@pytest.mark.parametrize(("n", "covered"), [(5, 0.84), (10, 0.90), (20, 0.93)])
def test_the_bca_interval_covers_what_its_docstring_says(n: int, covered: float) -> None:
    low, high = bca_interval(rng(n).normal(3, 2, size=(4000, n)), rng(), draws=1000)
    rate = np.mean((low <= 3) & (high >= 3))
    print(f"{n} seeds: {rate:.3f}")
    assert rate == pytest.approx(covered, abs=0.02)


def test_the_bca_interval_leans_to_the_side_of_the_tail() -> None:
    values = -np.log(np.linspace(0.02, 0.98, 15))
    low, high = bca_interval(values, rng())
    assert high - values.mean() > 1.2 * (values.mean() - low)


@UNHURRIED
@given(lines)
def test_swapping_the_two_mirrors_the_bca_interval(values: Array) -> None:
    low, high = bca_interval(values, rng(), draws=500)
    mirrored_low, mirrored_high = bca_interval(-values, rng(), draws=500)
    assert (mirrored_low, mirrored_high) == (pytest.approx(-high, abs=1e-6), pytest.approx(-low, abs=1e-6))
    assert values.min() - 1e-6 <= low <= high <= values.max() + 1e-6


@UNHURRIED
@given(st.floats(-1, 1), st.integers(2, 20))
def test_equal_differences_have_an_interval_without_width(value: float, n: int) -> None:
    assert bca_interval([value] * n, rng(), draws=50) == (pytest.approx(value), pytest.approx(value))


@pytest.mark.parametrize("values", [[], [0.5], [math.nan, 0.5]])
def test_fewer_than_two_seeds_have_no_interval(values: list[float]) -> None:
    assert np.isnan(bca_interval(values, rng())).all()


# --- lines and missing seeds -----------------------------------------------------------------


@UNHURRIED
@given(
    arrays(
        float, array_shapes(min_dims=2, max_dims=3, max_side=5), elements=st.sampled_from([-0.1, 0.0, 0.3, math.nan])
    )
)
def test_every_line_is_answered_alone_and_without_its_missing_seeds(values: Array) -> None:
    functions: list[PValue] = [paired_t_test, wilcoxon_test, effect_size, lambda d: sign_flip_test(d, rng())]
    for function in functions:
        together = function(values)
        assert together.shape == values.shape[:-1]
        for place in np.ndindex(together.shape):
            line = values[place]
            np.testing.assert_array_equal(together[place], function(line[~np.isnan(line)]))
    low, high = bca_interval(values, rng(), draws=20)
    np.testing.assert_array_equal(np.isnan(low), (~np.isnan(values)).sum(axis=-1) < 2)
    np.testing.assert_array_equal(np.isnan(high), np.isnan(low))


def test_more_lines_than_fit_at_once_change_nothing() -> None:
    values = rng().normal(size=(1200, 5))
    whole = bca_interval(values, rng(), draws=10_000)
    part = bca_interval(values[1100:], rng(), draws=10_000)
    np.testing.assert_allclose(np.array(whole)[:, 1100:], part, rtol=1e-5, atol=1e-6)
    assert (sign_flip_test(values, rng())[1100:] == sign_flip_test(values[1100:], rng())).all()


# --- tests ------------------------------------------------------------------------------------


@every_test
@UNHURRIED
@given(values=lines)
def test_p_is_a_probability_that_neither_swap_nor_order_changes(test: PValue, values: Array) -> None:
    p = float(test(values))
    assume(not math.isnan(p))
    assert 0 <= p <= 1
    assert float(test(-values)) == pytest.approx(p, rel=1e-6, abs=1e-12)
    assert float(test(values[::-1])) == pytest.approx(p, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("n", [5, 8, 15])
@every_test
def test_without_a_difference_p_is_at_most_alpha_in_alpha_of_all_cases(test: PValue, n: int) -> None:
    uniform = rng(n).uniform(-1, 1, size=(4000, n)) + rng(n + 1).uniform(-1, 1, size=(4000, n))
    p = test(uniform)
    for alpha in (0.01, 0.05, 0.2):
        rate = float(np.mean(p <= alpha))
        print(f"{n} seeds at {alpha}: {rate:.3f}")
        assert rate < alpha or not deviates(rate, alpha, 4000)


@UNHURRIED
@given(lines)
def test_the_sign_flip_test_is_scipys_permutation_test(values: Array) -> None:
    expected = permutation_test((values,), np.sum, permutation_type="samples", n_resamples=np.inf).pvalue
    assert sign_flip_test(values, rng()) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n", [1, 5, 6, 13])
def test_one_sign_throughout_gives_the_smallest_p_there_is(n: int) -> None:
    values = rng().uniform(0.1, 1, size=n)
    assert sign_flip_test(values, rng()) == 2 / 2**n
    assert wilcoxon_test(values) == 2 / 2**n


def test_a_drawn_p_is_never_zero() -> None:
    assert sign_flip_test([1.0] * 40, rng(), draws=99) == 1 / 100


@UNHURRIED
@given(lines)
def test_the_t_test_is_scipys(values: Array) -> None:
    assume(values.std() > 1e-6 and len(values) > 2)
    assert paired_t_test(values) == pytest.approx(ttest_1samp(values, 0).pvalue, rel=1e-9)


def test_two_seeds_have_no_t_test() -> None:
    assert np.isnan(paired_t_test([[0.1, 0.2, math.nan], [0.0, 0.0, math.nan]], step=0.01)).all()


def test_equal_differences_without_steps_test_nothing() -> None:
    assert np.isnan(paired_t_test([[0.1] * 5, [0.0] * 5, [0.3, 0.1 + 0.2, 0.3, 0.3, 0.3]])).all()
    assert np.isnan(effect_size([[0.1] * 5, [-0.1] * 5, [0.0] * 5])).all()


@pytest.mark.parametrize("n", [3, 5])
def test_equal_differences_have_the_spread_of_half_a_step_each_line_its_own(n: int) -> None:
    steps = np.array([0.01, 0.001])
    expected = 2 * student_t(n - 1).sf(0.02 / (steps / 2) * math.sqrt(n))
    assert paired_t_test([[0.02] * n] * 2, steps) == pytest.approx(expected)
    assert paired_t_test([0.0] * n, 0.01) == pytest.approx(1)
    doubled = effect_size([[0.02] * n] * 2, steps)
    assert doubled[1] == pytest.approx(10 * doubled[0])


def test_few_steps_make_no_false_differences() -> None:
    """Of 12 questions about 3 seeds on 100 samples, without the floor 15 in 100 answers were wrong."""
    drawn = rng().poisson(0.2, size=(4000, 12, 3)) - rng(1).poisson(0.2, size=(4000, 12, 3))
    plain = (12 * np.nan_to_num(paired_t_test(drawn / 100), nan=1.0).min(axis=1) <= 0.05).mean()
    floored = (12 * paired_t_test(drawn / 100, 1 / 100).min(axis=1) <= 0.05).mean()
    print(f"{plain:.3f} without, {floored:.3f} with the floor; equal differences excluded")
    assert floored < 0.05


@UNHURRIED
@given(lines)
def test_the_signed_rank_test_is_scipys_permuted_one(values: Array) -> None:
    assume(values.any())
    expected = wilcoxon(values, method=PermutationMethod(n_resamples=np.inf)).pvalue
    assert wilcoxon_test(values) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n", [20, 50])
def test_the_signed_rank_test_is_exact_for_many_seeds(n: int) -> None:
    values = rng().normal(0.3, size=(50, n))
    np.testing.assert_allclose(wilcoxon_test(values), wilcoxon(values, axis=1, method="exact").pvalue, rtol=1e-9)


def test_no_difference_anywhere_is_no_evidence() -> None:
    assert wilcoxon_test([0.0] * 6) == 1
    assert sign_flip_test([0.0] * 6, rng()) == 1


# --- sizes and shares ---------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 5, 20])
def test_the_effect_size_is_right_on_average(n: int) -> None:
    effects = effect_size(rng().normal(0.8, 1, size=(40_000, n)))
    assert effects.mean() == pytest.approx(0.8, abs=5 * effects.std() / 200)


def test_two_seeds_are_too_few_for_an_effect_size() -> None:
    assert np.isnan(effect_size([[0.1, 0.2], [0.3, math.nan]])).all()


def test_no_difference_is_a_tie() -> None:
    tally = wins([[0.02, 0.0, -0.0, -0.02, math.nan], [0.5, 0.5, 0.5, 0.5, 0.5]])
    assert [list(counts) for counts in tally] == [[1, 5], [2, 0], [1, 0]]
    assert tuple(wins([1.0, 0.0, -1.0])) == (1, 1, 1)
