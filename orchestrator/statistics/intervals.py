"""Means over seeds, and paired differences, with their 95 % confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from orchestrator.statistics.spread import spread

CONFIDENCE = 0.95

ENOUGH = 3
"""Fewest seeds for a verdict. Two give an interval, but hardly any information about the spread."""


class Interval(NamedTuple):
    """An estimate, its confidence interval, and its number of seeds.

    `low` and `high` are NaN if the spread is unknown: with fewer than two seeds, or if all values of
    a continuous measure are equal.
    """

    estimate: float
    low: float
    high: float
    n: int


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE, step: float = 0.0) -> Interval:
    """The mean and its Student t interval (n - 1 degrees of freedom).

    Experiments usually have few seeds. The t interval then keeps its coverage, while a
    percentile bootstrap is too narrow.

    Args:
        values: One per seed.
        confidence: Confidence level.
        step: Step size of the measure, 0 if it is continuous; half of it is the smallest spread.

    Examples:
        >>> from orchestrator.statistics.intervals import mean_interval
        >>> mean, low, high, n = mean_interval([1, 2, 3])  # 2 ± 4.303 · 1 / √3
        >>> mean, round(low, 2), round(high, 2), n
        (2.0, -0.48, 4.48, 3)
    """
    n = len(values)
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = float(np.mean(values))
    deviation = float(spread(values, step))
    if math.isnan(deviation):
        return Interval(mean, math.nan, math.nan, n)
    from scipy.special import stdtrit  # scipy.stats would take 0.5 s to import

    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * deviation / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def paired_interval(
    challenger: Mapping[int, float], baseline: Mapping[int, float], confidence: float = CONFIDENCE, step: float = 0.0
) -> Interval:
    """The mean difference challenger - baseline over the seeds that both have, with `mean_interval`.

    Results pair by seed, because both have the same split, batch order and initial weights.

    Args:
        challenger: Values by seed.
        baseline: Values by seed.
        confidence: Confidence level.
        step: Step size of the measure, 0 if it is continuous.

    Examples:
        >>> from orchestrator.statistics.intervals import paired_interval
        >>> mean, low, high, n = paired_interval({0: 5, 1: 7, 2: 9, 3: 9}, {0: 4, 1: 5, 2: 6})  # differences 1, 2, 3
        >>> mean, round(low, 2), round(high, 2), n
        (2.0, -0.48, 4.48, 3)
    """
    shared = sorted(challenger.keys() & baseline.keys())
    return mean_interval([challenger[seed] - baseline[seed] for seed in shared], confidence, step)
