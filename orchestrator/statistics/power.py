"""Power: what a number of seeds can show, before any is run.

`deviation` is the standard deviation of the paired differences, `n` the number of seeds.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.statistics.intervals import ENOUGH, Interval
from orchestrator.statistics.paired import EXACT_UP_TO
from orchestrator.statistics.verdicts import Direction

Test = Literal["sign_flip", "wilcoxon"]
PRACTICAL = 100
"""The largest number of seeds that is considered."""

NODES = 48
"""Quadrature nodes for each piece of an integral."""


class Chances(NamedTuple):
    """Probabilities that an interval is below, within and above a margin around 0."""

    lower: float
    equivalent: float
    higher: float

    @property
    def decided(self) -> float:
        """The probability of any verdict."""
        return self.lower + self.equivalent + self.higher

    def supports(self, direction: Direction) -> float:
        """The probability that a claim with this direction is supported."""
        return {"lower": self.lower, "equal": self.equivalent, "higher": self.higher}[direction]


class Advice(NamedTuple):
    """The number of seeds that would decide a claim."""

    seeds: int | None
    """In total; None if `PRACTICAL` are not enough."""
    bound: float
    """The largest absolute difference that the interval does not exclude."""


def chances(
    difference: float, deviation: float, n: int, margin: float = 0.0, alpha: float = 0.05, *, step: float = 0.0
) -> Chances:
    """The probability of each verdict with n seeds, for normally distributed differences.

    The mean and the standard deviation of a normal sample are independent. Given the deviation, the interval's width
    is fixed and the probability of each region is a normal one; it is averaged over the deviation's chi distribution.

    Args:
        difference: True mean of challenger - baseline.
        deviation: True standard deviation of the difference over seeds.
        n: Number of seeds.
        margin: Margin of practical equivalence.
        alpha: Error rate of the interval.
        step: Step size of the measure, 0 if it is continuous; half of it is the smallest spread.

    Returns:
        Probabilities; all 0 with fewer than `ENOUGH` seeds, because there is no verdict.
    """
    if n < ENOUGH or not max(deviation, step):  # without a spread there is no interval
        return Chances(0.0, 0.0, 0.0)
    from scipy.special import chdtr, chdtri, ndtr, stdtrit

    freedom = n - 1
    floor = step / 2
    critical = float(stdtrit(n - 1, 1 - alpha / 2)) / math.sqrt(n)
    error = deviation / math.sqrt(n)
    if error == 0:
        half = critical * floor
        found = (difference < -margin - half, abs(difference) <= margin - half, difference > margin + half)
        return Chances(*map(float, found))
    # the integrand has kinks where the floor ends, and where the interval gets wider than the margin
    bends = [min(1.0, float(chdtr(freedom, freedom * (bend / deviation) ** 2))) for bend in (floor, margin / critical)]
    ends = np.unique([0.0, *bends, 1.0])
    nodes, weights = _nodes()
    share = (ends[:-1, None] + np.diff(ends)[:, None] * (1 + nodes) / 2).ravel()
    weight = (np.diff(ends)[:, None] * weights / 2).ravel()
    half = critical * np.maximum(floor, deviation * np.sqrt(chdtri(freedom, 1 - share) / freedom))
    lower = ndtr((-margin - half - difference) / error)
    higher = ndtr((difference - margin - half) / error)
    inside = ndtr((margin - half - difference) / error) - ndtr((half - margin - difference) / error)
    # `inside` is negative where the interval is wider than the margin
    return Chances(*(float(weight @ each) for each in (lower, np.maximum(inside, 0), higher)))


@cache
def _nodes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gauss-Legendre nodes and weights."""
    return np.polynomial.legendre.leggauss(NODES)


def seeds_to_decide(
    difference: float,
    deviation: float,
    margin: float = 0.0,
    alpha: float = 0.05,
    *,
    step: float = 0.0,
    power: float = 0.8,
    most: int = PRACTICAL,
) -> int | None:
    """The number of seeds that give some verdict with the given power; None if `most` do not."""
    seeds = range(ENOUGH, most + 1)
    found = bisect_left(seeds, power, key=lambda n: chances(difference, deviation, n, margin, alpha, step=step).decided)
    return seeds[found] if found < len(seeds) else None


def advice(difference: Interval, margin: float, alpha: float) -> Advice | None:
    """The number of seeds that would decide a claim if the true difference and spread are the observed ones.

    Args:
        difference: The difference with its 95 % Student t interval; without an interval the result is None.
        margin: Margin of practical equivalence.
        alpha: Significance level after correction for multiple questions.
    """
    estimate, low, high, n = difference
    if math.isnan(low):
        return None
    from scipy.special import stdtrit

    deviation = (high - low) / 2 / float(stdtrit(n - 1, 0.975)) * math.sqrt(n)
    needed = seeds_to_decide(estimate, deviation, margin, alpha)
    return Advice(needed if needed is None else max(needed, n + 1), max(abs(low), abs(high)))


def smallest_p(n: int, test: Test, draws: int = 10_000) -> float:
    """The smallest two-sided p-value that the test can give for any n differences.

    All differences have the same sign in 2 of 2**n patterns. Beyond `EXACT_UP_TO` seeds the
    sign-flip test draws patterns, so its p is also limited by the number of `draws`.
    """
    p = 2.0 ** (1 - n) if n > 0 else 1.0
    return max(p, 1 / (1 + draws)) if test == "sign_flip" and n > EXACT_UP_TO else p


def is_impossible(n: int, comparisons: int, alpha: float, test: Test, draws: int = 10_000) -> bool:
    """Whether no data can be significant, because Holm's first step requires `alpha / comparisons`."""
    return smallest_p(n, test, draws) > alpha / comparisons
