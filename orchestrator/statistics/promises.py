"""What can be promised about error rates from a test that was opened once.

Bounds are exact and one-sided: over repeated tests, a rate lies above its bound with a probability of at most
`error`. Units are drawn independently; where several images belong to one part, the unit is the part.

Examples:
    >>> from orchestrator.statistics.promises import rate_bound, units_needed
    >>> rate_bound(0, 3688, error=0.025) < 0.001
    True
    >>> units_needed(0.001, error=0.025)
    3688
    >>> units_needed(0.001, error=0.025, share=0.0005) > 10_000
    True
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST = 10**8
"""More units than anybody tests: no number up to this one suffices."""


def rate_bound(errors: int, n: int, error: float) -> float:
    """The upper bound of a rate: Clopper & Pearson (1934), one-sided.

    Args:
        errors: Units that went wrong, 0 ... n.
        n: Units tested.
        error: The probability, in 0 ... 1, with which the rate may lie above the bound.

    Returns:
        A rate in 0 ... 1; 1 without units.
    """
    return float(rate_bounds(np.array([errors]), n, error)[0])


def rate_bounds(errors: NDArray[np.int64], n: int, error: float) -> NDArray[np.float64]:
    """The bounds of several rates, each by itself; `errors` has any shape."""
    from scipy.special import betaincinv

    inside = np.minimum(errors, n - 1)
    return np.where(errors >= n, 1.0, betaincinv(inside + 1.0, n - inside, 1 - error)) if n else np.ones(errors.shape)


def keeps(limit: float, errors: int, n: int, error: float) -> bool:
    """Whether an exact binomial test shows that a rate is at most `limit`.

    The test rejects "the rate is above the limit" if P(X <= errors) <= `error` for X ~ Binomial(n, limit). That is
    the case exactly if `rate_bound` is at most the limit.
    """
    from scipy.special import betainc

    if limit >= 1:
        return True
    if errors >= n or limit <= 0:
        return False
    return float(betainc(n - errors, errors + 1, 1 - limit)) <= error


def units_needed(limit: float, error: float, share: float = 0.0) -> int | None:
    """How large a test has to be to show that a rate is at most `limit`.

    Args:
        limit: The rate that is to be promised, in 0 ... 1.
        error: The probability with which the promise may be wrong.
        share: The share of units expected to go wrong; that of an earlier test, or 0.

    Returns:
        The fewest units that suffice although that share of them, rounded down, goes wrong; None if no number up to
        `MOST` does, as when the share is not below the limit.
    """
    if limit >= 1:
        return 1
    if limit <= 0 or share >= limit:
        return None

    def smallest(errors: int) -> int:
        """The fewest units among which so many errors still show it."""
        return _first(lambda n: keeps(limit, errors, n, error), errors + 1)

    allowed = _first(lambda errors: share * smallest(errors) < errors + 1, 0)
    units = smallest(allowed)
    return units if units <= MOST else None


def _first(holds: Callable[[int], bool], start: int) -> int:
    """The first number from `start` on for which something holds that then holds for all larger ones.

    Returns:
        That number, or `MOST` + 1 if it is larger.
    """
    step = 1
    while not holds(start + step - 1):
        step *= 2
        if step > MOST:
            return MOST + 1
    low = start + step // 2 - 1
    high = start + step - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


class Rate(NamedTuple):
    """How often something went wrong, in one or several kinds of units."""

    strata: Sequence[tuple[float, int, int]]
    """For each kind: its share in production, units that went wrong, and units tested. The shares add up to 1."""

    @property
    def errors(self) -> int:
        """Units that went wrong."""
        return sum(errors for _, errors, _ in self.strata)

    @property
    def n(self) -> int:
        """Units tested."""
        return sum(n for _, _, n in self.strata)

    @property
    def estimate(self) -> float:
        """The rate in production, in 0 ... 1; NaN if some kind was not tested."""
        return sum(weight * errors / n if n else math.nan for weight, errors, n in self.strata)

    def bound(self, error: float) -> float:
        """The upper bound; several kinds share the error evenly, so that their bounds hold together."""
        shared = error / len(self.strata)
        return sum(weight * rate_bound(errors, n, shared) for weight, errors, n in self.strata)


def proven(steps: Iterable[Rate], limit: float, error: float) -> int:
    """How many thresholds of a fixed order are shown to keep a limit.

    The order must not depend on the tested units. Each threshold is tested at the full `error`, and testing ends
    with the first that is not shown to keep the limit, so that any promise is wrong with a probability of at most
    `error` (Maurer, Hothorn & Lehmacher 1995; Angelopoulos et al., arXiv 2110.01052).

    Args:
        steps: The rate at each threshold, from the safest to the laxest.
        limit: What it must not exceed.
        error: The probability with which a promise may be wrong.
    """
    count = 0
    for rate in steps:
        if rate.bound(error) > limit:
            break
        count += 1
    return count


class Stratum(NamedTuple):
    """Units of one kind, for example of one class: how many cost how much."""

    weight: float
    """Their share in production."""
    n: int
    costs: Sequence[tuple[float, int]]
    """Price per unit, and number of units that cost it; units that are not listed cost nothing."""


def mean_bound(strata: Sequence[Stratum], error: float) -> float:
    """The upper bound of the mean cost per unit, from exact bounds that hold together.

    A cost with the prices a < b is a for each unit that costs at least a, and b - a for each that costs b. Each
    such share has the bound of `rate_bound`, at `error` over the number of all of them; zero errors never give a
    bound of 0. Strata are reweighted by their shares in production.

    Args:
        strata: Their weights add up to 1.
        error: The probability with which the mean cost may lie above the bound.

    Returns:
        In the unit of the prices.
    """
    steps = [(stratum, *step) for stratum in strata for step in _steps(stratum.costs)]
    return sum(
        stratum.weight * price * rate_bound(count, stratum.n, error / len(steps)) for stratum, price, count in steps
    )


def _steps(costs: Sequence[tuple[float, int]]) -> list[tuple[float, int]]:
    """For each distinct price above 0, its distance to the next lower one, and how many units cost at least as much."""
    prices = sorted({price for price, _ in costs if price > 0})
    below = [0.0, *prices]
    return [
        (price - lower, sum(count for other, count in costs if other >= price))
        for lower, price in zip(below, prices, strict=False)
    ]
