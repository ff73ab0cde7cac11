"""How probable it is that a claim will be supported, before any cell is run.

`power` knows the two-sided test of a difference. Here the question is the claim's own: beyond a
margin on one side, or inside it, in one setting or in several. Probabilities are for
Gaussian differences of which mean, spread and correlation are given.
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
"""The probability that is thought enough."""

DRAWS = 2_000
"""Simulated experiments: a probability of 80 % is known to within 2 points."""


class Assumed(NamedTuple):
    """What several settings are taken to be."""

    effects: Sequence[float]
    """The true difference in each."""
    deviations: Sequence[float]
    """The standard deviation of differences over seeds in each."""
    correlation: float = 0.0
    """Of the differences of two settings under one seed."""


class Asked(NamedTuple):
    """What a claim asks of an interval."""

    direction: Direction
    margin: float
    alpha: float
    """The two-sided level that its question has."""


def probability(effect: float, deviation: float, n: int, asked: Asked) -> float:
    """How probable it is that the t interval of n seeds supports a claim.

    Of `higher` the interval has to lie above the margin, of `lower` below its negative, of
    `equal` within it (the two one-sided tests of Schuirmann 1987).

    Args:
        effect: The true mean difference.
        deviation: The standard deviation of the paired differences, above 0.
        n: Seeds; fewer than `ENOUGH` decide nothing (0).
        asked: Of the interval.
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
    """How often all settings, or some, support a claim, in simulated experiments of n seeds.

    Args:
        over: Whether every setting has to (at the level itself), or one (at its share of it).
        assumed: The settings' effects, spreads and correlation.
        n: Seeds.
        asked: Of the intervals.
        rng: Draws the experiments.
        draws: Their number.
    """
    if n < ENOUGH:
        return 0.0
    from scipy.special import stdtrit

    direction, margin, alpha = asked
    effects = np.array(assumed.effects, float)
    deviations = np.array(assumed.deviations, float)
    shared = rng.normal(size=(draws, 1, n))
    own = rng.normal(size=(draws, len(effects), n))
    noise = math.sqrt(max(assumed.correlation, 0)) * shared + math.sqrt(1 - max(assumed.correlation, 0)) * own
    values = effects[:, None] + deviations[:, None] * noise
    means = values.mean(axis=2) * (-1 if direction == "lower" else 1)
    level = alpha if over == "all" else alpha / len(effects)
    reach = float(stdtrit(n - 1, 1 - level / 2)) * values.std(axis=2, ddof=1) / math.sqrt(n)
    inside = np.abs(means) + reach <= margin
    found: NDArray[np.bool_] = inside if direction == "equal" else means - reach > margin
    return float((found.all(axis=1) if over == "all" else found.any(axis=1)).mean())


def correlation(values: ArrayLike) -> float | None:
    """The mean correlation of settings under one seed, from differences (settings, seeds); NaN where one is missing.

    The ratio of the mean covariance of two settings to the mean product of their standard
    deviations, over the seeds both have. None where no two settings share three seeds.
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
    return math.fsum(covariances) / total if total > 0 else None


def seeds_for(power: Callable[[int], float], enough: float = POWER, most: int = PRACTICAL) -> int | None:
    """The smallest number of seeds from `ENOUGH` on whose power is enough; None where `most` are not.

    Args:
        power: The power with a number of seeds, which more seeds never lessen.
        enough: The power that is asked for.
        most: More seeds are out of reach.
    """
    seeds = range(ENOUGH, most + 1)
    found = bisect_left(seeds, enough, key=power)
    return seeds[found] if found < len(seeds) else None


def smallest_effect(power: Callable[[float], float], scale: float, enough: float = POWER) -> float:
    """The smallest effect whose power is enough, to four digits.

    Args:
        power: The power at an effect above 0, which a larger effect never lessens.
        scale: An effect of about the right size to start from, above 0.
        enough: The power that is asked for.
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
