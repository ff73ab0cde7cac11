"""Open-set recognition: separating known from unknown classes by a sample's highest score.

A sample is accepted at threshold t if its score is above t. Any kind of score will do if
higher means known; equal scores are accepted together. NaN scores count as errors: a
known sample is then rejected at every threshold, an unknown one accepted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def auroc(known: ArrayLike, unknown: ArrayLike) -> float:
    """Probability that a known sample scores above an unknown one; ties count half.

    Args:
        known: Highest scores of samples of known classes, shape (n,).
        unknown: Highest scores of samples of unknown classes, shape (m,).

    Returns:
        The area under the ROC curve, 0 ... 1; NaN if either is empty.

    Examples:
        >>> from trainers.metrics.openset import auroc
        >>> auroc(known=[2, 3], unknown=[1, 2])  # of four comparisons, three are won and one is a tie
        0.875
    """
    known = _known(known)
    unknown = np.sort(_unknown(unknown))
    if not known.size or not unknown.size:
        return float("nan")
    below = np.searchsorted(unknown, known, side="left")
    not_above = np.searchsorted(unknown, known, side="right")
    return int((below + not_above).sum()) / (2 * known.size * unknown.size)


def fpr_at_tpr(known: ArrayLike, unknown: ArrayLike, true_positive_rate: float = 0.95) -> float:
    """Share of unknown samples accepted at the highest threshold that accepts enough known ones.

    FPR95 by default; arguments as in `auroc`, lower is better.

    Args:
        known: Shape (n,).
        unknown: Shape (m,).
        true_positive_rate: Share of known samples to accept at least, in 0 ... 1.
    """
    known = np.sort(_known(known))[::-1]
    unknown = _unknown(unknown)
    if not known.size or not unknown.size:
        return float("nan")
    needed = int(np.count_nonzero(np.arange(known.size) / known.size < true_positive_rate))
    # The threshold is just below the last known sample needed, so unknown samples equal to it are accepted too.
    return float(np.mean(unknown >= known[needed - 1])) if needed else 0.0


def oscr(known: ArrayLike, correct: ArrayLike, unknown: ArrayLike) -> float:
    """Area under CCR(t) against the false positive rate at t: open-set classification rate.

    Dhamija, Günther, Boult 2018 (arXiv 1811.04110): CCR is the share of known samples that are
    accepted and classified correctly; the false positive rate is the share of unknown samples
    that are accepted. Points are joined by straight lines, so the area is the probability that
    a known sample is right and scores above an unknown one; ties count half.

    Args:
        known: Highest scores of samples of known classes, shape (n,).
        correct: Whether that score is the true class's, shape (n,).
        unknown: Highest scores of samples of unknown classes, shape (m,).

    Returns:
        At most the accuracy on known samples; NaN if either is empty.
    """
    known = np.asarray(known, np.float64)
    correct = np.asarray(correct, np.bool_)
    if not known.size or not np.size(unknown):
        return float("nan")
    return auroc(known[correct], unknown) * float(correct.mean()) if correct.any() else 0.0


def _known(scores: ArrayLike) -> NDArray[np.float64]:
    scores = np.asarray(scores, np.float64)
    return np.where(np.isnan(scores), -np.inf, scores)


def _unknown(scores: ArrayLike) -> NDArray[np.float64]:
    scores = np.asarray(scores, np.float64)
    return np.where(np.isnan(scores), np.inf, scores)
