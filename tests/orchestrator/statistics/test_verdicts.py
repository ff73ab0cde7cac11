"""Verdicts: what an interval says of a claim."""

from __future__ import annotations

import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.statistics.intervals import Interval
from orchestrator.statistics.verdicts import Direction, Verdict, verdict

intervals = st.tuples(st.floats(-1, 1), st.floats(0, 1)).map(
    lambda pair: Interval(pair[0], pair[0] - pair[1], pair[0] + pair[1], 5)
)
margins = st.floats(0, 0.5)
directions = st.sampled_from(get_args(Direction))


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
    assert verdict(between(0, 0), "higher", 0) == "equivalent"


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize("direction", get_args(Direction))
def test_fewer_than_two_seeds_decide_nothing(n: int, direction: Direction) -> None:
    assert verdict(Interval(0.9 if n else math.nan, math.nan, math.nan, n), direction, 0.01) == "undecided"


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
