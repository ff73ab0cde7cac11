"""The effect of a loss over several settings: these as they are, or all data sets like them.

Backbones on one data set share its images and seeds, so their differences are no independent
settings: the unit is the data set, and whoever calls averages its backbones first.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.statistics.intervals import CONFIDENCE, Interval, mean_interval
from orchestrator.statistics.scopes import FEWEST_DATASETS
from orchestrator.statistics.spread import SAME

Array = NDArray[np.float64]


class Effect(NamedTuple):
    """The mean difference over data sets like these, and how far data sets and seeds scatter about it."""

    estimate: float
    low: float
    high: float
    dataset_deviation: float
    """Standard deviation of the true effect between data sets."""
    seed_deviation: float
    """Standard deviation between the seeds of one data set."""
    datasets: int
    """How many data sets have a value at all."""


def effect_as_given(differences: ArrayLike, step: float = 0.0, confidence: float = CONFIDENCE) -> Interval:
    """The mean difference over these settings, for other seeds, by Student's t.

    Settings are averaged within each seed, so that what they share under a seed does no harm. Seeds that
    some setting lacks are left out.

    Args:
        differences: Challenger - baseline (settings, seeds); NaN where a seed is missing.
        step: Between neighbouring values of the measure, 0 if it has none.
        confidence: Of the interval.
    """
    values = np.asarray(differences, float)
    complete = values[:, ~np.isnan(values).any(axis=0)]
    return mean_interval(complete.mean(axis=0).tolist(), confidence, step / max(1, len(values)))


def loss_effect(differences: ArrayLike, confidence: float = CONFIDENCE) -> Effect:
    """The mean paired difference with a random effect a data set, by restricted maximum likelihood.

    The interval is Hartung & Knapp's (2001), t with one degree of freedom less than there
    are data sets: with as many seeds everywhere it is the t interval of their means,
    whichever variances were found. It is NaN with fewer than `FEWEST_DATASETS` data sets, and where all agree
    exactly. The deviations are NaN where no data set has two seeds.

    Args:
        differences: Challenger - baseline (data sets, seeds); NaN where a seed is missing.
        confidence: Of the interval.
    """
    from scipy.special import stdtrit

    values = np.asarray(differences, float)
    n = (~np.isnan(values)).sum(axis=1)
    values = values[n > 0]
    n = n[n > 0]
    datasets = len(n)
    if datasets == 0:
        return Effect(*[math.nan] * 5, datasets=0)
    means = np.nanmean(values, axis=1)
    between, within = _variances(means, n, float(np.nansum((values - means[:, None]) ** 2)))
    variances = between + within / n
    weights = 1 / variances if (variances > 0).all() else np.ones(datasets)
    estimate = float(np.average(means, weights=weights))
    half = math.nan
    if datasets >= FEWEST_DATASETS and np.ptp(means) > SAME * np.abs(means).max():
        variance = np.average((means - estimate) ** 2, weights=weights) / (datasets - 1)
        half = float(stdtrit(datasets - 1, (1 + confidence) / 2)) * math.sqrt(variance)
    return Effect(estimate, estimate - half, estimate + half, math.sqrt(between), math.sqrt(within), datasets)


def _variances(means: Array, n: NDArray[np.int_], squares: float) -> tuple[float, float]:
    """The variance between data sets, and that between the seeds of one.

    The restricted likelihood of the one-way model (Patterson & Thompson 1971), in which only
    the ratio of the two is left to search for. NaN is what the seeds and data sets cannot tell.

    Args:
        means: Of each data set (data sets,).
        n: Seeds of each (data sets,).
        squares: Sum of squares about their means.
    """
    from scipy.optimize import minimize_scalar

    datasets = len(n)
    total = int(n.sum())
    if total == datasets:
        return math.nan, math.nan
    if datasets == 1:
        return math.nan, squares / (total - 1)
    if squares <= total * (SAME * np.abs(means).max()) ** 2:
        return float(means.var(ddof=1)), 0.0

    def within(ratio: float) -> float:
        weights = n / (1 + ratio * n)
        return float(squares + (weights * (means - np.average(means, weights=weights)) ** 2).sum()) / (total - 1)

    def deviance(log_ratio: float) -> float:
        ratio = math.exp(log_ratio)
        spread = np.log1p(ratio * n).sum() + np.log((n / (1 + ratio * n)).sum())
        return float((total - 1) * math.log(within(ratio)) + spread)

    ratio = math.exp(minimize_scalar(deviance, bounds=(-20, 20), method="bounded").x)
    return ratio * within(ratio), within(ratio)
