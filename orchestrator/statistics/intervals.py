"""Means over seeds, and paired differences, with their 95 % confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from orchestrator.statistics.spread import spread

CONFIDENCE = 0.95

ENOUGH = 3
"""Seeds from which there is a verdict. Two have an interval, but they tell next to nothing of the spread."""


class Interval(NamedTuple):
    """An estimate, its confidence interval, and the number of seeds it rests on.

    Where the spread is unknown `low` and `high` are NaN: with fewer than two seeds, and where all
    values of a measure without steps are equal.
    """

    estimate: float
    low: float
    high: float
    n: int


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE, step: float = 0.0) -> Interval:
    """The mean and its Student t interval (n - 1 degrees of freedom).

    Few seeds are the rule, and there the t interval keeps its coverage where a
    percentile bootstrap is too narrow.

    Args:
        values: One a seed.
        confidence: Of the interval.
        step: Between neighbouring values of the measure, 0 if it has no steps: the floor of their spread.
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
    """The mean difference challenger - baseline over the seeds both have, by `mean_interval`.

    Seeds pair because split, batch order and initial weights derive from them alone.

    Args:
        challenger: Values by seed.
        baseline: Values by seed.
        confidence: Of the interval.
        step: Between neighbouring values of the measure, 0 if it has no steps.
    """
    shared = sorted(challenger.keys() & baseline.keys())
    return mean_interval([challenger[seed] - baseline[seed] for seed in shared], confidence, step)
