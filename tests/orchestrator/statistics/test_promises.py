"""What is promised about error rates is wrong as seldom as stated."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from orchestrator.statistics.promises import Rate, Stratum, keeps, mean_bound, proven, rate_bound, units_needed

UNHURRIED = settings(deadline=None)
DRAWS = 10_000
ERROR = 0.05
ALLOWED = ERROR + 3 * math.sqrt(ERROR * (1 - ERROR) / DRAWS)
"""A miss rate of 5 %, and three standard errors of the simulation."""


class TestRateBound:
    @UNHURRIED
    @given(
        st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.01, 0.05])
    )
    def test_it_is_the_one_sided_bound_of_scipy(self, counts: tuple[int, int], error: float) -> None:
        k, n = counts
        expected = binomtest(k, n, alternative="less").proportion_ci(1 - error, "exact").high
        assert rate_bound(k, n, error) == pytest.approx(expected, abs=1e-12)

    def test_no_units_promise_nothing(self) -> None:
        assert rate_bound(0, 0, 0.05) == 1.0

    @pytest.mark.parametrize("rate", [0.001, 0.02, 0.4])
    def test_the_rate_lies_above_it_as_seldom_as_stated(self, rate: float) -> None:
        draws = np.random.default_rng(0).binomial(500, rate, DRAWS)
        values, counts = np.unique(draws, return_counts=True)
        missed = sum(count for value, count in zip(values, counts, strict=True) if rate_bound(value, 500, ERROR) < rate)
        assert missed / DRAWS <= ALLOWED


class TestKeeps:
    @UNHURRIED
    @given(
        st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
        st.floats(0.001, 0.9),
        st.sampled_from([0.01, 0.05]),
    )
    def test_it_is_the_exact_binomial_test(self, counts: tuple[int, int], limit: float, error: float) -> None:
        k, n = counts
        assert keeps(limit, k, n, error) == (binomtest(k, n, limit, alternative="less").pvalue <= error)

    @UNHURRIED
    @given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.001, 0.9))
    def test_a_limit_is_kept_exactly_if_the_bound_does_not_exceed_it(
        self, counts: tuple[int, int], limit: float
    ) -> None:
        bound = rate_bound(*counts, ERROR)
        if abs(bound - limit) > 1e-9:
            assert keeps(limit, *counts, ERROR) == (bound <= limit)

    def test_of_a_limit_of_zero_nothing_is_shown_and_of_one_nothing_needs_to_be(self) -> None:
        assert not keeps(0.0, 0, 10**6, ERROR)
        assert keeps(1.0, 5, 5, ERROR)
        assert not keeps(0.5, 0, 0, ERROR)


class TestUnitsNeeded:
    @pytest.mark.parametrize(("error", "units"), [(0.05, 2995), (0.025, 3688)])
    def test_without_errors_it_is_the_logarithm_rule(self, error: float, units: int) -> None:
        assert units_needed(0.001, error) == units

    @pytest.mark.parametrize("share", [0.0, 0.002, 0.005, 0.008])
    def test_this_many_units_suffice_and_one_fewer_does_not(self, share: float) -> None:
        units = units_needed(0.01, ERROR, share)
        assert units is not None
        assert keeps(0.01, math.floor(share * units), units, ERROR)
        assert not keeps(0.01, math.floor(share * (units - 1)), units - 1, ERROR)

    def test_a_rate_at_the_limit_is_never_shown_to_keep_it(self) -> None:
        assert units_needed(0.01, ERROR, share=0.01) is None
        assert units_needed(0.0, ERROR) is None
        assert units_needed(0.01, ERROR, share=0.009_999) is None


class TestRate:
    def test_of_one_kind_its_bound_is_that_of_clopper_and_pearson(self) -> None:
        assert Rate([(1.0, 3, 200)]).bound(ERROR) == rate_bound(3, 200, ERROR)

    def test_kinds_are_reweighted_by_their_shares_and_their_bounds_hold_together(self) -> None:
        rate = Rate([(0.9, 1, 100), (0.1, 5, 50)])
        assert rate.estimate == pytest.approx(0.9 * 0.01 + 0.1 * 0.1)
        assert (rate.errors, rate.n) == (6, 150)
        expected = 0.9 * rate_bound(1, 100, ERROR / 2) + 0.1 * rate_bound(5, 50, ERROR / 2)
        assert rate.bound(ERROR) == pytest.approx(expected)

    def test_a_kind_that_was_not_tested_leaves_no_estimate(self) -> None:
        assert math.isnan(Rate([(0.9, 1, 100), (0.1, 0, 0)]).estimate)
        assert Rate([(0.9, 1, 100), (0.1, 0, 0)]).bound(ERROR) > 0.1


class TestProven:
    def test_it_stops_at_the_first_that_is_not_shown_whatever_comes_after(self) -> None:
        good = Rate([(1.0, 0, 100)])
        bad = Rate([(1.0, 5, 100)])
        assert proven([good, good, bad, good], 0.05, ERROR) == 2

    def test_the_smallest_test_that_shows_it(self) -> None:
        assert proven([Rate([(1.0, 0, 59)])], 0.05, ERROR) == 1
        assert proven([Rate([(1.0, 0, 58)])], 0.05, ERROR) == 0

    def test_a_promise_is_wrong_as_seldom_as_stated_although_the_laxest_threshold_is_taken(self) -> None:
        """Rates of 3.0 to 6.9 % at twenty thresholds, on the same units; those from the tenth on break the limit."""
        rng = np.random.default_rng(1)
        rates = 0.03 + 0.002 * np.arange(20)
        limit = 0.05 - 1e-9
        counts = (rng.random((2000, 300))[:, :, None] < rates).sum(1)
        wrong = sum(
            bool(count) and rates[count - 1] > limit
            for row in counts
            for count in [proven([Rate([(1.0, int(errors), 300)]) for errors in row], limit, ERROR)]
        )
        assert wrong / 2000 <= ERROR + 3 * math.sqrt(ERROR * (1 - ERROR) / 2000)


class TestMeanBound:
    def test_of_one_price_it_is_the_price_times_the_bound_of_the_rate(self) -> None:
        assert mean_bound([Stratum(1.0, 200, [(7.0, 3)])], ERROR) == pytest.approx(7 * rate_bound(3, 200, ERROR))

    def test_two_prices_are_stacked(self) -> None:
        """1 for each of the 3 + 5 that cost at least 1, and 6 more for each of the 3 that cost 7."""
        expected = rate_bound(8, 200, ERROR / 2) + 6 * rate_bound(3, 200, ERROR / 2)
        assert mean_bound([Stratum(1.0, 200, [(7.0, 3), (1.0, 5)])], ERROR) == pytest.approx(expected)

    def test_strata_are_reweighted_and_share_the_error(self) -> None:
        strata = [Stratum(0.9, 100, [(1.0, 0)]), Stratum(0.1, 50, [(10.0, 2)])]
        expected = 0.9 * rate_bound(0, 100, ERROR / 2) + 0.1 * 10 * rate_bound(2, 50, ERROR / 2)
        assert mean_bound(strata, ERROR) == pytest.approx(expected)

    def test_zero_errors_do_not_promise_zero_cost_unless_they_are_free(self) -> None:
        assert mean_bound([Stratum(1.0, 100, [(2.0, 0)])], ERROR) > 0
        assert mean_bound([Stratum(1.0, 100, [(0.0, 9)])], ERROR) == 0

    def test_the_mean_cost_lies_above_it_as_seldom_as_stated(self) -> None:
        rng = np.random.default_rng(2)
        shares = [(0.95, [0.97, 0.02, 0.01]), (0.05, [0.9, 0.06, 0.04])]
        prices = np.array([0.0, 1.0, 20.0])
        mean = sum(weight * float(prices @ rates) for weight, rates in shares)
        draws = [rng.multinomial(n, rates, DRAWS) for n, (_, rates) in zip([300, 60], shares, strict=True)]
        missed = 0
        known = dict[bytes, bool]()
        for rows in zip(*draws, strict=True):
            key = np.concatenate(rows).tobytes()
            if key not in known:
                strata = [
                    Stratum(weight, int(row.sum()), [(1.0, int(row[1])), (20.0, int(row[2]))])
                    for (weight, _), row in zip(shares, rows, strict=True)
                ]
                known[key] = mean_bound(strata, ERROR) < mean
            missed += known[key]
        assert missed / DRAWS <= ALLOWED
