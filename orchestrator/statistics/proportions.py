"""Intervals for a proportion that also hold at the boundary: 0 of n and n of n never get ±0.

Vectorised over settings; NaN if n is 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.statistics.intervals import CONFIDENCE

Bounds = tuple[NDArray[np.float64], NDArray[np.float64]]


def wilson(successes: ArrayLike, n: ArrayLike, confidence: float = CONFIDENCE) -> Bounds:
    """Wilson's score interval (1927), (low, high)."""
    from scipy.special import ndtri

    k, total = _counts(successes, n)
    z2 = ndtri((1 + confidence) / 2) ** 2
    centre = (k + z2 / 2) / (total + z2)
    half = np.sqrt(z2 * (k * (total - k) / total + z2 / 4)) / (total + z2)
    return np.where(k == 0, 0 * total, centre - half), np.where(k == total, total / total, centre + half)


def clopper_pearson(successes: float, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact interval of Clopper & Pearson (1934), (low, high); successes need not be an integer."""
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    failures = n - successes
    low = float(betaincinv(successes, failures + 1, tail)) if successes > 0 else 0.0
    high = float(betaincinv(successes + 1, failures, 1 - tail)) if failures > 0 else 1.0
    return low, high


def _counts(successes: ArrayLike, n: ArrayLike) -> Bounds:
    total = np.asarray(n, float)
    return np.asarray(successes, float), np.where(total > 0, total, np.nan)
