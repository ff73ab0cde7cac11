"""Verdicts: what an interval says of a claim."""

from __future__ import annotations

import math
from typing import get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_1samp

from orchestrator.statistics.intervals import Interval, mean_interval
from orchestrator.statistics.scopes import levels
from orchestrator.statistics.verdicts import Direction, Verdict, sign_p, verdict

intervals = st.tuples(st.floats(-1, 1), st.floats(0, 1)).map(
    lambda pair: Interval(pair[0], pair[0] - pair[1], pair[0] + pair[1], 5)
)
margins = st.floats(0, 0.5)
directions = st.sampled_from(get_args(Direction))


def boundary_p(difference: Interval, margin: float) -> float:
    """The smallest level at which the verdict of an interval would be given."""
    return levels(difference, "higher", margin).p


def between(low: float, high: float) -> Interval:
    return Interval((low + high) / 2, low, high, 5)


@pytest.mark.parametrize(
    ("low", "high", "higher", "lower", "equal"),
    [
        (0.02, 0.05, "supported", "refuted", "refuted"),
        (-0.05, -0.02, "refuted", "supported", "refuted"),
        (-0.005, 0.005, "equivalent", "equivalent", "supported"),
        (-0.01, 0.01, "equivalent", "equivalent", "supported"),
        (0.005, 0.05, "undecided", "undecided", "undecided"),
        (0.01, 0.05, "undecided", "undecided", "undecided"),
        (-0.05, -0.005, "undecided", "undecided", "undecided"),
        (-0.05, 0.05, "undecided", "undecided", "undecided"),
        (math.nan, math.nan, "undecided", "undecided", "undecided"),
    ],
)
def test_the_whole_interval_decides(low: float, high: float, higher: Verdict, lower: Verdict, equal: Verdict) -> None:
    interval = between(low, high)
    assert [verdict(interval, direction, 0.01) for direction in ("higher", "lower", "equal")] == [higher, lower, equal]


def test_without_a_margin_the_sign_decides() -> None:
    assert verdict(between(0.001, 0.002), "higher", 0) == "supported"
    assert verdict(between(-0.002, -0.001), "higher", 0) == "refuted"
    assert verdict(between(-0.001, 0.001), "higher", 0) == "undecided"


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize("direction", get_args(Direction))
def test_fewer_than_two_seeds_decide_nothing(n: int, direction: Direction) -> None:
    assert verdict(Interval(0.9 if n else math.nan, math.nan, math.nan, n), direction, 0.01) == "undecided"


@pytest.mark.parametrize("direction", get_args(Direction))
def test_two_seeds_have_an_interval_and_no_verdict(direction: Direction) -> None:
    two = mean_interval([0.9, 0.9], step=0.001)
    assert two.low > 0.8
    assert verdict(two, direction, 0.01) == "undecided"
    assert boundary_p(two, 0.01) == 1
    three = mean_interval([0.9, 0.9, 0.9], step=0.001)
    assert verdict(three, direction, 0.01) != "undecided"
    assert boundary_p(three, 0.01) < 0.001


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=12), margins)
def test_p_is_student_ts_at_the_nearer_end_of_the_margin(values: list[float], margin: float) -> None:
    interval = mean_interval(values)
    assume(interval.high - interval.low > 1e-6)
    expected = max(float(ttest_1samp(values, edge).pvalue) for edge in (margin, -margin))
    assert boundary_p(interval, margin) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=12), margins, directions)
def test_a_verdict_is_given_just_where_p_is_at_most_5_in_100(
    values: list[float], margin: float, direction: Direction
) -> None:
    interval = mean_interval(values)
    assume(interval.high - interval.low > 1e-6)
    p = boundary_p(interval, margin)
    assume(abs(p - 0.05) > 1e-6)
    decided = verdict(interval, direction, margin) != "undecided"
    if decided:
        assert p < 0.05
    elif abs(interval.estimate) > margin:
        assert p > 0.05


