"""How features cluster by class, from class sums alone: one pass, memory K x d.

Features u are normalised; m_k is the mean of the n_k samples of class k. The papers report
compactness and distinctiveness without a readable formula, so these definitions are ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainers.metrics.collapse import Moments


@dataclass(eq=False)
class Geometry:
    """Sums over streamed features, which determine every measure of them; memory K d + d^2."""

    classes: int
    width: int
    unit_sums: NDArray[np.float64] = field(init=False)
    """Sums of unit features by class (K, d)."""
    moments: Moments = field(init=False)

    def __post_init__(self) -> None:
        self.unit_sums = np.zeros((self.classes, self.width))
        self.moments = Moments(self.classes, self.width)

    def add(self, features: ArrayLike, labels: NDArray[np.int64]) -> None:
        """Count a batch of features (m, d) and labels (m,)."""
        exact = np.asarray(features, np.float64)
        lengths = np.linalg.norm(exact, axis=1, keepdims=True)
        np.add.at(self.unit_sums, labels, np.divide(exact, lengths, out=np.zeros_like(exact), where=lengths > 0))
        self.moments.add(exact, labels)


def compactness(sums: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    """Mean cosine between two features of one class: `mean_k (n_k |m_k|^2 - 1) / (n_k - 1)`.

    Args:
        sums: Sums of unit features by class, shape (K, d).
        counts: Samples by class, shape (K,). Classes with fewer than two are left out.

    Returns:
        1 if every class is a point; NaN if no class has two samples.
    """
    pairs = counts > 1
    if not pairs.any():
        return float("nan")
    n = counts[pairs]
    squares = (sums[pairs] ** 2).sum(axis=1) / n  # n |m|^2
    return float(np.mean((squares - 1) / (n - 1)))


def distinctiveness(sums: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    """`1 - mean_{k<l} cos(m_k, m_l)`; shapes as in `compactness`.

    Returns:
        At most `1 + 1/(K - 1)`, reached by a simplex; NaN with fewer than two classes.
    """
    means = sums[counts > 0]
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    directions = np.divide(means, lengths, out=np.zeros_like(means), where=lengths > 0)
    classes = len(directions)
    if classes <= 1:
        return float("nan")
    total = directions.sum(axis=0)
    off_diagonal = total @ total - (directions**2).sum()
    return float(1 - off_diagonal / (classes * (classes - 1)))
