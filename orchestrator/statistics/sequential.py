"""Sequential analysis: repeated looks while seeds are added, without more false positives.

A 95 % interval covers the truth in 95 % of cases at one fixed look. Looking after every
seed and stopping once the interval excludes 0 gives far more errors. The interval here
holds at all looks together.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from orchestrator.statistics.intervals import Interval
from orchestrator.statistics.spread import spread


def interval(differences: Sequence[float], least: int, most: int, alpha: float = 0.05, step: float = 0.0) -> Interval:
    """The mean difference, with an interval that holds at every look from `least` to `most` seeds.

    Half of alpha is for all looks before the last: a confidence sequence of the t statistic,
    with the true effect mixed over a standard normal (Lai 1976; Wang & Ramdas 2024,
    "Anytime-valid t-tests and confidence sequences for Gaussian means with unknown variance").
    The other half is for Student's t at the last look. Together the error is at most alpha
    (Bonferroni), even if looks are skipped. If `least` equals `most`, this is the interval of
    the fixed design.

    We also tried alpha spending with Student's t. It needs fewer seeds for small effects, but
    errs in 5.8 % of simulated runs with uniform differences, against 3.8 % here. Like every t
    interval, this one errs more often if differences are skewed.

    The interval is NaN before `least` seeds, while it is unbounded (with fewer than 6 seeds at
    an alpha of 5 %), and if all differences of a continuous measure are equal, because the
    spread is then unknown.

    Args:
        differences: Challenger - baseline, for the seeds finished so far.
        least: Seeds at the first look, at least 2.
        most: Seeds at the last look.
        alpha: Probability that the interval misses the true mean at any look.
        step: Step size of the measure, 0 if it is continuous; half of it is the smallest spread.

    Raises:
        ValueError: There are more differences than `most`; a plan extended after seeing results has no guarantee.
    """
    from scipy.special import stdtrit

    n = len(differences)
    if n > most:
        raise ValueError(f"{n} differences, but the last look was planned at {most}")
    mean = float(np.mean(differences)) if n else math.nan
    deviation = float(spread(differences, step))
    if n < least or math.isnan(deviation):
        return Interval(mean, math.nan, math.nan, n)
    if n == most:
        critical = float(stdtrit(n - 1, 1 - (alpha if least == most else alpha / 2) / 2))
    else:
        critical = _any_time(n, alpha / 2)
    half = critical * deviation / math.sqrt(n) if math.isfinite(critical) else math.nan
    return Interval(mean, mean - half, mean + half, n)


def level(distance: float, n: int, least: int, most: int) -> float:
    """The smallest alpha at which `interval` excludes a value; 1 if there is none.

    It is valid at any number of seeds, even if the values themselves decided when to look.

    Args:
        distance: From the mean to the value, in standard errors of the mean.
        n: Seeds so far.
        least: Seeds at the first look.
        most: Seeds at the last look.
    """
    from scipy.special import stdtr

    if n < max(least, 2):
        return 1.0
    if n >= most:
        return min(1.0, (1 if least == most else 2) * float(2 * stdtr(n - 1, -abs(distance))))
    square = distance**2
    wider = 1 + n
    ratio = (n - 1 + square) / (n - 1 + square / wider)
    return min(1.0, 2 * math.sqrt(wider) * ratio ** (-n / 2))


def needed(reach: float, deviation: float, n: int, *, least: int, most: int, alpha: float) -> int | None:
    """The number of seeds, at least n, from which `interval` is no wider than a distance, if mean and spread stay.

    Args:
        reach: The largest half width.
        deviation: Standard deviation of the differences.
        n: Seeds so far.
        least: Seeds at the first look.
        most: Seeds at the last look.
        alpha: As in `interval`.

    Returns:
        The number; None if even `most` seeds do not suffice.
    """
    from scipy.special import stdtrit

    def suffices(seeds: int) -> bool:
        if seeds == most:
            critical = float(stdtrit(seeds - 1, 1 - (alpha if least == most else alpha / 2) / 2))
        else:
            critical = _any_time(seeds, alpha / 2)
        return critical * deviation <= reach * math.sqrt(seeds)

    first = max(n, least)
    if not reach > 0 or math.isnan(deviation) or first > most:
        return None
    found = bisect_left(range(first, most), True, key=suffices) + first
    return found if suffices(found) else None


def _any_time(n: int, alpha: float) -> float:
    """The bound that the t statistic of n values stays below, at all n together, with probability 1 - alpha.

    There, the likelihood ratio of the mixture to no effect, a martingale that starts at 1,
    reaches 1 / alpha (Ville 1939); infinite if it cannot.
    """
    wider = 1 + n
    ratio = (math.sqrt(wider) / alpha) ** (2 / n)
    return math.sqrt((n - 1) * (ratio - 1) / (1 - ratio / wider)) if ratio < wider else math.inf
