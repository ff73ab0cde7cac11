"""Model and threshold, chosen on validation images."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from orchestrator.thresholds.consequences import Consequences, Floats, Samples, Use, consequences

GRID = 200
"""Thresholds that are tried, at equally spaced quantiles of the scores."""

LADDER = 20
"""At most this many thresholds, from the safest to the cheapest, are tested against limits."""


class ChosenThreshold(NamedTuple):
    """What a model's validation images say about its threshold."""

    cost: float
    """The expected cost per unit at `threshold`."""
    keeps: bool
    """Whether the rates there, and the share to review, are within their limits."""
    room: float
    """The share of the thresholds tried at which the cost is as low; of equal models, the one with more room wins."""
    threshold: float
    """The cheapest of those that keep the limits; if none does, the one that comes closest."""
    ladder: Floats
    """Thresholds from the safest to `threshold`, in the order in which limits are tested."""
    costs: Floats
    """The expected cost of each step of the ladder."""

    @property
    def rank(self) -> tuple[bool, float, float]:
        """The better of two models has the lower rank."""
        return not self.keeps, self.cost, -self.room


def choose(samples: Samples, use: Use) -> ChosenThreshold | None:
    """The threshold that validation images advise; None if no score is finite.

    Args:
        samples: Of the validation split.
        use: The operation.
    """
    thresholds = candidates(samples, use)
    if not thresholds.size:
        return None
    seen = consequences(samples, use, thresholds)
    costs = np.nan_to_num(seen.costs(), nan=math.inf)
    excess = _excess(seen)
    allowed = excess <= 1
    best = _middle(np.where(allowed, costs, math.inf)) if allowed.any() else _middle(excess)
    ladder = _ladder(seen, best)
    return ChosenThreshold(
        float(costs[best]),
        bool(allowed[best]),
        float(np.mean(allowed & (costs <= costs[best]))),
        float(thresholds[best]),
        thresholds[ladder],
        costs[ladder],
    )


def candidates(samples: Samples, use: Use) -> Floats:
    """Thresholds between neighbouring scores, where scores are dense (T,)."""
    sides = (samples.positive, samples.rival) if use.good is None else (samples.top, samples.second)
    scores = np.unique(np.concatenate(sides))
    scores = scores[np.isfinite(scores)]
    if scores.size < 2:  # noqa: PLR2004 - a threshold lies between two scores
        return scores[:0]
    places = np.unique(np.linspace(0, scores.size - 2, GRID).round().astype(int))
    return (scores[places] + scores[places + 1]) / 2


def _excess(seen: Consequences) -> Floats:
    """The largest ratio of a rate to its limit at each threshold (T,); 0 without limits."""
    limits: dict[str, float] = {**seen.use.operation.limits.given}
    if seen.use.is_reviewed:
        limits["review_share"] = seen.use.operation.review
    ratios = [seen.estimates(name) / limit for name, limit in limits.items()]
    return np.nan_to_num(np.max([np.zeros(seen.thresholds.size), *ratios], axis=0), nan=math.inf)


def _safety(seen: Consequences) -> Floats:
    """The largest ratio of the bound of a rate to its limit at each threshold (T,)."""
    asked = seen.use.operation
    return np.max([seen.bounds(name, asked.error) / limit for name, limit in asked.limits.given.items()], axis=0)


def _middle(values: Floats) -> int:
    """The place of the smallest value; of several, the middle of the longest run."""
    is_least = np.flatnonzero(values == values.min())
    runs = np.split(is_least, np.flatnonzero(np.diff(is_least) > 1) + 1)
    longest = max(runs, key=len)
    return int(longest[(len(longest) - 1) // 2])


def _ladder(seen: Consequences, best: int) -> list[int]:
    """Places of thresholds from the safest to the cheapest; only the latter if no rate has a limit."""
    if not seen.use.operation.limits.given:
        return [best]
    safety = _safety(seen)
    if seen.use.is_reviewed:
        is_allowed = seen.estimates("review_share") <= seen.use.operation.review
        is_allowed[best] = True
        safety = np.where(is_allowed, safety, math.inf)
    safest = np.flatnonzero(safety == safety.min())
    first = int(max(safest, key=lambda place: abs(place - best)))
    steps = np.unique(np.linspace(min(first, best), max(first, best), LADDER).round().astype(int)).tolist()
    return steps if first <= best else steps[::-1]