@pytest.mark.parametrize("count", [10, -10, 3])
@pytest.mark.parametrize("n", [2, 3, 5, 30])
@pytest.mark.parametrize("direction", get_args(Direction))
def test_differences_that_all_lie_at_the_margin_decide_nothing(count: int, n: int, direction: Direction) -> None:
    """10 of 1000 more are right, and the margin is 0.01: rounding must not decide."""
    rights = [900 + seed for seed in range(n)]
    differences = [(right + count) / 1000 - right / 1000 for right in rights]
    interval = mean_interval(differences, step=1 / 1000)
    margin = abs(count) / 1000
    assert verdict(interval, direction, margin) == "undecided"
    assert not boundary_p(interval, margin) < 0.9


@pytest.mark.parametrize("direction", get_args(Direction))
def test_without_a_margin_and_without_a_difference_nothing_is_decided(direction: Direction) -> None:
    interval = mean_interval([0.0] * 5, step=1 / 1000)
    assert verdict(interval, direction, 0) == "undecided"
    assert boundary_p(interval, 0) == pytest.approx(1)


@given(intervals, margins)
def test_what_lies_at_the_margin_by_rounding_is_on_neither_side(interval: Interval, margin: float) -> None:
    at = Interval(margin, margin * (1 + 1e-15), margin * (1 + 1e-15), 5)
    assert verdict(at, "higher", margin) == verdict(at, "lower", margin) != "refuted"


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 5), margins)
def test_the_sign_test_is_the_binomial_one(beyond: int, inside: int, lost: int, margin: float) -> None:
    differences = [margin + 1.0] * beyond + [-margin / 2] * inside
    n = beyond + inside + lost
    assume(n > 0 and beyond)
    expected = min(1, 2 * binomtest(beyond, n, alternative="greater").pvalue)
    assert sign_p(differences, "supported", "higher", margin, lost) == pytest.approx(expected)
    mirrored = [-each for each in differences]
    assert sign_p(mirrored, "refuted", "higher", margin, lost) == pytest.approx(expected)
    within = 1.0 if not inside else min(1, 2 * binomtest(inside, n, alternative="greater").pvalue)
    if margin:
        assert sign_p(differences, "equivalent", "higher", margin, lost) == pytest.approx(within)
        assert sign_p(differences, "supported", "equal", margin, lost) == pytest.approx(within)
    assert sign_p(differences, "undecided", "higher", margin, lost) == 1


def test_the_sign_test_looks_at_the_side_on_which_the_mean_lies() -> None:
    assert sign_p([0.5] * 6 + [-0.1] * 2, "refuted", "equal", 0.2) == pytest.approx(2 * 37 / 256)
    assert sign_p([0.5] * 6, "refuted", "higher", 0.2) == pytest.approx(2 / 64)


@given(intervals, margins, directions)
def test_negating_the_difference_swaps_the_directions(interval: Interval, margin: float, direction: Direction) -> None:
    negated = Interval(-interval.estimate, -interval.high, -interval.low, interval.n)
    opposite = {"higher": "lower", "lower": "higher", "equal": "equal"}[direction]
    assert verdict(negated, opposite, margin) == verdict(interval, direction, margin)


@given(intervals, margins)
def test_what_supports_one_direction_refutes_the_other(interval: Interval, margin: float) -> None:
    mirrored = {"supported": "refuted", "refuted": "supported"}
    higher = verdict(interval, "higher", margin)
    assert verdict(interval, "lower", margin) == mirrored.get(higher, higher)


@given(intervals, margins)
def test_equality_is_supported_where_a_difference_is_too_small_to_matter(interval: Interval, margin: float) -> None:
    equivalent = verdict(interval, "higher", margin) == "equivalent"
    assert (verdict(interval, "equal", margin) == "supported") == equivalent


@given(intervals, margins, directions, st.floats(0, 1))
def test_a_narrower_interval_never_turns_a_decision(
    interval: Interval, margin: float, direction: Direction, share: float
) -> None:
    estimate, low, high, n = interval
    narrower = Interval(estimate, estimate - share * (estimate - low), estimate + share * (high - estimate), n)
    decided = verdict(interval, direction, margin)
    if decided != "undecided":
        assert verdict(narrower, direction, margin) == decided
