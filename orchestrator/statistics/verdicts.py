"""From an interval and a margin of practical equivalence to a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from orchestrator.statistics.intervals import ENOUGH, Interval

Direction = Literal["higher", "lower", "equal"]
Verdict = Literal["supported", "refuted", "equivalent", "undecided"]

ENOUGH_SIGNS = 6
"""Fewest pairs with which a sign test can be significant at 5 %."""

ROUNDING = 1e-9
"""A bound this close to the margin, relative to the larger of the two, counts as equal to it."""


def verdict(difference: Interval, direction: Direction, margin: float) -> Verdict:
    """The verdict on a claim from an interval of the difference challenger - baseline.

    `supported`: the whole interval is beyond the margin on the claimed side (for
    `equal`: within it). `refuted`: it is beyond the margin on the other side (for
    `equal`: on either side). `equivalent`: it is within the margin, so the difference is
    too small to matter. `undecided`: anything else, or fewer than `ENOUGH` seeds.

    Examples:
        >>> from orchestrator.statistics.intervals import Interval
        >>> from orchestrator.statistics.verdicts import verdict
        >>> difference = Interval(0.02, low=0.01, high=0.03, n=5)
        >>> verdict(difference, "higher", margin=0.005), verdict(difference, "lower", margin=0.005)
        ('supported', 'refuted')
        >>> verdict(difference, "higher", margin=0.05), verdict(difference, "higher", margin=0.02)
        ('equivalent', 'undecided')
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
    """The two-sided p of a sign test of a verdict: do most pairs agree with their mean?

    A pair counts for a difference if it is beyond the margin on the same side, and for equality if it is
    within the margin. Under the null hypothesis a pair counts with probability 1/2, and this is twice the
    probability of as many or more. Unlike Student's t, the test makes no assumption about the distribution
    of differences. 1 for `undecided`.

    Args:
        differences: Challenger - baseline, one per pair.
        found: The verdict.
        direction: Direction of the claim.
        margin: Margin of the claim.
        lost: Number of pairs without a difference; they count against the verdict.

    Examples:
        >>> from orchestrator.statistics.verdicts import sign_p
        >>> sign_p([0.1, 0.2, 0.3, 0.1, 0.2], "supported", "higher", margin=0.0)  # 2 / 2**5
        0.0625
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
