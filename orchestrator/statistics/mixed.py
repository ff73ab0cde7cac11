"""The effect of a loss over all settings, which differ in it: setting as a random effect."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.statistics.intervals import CONFIDENCE
from orchestrator.statistics.paired import SAME

Array = NDArray[np.float64]


class Effect(NamedTuple):
    """The mean difference over settings like these, and how far settings and seeds scatter about it."""

    estimate: float
    low: float
    high: float
    setting_deviation: float
    """Standard deviation of the true effect between settings."""
    seed_deviation: float
    """Standard deviation between the seeds of one setting."""
    settings: int
    """How many settings have a value at all."""


def loss_effect(differences: ArrayLike, confidence: float = CONFIDENCE) -> Effect:
    """The mean paired difference with a random effect a setting, by restricted maximum likelihood.

    The interval is Hartung & Knapp's (2001), t with one degree of freedom less than there
    are settings: with as many seeds everywhere it is the t interval of the settings' means,
    whichever variances were found. It is NaN with one setting, which says nothing of others,
    and so are the deviations where no setting has two seeds.

    Args:
        differences: Challenger - baseline (settings, seeds); NaN where a seed is missing.
        confidence: Of the interval.
    """
    from scipy.special import stdtrit

    values = np.asarray(differences, float)
    n = (~np.isnan(values)).sum(axis=1)
    values, n = values[n > 0], n[n > 0]
    settings = len(n)
    if settings == 0:
        return Effect(*[math.nan] * 5, settings=0)
    means = np.nanmean(values, axis=1)
    between, within = _variances(means, n, float(np.nansum((values - means[:, None]) ** 2)))
    variances = between + within / n
    weights = 1 / variances if (variances > 0).all() else np.ones(settings)
    estimate = float(np.average(means, weights=weights))
    half = math.nan
    if settings > 1:
        variance = np.average((means - estimate) ** 2, weights=weights) / (settings - 1)
        half = float(stdtrit(settings - 1, (1 + confidence) / 2)) * math.sqrt(variance)
    return Effect(estimate, estimate - half, estimate + half, math.sqrt(between), math.sqrt(within), settings)


def _variances(means: Array, n: NDArray[np.int_], squares: float) -> tuple[float, float]:
    """The variance between settings, and that between the seeds of a setting.

    The restricted likelihood of the one-way model (Patterson & Thompson 1971), in which only
    the ratio of the two is left to search for. NaN is what the seeds and settings cannot tell.

    Args:
        means: Of each setting (settings,).
        n: Seeds of each setting (settings,).
        squares: Sum of squares about the settings' means.
    """
    from scipy.optimize import minimize_scalar

    settings, total = len(n), int(n.sum())
    if total == settings:
        return math.nan, math.nan
    if settings == 1:
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
