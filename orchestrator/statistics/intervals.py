"""Means over seeds, and paired differences, with their 95 % confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """An estimate, its confidence interval, and the number of seeds it rests on.

    With fewer than two seeds the spread is unknown: `low` and `high` are NaN.
    """

    estimate: float
    low: float
    high: float
    n: int


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The mean and its Student t interval (n - 1 degrees of freedom).

    Few seeds are the rule, and there the t interval keeps its coverage where a
    percentile bootstrap is too narrow.
    """
    n = len(values)
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = float(np.mean(values))
    if n == 1:
        return Interval(mean, math.nan, math.nan, 1)
    from scipy.special import stdtrit  # scipy.stats would take 0.5 s to import

    half = float(stdtrit(n - 1, (1 + confidence) / 2) * np.std(values, ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


def paired_interval(challenger: Mapping[int, float], baseline: Mapping[int, float]) -> Interval:
    """The mean difference challenger - baseline over the seeds both have, by `mean_interval`.

    Seeds pair because split, batch order and initial weights derive from them alone.

    Args:
        challenger: Values by seed.
        baseline: Values by seed.
    """
    shared = sorted(challenger.keys() & baseline.keys())
    return mean_interval([challenger[seed] - baseline[seed] for seed in shared])
