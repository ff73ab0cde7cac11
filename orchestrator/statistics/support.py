"""The probability that a claim will be supported, before any cell is run.

`power` is about the two-sided test of a difference. Here the question is that of the claim: a
difference beyond a margin on one side, or within it, in one setting or in several. Differences
are Gaussian with given mean, spread and correlation.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.statistics.intervals import ENOUGH
from orchestrator.statistics.power import PRACTICAL, chances
from orchestrator.statistics.verdicts import Direction

POWER = 0.8
"""The usual target for power."""

DRAWS = 2_000
"""Simulated experiments: a probability of 80 % is then accurate to 2 percentage points."""


class Assumed(NamedTuple):
    """Assumptions about several settings."""

    effects: Sequence[float]
    """The true difference in each setting."""
    deviations: Sequence[float]
    """The standard deviation of differences over seeds in each setting."""
    correlation: float = 0.0
    """Correlation of the differences of two settings under the same seed."""


class Asked(NamedTuple):
    """What a claim requires of an interval."""

    direction: Direction
    margin: float
    alpha: float
    """The two-sided significance level of the claim's question."""


def probability(effect: float, deviation: float, n: int, asked: Asked) -> float:
    """The probability that the t interval of n seeds supports a claim.

    For `higher` the interval must be above the margin, for `lower` below its negative, for
    `equal` within it (the two one-sided tests of Schuirmann 1987).

    Args:
        effect: The true mean difference.
        deviation: The standard deviation of the paired differences, above 0.
        n: Number of seeds; with fewer than `ENOUGH` the probability is 0.
        asked: The claim's requirement.
    """
    return chances(effect, deviation, n, asked.margin, asked.alpha).supports(asked.direction)


def simulated(
    over: Literal["all", "some"],
    assumed: Assumed,
    n: int,
    asked: Asked,
    *,
    rng: np.random.Generator,
    draws: int = DRAWS,
) -> float:
    """The share of simulated experiments with n seeds in which all settings, or some, support a claim.

    Args:
        over: `all`: every setting must support it, at the full level; `some`: one must, at its share of the level.
        assumed: The settings' effects, spreads and correlation.
        n: Number of seeds.
        asked: The claim's requirement.
        rng: Draws the experiments.
        draws: Number of simulated experiments.
    """
    if n < ENOUGH:
        return 0.0
    from scipy.special import stdtrit

    direction, margin, alpha = asked
    effects = np.array(assumed.effects)
    deviations = np.array(assumed.deviations)
    common = math.sqrt(max(assumed.correlation, 0))
    own = math.sqrt(1 - common**2)
    size = (draws, len(effects))
    # A seed's noise is common * (one number for all settings) + own * (one number for each). Means over seeds are
    # independent of sums of squares, and a setting's numbers split into a part along the common ones and the rest.
    noise = common * rng.normal(size=(draws, 1)) + own * rng.normal(size=size)
    length = np.sqrt(rng.chisquare(n - 1, size=(draws, 1)))
    squares = (common * length + own * rng.normal(size=size)) ** 2 + own**2 * rng.chisquare(n - 2, size=size)
    means = (effects + deviations * noise / math.sqrt(n)) * (-1 if direction == "lower" else 1)
    level = alpha if over == "all" else alpha / len(effects)
    reach = float(stdtrit(n - 1, 1 - level / 2)) * deviations * np.sqrt(squares / (n - 1)) / math.sqrt(n)
    inside = np.abs(means) + reach <= margin
    found: NDArray[np.bool_] = inside if direction == "equal" else means - reach > margin
    return float((found.all(axis=1) if over == "all" else found.any(axis=1)).mean())


def correlation(values: ArrayLike) -> float | None:
    """The mean correlation of settings under the same seed, from differences (settings, seeds), NaN where missing.

    The ratio of the mean covariance of two settings to the mean product of their standard
    deviations, over the seeds that both have. None if no two settings share three seeds.
    """
    array = np.asarray(values, float)
    covariances = list[float]()
    products = list[float]()
    for first in range(len(array)):
        for second in range(first + 1, len(array)):
            pair = array[[first, second]][:, ~np.isnan(array[[first, second]]).any(axis=0)]
            if pair.shape[1] > 2:  # noqa: PLR2004 - any two points lie on a line
                found = np.cov(pair)
                covariances.append(float(found[0, 1]))
                products.append(math.sqrt(float(found[0, 0] * found[1, 1])))
    total = math.fsum(products)
    return min(1.0, math.fsum(covariances) / total) if total > 0 else None  # rounded, it may be above 1


def seeds_for(power: Callable[[int], float], enough: float = POWER, most: int = PRACTICAL) -> int | None:
    """The smallest number of seeds, at least `ENOUGH`, with enough power; None if `most` are not enough.

    Args:
        power: The power as a function of the number of seeds; it must not decrease.
        enough: The required power.
        most: The largest number of seeds to consider.
    """
    seeds = range(ENOUGH, most + 1)
    found = bisect_left(seeds, enough, key=power)
    return seeds[found] if found < len(seeds) else None


def smallest_effect(power: Callable[[float], float], scale: float, enough: float = POWER) -> float:
    """The smallest effect with enough power, to four digits.

    Args:
        power: The power as a function of an effect above 0; it must not decrease.
        scale: A first guess of the effect, above 0.
        enough: The required power.
    """
    low = 0.0
    high = scale
    while power(high) < enough:
        low = high
        high = 2 * high
    while high - low > 1e-4 * high:
        centre = (low + high) / 2
        low, high = (centre, high) if power(centre) < enough else (low, centre)
    return high
