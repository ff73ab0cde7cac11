"""The effect over settings: a random effect each."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from statsmodels.regression.mixed_linear_model import MixedLM

from orchestrator.statistics.intervals import mean_interval
from orchestrator.statistics.mixed import effect_as_given, loss_effect

UNHURRIED = settings(deadline=None)

DYESTUFF = [
    [1545, 1440, 1440, 1520, 1580],
    [1540, 1555, 1490, 1560, 1495],
    [1595, 1550, 1605, 1510, 1560],
    [1445, 1440, 1595, 1465, 1545],
    [1595, 1630, 1515, 1635, 1625],
    [1520, 1455, 1450, 1480, 1445],
]
"""Yield of dyestuff from six batches (Davies 1947), the first example of R's lme4."""


def with_gaps(seed: int, settings: int = 12, seeds: int = 8) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    values = 0.3 + rng.normal(0, 0.5, (settings, 1)) + rng.normal(0, 0.4, (settings, seeds))
    values[rng.random((settings, seeds)) < 0.4] = np.nan
    return values


def test_the_dyestuff_as_lme4_gives_it() -> None:
    found = loss_effect(DYESTUFF)
    assert found.estimate == pytest.approx(1527.5)
    assert found.dataset_deviation**2 == pytest.approx(1764.05, rel=1e-4)
    assert found.seed_deviation**2 == pytest.approx(2451.25, rel=1e-4)
    assert found.datasets == 6


@pytest.mark.parametrize("seed", range(4))
def test_with_missing_seeds_it_is_statsmodels_mixed_model(seed: int) -> None:
    values = with_gaps(seed)
    setting, _ = np.nonzero(~np.isnan(values))
    there = values[~np.isnan(values)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it doubts that it converged
        fitted = MixedLM(there, np.ones((len(there), 1)), groups=setting).fit(reml=True)
    found = loss_effect(values)
    assert found.estimate == pytest.approx(float(fitted.fe_params[0]), abs=1e-4)
    assert found.dataset_deviation**2 == pytest.approx(float(np.squeeze(fitted.cov_re)), rel=1e-2)
    assert found.seed_deviation**2 == pytest.approx(float(fitted.scale), rel=1e-3)


matrices = arrays(float, array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=7), elements=st.integers(-9, 9))
enough = matrices.filter(lambda values: len(values) >= 5 and np.ptp(values.mean(axis=1)) > 0)


@UNHURRIED
@given(enough)
def test_with_as_many_seeds_everywhere_it_is_the_t_interval_of_the_means(values: NDArray[np.float64]) -> None:
    expected = mean_interval(list(values.mean(axis=1)))
    assert loss_effect(values)[:3] == pytest.approx(expected[:3], abs=1e-9)


@UNHURRIED
@given(matrices, st.integers(0, 99))
def test_swapping_the_two_flips_the_sign_and_order_says_nothing(values: NDArray[np.float64], seed: int) -> None:
    rng = np.random.default_rng(seed)
    values[rng.random(values.shape) < 0.2] = np.nan
    forth = loss_effect(values)
    back = loss_effect(-values)
    np.testing.assert_allclose(back[:3], (-forth.estimate, -forth.high, -forth.low), atol=1e-6)
    shuffled = rng.permutation(rng.permutation(values, axis=1), axis=0)
    np.testing.assert_allclose(loss_effect(shuffled)[:3], forth[:3], atol=1e-4)


@pytest.mark.parametrize("of_setting", [0.0, 0.3, 2.0])
def test_95_of_100_intervals_hold_the_truth_whatever_is_missing(of_setting: float) -> None:
    rng = np.random.default_rng(1)
    runs = 400
    held = 0
    for _ in range(runs):
        values = 1 + rng.normal(0, of_setting, (8, 1)) + rng.normal(size=(8, 6))
        values[rng.random((8, 6)) < 0.4] = np.nan
        found = loss_effect(values)
        held += found.low <= 1 <= found.high
    print(f"{of_setting}: {held / runs:.3f}")
    assert held / runs == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / runs))


def test_one_setting_says_nothing_of_others() -> None:
    found = loss_effect([[0.1, 0.2, 0.3], [math.nan] * 3])
    assert found.estimate == pytest.approx(0.2)
    assert found.seed_deviation == pytest.approx(0.1)
    assert found.datasets == 1
    assert np.isnan([found.low, found.high, found.dataset_deviation]).all()


def test_one_seed_a_setting_mixes_both_deviations() -> None:
    found = loss_effect([[0.1], [0.2], [0.3], [0.5], [0.1]])
    assert found[:3] == pytest.approx(mean_interval([0.1, 0.2, 0.3, 0.5, 0.1])[:3])
    assert np.isnan([found.dataset_deviation, found.seed_deviation]).all()


def test_without_noise_the_settings_alone_scatter() -> None:
    found = loss_effect([[0.1] * 5, [0.3] * 5])
    assert (found.dataset_deviation, found.seed_deviation) == (pytest.approx(math.sqrt(0.02)), 0)


@pytest.mark.parametrize("datasets", [2, 3, 4])
def test_fewer_than_five_data_sets_say_nothing_of_others(datasets: int) -> None:
    values = np.random.default_rng(0).normal(size=(5, 6))
    assert np.isnan(loss_effect(values[:datasets])[1:3]).all()
    assert np.isfinite(loss_effect(values)[:3]).all()


def test_data_sets_that_agree_exactly_tell_no_spread() -> None:
    found = loss_effect([[0.1] * 5] * 6)
    assert found.estimate == pytest.approx(0.1)
    assert math.isnan(found.low)


@pytest.mark.parametrize("correlation", [0.0, 0.9])
@pytest.mark.parametrize("backbones", [2, 6])
def test_settings_as_given_hold_the_truth_however_they_share_seeds(correlation: float, backbones: int) -> None:
    rng = np.random.default_rng(2)
    runs = 2000
    truth = rng.normal(size=backbones)[:, None]
    shared = rng.normal(size=(runs, 1, 5))
    own = rng.normal(size=(runs, backbones, 5))
    values = truth + math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * own
    found = [effect_as_given(each) for each in values]
    held = np.mean([low <= truth.mean() <= high for _, low, high, _ in found])
    assert held == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / runs))


def test_settings_as_given_are_averaged_within_each_seed() -> None:
    values = [[0.1, 0.4, 0.2, math.nan], [0.3, 0.0, 0.5, 0.9]]
    found = effect_as_given(values)
    assert found == pytest.approx(mean_interval([0.2, 0.2, 0.35]))
    assert effect_as_given([[0.1] * 3, [0.2] * 3], step=0.02) == pytest.approx(mean_interval([0.15] * 3, step=0.01))
    assert effect_as_given([[math.nan, 0.1], [0.2, math.nan]]).n == 0


def test_without_values_there_is_no_effect() -> None:
    assert loss_effect([[math.nan]]).datasets == 0
    assert np.isnan(loss_effect([[math.nan]])[:5]).all()


@UNHURRIED
@given(matrices)
def test_the_deviations_are_never_negative(values: NDArray[np.float64]) -> None:
    found = loss_effect(values)
    assume(not math.isnan(found.dataset_deviation))
    assert found.dataset_deviation >= 0
    assert found.seed_deviation >= 0
