"""The spread of few seeds, with a lower limit that is defined only here.

An accuracy on N samples moves in steps of 1/N. Two or three seeds then often have equal values,
whose interval would have width 0. So a standard deviation is at least half a step. Continuous
measures have no such limit; if their values are equal, the spread is unknown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

SAME = 1e-12
"""Sums that differ by less than this, relative to their terms, differ only by rounding."""


def spread(values: ArrayLike, step: ArrayLike = 0.0) -> NDArray[np.float64]:
    """The standard deviation (n - 1 degrees of freedom) of each line, at least half a step.

    Args:
        values: Values (..., n); NaN means a missing value.
        step: Step size of the measure (...); 0 if it is continuous.

    Returns:
        Deviations (...); NaN with fewer than two values, or if all are equal and there is no step.

    Examples:
        >>> from orchestrator.statistics.spread import spread
        >>> float(spread([1, 2, 3])), float(spread([2, 2, 2])), float(spread([2, 2, 2], step=0.01))
        (1.0, nan, 0.005)
    """
    array = np.asarray(values, float)
    there = ~np.isnan(array)
    n = there.sum(axis=-1)
    held = np.where(there, array, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = held.sum(axis=-1, keepdims=True) / n[..., None]
        squares = (np.where(there, array - mean, 0.0) ** 2).sum(axis=-1)
        deviation = np.sqrt(squares / np.where(n > 1, n - 1, np.nan))
    seen = deviation > SAME * np.abs(held).max(axis=-1, initial=0)
    floored = np.maximum(np.where(seen, deviation, 0.0), np.asarray(step, float) / 2)
    return np.where((floored > 0) & (n > 1), floored, np.nan)


def step_of_sum(steps: Sequence[float], factors: Sequence[float]) -> float:
    """The step size of a weighted sum: half of it is the sum's spread if each term has a spread of half its step.

    0 if a term is continuous.
    """
    return math.hypot(*(factor * step for factor, step in zip(factors, steps, strict=True))) if all(steps) else 0.0
