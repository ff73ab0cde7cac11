"""How far verification rates depend on which people there are: intervals over identities, as pairs are not independent.

A face is in many pairs, and a person has many faces, so that resampling pairs would promise too much. Identities are
drawn with replacement instead (Snijders and Borgatti 1999): a genuine pair counts as often as its identity was drawn,
an impostor pair as often as the product of both. Two draws of one identity make no pair of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainers.metrics.verification import crossing, filled

RESAMPLES = 500
FEWEST = 10
"""Identities from which on an interval is given: of fewer, draws leave too few, or no impostor pair at all."""
LEVEL = 0.95


class Interval(NamedTuple):
    """Of a rate: percentiles of its resamples."""

    low: float
    high: float


def intervals(
    similarity: ArrayLike, genuine: ArrayLike, identities: ArrayLike, rates: Mapping[str, float]
) -> dict[str, Interval]:
    """95 % intervals of the equal error rate, under `eer`, and of true accept rates.

    Args:
        similarity: Of each pair, shape (m,).
        genuine: Whether it is of one identity, shape (m,).
        identities: Who the two of each pair are, shape (m, 2).
        rates: False accept rates in 0 ... 1, by the names of the true accept rates at them.

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
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # of pairs that are equally similar
    draw = np.random.RandomState(0)  # whose stream is frozen for good
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
    """The weight of no pair, and of all pairs up to each of `last`."""
    return np.append(0, np.cumsum(weight)[last])
