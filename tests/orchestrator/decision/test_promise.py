"""Thresholds come from validation images, and promises from test images that were opened once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from benchmarks.promises import CASES, Case, allowed, drawn, miss_rates
from orchestrator.decision.promise import Promised, promise
from orchestrator.experiment.operation import Operation
from orchestrator.statistics.promises import rate_bound
from orchestrator.thresholds.choice import LADDER, ChosenThreshold, choose
from orchestrator.thresholds.consequences import Use, consequences

ERROR = 0.05
NAMES = ["bolt", "nut", "dented"]


def use(**fields: Any) -> Use:
    return Use.of(Operation.model_validate(fields), NAMES)


def by_name(rates: tuple[Promised, ...]) -> dict[str, Promised]:
    return {rate.name: rate for rate in rates}


class TestChoice:
    @pytest.mark.parametrize("seed", range(5))
    def test_the_threshold_is_the_cheapest_on_the_validation_images(self, seed: int) -> None:
        seen = drawn(np.random.default_rng(seed), 150)
        asked = use(good=["bolt", "nut"], prices={"false_accept": 10, "false_reject": 2, "review": 0.5}, review=1.0)
        chosen = choose(seen, asked)
        assert chosen is not None
        scores = np.unique(np.concatenate([seen.top, seen.second]))
        every = (scores[1:] + scores[:-1]) / 2
        assert chosen.cost == pytest.approx(min(consequences(seen, asked, every).costs()), rel=0.03)
        assert consequences(seen, asked, np.array([chosen.threshold])).costs()[0] == pytest.approx(chosen.cost)

    def test_a_dear_false_accept_raises_it_and_a_dear_false_reject_lowers_it(self) -> None:
        seen = drawn(np.random.default_rng(0), 400)
        strict, even, lax = (
            choose(seen, use(prices={"false_accept": a, "false_reject": r})) for a, r in ((20, 1), (1, 1), (1, 20))
        )
        assert strict is not None
        assert even is not None
        assert lax is not None
        assert strict.threshold > even.threshold > lax.threshold

    def test_of_equally_cheap_thresholds_it_is_in_the_middle(self) -> None:
        seen = drawn(np.random.default_rng(0), 40, skill=40)
        chosen = choose(seen, use())
        assert chosen is not None
        assert chosen.cost == 0
        gap = (seen.rival.max() + seen.positive.min()) / 2
        assert chosen.threshold == pytest.approx(gap, abs=1)

    def test_limits_and_the_share_to_review_bind_it(self) -> None:
        seen = drawn(np.random.default_rng(1), 2000)
        prices = {"false_accept": 100, "review": 0.0}
        free = choose(seen, use(good=["bolt", "nut"], prices=prices, review=1.0))
        bound = choose(seen, use(good=["bolt", "nut"], prices=prices, review=0.3))
        limited = choose(seen, use(good=["bolt", "nut"], limits={"false_accept_rate": 0.01}, review=1.0))
        assert free is not None
        assert bound is not None
        assert limited is not None
        asked = use(good=["bolt", "nut"], review=0.3)
        at = np.array([bound.threshold, free.threshold, limited.threshold])
        told = consequences(seen, asked, at)
        reviews = told.estimates("review_share")
        assert reviews[0] <= 0.3 < reviews[1]
        assert told.estimates("false_accept_rate")[2] <= 0.01
        assert free.keeps
        assert bound.keeps
        assert limited.keeps

    def test_where_no_threshold_keeps_the_limits_the_closest_is_taken_and_it_is_said(self) -> None:
        seen = drawn(np.random.default_rng(2), 300, skill=0.5)
        chosen = choose(seen, use(limits={"false_accept_rate": 0.001, "false_reject_rate": 0.001}))
        assert chosen is not None
        assert not chosen.keeps

    def test_the_ladder_leads_from_the_safest_threshold_to_the_chosen_one(self) -> None:
        seen = drawn(np.random.default_rng(3), 500)
        chosen = choose(seen, use(limits={"false_accept_rate": 0.05}))
        assert chosen is not None
        assert 1 < chosen.ladder.size <= LADDER
        assert chosen.ladder[-1] == chosen.threshold
        assert (np.diff(chosen.ladder) < 0).all()
        assert chosen.ladder[0] > seen.rival.max() - 0.2

    def test_without_limits_the_ladder_is_the_threshold(self) -> None:
        chosen = choose(drawn(np.random.default_rng(3), 100), use())
        assert chosen is not None
        assert chosen.ladder.tolist() == [chosen.threshold]

    def test_scores_that_are_not_numbers_leave_nothing_to_choose(self) -> None:
        seen = drawn(np.random.default_rng(3), 10)
        nothing = np.full(10, math.nan)
        assert choose(seen._replace(positive=nothing, rival=nothing), use()) is None


def chosen_at(*ladder: float, costs: tuple[float, ...] = ()) -> ChosenThreshold:
    return ChosenThreshold(0.1, True, 1.0, ladder[-1], np.array(ladder), np.array(costs or [0.1] * len(ladder)))


class TestPromise:
    def test_without_limits_two_rates_share_the_error(self) -> None:
        told = promise(drawn(np.random.default_rng(0), 500), use(), chosen_at(1.2))
        for rate in told.rates:
            assert rate.bound == pytest.approx(rate_bound(rate.errors, rate.n, ERROR / 2))
            assert rate.is_kept is None
        assert told.is_kept
        assert told.threshold == 1.2

    def test_the_error_is_divided_by_the_models_that_a_person_looked_at(self) -> None:
        told = promise(drawn(np.random.default_rng(0), 500), use(), chosen_at(1.2), looked=40)
        for rate in told.rates:
            assert rate.bound == pytest.approx(rate_bound(rate.errors, rate.n, ERROR / 40 / 2))

    def test_the_cheapest_proven_step_is_taken_and_steps_after_the_first_failure_are_not(self) -> None:
        seen = drawn(np.random.default_rng(1), 3000)
        asked = use(limits={"false_accept_rate": 0.05})
        safe, cheap, lax = 3.5, 3.0, 0.0
        told = promise(seen, asked, chosen_at(safe, cheap, lax, costs=(0.5, 0.4, 0.1)))
        assert told.threshold == cheap
        rate = by_name(told.rates)["false_accept_rate"]
        assert (rate.is_kept, rate.bound, rate.limit) == (True, 0.05, 0.05)
        assert not promise(seen, asked, chosen_at(lax, cheap, safe, costs=(0.1, 0.4, 0.5))).is_kept

    def test_after_a_walk_the_other_bounds_hold_for_all_of_its_steps(self) -> None:
        seen = drawn(np.random.default_rng(1), 3000)
        told = promise(seen, use(limits={"false_accept_rate": 0.05}), chosen_at(3.5, 3.0))
        other = by_name(told.rates)["false_reject_rate"]
        assert other.bound == pytest.approx(rate_bound(other.errors, other.n, ERROR / 2))
        alone = promise(seen, use(limits={"false_accept_rate": 0.05}), chosen_at(3.5))
        assert told.cost_bound > alone.cost_bound if told.threshold == alone.threshold else True

    def test_a_limit_that_cannot_be_promised_says_how_large_the_test_has_to_be(self) -> None:
        seen = drawn(np.random.default_rng(4), 200, skill=40)
        told = promise(seen, use(limits={"false_accept_rate": 0.001}), chosen_at(20.0))
        rate = by_name(told.rates)["false_accept_rate"]
        assert (rate.errors, rate.is_kept, rate.needed) == (0, False, 2995)
        assert not told.is_kept
        both = promise(seen, use(limits={"false_accept_rate": 0.001, "false_reject_rate": 0.001}), chosen_at(20.0))
        assert {rate.needed for rate in both.rates} == {3688}

    def test_each_limit_is_promised_by_itself(self) -> None:
        seen = drawn(np.random.default_rng(1), 3000)
        asked = use(limits={"false_accept_rate": 0.05, "false_reject_rate": 0.05})
        told = by_name(promise(seen, asked, chosen_at(3.5, 3.0, costs=(0.5, 0.4))).rates)
        assert told["false_accept_rate"].is_kept is True
        assert told["false_reject_rate"].is_kept is False

    def test_of_steps_that_keep_as_many_limits_the_cheapest_is_taken_and_one_that_keeps_more_before_it(self) -> None:
        seen = drawn(np.random.default_rng(1), 3000, skill=6)
        asked = use(limits={"false_accept_rate": 0.05, "false_reject_rate": 0.05})
        told = promise(seen, asked, chosen_at(6.5, 4.0, 3.0, 0.0, costs=(0.0, 0.3, 0.2, 0.1)))
        assert told.threshold == 6.5  # false rejects are not shown at the first step, so never
        assert promise(seen, asked, chosen_at(4.0, 3.0, 6.5, costs=(0.3, 0.2, 0.0))).threshold == 3.0

    def test_a_rate_above_its_limit_is_never_promised_and_no_size_is_named(self) -> None:
        told = promise(drawn(np.random.default_rng(4), 200), use(limits={"false_accept_rate": 0.001}), chosen_at(0.0))
        rate = by_name(told.rates)["false_accept_rate"]
        assert (rate.is_kept, rate.needed) == (False, None)

    def test_no_error_at_all_still_leaves_a_cost_that_it_may_have(self) -> None:
        told = promise(drawn(np.random.default_rng(4), 200, skill=40), use(), chosen_at(20.0))
        assert told.cost == 0
        assert told.cost_bound > 0


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_bound_is_missed_as_seldom_as_stated_although_model_and_threshold_are_chosen(case: Case) -> None:
    draws = 600
    missed = miss_rates(case, draws)
    assert missed
    assert {name: rate for name, rate in missed.items() if rate > allowed(draws)} == {}
