"""How good a result is to be expected of how many trials (Dodge et al. 2019, "Show Your Work", section 3)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.statistics.intervals import CONFIDENCE


class Best(NamedTuple):
    """The best score of so many trials: its mean, standard deviation, and the quantiles at both ends of a band."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def expected_best(scores: ArrayLike, trials: ArrayLike, confidence: float = CONFIDENCE) -> Best:
    """The distribution of the best of k trials, were they drawn again from those that were made, with replacement.

    Of n scores in ascending order v_1 … v_n the best of k is at most v_i with probability (i/n)^k, so that its mean is
    Σ v_i [(i/n)^k − ((i−1)/n)^k]. That is a little too low where k comes near n (Tang et al. 2020): k of n draws hit
    the same trial twice.

    Args:
        scores: Of n trials drawn at random, (n,); higher is better. A trial that diverged is a trial: give it a score.
        trials: Numbers of trials k, (m,).
        confidence: Share of all draws between `low` and `high`.

    Returns:
        Arrays (m,).

    Raises:
        ValueError: There is no score, or one that is not finite.
    """
    ranked = np.sort(np.asarray(scores, float))
    if not ranked.size or not np.isfinite(ranked).all():
        raise ValueError("the best of no trials, or of a score that is not finite, is not known")
    at_most = _at_most(len(ranked), trials)
    weights = np.diff(at_most)
    mean = weights @ ranked
    deviation = np.sqrt((weights * (ranked - mean[:, None]) ** 2).sum(axis=1))
    low, high = (ranked[(at_most[:, 1:] >= (1 + side * confidence) / 2).argmax(axis=1)] for side in (-1, 1))
    return Best(mean, deviation, low, high)


def mean_best(scores: ArrayLike, trials: ArrayLike) -> NDArray[np.float64]:
    """The mean of `expected_best` of many searches at once.

    Args:
        scores: Finite, (..., n).
        trials: Numbers of trials k, (m,).

    Returns:
        An array (..., m).
    """
    ranked = np.sort(np.asarray(scores, float), axis=-1)
    return ranked @ np.diff(_at_most(ranked.shape[-1], trials)).T


def _at_most(made: int, trials: ArrayLike) -> NDArray[np.float64]:
    """The probability that the best of k draws is at most the i-th of those made, i from 0 on, (m, made + 1)."""
    return (np.arange(made + 1) / made) ** np.asarray(trials, float)[:, None]
