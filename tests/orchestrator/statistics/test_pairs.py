"""Verdicts from pairs of which some lost a side."""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student_t
from scipy.stats import ttest_1samp

from orchestrator.statistics.intervals import Interval, mean_interval
from orchestrator.statistics.pairs import Pairs, Scale, SeedRule, judge, judge_at_look
from orchestrator.statistics.sequential import interval
from orchestrator.statistics.verdicts import Direction, sign_p, verdict

ACCURACY = Scale(worst=0.0, best=1.0, step=1 / 1000)
ERROR_RATE = Scale(worst=1.0, best=0.0, step=1 / 1000)
GAP = Scale()
"""A measure without bounds or steps."""

Values = list[float | None]


def boundary_p(difference: Interval, margin: float) -> float:
    """Student's t at the nearer end of the margin."""
    error = (difference.high - difference.low) / 2 / student_t(difference.n - 1).ppf(0.975)
    distance = min(abs(difference.estimate - margin), abs(difference.estimate + margin))
    return float(2 * student_t(difference.n - 1).sf(distance / error))


def accuracies(challenger: Values, baseline: Values, **more: Any) -> Pairs:
    return Pairs(challenger, baseline, ACCURACY, ACCURACY, **more)


BASE: Values = [0.900, 0.905, 0.898, 0.902, 0.901]
BETTER: Values = [0.920, 0.924, 0.919, 0.921, 0.922]

percents = st.integers(-50, 50).map(lambda percent: percent / 1000)


@given(st.lists(percents, min_size=1, max_size=9), st.sampled_from(get_args(Direction)), st.floats(0, 0.03))
def test_where_nothing_is_lost_it_is_the_verdict_of_the_mean(
    differences: list[float], direction: Direction, margin: float
) -> None:
    pairs = accuracies([0.5 + each for each in differences], [0.5] * len(differences))
    expected = mean_interval([0.5 + each - 0.5 for each in differences], step=1 / 1000)
    found = judge(pairs, direction, margin)
    np.testing.assert_array_equal(found.difference, expected)
    assert found.verdict == verdict(expected, direction, margin)
    if found.verdict != "undecided":
        assert found.p == pytest.approx(boundary_p(expected, margin))
    assert (found.lost, found.at_worst) == (0, None)
    assert (found.withheld == "few") == (len(differences) < 3)


@pytest.mark.parametrize("lost", [0, 2, 4])
def test_a_lost_challenger_counts_as_the_worst_accuracy(lost: int) -> None:
    """Two of five lost, and *supported* would flatter."""
    challenger: Values = [None if seed == lost else value for seed, value in enumerate(BETTER)]
    found = judge(accuracies(challenger, BASE), "higher", 0.005)
    filled = [(value or 0.0) - base for value, base in zip(challenger, BASE, strict=True) if base is not None]
    assert found.verdict == "undecided"
    assert found.withheld == "lost"
    assert found.p > 0.05
    assert found.lost == 1
    assert found.difference.n == 4
    assert found.at_worst == pytest.approx(mean_interval(filled, step=1 / 1000))
    assert judge(accuracies(BETTER, BASE), "higher", 0.005).verdict == "supported"


def test_a_loss_that_diverges_always_is_worse_than_one_that_does_not() -> None:
    found = judge(accuracies([None] * 5, BASE), "higher", 0.005)
    assert found.verdict == "refuted"
    assert found.difference.n == 0
    assert found.at_worst is not None
    assert found.at_worst.estimate == pytest.approx(-0.9012)
    assert judge(accuracies(BETTER, [None] * 5), "higher", 0.005).verdict == "supported"


def test_the_worst_of_an_error_rate_is_1_and_not_0() -> None:
    """A loss that diverged in 5 of 6 runs is not the better one for it."""
    errors = Pairs([None] * 5 + [0.3], [0.1, 0.11, 0.1, 0.12, 0.1, 0.11], ERROR_RATE, ERROR_RATE)
    found = judge(errors, "lower", 0.01)
    assert found.verdict == "refuted"
    assert found.at_worst is not None
    assert found.at_worst.estimate > 0.7


def test_two_losses_that_diverge_alike_are_not_equal_for_it() -> None:
    same: Values = [0.9, 0.9, 0.9, None, None]
    for direction in get_args(Direction):
        found = judge(accuracies(same, same), direction, 0.01)
        assert (found.verdict, found.withheld) == ("undecided", "lost")
    assert judge(accuracies(same[:3], same[:3]), "equal", 0.01).verdict == "supported"


@pytest.mark.parametrize("scale", [ACCURACY, ERROR_RATE])
@pytest.mark.parametrize("margin", [0.05, 3.0])
def test_what_is_lost_lies_outside_the_margin(scale: Scale, margin: float) -> None:
    pairs = Pairs([None, 0.5, 0.5, None], [0.5, None, 0.5, None], scale, scale)
    found = pairs.outside(margin)
    assert found is not None
    side = -1 if scale.worst == 0 else 1
    assert [math.copysign(1, each) for each in found] == [side, -side, 1, side]
    assert [abs(each) > margin for each in found] == [True, True, False, True]
    assert found[2] == 0


