"""Multiple testing: p-values adjusted for the number of tests.

NaN means a test that could not be made, or not yet. It stays NaN but counts, because the family
consists of all questions asked, not of those answered so far. statsmodels has both corrections,
but its Holm runs the garbage collector in every call, which takes 0.1 s.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """P-values adjusted so that the family-wise error rate is at most alpha (Holm 1979).

    Examples:
        >>> from orchestrator.statistics.multiplicity import holm
        >>> holm([0.01, 0.04, 0.03]).tolist()  # 3 · 0.01, then 2 · 0.03, then the maximum so far
        [0.03, 0.06, 0.06]
    """
    adjusted, order = _ascending(p)
    steps = adjusted.flat[order] * (adjusted.size - np.arange(len(order)))
    adjusted.flat[order] = np.minimum(1, np.maximum.accumulate(steps))
    return adjusted


def benjamini_hochberg(p: ArrayLike) -> NDArray[np.float64]:
    """P-values adjusted so that the false discovery rate is at most alpha (Benjamini & Hochberg 1995)."""
    adjusted, order = _ascending(p)
    steps = adjusted.flat[order] * adjusted.size / np.arange(1, len(order) + 1)
    adjusted.flat[order] = np.minimum(1, np.minimum.accumulate(steps[::-1])[::-1])
    return adjusted


def _ascending(p: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """A copy, and the indices of the tests that were made, smallest p first."""
    copied = np.array(p, float)
    order = np.argsort(copied, axis=None, kind="stable")  # sorting puts NaN last
    return copied, order[: np.count_nonzero(~np.isnan(copied))]


def gated(families: Sequence[ArrayLike]) -> list[NDArray[np.float64]]:
    """Holm within each family; a later family counts only if all tests of earlier ones are significant.

    Serial gatekeeping (Westfall & Krishen 2001): the error rate over all families together is at
    most alpha, and the first family is tested by itself. A test that could not be
    made keeps the gate closed.
    """
    adjusted = list[NDArray[np.float64]]()
    gate = 0.0
    for family in families:
        own = np.maximum(holm(family), gate)
        gate = max(gate, float(np.nan_to_num(own, nan=1.0).max(initial=0.0)))
        adjusted.append(own)
    return adjusted
