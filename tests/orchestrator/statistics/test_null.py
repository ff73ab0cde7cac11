"""A configuration against itself."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from orchestrator.statistics.null import _lines, false_positive_rates, rate_deviation


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_over_many_configurations_each_test_errs_as_often_as_it_should() -> None:
    """The bootstrap does not: see `bca_interval`."""
    rates = false_positive_rates(rng().beta(30, 2, size=(100, 20)), rng(), splits=20)
    print(rates)
    assert set(rates) == {"sign_flip", "bca", "t", "wilcoxon"}
    for test in ("sign_flip", "t", "wilcoxon"):
        assert 0.02 < rates[test] < 0.07
    assert 0.06 < rates["bca"] < 0.14


@pytest.mark.parametrize("alpha", [0.1, 0.4])
def test_a_rate_is_the_share_of_halves_in_which_the_test_is_significant(alpha: float) -> None:
    values = rng().normal(size=(2, 13))
    rates = false_positive_rates(values, rng(), splits=60, alpha=alpha)
    halves = _lines(values, rng(), 60)
    assert halves.shape == (120, 6)
    signs = np.array(list(itertools.product([1, -1], repeat=6)))
    flipped = np.abs(halves @ signs.T)
    p = {
        "sign_flip": (flipped >= flipped[:, :1] - 1e-9).mean(axis=1),
        "t": stats.ttest_1samp(halves, 0, axis=1).pvalue,
        "wilcoxon": stats.wilcoxon(halves, axis=1, method="exact").pvalue,
    }
    for name, values_of_p in p.items():
        assert rates[name] == np.mean(values_of_p <= alpha), name
    bounds = [stats.bootstrap((half,), np.mean, confidence_level=1 - alpha, rng=rng()) for half in halves]
    outside = [not bound.confidence_interval.low <= 0 <= bound.confidence_interval.high for bound in bounds]
    assert rates["bca"] == pytest.approx(np.mean(outside), abs=0.04)


def test_few_pairs_can_never_be_significant_by_an_exact_test() -> None:
    rates = false_positive_rates(rng().normal(size=(5, 10)), rng(), splits=100)
    assert rates["sign_flip"] == rates["wilcoxon"] == 0


def test_a_difference_between_configurations_is_none_within() -> None:
    near = rng().normal(0.5, 0.01, size=(1, 24))
    far = rng().normal(0.9, 0.01, size=(1, 24))
    rates = false_positive_rates(np.concatenate([near, far]), rng(), splits=300)
    assert rates["sign_flip"] < 0.08
    assert rates["t"] < 0.08


def test_missing_seeds_are_left_out_of_their_configuration() -> None:
    values = rng().normal(size=(3, 16))
    values[1, 3:] = math.nan
    values[2, 9:] = math.nan
    alone = false_positive_rates(values[:1], rng(), splits=50)
    both = false_positive_rates(values[:2], rng(), splits=50)
    assert both == alone  # the second has three seeds, too few for two halves
    assert false_positive_rates(values, rng(), splits=50) != alone


@pytest.mark.parametrize("values", [np.zeros((0, 5)), np.zeros((4, 5))])
def test_fewer_than_six_seeds_have_no_halves_with_a_verdict(values: np.ndarray) -> None:
    assert all(math.isnan(rate) for rate in false_positive_rates(values, rng()).values())
    assert math.isnan(rate_deviation(values, rng()))


def test_six_seeds_have_two_halves_of_three() -> None:
    rates = false_positive_rates(rng().normal(size=(200, 6)), rng(), splits=20)
    assert rates["t"] == pytest.approx(0.05, abs=0.02)
    assert rates["sign_flip"] == 0


def test_equal_seeds_never_differ() -> None:
    assert set(false_positive_rates(np.full((2, 12), 0.9), rng(), splits=20).values()) == {0}


def test_an_extreme_seed_is_split_like_all_others() -> None:
    """Each split takes each seed once at most: the extreme one is in half of all pairs' sums at most."""
    values = np.array([[0.0] * 11 + [1.0]])
    assert false_positive_rates(values, rng(), splits=200) == {"sign_flip": 0, "bca": 0, "t": 0, "wilcoxon": 0}


@pytest.mark.parametrize("n", [8, 20])
def test_the_uncertainty_of_a_rate_is_how_far_rates_scatter(n: int) -> None:
    rates = [
        false_positive_rates(rng.normal(size=(1, n)), rng, 300)["t"] for rng in map(np.random.default_rng, range(60))
    ]
    found = rate_deviation(np.zeros((1, n)), rng(), 300)
    print(f"{n} seeds: {np.std(rates, ddof=1):.4f}, said to be {found:.4f}")
    assert found == pytest.approx(np.std(rates, ddof=1), rel=0.5)
    assert np.mean(rates) == pytest.approx(0.05, abs=4 * found / math.sqrt(60))
