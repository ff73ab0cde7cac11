"""A configuration against itself."""

from __future__ import annotations

import math

import numpy as np
import pytest

from orchestrator.statistics.null import false_positive_rates


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


def test_few_pairs_can_never_be_significant_by_an_exact_test() -> None:
    rates = false_positive_rates(rng().normal(size=(5, 10)), rng(), splits=100)
    assert rates["sign_flip"] == rates["wilcoxon"] == 0


def test_a_difference_between_configurations_is_none_within() -> None:
    near, far = rng().normal(0.5, 0.01, size=(1, 24)), rng().normal(0.9, 0.01, size=(1, 24))
    rates = false_positive_rates(np.concatenate([near, far]), rng(), splits=300)
    assert rates["sign_flip"] < 0.08
    assert rates["t"] < 0.08


def test_missing_seeds_are_left_out_of_their_configuration() -> None:
    values = rng().normal(size=(3, 16))
    values[1, 3:] = math.nan
    values[2, 9:] = math.nan
    alone = false_positive_rates(values[:1], rng(), splits=50)
    assert set(false_positive_rates(values, rng(), splits=50)) == set(alone)


@pytest.mark.parametrize("values", [np.zeros((0, 5)), np.zeros((4, 3))])
def test_fewer_than_four_seeds_have_no_halves(values: np.ndarray) -> None:
    assert all(math.isnan(rate) for rate in false_positive_rates(values, rng()).values())


def test_equal_seeds_never_differ() -> None:
    assert set(false_positive_rates(np.full((2, 12), 0.9), rng(), splits=20).values()) == {0}
