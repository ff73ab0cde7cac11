"""Sample-wise, class-wise and uniform accuracy, exactly (arXiv 2403.07289).

All follow from two numbers per sample: `positive`, the score of its true class, and
`rival`, the highest score of any other class. A sample is right at threshold t if
`rival < t < positive`; ties and NaN count as errors.

Examples:
    Four samples are right for t in (1, 3), (2, 5), (2, 4) and (6, 8).

    >>> from trainers.metrics.uniform import accuracy_at, accuracy_curve, class_wise_accuracy
    >>> from trainers.metrics.uniform import sample_wise_accuracy, uniform_accuracy
    >>> positive = [3, 5, 4, 8]
    >>> rival = [1, 2, 2, 6]
    >>> sample_wise_accuracy(positive, rival)  # every rival is lower
    1.0
    >>> uniform_accuracy(positive, rival)  # the first three at any t in (2, 3)
    Optimum(accuracy=0.75, low=2.0, high=3.0)
    >>> uniform_accuracy(positive, rival).threshold
    2.5
    >>> accuracy_at(2.5, positive, rival)
    0.75
    >>> class_wise_accuracy(positive, rival, label=[0, 0, 0, 1])  # the last one has a threshold of its own
    1.0
    >>> thresholds, accuracy = accuracy_curve(positive, rival)
    >>> thresholds.tolist()
    [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0]
    >>> accuracy.tolist()
    [0.25, 0.75, 0.5, 0.25, 0.0, 0.25]
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Scores = NDArray[np.float32] | NDArray[np.float64]


class Optimum(NamedTuple):
    """The best accuracy of any single threshold, and the open interval of thresholds that reach it.

    If several intervals are equally good, this is the widest, and of equally wide ones
    the lowest. If no sample has rival < positive, the accuracy is 0 and the interval NaN.
    """

    accuracy: float
    low: float
    high: float

    @property
    def threshold(self) -> float:
        """The midpoint of the interval."""
        return (self.low + self.high) / 2


def sample_wise_accuracy(positive: ArrayLike, rival: ArrayLike) -> float:
    """Share of samples with rival < positive: the usual (argmax) accuracy, which needs no threshold.

    Args:
        positive: Scores of the true class, shape (n,).
        rival: Highest score of any other class, shape (n,).
    """
    return float(np.mean(np.less(rival, positive)))


def accuracy_at(threshold: float, positive: ArrayLike, rival: ArrayLike) -> float:
    """Share of samples with rival < threshold < positive; arrays of shape (n,)."""
    threshold = np.float64(threshold)  # a Python float would be rounded to the scores' float32
    return float(np.mean(np.less(rival, threshold) & np.less(threshold, positive)))


def uniform_accuracy(positive: ArrayLike, rival: ArrayLike) -> Optimum:
    """`max_t (1/n) #{i : rival_i < t < positive_i}` by a sorted sweep, O(n log n).

    Args:
        positive: Scores of the true class, shape (n,), n > 0.
        rival: Highest score of any other class, shape (n,).
    """
    total = np.size(positive)
    endpoints, counts = _sweep(*_separable(positive, rival))
    if not counts.size:
        return Optimum(0.0, np.nan, np.nan)
    best = np.flatnonzero(counts == counts.max())
    best = best[np.argmax(endpoints[best + 1] - endpoints[best])]
    return Optimum(float(counts[best] / total), *(endpoints[best : best + 2] + 0.0).tolist())  # + 0.0: avoids -0.0


def accuracy_curve(positive: ArrayLike, rival: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Accuracy as a function of the threshold: the exact step function.

    Args:
        positive: Scores of the true class, shape (n,), n > 0.
        rival: Highest score of any other class, shape (n,).

    Returns:
        Thresholds (m,), ascending, and the accuracy between each and the next (m - 1,);
        outside them it is 0.
    """
    endpoints, counts = _sweep(*_separable(positive, rival))
    return endpoints, counts / np.size(positive)


def class_wise_accuracy(positive: ArrayLike, rival: ArrayLike, label: ArrayLike) -> float:
    """`(1/n) sum_k max_t #{i : label_i = k, rival_i < t < positive_i}`: one threshold per class.

    Args:
        positive: Scores of the true class, shape (n,), n > 0.
        rival: Highest score of any other class, shape (n,).
        label: True classes, shape (n,).
    """
    order = np.argsort(label)
    label = np.asarray(label)[order]
    starts = np.flatnonzero(label[1:] != label[:-1]) + 1
    classes = zip(
        np.split(np.asarray(positive)[order], starts), np.split(np.asarray(rival)[order], starts), strict=True
    )
    return sum(int(_sweep(*_separable(*own))[1].max(initial=0)) for own in classes) / label.size


def _separable(positive: ArrayLike, rival: ArrayLike) -> tuple[Scores, Scores]:
    """The samples that some threshold gets right, in float32 if both arrays are, otherwise in float64."""
    positive = np.asarray(positive)
    rival = np.asarray(rival)
    if not positive.dtype == rival.dtype == np.float32:
        positive = positive.astype(np.float64)
        rival = rival.astype(np.float64)
    keep = rival < positive
    return positive[keep], rival[keep]


def _sweep(positive: Scores, rival: Scores) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """All distinct endpoints, sorted, and the number of samples that are right between each and the next."""
    endpoints = np.concatenate([np.sort(rival), np.sort(positive)])
    order = np.argsort(endpoints, kind="stable")  # merges two sorted runs, faster than one argsort of all
    endpoints = endpoints[order]
    counts = np.where(order < rival.size, 1, -1).cumsum()
    last = np.append(endpoints[1:], np.nan) != endpoints  # the last of each group of equal endpoints
    return endpoints[last].astype(np.float64), counts[last][:-1]
