"""Confidence intervals of verification rates by resampling identities, because pairs are not independent.

A face is in many pairs and a person has many faces, so intervals from resampled pairs would be too narrow.
Instead, identities are drawn with replacement (Snijders and Borgatti 1999). A genuine pair counts as often as its
identity was drawn, an impostor pair as often as the product of both counts. Drawing an identity twice adds no pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainers.metrics.verification import crossing, filled

RESAMPLES = 500
FEWEST = 10
"""Fewest identities for an interval: with fewer, some draws have few or no impostor pairs."""
LEVEL = 0.95


class Interval(NamedTuple):
    """Percentiles of a rate over resamples."""

    low: float
    high: float


def intervals(
    similarity: ArrayLike, genuine: ArrayLike, identities: ArrayLike, rates: Mapping[str, float]
) -> dict[str, Interval]:
    """95 % intervals of the equal error rate, under `eer`, and of true accept rates.

    Args:
        similarity: Of each pair, shape (m,).
        genuine: Whether each pair is of one identity, shape (m,).
        identities: Identities of both images of each pair, shape (m, 2).
        rates: False accept rates in 0 ... 1, by the name of the true accept rate at each.

    Returns:
        Intervals by name; none with fewer than `FEWEST` identities, or without pairs of both kinds.
    """
    found = np.array(list(_resampled(similarity, genuine, identities, list(rates.values()))))
    if not len(found):
        return {}
    ends = np.percentile(found, [100 * (1 - LEVEL) / 2, 100 * (1 + LEVEL) / 2], axis=0).T
    return {name: Interval(*map(float, pair)) for name, pair in zip(("eer", *rates), ends, strict=True)}


def _resampled(
    similarity: ArrayLike, genuine: ArrayLike, identities: ArrayLike, rates: list[float]
) -> Iterator[list[float]]:
    genuine = np.asarray(genuine, np.bool_)
    who, people = np.unique(np.asarray(identities), return_inverse=True)
    if len(who) < FEWEST or genuine.all() or not genuine.any():
        return
    values = filled(similarity, genuine)
    order = np.argsort(-values, kind="stable")
    one, other = people.reshape(-1, 2)[order].T
    is_genuine = genuine[order]
    ranked = values[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # the last of each group of equally similar pairs
    draw = np.random.RandomState(0)  # its stream never changes between NumPy releases
    for _ in range(RESAMPLES):
        times = np.bincount(draw.randint(0, len(who), len(who)), minlength=len(who))
        weight = times[one] * np.where(is_genuine, 1, times[other])
        accepted, falsely = (_above(np.where(kind, weight, 0), last) for kind in (is_genuine, ~is_genuine))
        if accepted[-1] and falsely[-1]:
            shares = accepted / accepted[-1]
            yield [
                crossing(falsely / falsely[-1], shares),
                *(float(shares[np.searchsorted(falsely, rate * falsely[-1], "right") - 1]) for rate in rates),
            ]


def _above(weight: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cumulative weight: 0, then that of all pairs up to each of `last`."""
    return np.append(0, np.cumsum(weight)[last])
