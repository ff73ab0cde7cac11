"""Whether a probability is the share of times it is right."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> float:
    """`sum_b (n_b / n) |accuracy_b - confidence_b|` over bins ((b-1)/B, b/B] of equal width.

    Guo et al., ICML 2017 (arXiv 1706.04599). Biased upwards where bins hold few samples.

    Args:
        confidence: Probability of the predicted class, shape (n,), in 0 ... 1.
        correct: Whether the prediction is right, shape (n,).
        bins: How many, B.

    Returns:
        A value in 0 ... 1; NaN without samples or with a NaN confidence.
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
        positive: Logarithm of the own class's probability, shape (n,).
        rival: That of the highest of any other class, shape (n,).

    Returns:
        `exp(max(positive, rival))`, at most 1, and `rival < positive`, both (n,).
    """
    positive = np.asarray(positive, np.float64)
    rival = np.asarray(rival, np.float64)
    return np.exp(np.minimum(np.maximum(positive, rival), 0)), rival < positive  # rounding may pass 0
