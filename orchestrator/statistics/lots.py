"""Whether a new lot keeps what was promised: a sequential test of a rate, and a test of distributions.

Examples:
    >>> from orchestrator.statistics.lots import evidence_above, evidence_below
    >>> evidence_above(errors=6, n=100, bound=0.01) > 20  # 6 % is not 1 %: by Ville, wrong in at most 1 of 20 lots
    True
    >>> evidence_below(errors=0, n=500, bound=0.01) > 20
    True
    >>> evidence_below(errors=0, n=100, bound=0.01) > 20
    False
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PRIOR = 0.5
"""Both parameters of the beta distribution over which bets are mixed (Jeffreys)."""

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


def log_evidence(errors: NDArray[np.int64], n: NDArray[np.int64], bound: float, *, above: bool) -> Floats:
    """The logarithm of the wealth of somebody who bets on each unit that a rate is above, or below, a bound.

    The wealth after n units is the likelihood of the errors, mixed over rates above (below) the bound with the density
    of a beta distribution, divided by their likelihood at the bound. If the rate is on the other side of the bound, it
    is a non-negative supermartingale that begins at 1. It then reaches 1 / error with a probability of at most
    `error`, however long one looks (Ville 1939; Robbins 1970, "Statistical methods related to the law of the iterated
    logarithm"; Ramdas et al. 2023, arXiv 2210.01948). It depends on the counts alone, not on their order.

    Args:
        errors: Units that went wrong after each look; any shape.
        n: Units seen.
        bound: In 0 ... 1, exclusive.
        above: Whether the bets are that the rate is above the bound.
    """
    from scipy.special import betainc, betaincc, betaln

    a = errors + PRIOR
    b = n - errors + PRIOR
    side = betaincc if above else betainc
    with np.errstate(divide="ignore"):
        mixed = betaln(a, b) + np.log(side(a, b, bound)) - betaln(PRIOR, PRIOR) - np.log(side(PRIOR, PRIOR, bound))
    return mixed - errors * math.log(bound) - (n - errors) * math.log1p(-bound)


def evidence_above(errors: int, n: int, bound: float) -> float:
    """The evidence that a rate is above a bound: 20 or more is wrong with a probability of at most 5 %."""
    return _evidence(errors, n, bound, above=True)


def evidence_below(errors: int, n: int, bound: float) -> float:
    """The evidence that a rate is below a bound: 20 or more is wrong with a probability of at most 5 %."""
    return _evidence(errors, n, bound, above=False)


def _evidence(errors: int, n: int, bound: float, *, above: bool) -> float:
    return float(np.exp(log_evidence(np.array(errors), np.array(n), bound, above=above)))


class Walk(NamedTuple):
    """What a sequence of units says of a bound."""

    verdict: bool | None
    """Whether the rate is shown to be below the bound; False if above, None if neither."""
    seen: int
    """Units after which that was certain; all of them if it is not."""
    errors: int
    """Errors among all units."""
    n: int


def walk(wrong: NDArray[np.bool_], bound: float, *, error_above: float, error_below: float) -> Walk:
    """Look after each unit, and stop at the first that makes certain on which side of a bound a rate lies.

    Args:
        wrong: Whether each unit went wrong, in their order (n,).
        bound: What is promised, in 0 ... 1.
        error_above: The probability with which "above" may be said although the rate is not.
        error_below: The probability with which "below" may be said although the rate is not.
    """
    errors = int(np.count_nonzero(wrong))
    if bound >= 1:
        return Walk(True, 0, errors, wrong.size)
    if bound <= 0:
        return Walk(False if errors else None, int(wrong.argmax()) + 1 if errors else wrong.size, errors, wrong.size)
    counts = np.cumsum(wrong, dtype=np.int64)
    n = np.arange(1, wrong.size + 1)
    ends = [
        int(hits[0]) if (hits := np.flatnonzero(log_evidence(counts, n, bound, above=above) >= -math.log(error))).size
        else wrong.size
        for above, error in ((True, error_above), (False, error_below))
    ]  # fmt: skip
    first = min(ends)
    if first == wrong.size:
        return Walk(None, wrong.size, errors, wrong.size)
    return Walk(ends[1] < ends[0], first + 1, errors, wrong.size)


def more_units(errors: int, n: int, bound: float, error: float) -> int | None:
    """How many more units without an error show that a rate is below a bound; None if 10^8 do not."""
    needed = -math.log(error)

    def shown(more: int) -> bool:
        counts = np.array(errors), np.array(n + more)
        return bool(log_evidence(*counts, bound, above=False) >= needed)

    high = 1
    while not shown(high):
        high *= 2
        if high > 10**8:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shown(middle) else (middle, high)
    return high


PSEUDO = 1.5
"""Images that a posterior has beyond those seen: half a one for each of three outcomes (Jeffreys)."""


class Kind(NamedTuple):
    """Images of one kind among those that were certified."""

    share: float
    """In production."""
    counts: Counts
    """How many fell into each bin (B,)."""


class Departure(NamedTuple):
    """How far a lot's distribution is from the certified one."""

    distance: float
    """The largest difference of their cumulative shares, in 0 ... 1 (Kolmogorov and Smirnov)."""
    p: float
    """How often a lot of the certified images would be as far."""
    noticed: float
    """The distance that would be called a change."""
    usual: float
    """The median distance of such a lot."""


def departure(
    kinds: Sequence[Kind], lot: Counts, error: float, rng: np.random.Generator, draws: int = 2_000
) -> Departure:
    """Set the distribution of a lot against that of certified images, of which each kind has its share in production.

    Lots are drawn from the predictive distribution: for each kind a distribution from the posterior of its counts
    (Dirichlet, with `PSEUDO` images spread evenly over the bins), of their mixture a lot of the same size. That allows
    for the few certified images as well as for the few of the lot, and for what none of the certified images did.

    Args:
        kinds: Their shares add up to 1.
        lot: How many images of the lot fell into each bin (B,); of each kind if that is known (K, B), at least one.
        error: The probability of calling a lot changed that is not.
        rng: Draws the lots.
        draws: How many.
    """
    shares = np.array([kind.share for kind in kinds])
    seen = np.array([kind.counts for kind in kinds], np.float64)
    expected = shares @ (seen / seen.sum(axis=1, keepdims=True))
    weights = rng.standard_gamma(np.broadcast_to(seen + PSEUDO / seen.shape[1], (draws, *seen.shape)))
    each = weights / weights.sum(axis=2, keepdims=True)
    mixed = np.einsum("k,dkb->db", shares, each)[:, None] if lot.ndim == 1 else each
    drawn = rng.multinomial(np.atleast_2d(lot).sum(axis=1), mixed / mixed.sum(axis=2, keepdims=True))
    weight = np.ones(1) if lot.ndim == 1 else shares
    distances = _distance(drawn, weight, expected)
    distance = float(_distance(np.atleast_2d(lot)[None], weight, expected)[0])
    p = (1 + int(np.count_nonzero(distances >= distance - 1e-12))) / (draws + 1)
    return Departure(distance, p, float(np.quantile(distances, 1 - error)), float(np.median(distances)))


def _distance(counts: Counts, shares: Floats, expected: Floats) -> Floats:
    """Of lots, by counts (D, K, B) and shares (K,) of their kinds, from the expected distribution (B,)."""
    found = np.einsum("k,dkb->db", shares, counts / counts.sum(axis=2, keepdims=True))
    return np.abs(np.cumsum(found - expected, axis=1)).max(axis=1)


FEWEST_LOTS = 5
"""From this many certified lots on, the differences between lots count."""


def p_between_lots(distance: float, earlier: Sequence[float]) -> float:
    """How often a lot is as far as this one, where lots differ by more than the draw of their images.

    Distances are in units of the usual one. The differences of lots are taken for normal with mean 0, so that the ratio
    of this one's to the root mean square of the earlier ones' has Student's t distribution. Where all earlier lots are
    exactly as certified, they excuse no distance at all.

    Args:
        distance: Of this lot.
        earlier: Of certified lots, at least `FEWEST_LOTS`.
    """
    from scipy.special import stdtr

    scale = math.sqrt(math.fsum(each**2 for each in earlier) / len(earlier))
    if scale == 0:
        return 1.0 if distance == 0 else 0.0
    return float(2 * stdtr(len(earlier), -distance / scale))
