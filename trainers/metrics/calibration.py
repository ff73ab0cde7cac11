"""Calibration: whether predictions with probability p are right in a share p of cases."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> float:
    """`sum_b (n_b / n) |accuracy_b - confidence_b|` over bins ((b-1)/B, b/B] of equal width.

    Guo et al., ICML 2017 (arXiv 1706.04599). Biased upwards if bins hold few samples.

    Args:
        confidence: Probability of the predicted class, shape (n,), in 0 ... 1.
        correct: Whether the prediction is right, shape (n,).
        bins: Number of bins, B.

    Returns:
        A value in 0 ... 1; NaN if there are no samples or a confidence is NaN.

    Examples:
        >>> from trainers.metrics.calibration import expected_calibration_error
        >>> expected_calibration_error([0.75, 0.75], [True, False])  # 75 % confident, 50 % right
        0.25
    """
    confidence = np.asarray(confidence, np.float64)
    correct = np.asarray(correct, np.float64)
    if not confidence.size:
        return float("nan")
    upper = np.arange(1, bins) / bins
    excess = np.bincount(np.searchsorted(upper, confidence, side="left"), weights=correct - confidence)
    return float(np.abs(excess).sum() / confidence.size)


def from_log_probabilities(positive: ArrayLike, rival: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Confidence of the predicted class, and whether it is right.

    Args:
        positive: Log-probability of the true class, shape (n,).
        rival: Highest log-probability of any other class, shape (n,).

    Returns:
        `exp(max(positive, rival))`, at most 1, and `rival < positive`, both (n,).
    """
    positive = np.asarray(positive, np.float64)
    rival = np.asarray(rival, np.float64)
    return np.exp(np.minimum(np.maximum(positive, rival), 0)), rival < positive  # rounding can exceed 0
