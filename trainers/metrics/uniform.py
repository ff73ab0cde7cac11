"""Sample-wise, class-wise and uniform accuracy, exactly (arXiv 2403.07289).

All follow from two numbers a sample: `positive`, the score of its own class, and
`rival`, the highest score of any other. A sample is right at threshold t when
`rival < t < positive`; ties and NaN are errors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Optimum(NamedTuple):
    """The best accuracy one threshold can reach, and the open interval that reaches it.

    Where several intervals are equally good this is the widest, and of equally wide
    ones the lowest. Without any sample with rival < positive, accuracy is 0 and the
    interval NaN.
    """

    accuracy: float
    low: float
    high: float

    @property
    def threshold(self) -> float:
        """The midpoint of the interval."""
        return (self.low + self.high) / 2


def sample_wise_accuracy(positive: ArrayLike, rival: ArrayLike) -> float:
    """Share of samples with rival < positive: every sample has a threshold of its own.

    Args:
        positive: Scores of the own class, shape (n,).
        rival: Highest score of any other class, shape (n,).
    """
    return float(np.mean(np.less(rival, positive)))


def accuracy_at(threshold: float, positive: ArrayLike, rival: ArrayLike) -> float:
    """Share of samples with rival < threshold < positive; arrays of shape (n,)."""
    threshold = np.float64(threshold)  # as a plain number it would be rounded to the scores' float32
    return float(np.mean(np.less(rival, threshold) & np.less(threshold, positive)))


def uniform_accuracy(positive: ArrayLike, rival: ArrayLike) -> Optimum:
    """`max_t (1/n) #{i : rival_i < t < positive_i}` by a sorted sweep, O(n log n).

    Args:
        positive: Scores of the own class, shape (n,), n > 0.
        rival: Highest score of any other class, shape (n,).
    """
    total = np.size(positive)
    endpoints, counts = _sweep(*_separable(positive, rival))
    if not counts.size:
        return Optimum(0.0, np.nan, np.nan)
    widths = np.where(counts == counts.max(), np.diff(endpoints), -np.inf)
    best = int(np.argmax(widths))
    return Optimum(float(counts[best] / total), *(endpoints[best : best + 2] + 0.0).tolist())  # + 0.0: no -0.0


def accuracy_curve(positive: ArrayLike, rival: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Accuracy as a function of the threshold: a step function, exactly.

    Args:
        positive: Scores of the own class, shape (n,), n > 0.
        rival: Highest score of any other class, shape (n,).

    Returns:
        Thresholds (m,), ascending, and the accuracy between each and the next (m - 1,);
        outside them it is 0.
    """
    endpoints, counts = _sweep(*_separable(positive, rival))
    return endpoints, counts / np.size(positive)


def class_wise_accuracy(positive: ArrayLike, rival: ArrayLike, label: ArrayLike) -> float:
    """`(1/n) sum_k max_t #{i : label_i = k, rival_i < t < positive_i}`: a threshold for each class.

    Args:
        positive: Scores of the own class, shape (n,), n > 0.
        rival: Highest score of any other class, shape (n,).
        label: Own classes, shape (n,).
    """
    positive, rival, label = np.asarray(positive), np.asarray(rival), np.asarray(label)
    right = 0
    for own in np.unique(label):
        _, counts = _sweep(*_separable(positive[label == own], rival[label == own]))
        right += int(counts.max(initial=0))
    return right / label.size


def _separable(positive: ArrayLike, rival: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The samples that some threshold gets right, in float64."""
    positive, rival = np.asarray(positive, np.float64), np.asarray(rival, np.float64)
    keep = rival < positive
    return positive[keep], rival[keep]


def _sweep(positive: NDArray[np.float64], rival: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """All distinct endpoints, sorted, and the samples right between each and the next."""
    endpoints = np.unique(np.concatenate([rival, positive]))
    lower = endpoints[:-1]
    entered = np.searchsorted(np.sort(rival), lower, side="right")
    left = np.searchsorted(np.sort(positive), lower, side="right")
    return endpoints, entered - left
