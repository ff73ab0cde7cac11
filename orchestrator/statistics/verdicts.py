"""From an interval and a margin of practical equivalence to a verdict."""

from __future__ import annotations

from typing import Literal

from orchestrator.statistics.intervals import Interval

Direction = Literal["higher", "lower", "equal"]
Verdict = Literal["supported", "refuted", "equivalent", "undecided"]


def verdict(difference: Interval, direction: Direction, margin: float) -> Verdict:
    """What an interval of the difference challenger - baseline says of a claim.

    `supported`: the whole interval lies beyond the margin on the claimed side (for
    `equal`: within it). `refuted`: it lies beyond the margin on the other side (for
    `equal`: on either). `equivalent`: it lies within the margin, so the difference is
    too small to matter. Otherwise, and without an interval, `undecided`.
    """
    low, high = difference.low, difference.high
    if direction == "lower":
        low, high = -high, -low
    within = -margin <= low and high <= margin
    if direction == "equal":
        if within:
            return "supported"
        return "refuted" if low > margin or high < -margin else "undecided"
    if low > margin:
        return "supported"
    if high < -margin:
        return "refuted"
    return "equivalent" if within else "undecided"
