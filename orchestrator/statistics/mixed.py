"""The effect of a loss over several settings: for just these settings, or for a population of similar data sets.

Backbones on one data set share its images and seeds, so their differences are not independent.
The unit is therefore the data set, and the caller averages over its backbones first.
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
    """The mean difference over similar data sets, and its spread between data sets and between seeds."""

    estimate: float
    low: float
    high: float
    dataset_deviation: float
    """Standard deviation of the true effect between data sets."""
    seed_deviation: float
    """Standard deviation between the seeds of one data set."""
    datasets: int
    """Number of data sets with at least one value."""


def effect_as_given(differences: ArrayLike, step: float = 0.0, confidence: float = CONFIDENCE) -> Interval:
    """The mean difference over exactly these settings, with a Student t interval over seeds.

    Settings are averaged within each seed first, so they may be correlated under a seed. Seeds that
    are missing in some setting are left out.

    Args:
        differences: Challenger - baseline (settings, seeds); NaN where a seed is missing.
        step: Step size of the measure, 0 if it is continuous.
        confidence: Confidence level.
    """
    values = np.asarray(differences, float)
    complete = values[:, ~np.isnan(values).any(axis=0)]
    return mean_interval(complete.mean(axis=0).tolist(), confidence, step / max(1, len(values)))


def loss_effect(differences: ArrayLike, confidence: float = CONFIDENCE) -> Effect:
    """The mean paired difference with a random effect per data set, by restricted maximum likelihood.

    The interval is that of Hartung & Knapp (2001), a t interval whose degrees of freedom are the
    number of data sets minus 1. If all data sets have the same number of seeds, it is the t interval
    of their means, whatever the estimated variances. It is NaN with fewer than `FEWEST_DATASETS` data
    sets, or if all agree exactly. The deviations are NaN if no data set has two seeds.

    Args:
        differences: Challenger - baseline (data sets, seeds); NaN where a seed is missing.
        confidence: Confidence level.
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
    """The variance between data sets, and the variance between seeds within a data set.

    Maximises the restricted likelihood of the one-way model (Patterson & Thompson 1971), a
    one-dimensional search over the ratio of the two. A variance that cannot be estimated is NaN.

    Args:
        means: Mean of each data set (data sets,).
        n: Number of seeds of each data set (data sets,).
        squares: Sum of squared deviations of seeds from their data set's mean.
    """
    from scipy.optimize import minimize_scalar

    datasets = len(n)
    total = int(n.sum())
    if total == datasets:  # with one seed each, the two variances cannot be separated
        return math.nan, math.nan
    if datasets == 1:
        return math.nan, squares / (total - 1)
    if squares <= total * (SAME * np.abs(means).max()) ** 2:  # seeds agree: all variance is between data sets
        return float(means.var(ddof=1)), 0.0

    def within(ratio: float) -> float:
        weights = n / (1 + ratio * n)
        return float(squares + (weights * (means - np.average(means, weights=weights)) ** 2).sum()) / (total - 1)

    def deviance(log_ratio: float) -> float:
        ratio = math.exp(log_ratio)
        spread = np.log1p(ratio * n).sum() + np.log((n / (1 + ratio * n)).sum())
        return float((total - 1) * math.log(within(ratio)) + spread)

    # over the logarithm, because the ratio can have any order of magnitude
    ratio = math.exp(minimize_scalar(deviance, bounds=(-20, 20), method="bounded").x)
    return ratio * within(ratio), within(ratio)