def test_a_measure_within_a_bound_of_0_is_not_there_where_it_is_lost() -> None:
    near: Values = [0.001, 0.002, 0.001, 0.0, None]
    found = judge(Pairs(near, [0.0] * 5, ERROR_RATE, ERROR_RATE), "equal", 0.05)
    assert found.verdict == "undecided"
    assert judge(Pairs(near[:4], [0.0] * 4, ERROR_RATE, ERROR_RATE), "equal", 0.05).verdict == "supported"
    accuracy = judge(Pairs(near, [0.0] * 5, ACCURACY, ACCURACY), "equal", 0.05)  # whose worst is 0 itself
    assert accuracy.verdict == "undecided"


@pytest.mark.parametrize(
    ("there", "lost", "expected"), [(5, 1, "undecided"), (11, 1, "supported"), (6, 6, "undecided")]
)
def test_without_a_bound_a_sign_test_that_counts_the_lost_has_to_agree(there: int, lost: int, expected: str) -> None:
    rng = np.random.default_rng(0)
    challenger: Values = [*rng.normal(2, 0.1, there), *[None] * lost]
    baseline: Values = [*rng.normal(0, 0.1, there + lost)]
    found = judge(Pairs(challenger, baseline, GAP, GAP), "higher", 0.5)
    assert found.verdict == expected
    assert found.at_worst is None
    p = sign_p([2.0] * there, "supported", "higher", 0.5, lost)
    assert found.p == pytest.approx(p)
    assert judge(Pairs(challenger[:there], baseline[:there], GAP, GAP), "higher", 0.5).verdict == "supported"


def test_a_verdict_is_withheld_while_planned_cells_are_missing() -> None:
    found = judge(accuracies(BETTER, BASE, missing=1), "higher", 0.005)
    assert (found.verdict, found.withheld) == ("undecided", "missing")
    assert math.isnan(found.p)
    assert found.difference.low > 0.005


def test_equal_values_of_a_measure_without_steps_have_no_verdict() -> None:
    found = judge(Pairs([0.3] * 5, [0.1] * 5, GAP, GAP), "higher", 0.01)
    assert (found.verdict, found.withheld) == ("undecided", "no spread")
    assert math.isnan(found.p)
    assert Pairs([0.3], [0.1], ACCURACY, GAP).step == 0


def test_p_is_the_largest_of_all_readings() -> None:
    rng = np.random.default_rng(1)
    challenger: Values = [None, *(0.30 + rng.normal(0, 0.01, 9))]
    baseline: Values = [*(0.9 + rng.normal(0, 0.01, 10))]
    pairs = accuracies(challenger, baseline)
    found = judge(pairs, "higher", 0.0)
    assert found.verdict == "refuted"
    assert found.at_worst is not None
    each = boundary_p(found.difference, 0.0), boundary_p(found.at_worst, 0.0)
    assert found.p == pytest.approx(max(each))
    assert max(each) > 2 * min(each)


def test_a_sign_test_that_disagrees_sharply_raises_a_doubt() -> None:
    few = [0.6, 0.62, 0.58, 0.61, 0.59, 0.63, -0.03, -0.02, -0.01, -0.03, -0.02, -0.01]
    found = judge(Pairs(few, [0.0] * 12, GAP, GAP), "higher", 0.0)
    assert found.verdict == "supported"
    assert found.signs == pytest.approx(1)
    assert found.is_doubted
    assert not judge(Pairs([abs(each) for each in few], [0.0] * 12, GAP, GAP), "higher", 0.0).is_doubted
    assert math.isnan(judge(accuracies(BETTER, BASE), "higher", 0.005).signs)  # of 5 no sign test goes under 5 %


def test_swapping_the_two_swaps_the_verdict() -> None:
    lost: Values = [None, *BETTER[1:]]
    mirrored = {"supported": "refuted", "refuted": "supported"}
    for mine, theirs in ((BETTER, BASE), (lost, BASE), ([None] * 5, BASE), (BASE, lost)):
        forth = judge(accuracies(mine, theirs), "higher", 0.005)
        back = judge(accuracies(theirs, mine), "higher", 0.005)
        assert back.verdict == mirrored.get(forth.verdict, forth.verdict)
        np.testing.assert_allclose(back.p, forth.p)


def test_at_a_look_nothing_lost_is_the_sequences_verdict() -> None:
    rng = np.random.default_rng(2)
    for n in range(3, 13):
        challenger = rng.normal(0.93, 0.01, n)
        baseline = rng.normal(0.9, 0.01, n)
        look = interval(list(challenger - baseline), 5, 12, 0.01, step=1 / 1000)
        found = judge_at_look(accuracies([*challenger], [*baseline]), "higher", 0.005, least=5, most=12, alpha=0.01)
        assert found == verdict(look, "higher", 0.005)


