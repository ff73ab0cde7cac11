"""How probable it is that a challenger is practically better, equivalent, or worse.

Benavoli, Corani, Demšar & Zaffalon 2017, "Time for a Change". `differences` holds one
value a setting, `rope` is the half-width of the region of practical equivalence.
A NaN among the differences makes all three NaN: leaving a setting out is the caller's choice.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.statistics.paired import AT_ONCE, SAME


class Posterior(NamedTuple):
    """Probabilities, which sum to 1, that lower, equivalent or higher is the likeliest region."""

    lower: float
    equivalent: float
    higher: float


_UNKNOWN = Posterior(math.nan, math.nan, math.nan)


def signed_rank(differences: ArrayLike, rope: float, rng: np.random.Generator, draws: int = 50_000) -> Posterior:
    """The Bayesian signed-rank test: a Dirichlet process over the settings' differences.

    A draw weighs the settings, and one more of strength 1/2 with difference 0; each pair of
    settings then speaks for the region in which its mean difference lies. The border belongs
    to the region of equivalence, where the authors halve it.
    """
    values = np.sort(np.append(np.asarray(differences, float), 0.0))
    if np.isnan(values).any():
        return _UNKNOWN
    strength = np.where(np.arange(len(values)) == np.searchsorted(values, 0.0), 1 / 2, 1.0)
    # with how many settings, in ascending order, each makes a pair below the region, and one not above it
    edge = 2 * rope * (1 + SAME)
    below, upto = np.searchsorted(values, -edge - values, "left"), np.searchsorted(values, edge - values, "right")
    size = max(1, AT_ONCE // len(values))
    winners = [
        _winners(rng.standard_gamma(strength, size=(min(size, draws - start), len(values))), below, upto)
        for start in range(0, draws, size)
    ]
    return _posterior(np.concatenate(winners))


def sign(differences: ArrayLike, rope: float, rng: np.random.Generator, draws: int = 50_000) -> Posterior:
    """The Bayesian sign test: the settings in each region, and one more that is equivalent."""
    values = np.asarray(differences, float)
    if np.isnan(values).any():
        return _UNKNOWN
    lower, higher = int((values < -rope).sum()), int((values > rope).sum())
    masses = rng.standard_gamma([lower, len(values) - lower - higher + 1, higher], size=(draws, 3))
    return _posterior(masses.argmax(axis=1))


def _winners(weights: NDArray[np.float64], below: NDArray[np.intp], upto: NDArray[np.intp]) -> NDArray[np.intp]:
    """The region with the greatest mass in each draw; weights (draws, settings) need no norm."""
    summed = np.pad(weights.cumsum(axis=1), ((0, 0), (1, 0)))
    lower = np.einsum("ds,ds->d", weights, summed[:, below])
    not_higher = np.einsum("ds,ds->d", weights, summed[:, upto])
    return np.stack([lower, not_higher - lower, summed[:, -1] ** 2 - not_higher]).argmax(axis=0)


def _posterior(winners: NDArray[np.intp]) -> Posterior:
    return Posterior(*map(float, np.bincount(winners, minlength=3) / len(winners)))
