"""Aggregates over many settings and few seeds: one number or one curve (Agarwal et al. 2021, rliable).

`scores` are arrays (seeds, settings), higher is better. NaN means a missing score and makes
the result NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.statistics.intervals import CONFIDENCE

Array = NDArray[np.float64]


def interquartile_mean(scores: ArrayLike) -> Array:
    """The mean of the middle half of all runs: more robust than the mean, more efficient than the median.

    Scores (…, seeds, settings) to means (…).

    Examples:
        >>> from orchestrator.statistics.aggregates import interquartile_mean
        >>> float(interquartile_mean([[0, 4], [6, 100]]))  # the mean of 4 and 6
        5.0
    """
    runs = np.asarray(scores, float)
    values = np.sort(runs.reshape(*runs.shape[:-2], -1))
    cut = values.shape[-1] // 4
    middle = values[..., cut : values.shape[-1] - cut].mean(axis=-1)
    return np.where(np.isnan(values[..., -1]), np.nan, middle)  # sorting puts NaN last


def optimality_gap(scores: ArrayLike, target: float = 1.0) -> float:
    """The mean shortfall of runs below the target; scores above the target count as the target."""
    return float(np.maximum(target - np.asarray(scores, float), 0).mean())


def performance_profile(scores: ArrayLike, thresholds: ArrayLike) -> Array:
    """The share of all runs that score above each threshold, in the shape of the thresholds."""
    values = np.asarray(scores, float).ravel()
    share = (values > np.asarray(thresholds, float)[..., None]).mean(axis=-1)
    return np.where(np.isnan(values).any(), np.nan, share)


def stratified_interval(
    statistic: Callable[[Array], float | Array],
    scores: ArrayLike,
    rng: np.random.Generator,
    draws: int = 2_000,
    confidence: float = CONFIDENCE,
) -> tuple[Array, Array]:
    """The percentile bootstrap with seeds resampled within each setting, (low, high).

    Args:
        statistic: A function of scores (seeds, settings), such as the ones above.
        scores: Scores (seeds, settings).
        rng: Draws the seeds.
        draws: Number of resamples.
        confidence: Confidence level for each value of the statistic.
    """
    values = np.asarray(scores, float)
    resampled = np.stack(
        [
            np.asarray(statistic(np.take_along_axis(values, rng.integers(len(values), size=values.shape), axis=0)))
            for _ in range(draws)
        ]
    )
    low, high = np.quantile(resampled, ((1 - confidence) / 2, (1 + confidence) / 2), axis=0)
    return np.asarray(low), np.asarray(high)
