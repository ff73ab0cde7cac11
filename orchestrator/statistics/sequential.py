"""Looking again and again while seeds are added, without more false alarms.

An interval for one look holds 95 times in 100 at that look; whoever looks after every
seed and stops when it excludes 0 is misled far more often. This one holds at all looks
at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from orchestrator.statistics.intervals import Interval
from orchestrator.statistics.spread import spread


def interval(differences: Sequence[float], least: int, most: int, alpha: float = 0.05, step: float = 0.0) -> Interval:
    """The mean difference, with an interval that holds at every look from `least` to `most` seeds.

    Half of alpha guards all looks before the last, by the confidence sequence of the t
    statistic whose true effect is mixed over a standard normal (Lai 1976; Wang & Ramdas
    2024, "Anytime-valid t-tests and confidence sequences for Gaussian means with unknown
    variance"); the other half waits for Student's t at the last look. The two add up to
    alpha at most (Bonferroni), also if looks are left out. With `least` equal to `most` it
    is the interval of the fixed design.

    Alpha spending on Student's t was tried beside it: it needs fewer seeds for small effects,
    but errs in 5.8 % of simulated runs where differences are uniform, this in 3.8 %. Like
    every interval from a t it errs more where differences are skewed about their mean.

    There is no interval (NaN) before `least` seeds or while it would be boundless, as
    with fewer than 6 seeds at an alpha of 5 %, nor if all differences of a measure
    without steps are equal: they tell nothing of the spread.

    Args:
        differences: Challenger - baseline, of the seeds finished so far.
        least: Seeds at the first look, at least 2.
        most: Seeds at the last look.
        alpha: How often an interval may miss the true mean at any look.
        step: Between neighbouring values of the measure, 0 if it has none: the floor of their spread.

    Raises:
        ValueError: More differences than `most`: a plan that grew on sight guards nothing.
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
    """The smallest alpha at which `interval` leaves out a value, 1 where none does.

    It holds at whatever number of seeds one comes to look, also where the values themselves had a say in that.

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


def _any_time(n: int, alpha: float) -> float:
    """The t statistic of n values that stays unreached at all n with probability 1 - alpha.

    It is where the likelihood ratio of the mixture to no effect, a martingale that starts
    at 1, reaches 1 / alpha (Ville 1939); infinite where it cannot.
    """
    wider = 1 + n
    ratio = (math.sqrt(wider) / alpha) ** (2 / n)
    return math.sqrt((n - 1) * (ratio - 1) / (1 - ratio / wider)) if ratio < wider else math.inf
