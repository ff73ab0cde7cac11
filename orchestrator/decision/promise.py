"""What test images, opened once, allow to promise about one model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orchestrator.decision.choice import Choice
from orchestrator.decision.consequences import Consequences, Samples, Use, consequences
from orchestrator.statistics.promises import Rate, mean_bound, proven, units_needed

RATES = ("false_accept_rate", "false_reject_rate", "review_share")


class Promised(NamedTuple):
    """One rate at the chosen threshold."""

    name: str
    errors: int
    n: int
    estimate: float
    """In production, in 0 ... 1."""
    bound: float
    """The rate is at most this, with the confidence of the operation."""
    limit: float | None = None
    """What it must not exceed; None if it has no limit."""
    is_kept: bool | None = None
    """Whether the test shows that it keeps its limit; None without a limit."""
    needed: int | None = None
    """Units that would show it at the rate seen, at the safest threshold; None if it is shown, has no limit, or no
    number of units suffices."""


class Promise(NamedTuple):
    """What is promised about one model at one threshold."""

    threshold: float
    cost: float
    """The expected cost per unit, estimated."""
    cost_bound: float
    """The expected cost is at most this, with the confidence of the operation."""
    rates: tuple[Promised, ...]
    units: int
    """Units tested."""

    @property
    def is_kept(self) -> bool:
        """Whether all limits are shown to be kept."""
        return all(rate.is_kept is not False for rate in self.rates)


def promise(samples: Samples, use: Use, choice: Choice, looked: int = 1) -> Promise:
    """What the test images allow to promise.

    Without limits the threshold is the one that validation chose, and each of the rates has a bound at the error over
    their number. With limits, the steps of the ladder are tested in their order; the threshold is the cheapest of
    those shown to keep all limits, by validation images, and other bounds hold for every step at once. If no step
    keeps its limits, the threshold is the one that validation chose, and no limit is promised.

    Args:
        samples: Of the test split, which fitted nothing.
        use: The operation.
        choice: Of the validation images.
        looked: Models whose test results were known when this one was chosen; 1 if none were.
    """
    error = use.operation.error / looked
    order = np.argsort(choice.ladder)
    seen = consequences(samples, use, choice.ladder[order])
    places = np.argsort(order).tolist()  # of each step of the ladder among the thresholds
    limits = {name: limit for name, limit in use.operation.limits.given.items() if seen.rate(name, 0) is not None}
    steps = [[(_rate(seen, name, place), limit) for name, limit in limits.items()] for place in places]
    kept = proven(steps, error) if limits else 0
    chosen = int(np.argmin(choice.costs[:kept])) if kept else len(places) - 1
    place = places[chosen]
    at_once = len(places) if kept else 1
    found = {name: rate for name in RATES if (rate := seen.rate(name, place)) is not None}
    shared = error / (len(limits) or len(found.keys() - {"review_share"}))

    def limited(name: str, rate: Rate, limit: float) -> Promised:
        if kept:
            return Promised(name, rate.errors, rate.n, rate.estimate, limit, limit, is_kept=True)
        tries = (_rate(seen, name, place) for place in places)
        sizes = [units_needed(limit, shared, other.estimate) for other in tries]
        needed = min((size for size in sizes if size is not None), default=None)
        return Promised(
            name, rate.errors, rate.n, rate.estimate, rate.bound(shared), limit, is_kept=False, needed=needed
        )

    def unlimited(name: str, rate: Rate) -> Promised:
        return Promised(name, rate.errors, rate.n, rate.estimate, rate.bound(shared / at_once))

    return Promise(
        float(choice.ladder[chosen]),
        float(seen.costs()[place]),
        mean_bound(seen.strata(place), error / at_once),
        tuple(
            limited(name, rate, limits[name]) if name in limits else unlimited(name, rate)
            for name, rate in found.items()
        ),
        int(seen.units.sum()),
    )


def _rate(seen: Consequences, name: str, place: int) -> Rate:
    found = seen.rate(name, place)
    if found is None:
        raise ValueError(f"no units have a {name}")
    return found
