"""From an interval and a margin of practical equivalence to a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from orchestrator.statistics.intervals import ENOUGH, Interval

Direction = Literal["higher", "lower", "equal"]
Verdict = Literal["supported", "refuted", "equivalent", "undecided"]

ENOUGH_SIGNS = 6
"""Pairs from which a sign test can go under 5 %."""

ROUNDING = 1e-9
"""A bound this close to the margin, relative to either, lies at it."""


def verdict(difference: Interval, direction: Direction, margin: float) -> Verdict:
    """What an interval of the difference challenger - baseline says of a claim.

    `supported`: the whole interval lies beyond the margin on the claimed side (for
    `equal`: within it). `refuted`: it lies beyond the margin on the other side (for
    `equal`: on either). `equivalent`: it lies within the margin, so the difference is
    too small to matter. Otherwise, and without an interval of `ENOUGH` seeds, `undecided`.
    """
    low = difference.low
    high = difference.high
    if difference.n < ENOUGH or math.isnan(low):
        return "undecided"
    if direction == "lower":
        low, high = -high, -low
    within = not _beyond(high, margin) and not _beyond(-low, margin)
    if direction == "equal":
        if within:
            return "supported"
        return "refuted" if _beyond(low, margin) or _beyond(-high, margin) else "undecided"
    if _beyond(low, margin):
        return "supported"
    if _beyond(-high, margin):
        return "refuted"
    return "equivalent" if within else "undecided"


def sign_p(differences: Sequence[float], found: Verdict, direction: Direction, margin: float, lost: int = 0) -> float:
    """The two-sided p of a sign test of a verdict: do most pairs say what their mean says?

    A pair speaks for a difference if it lies beyond the margin on the same side, and for equality if it
    lies within. If one pair in two does by chance, as many or more do with half of this probability.
    Unlike Student's t it assumes nothing about how differences are distributed. 1 for `undecided`.

    Args:
        differences: Challenger - baseline, one a pair.
        found: The verdict.
        direction: Of the claim.
        margin: Of the claim.
        lost: Further pairs that have no difference; they speak against the verdict.
    """
    if found == "undecided":
        return 1.0
    from scipy.special import bdtrc

    if found == "equivalent" or (found == "supported" and direction == "equal"):
        count = sum(not _beyond(abs(each), margin) for each in differences)
    else:
        side = math.copysign(1.0, math.fsum(differences))
        count = sum(_beyond(side * each, margin) for each in differences)
    n = len(differences) + lost
    return min(1.0, 2 * float(bdtrc(count - 1, n, 0.5))) if count else 1.0


def _beyond(bound: float, margin: float) -> bool:
    return bound - margin > ROUNDING * max(abs(bound), margin)
