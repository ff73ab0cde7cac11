"""One number for many settings, by rliable's definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from scipy.stats import trim_mean

from orchestrator.statistics.aggregates import (
    interquartile_mean,
    optimality_gap,
    performance_profile,
    stratified_interval,
)

UNHURRIED = settings(deadline=None)

scores = arrays(float, array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.floats(0, 2))


@UNHURRIED
@given(scores)
def test_rliables_definitions(values: NDArray[np.float64]) -> None:
    assert interquartile_mean(values) == pytest.approx(trim_mean(values, proportiontocut=0.25, axis=None))
    assert optimality_gap(values, 1.5) == pytest.approx(1.5 - np.mean(np.minimum(values, 1.5)))
    thresholds = np.array([0.0, 0.5, 1.0])
    expected = [np.mean([np.mean(values[:, setting] > t) for setting in range(values.shape[1])]) for t in thresholds]
    assert list(performance_profile(values, thresholds)) == pytest.approx(expected)


@UNHURRIED
@given(scores, st.integers(0, 99))
def test_seeds_have_no_order(values: NDArray[np.float64], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(values))
    for statistic in (interquartile_mean, optimality_gap, lambda v: float(performance_profile(v, 0.5))):
        assert statistic(values[order]) == pytest.approx(statistic(values))


def test_an_outlier_moves_the_interquartile_mean_little() -> None:
    values = np.full((5, 4), 0.5)
    values[0, 0] = 100
    assert interquartile_mean(values) == 0.5


def test_each_of_many_tables_has_its_interquartile_mean() -> None:
    many = np.random.default_rng(0).random((3, 2, 5, 4))
    many[1, 1, 2, 3] = math.nan
    expected = [[interquartile_mean(each) for each in row] for row in many]
    np.testing.assert_array_equal(interquartile_mean(many), expected)
    assert np.isnan(expected).sum() == 1


def test_the_resamples_stay_within_their_setting() -> None:
    values = np.array([[0.1, 0.9], [0.1, 0.9], [0.1, 0.9]])
    low, high = stratified_interval(lambda v: v.mean(axis=0), values, np.random.default_rng(0), draws=50)
    np.testing.assert_allclose([low, high], [[0.1, 0.9]] * 2)


def test_the_interval_is_that_of_resampling_each_setting_alone() -> None:
    rng = np.random.default_rng(0)
    values = rng.beta(5, 2, size=(6, 10))
    brute = [
        interquartile_mean(np.column_stack([rng.choice(column, size=6) for column in values.T])) for _ in range(3000)
    ]
    low, high = stratified_interval(interquartile_mean, values, rng, draws=3000)
    assert (low, high) == pytest.approx(tuple(np.quantile(brute, [0.025, 0.975])), abs=0.1 * np.ptp(brute))


def test_a_profile_has_a_band() -> None:
    thresholds = np.linspace(0, 1, 11)
    values = np.random.default_rng(0).random((5, 6))
    low, high = stratified_interval(
        lambda v: performance_profile(v, thresholds), values, np.random.default_rng(0), draws=200
    )
    profile = performance_profile(values, thresholds)
    assert low.shape == high.shape == (11,)
    assert ((low <= profile + 1e-9) & (profile <= high + 1e-9)).all()


def test_the_interval_covers_with_many_settings() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        low, high = stratified_interval(np.mean, rng.normal(0.5, 0.1, size=(10, 10)), rng, draws=200)
        held += low <= 0.5 <= high
    print(f"{held / 200:.3f}")
    assert held / 200 > 0.93 - 4 * math.sqrt(0.93 * 0.07 / 200)  # 10 seeds: sqrt(9 / 10) of the width is missing


def test_a_missing_score_leaves_no_number() -> None:
    values = np.array([[0.5, math.nan]])
    assert math.isnan(interquartile_mean(values))
    assert math.isnan(optimality_gap(values))
    assert np.isnan(performance_profile(values, [0.1, 0.2])).all()