def test_at_a_look_a_verdict_stands_with_the_lost_at_their_worst() -> None:
    rng = np.random.default_rng(3)
    challenger: Values = [*rng.normal(0.93, 0.004, 12)]
    baseline: Values = [*rng.normal(0.9, 0.004, 12)]
    assert judge_at_look(accuracies(challenger, baseline), "higher", 0.005, least=5, most=12, alpha=0.05) == "supported"
    challenger[3] = None
    assert judge_at_look(accuracies(challenger, baseline), "higher", 0.005, least=5, most=12, alpha=0.05) == "undecided"
    assert (
        judge_at_look(Pairs(challenger, baseline, GAP, GAP), "higher", 0.005, least=5, most=12, alpha=0.05)
        == "undecided"
    )
    assert judge_at_look(accuracies([None] * 12, baseline), "higher", 0.005, least=5, most=12, alpha=0.05) == "refuted"


def test_at_the_last_look_the_lost_make_no_further_pair() -> None:
    """Student's t waits for the last pair there can be."""
    rng = np.random.default_rng(4)
    baseline: Values = [*rng.normal(0.9, 0.004, 6)]
    challenger: Values = [*rng.normal(0.2, 0.004, 5), None]
    assert judge_at_look(accuracies(challenger, baseline), "higher", 0.005, least=5, most=6, alpha=0.05) == "refuted"


@pytest.mark.parametrize(("least", "most"), [(5, 12), (5, 6), (4, 8)])
def test_where_results_decide_the_number_of_seeds_the_last_look_is_at_the_pairs_that_are_not_lost(
    least: int, most: int
) -> None:
    """It has half of alpha, since there were looks before it, even where the lost leave the first number of seeds."""
    rng = np.random.default_rng(5)
    baseline: Values = [*rng.normal(0.9, 0.02, most)]
    challenger: Values = [*rng.normal(0.02, 0.02, most - 1), None]
    found = judge(accuracies(challenger, baseline), "higher", 0.0, SeedRule(least, most))
    filled = np.subtract([value or 0.0 for value in challenger], baseline)
    readings = [filled[:-1], filled]
    expected = [2 * ttest_1samp(each, 0).pvalue for each in readings]
    assert (found.verdict, found.lost) == ("refuted", 1)
    assert found.p == pytest.approx(max(expected))
    half = student_t(most - 2).ppf(1 - 0.05 / 4) * np.std(readings[0], ddof=1) / math.sqrt(most - 1)
    assert found.difference.high - found.difference.estimate == pytest.approx(half)
    assert found.difference.n == most - 1
    assert math.isnan(found.signs)


def test_where_results_decide_the_number_of_seeds_what_is_lost_without_a_bound_leaves_no_verdict() -> None:
    rng = np.random.default_rng(6)
    challenger: Values = [*rng.normal(2, 0.1, 11), None]
    found = judge(Pairs(challenger, [0.0] * 12, GAP, GAP), "higher", 0.5, SeedRule(5, 12))
    assert (found.verdict, found.withheld) == ("undecided", "lost")
    assert judge(Pairs(challenger[:11], [0.0] * 11, GAP, GAP), "higher", 0.5, SeedRule(5, 12)).verdict == "supported"


def test_equal_pairs_have_the_spread_of_half_a_step_at_a_look_as_well() -> None:
    same = accuracies([0.92] * 12, [0.9] * 12)
    found = judge(same, "higher", 0.005, SeedRule(5, 12))
    half = student_t(11).ppf(1 - 0.05 / 4) * 0.0005 / math.sqrt(12)
    assert (found.difference.low, found.difference.high) == pytest.approx((0.02 - half, 0.02 + half))
    assert judge_at_look(same, "higher", 0.005, least=5, most=12, alpha=0.05) == "supported"


@pytest.mark.parametrize("direction", get_args(Direction))
def test_at_a_look_what_is_lost_is_no_evidence_of_equality(direction: Direction) -> None:
    """Two losses that always get 0.001 differ by nothing, and one that diverged in the worst case by no more."""
    low: Values = [0.001] * 11
    pairs = accuracies([*low, None], [*low, 0.001])
    assert judge_at_look(pairs, direction, 0.05, least=5, most=12, alpha=0.05) == "undecided"
    whole = judge_at_look(accuracies(low, low), direction, 0.05, least=5, most=11, alpha=0.05)
    assert whole == ("supported" if direction == "equal" else "equivalent")


def test_a_sign_test_counts_lost_pairs_at_their_worst() -> None:
    better: Values = [0.95, 0.94, 0.96, 0.95, 0.94, 0.96]
    found = judge(accuracies([*better, *better], [0.6] * 10 + [None] * 2), "higher", 0.0)
    assert found.verdict == "supported"
    assert found.signs == pytest.approx(2 / 2**12)
