"""Many tests at once: p-values adjusted for how many there are.

NaN is a test that could not be made, or not yet: it stays NaN, and counts, because the family
is what was asked and not what has been answered so far. statsmodels has both, but collects
garbage in every call of Holm's, which takes 0.1 s.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Adjusted so that of all true hypotheses any is rejected with probability alpha at most (Holm 1979)."""
    adjusted, order = _ascending(p)
    steps = adjusted.flat[order] * (adjusted.size - np.arange(len(order)))
    adjusted.flat[order] = np.minimum(1, np.maximum.accumulate(steps))
    return adjusted


def benjamini_hochberg(p: ArrayLike) -> NDArray[np.float64]:
    """Adjusted so that of the rejected hypotheses a share of alpha at most is true (1995)."""
    adjusted, order = _ascending(p)
    steps = adjusted.flat[order] * adjusted.size / np.arange(1, len(order) + 1)
    adjusted.flat[order] = np.minimum(1, np.minimum.accumulate(steps[::-1])[::-1])
    return adjusted


def _ascending(p: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """A copy, and the places of the tests made, smallest p first."""
    copied = np.array(p, float)
    order = np.argsort(copied, axis=None, kind="stable")  # NaN comes last
    return copied, order[: np.count_nonzero(~np.isnan(copied))]


def gated(families: Sequence[ArrayLike]) -> list[NDArray[np.float64]]:
    """Holm within each family, of which a later one counts only once every test before it is significant.

    Serial gatekeeping (Westfall & Krishen 2001): over all families together any true hypothesis
    is rejected with probability alpha at most, and the first is tested as if it were alone. A
    test that could not be made keeps the gate shut.
    """
    adjusted = list[NDArray[np.float64]]()
    gate = 0.0
    for family in families:
        own = np.maximum(holm(family), gate)
        gate = max(gate, float(np.nan_to_num(own, nan=1.0).max(initial=0.0)))
        adjusted.append(own)
    return adjusted
