"""How far the values of few seeds scatter: the one place that says how small a spread may be.

An accuracy on N samples moves in steps of 1/N. Two or three seeds are then often equal, and an
interval of equal values would be certain. Half a step is the least that a standard deviation is
believed to be; measures without steps have no such floor, and equal values of them tell no spread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

SAME = 1e-12
"""Sums this close, relative to their terms, differ by rounding alone."""


def spread(values: ArrayLike, step: ArrayLike = 0.0) -> NDArray[np.float64]:
    """The standard deviation (n - 1 degrees of freedom) of each line, at least half a step.

    Args:
        values: Values (..., n); NaN is no value.
        step: Between neighbouring values of the measure (...); 0 where it has no steps.

    Returns:
        Deviations (...): NaN with fewer than two values, and where all are equal and there is no step.
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
    """The step whose half is the floor of a weighted sum's spread, if its terms scatter by half a step each.

    0 where a term has no steps.
    """
    return math.hypot(*(factor * step for factor, step in zip(factors, steps, strict=True))) if all(steps) else 0.0
