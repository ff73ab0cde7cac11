"""What test images, opened once, allow to promise about one model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orchestrator.statistics.promises import mean_bound, proven, units_needed
from orchestrator.thresholds.choice import ChosenThreshold
from orchestrator.thresholds.consequences import Samples, Use, consequences

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


def promise(samples: Samples, use: Use, choice: ChosenThreshold, looked: int = 1) -> Promise:
    """What the test images allow to promise.

    Without limits the threshold is the one that validation chose, and each of the rates has a bound at the error over
    their number. With limits, the steps of the ladder are tested in their order, each limit by itself at the error
    over their number. The threshold is the cheapest, by validation images, of those that are shown to keep the most
    limits; other bounds hold for all steps at once. If no step keeps any, it is the one that validation chose.

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
    found = {name: rates for name in RATES if (rates := [seen.rate(name, place) for place in places])[0] is not None}
    walks = {name: [rate for rate in rates if rate is not None] for name, rates in found.items()}
    limits = {name: limit for name, limit in use.operation.limits.given.items() if name in walks}
    shared = error / (len(limits) or len(walks.keys() - {"review_share"}) or 1)
    proofs = {name: proven(walks[name], limit, shared) for name, limit in limits.items()}
    step = _chosen(choice, list(proofs.values()))
    at_once = len(places) if any(proofs.values()) else 1

    def promised(name: str) -> Promised:
        rate = walks[name][step]
        said = Promised(name, rate.errors, rate.n, rate.estimate, rate.bound(shared / at_once))
        if name not in limits:
            return said
        if step < proofs[name]:
            return said._replace(bound=limits[name], limit=limits[name], is_kept=True)
        sizes = [units_needed(limits[name], shared, other.estimate) for other in walks[name]]
        needed = min((size for size in sizes if size is not None), default=None)
        return said._replace(limit=limits[name], is_kept=False, needed=needed)

    place = places[step]
    return Promise(
        float(choice.ladder[step]),
        float(seen.costs()[place]),
        mean_bound(seen.strata(place), error / at_once),
        tuple(map(promised, walks)),
        int(seen.units.sum()),
    )


def _chosen(choice: ChosenThreshold, proofs: list[int]) -> int:
    """The step to deploy: the cheapest of those that keep the most limits; the last if none keeps any."""
    kept = np.array([sum(step < proof for proof in proofs) for step in range(choice.ladder.size)])
    if not kept.any():
        return int(choice.ladder.size - 1)
    return int(np.argmin(np.where(kept == kept.max(), choice.costs, np.inf)))
