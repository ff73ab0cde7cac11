"""The probability that a challenger is practically better, equivalent, or worse.

Benavoli, Corani, Demšar & Zaffalon 2017, "Time for a Change". `differences` holds one
value per setting; `rope` is the half-width of the region of practical equivalence. If any
difference is NaN, all three probabilities are NaN: leaving out a setting is the caller's choice.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.statistics.paired import AT_ONCE
from orchestrator.statistics.spread import SAME


class Posterior(NamedTuple):
    """Probabilities that the lower, equivalent or higher region is the most likely one; they sum to 1."""

    lower: float
    equivalent: float
    higher: float


_UNKNOWN = Posterior(math.nan, math.nan, math.nan)


def signed_rank(
    differences: ArrayLike, rope: float, rng: np.random.Generator, draws: int = 50_000, step: float = 0.0
) -> Posterior:
    """The Bayesian signed-rank test: a Dirichlet process over the settings' differences.

    Each draw gives random weights to the settings and to a prior setting of strength 1/2 with
    difference 0. Each pair of settings then votes for the region of its mean difference. A pair on
    the border votes for equivalence; the authors split its vote.

    Args:
        differences: One per setting, (n,).
        rope: Half-width of the region of practical equivalence.
        rng: Draws the weights.
        draws: Number of draws.
        step: Step size of the measure, 0 if it is continuous. A pair within half a step of the border
            votes half for each side.

    Examples:
        >>> import numpy as np
        >>> from orchestrator.statistics.bayes import signed_rank
        >>> signed_rank([0.05, 0.04, 0.06, 0.05], rope=0.01, rng=np.random.default_rng(0)).higher > 0.95
        True
    """
    values = np.sort(np.append(np.asarray(differences, float), 0.0))
    if np.isnan(values).any():
        return _UNKNOWN
    strength = np.where(np.arange(len(values)) == np.searchsorted(values, 0.0), 1 / 2, 1.0)
    size = max(1, AT_ONCE // len(values))
    edges = _edges(rope, step)
    winners = [
        _winners(rng.standard_gamma(strength, size=(min(size, draws - start), len(values))), values, edges)
        for start in range(0, draws, size)
    ]
    return _posterior(np.concatenate(winners))


def sign(
    differences: ArrayLike, rope: float, rng: np.random.Generator, draws: int = 50_000, step: float = 0.0
) -> Posterior:
    """The Bayesian sign test: counts settings per region, plus one prior setting of equivalence; arguments as above."""
    values = np.asarray(differences, float)
    if np.isnan(values).any():
        return _UNKNOWN
    lower = np.mean([(values < -edge).sum() for edge in _edges(rope, step)])
    higher = np.mean([(values > edge).sum() for edge in _edges(rope, step)])
    masses = rng.standard_gamma([lower, len(values) - lower - higher + 1, higher], size=(draws, 3))
    return _posterior(masses.argmax(axis=1))


def _edges(rope: float, step: float) -> tuple[float, float]:
    """The half-width of the region, once half a step narrower and once half a step wider."""
    border = rope * (1 + SAME)
    return max(0.0, border - step / 2), border + step / 2


def _winners(weights: NDArray[np.float64], values: NDArray[np.float64], edges: tuple[float, float]) -> NDArray[np.intp]:
    """The region with the greatest mass in each draw; weights (draws, settings) need not sum to 1."""
    summed = np.pad(weights.cumsum(axis=1), ((0, 0), (1, 0)))

    def mass(side: Literal["left", "right"], border: float) -> NDArray[np.float64]:
        # for each setting: with how many of the sorted settings its mean is on this side of the border
        return np.einsum("ds,ds->d", weights, summed[:, np.searchsorted(values, 2 * border - values, side)])

    lower = sum(mass("left", -edge) for edge in edges) / 2
    higher = summed[:, -1] ** 2 - sum(mass("right", edge) for edge in edges) / 2
    return np.stack([lower, summed[:, -1] ** 2 - lower - higher, higher]).argmax(axis=0)


def _posterior(winners: NDArray[np.intp]) -> Posterior:
    return Posterior(*map(float, np.bincount(winners, minlength=3) / len(winners)))
