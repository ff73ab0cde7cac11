"""The expected best result as a function of the number of trials (Dodge et al. 2019, "Show Your Work", section 3)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.statistics.intervals import CONFIDENCE


class Best(NamedTuple):
    """The best score of k trials: mean, standard deviation, and the two quantiles that bound an interval."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def expected_best(scores: ArrayLike, trials: ArrayLike, confidence: float = CONFIDENCE) -> Best:
    """The distribution of the best of k trials, drawn with replacement from the finished ones.

    With n scores in ascending order v_1 … v_n, the best of k is at most v_i with probability (i/n)^k, so its mean is
    Σ v_i [(i/n)^k − ((i−1)/n)^k]. This is slightly too low for k close to n (Tang et al. 2020), because the same trial
    can be drawn twice.

    Args:
        scores: Scores of n random trials, (n,); higher is better. Give diverged trials a score too.
        trials: Numbers of trials k, (m,).
        confidence: Probability that the best score is between `low` and `high`.

    Returns:
        Arrays (m,).

    Raises:
        ValueError: There is no score, or one is not finite.

    Examples:
        >>> from orchestrator.statistics.budget import expected_best
        >>> expected_best([0.5, 0.9], trials=[1, 2]).mean.tolist()  # the best of two is 0.5 in one case of four
        [0.7, 0.8]
    """
    ranked = np.sort(np.asarray(scores, float))
    if not ranked.size or not np.isfinite(ranked).all():
        raise ValueError("at least one score is needed, and all scores must be finite")
    at_most = _at_most(len(ranked), trials)
    weights = np.diff(at_most)
    mean = weights @ ranked
    deviation = np.sqrt((weights * (ranked - mean[:, None]) ** 2).sum(axis=1))
    low, high = (ranked[(at_most[:, 1:] >= (1 + side * confidence) / 2).argmax(axis=1)] for side in (-1, 1))
    return Best(mean, deviation, low, high)


def mean_best(scores: ArrayLike, trials: ArrayLike) -> NDArray[np.float64]:
    """The mean of `expected_best` for many searches at once.

    Args:
        scores: Finite scores, (..., n).
        trials: Numbers of trials k, (m,).

    Returns:
        An array (..., m).
    """
    ranked = np.sort(np.asarray(scores, float), axis=-1)
    return ranked @ np.diff(_at_most(ranked.shape[-1], trials)).T


def _at_most(made: int, trials: ArrayLike) -> NDArray[np.float64]:
    """The probability (m, made + 1) that the best of k draws is at most the i-th lowest score, for i = 0 … made."""
    return (np.arange(made + 1) / made) ** np.asarray(trials, float)[:, None]
