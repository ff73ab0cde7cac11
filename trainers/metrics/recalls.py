"""Recall per class, so that a rare class weighs as much as a frequent one."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

MANY = 100
FEW = 20
"""Classes with more than `MANY` training images are head, with fewer than `FEW` tail (Liu et al., CVPR 2019)."""


def recalls(positive: ArrayLike, rival: ArrayLike, label: NDArray[np.integer], classes: int) -> NDArray[np.float64]:
    """Share of each class's samples with rival < positive, shape (K,); NaN for a class without samples.

    Args:
        positive: Scores of the true class, shape (n,).
        rival: Highest score of any other class, shape (n,).
        label: True classes, shape (n,).
        classes: Number of classes, K.
    """
    samples = np.bincount(label, minlength=classes)
    right = np.bincount(label, weights=np.less(rival, positive), minlength=classes)
    return np.divide(right, samples, out=np.full(len(samples), np.nan), where=samples > 0)


def macro_accuracy(positive: ArrayLike, rival: ArrayLike, label: NDArray[np.integer]) -> float:
    """Mean recall of the classes that occur; arguments as in `recalls`.

    Examples:
        >>> import numpy as np
        >>> from trainers.metrics.recalls import macro_accuracy
        >>> macro_accuracy([2, 2, 2, 0], [1, 1, 1, 1], np.array([0, 0, 0, 1]))  # recalls are 1 and 0
        0.5
    """
    return _mean(recalls(positive, rival, label, 0))


def by_shots(
    positive: ArrayLike, rival: ArrayLike, label: NDArray[np.integer], trained: NDArray[np.int64]
) -> dict[str, float]:
    """Mean recall of head, medium and tail classes, by measure name; NaN for a group without classes.

    Args:
        positive: As in `recalls`.
        rival: As in `recalls`.
        label: As in `recalls`.
        trained: Number of training images of each class, shape (K,).
    """
    found = recalls(positive, rival, label, len(trained))
    groups = {"head": trained > MANY, "medium": (trained >= FEW) & (trained <= MANY), "tail": trained < FEW}
    return {f"{name}_accuracy": _mean(found[group]) for name, group in groups.items()}


def _mean(found: NDArray[np.float64]) -> float:
    occurring = found[~np.isnan(found)]
    return float(occurring.mean()) if occurring.size else float("nan")
