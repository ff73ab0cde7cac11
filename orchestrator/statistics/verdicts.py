"""From an interval and a margin of practical equivalence to a verdict."""

from __future__ import annotations

import math
from typing import Literal

from orchestrator.statistics.intervals import CONFIDENCE, Interval

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


def boundary_p(difference: Interval, margin: float) -> float:
    """How sure the verdict of an interval is: the smallest level at which it would still be given.

    Two-sided, from Student's t at the nearest boundary of the margin; with `intervals.mean_interval`, a
    verdict other than `undecided` has p <= 0.05. NaN without an interval.
    """
    if difference.n < 2 or math.isnan(difference.low):  # noqa: PLR2004 - one value has no spread
        return math.nan
    from scipy.special import stdtr, stdtrit

    half = (difference.high - difference.low) / 2
    distance = min(abs(difference.estimate - margin), abs(difference.estimate + margin))
    if half == 0:
        return 0.0 if distance else 1.0
    freedom = difference.n - 1
    error = half / float(stdtrit(freedom, (1 + CONFIDENCE) / 2))
    return float(2 * stdtr(freedom, -distance / error))
