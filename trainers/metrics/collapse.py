"""Neural collapse: how close features and classifier are to a simplex (Papyan, Han, Donoho 2020).

NC1 to NC3 are computed as in the code of Zhu et al. 2021 (arXiv 2105.02375): NC1 and NC3 from the features of
the training images, NC2 and NC3 from the classifier's weights. Class means are centred on the mean of all
samples; if classes have equal size, it is the mean of the class means. NC1 and NC3 do not change if a constant is
added to all features, so moments of shifted features will do. Both ignore classes without samples. The result is
NaN with fewer than two classes, if class means coincide, or if a value is not finite.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

CUTOFF = float(np.finfo(np.float32).eps)
"""In NC1, singular values of the centred means below this share of the largest count as 0: features are float32,
and such a direction is rounding."""


@dataclass(eq=False)
class Moments:
    """Class sums, counts and summed outer products of streamed features, in float64.

    The mean of the first batch is subtracted from all features. Otherwise, with a large common mean,
    differences of moments would cancel.
    """

    classes: int
    width: int
    shift: NDArray[np.float64] | None = field(init=False, default=None)
    """Mean of the first batch (d,); add it to shifted class means to get those of the features."""
    sums: NDArray[np.float64] = field(init=False)
    """Sums of shifted features by class (K, d)."""
    counts: NDArray[np.int64] = field(init=False)
    """Samples by class (K,)."""
    outer: NDArray[np.float64] = field(init=False)
    """Sum over all samples of the outer product of the shifted feature with itself (d, d)."""

    def __post_init__(self) -> None:
        self.sums = np.zeros((self.classes, self.width))
        self.counts = np.zeros(self.classes, np.int64)
        self.outer = np.zeros((self.width, self.width))

    def add(self, features: ArrayLike, labels: ArrayLike) -> None:
        """Count a batch of features (n, d) and labels (n,)."""
        features = np.asarray(features, np.float64)
        labels = np.asarray(labels, np.int64)
        if not labels.size:
            return
        with np.errstate(invalid="ignore", over="ignore"):  # infinite features make the measures NaN
            shift = self.shift = features.mean(axis=0) if self.shift is None else self.shift
            shifted = features - shift
            np.add.at(self.sums, labels, shifted)
            self.outer += shifted.T @ shifted
        self.counts += np.bincount(labels, minlength=self.classes)


def nc1(moments: Moments) -> float:
    """`tr(S_W S_B^+) / K`: variability within classes relative to that between them; 0 at collapse.

    S_W is the covariance within classes, a mean over samples; S_B is the covariance of the class means,
    a mean over classes. The pseudo-inverse has rank K - 1 at most; see `CUTOFF`. Variability below about
    1e-8 of the distance between classes is lost to rounding.
    """
    sums = moments.sums
    counts = moments.counts
    present = counts > 0
    centred = _centred_means(moments)
    if centred is None or not np.isfinite(moments.outer).all():
        return float("nan")
    means = sums[present] / counts[present, None]
    within = (moments.outer - sums[present].T @ means) / counts.sum()
    # S_B = sum_j s_j^2 v_j v_j' / K by the singular values s and right vectors v of the centred means.
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    keep = sizes > CUTOFF * sizes[0]
    keep[len(centred) - 1 :] = False
    spread = ((directions[keep] @ within) * directions[keep]).sum(axis=1)
    return max(float((spread / sizes[keep] ** 2).sum()), 0.0)


def nc2(weight: NDArray[np.float64]) -> float:
    """`|WW' / |WW'| - E|` for the classifier's class vectors W (K, d): their distance from a simplex.

    Norms are Frobenius norms and `E = (I - 11'/K) / sqrt(K - 1)`. W is not centred, as in the published code.
    """
    weight = np.asarray(weight, np.float64)
    if len(weight) <= 1 or not np.isfinite(weight).all():
        return float("nan")
    return _distance_from_simplex(weight @ weight.T)


def nc3(moments: Moments, weight: NDArray[np.float64]) -> float:
    """`|WH / |WH| - E|` for centred class means H (d, K): distance from self-duality; norms and E as in `nc2`."""
    centred = _centred_means(moments)
    if centred is None or not np.isfinite(weight).all():
        return float("nan")
    return _distance_from_simplex(np.asarray(weight, np.float64)[moments.counts > 0] @ centred.T)


def means_from_simplex(sums: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    """`|H'H / |H'H| - E|` for class means H (d, K) minus their mean: nc2 with means instead of weights (ours).

    Args:
        sums: Sums of features by class, shape (K, d).
        counts: Samples by class, shape (K,).
    """
    present = counts > 0
    if present.sum() <= 1 or not np.isfinite(sums).all():
        return float("nan")
    means = sums[present] / counts[present, None]
    centred = means - means.mean(axis=0)
    return _distance_from_simplex(centred @ centred.T)


def _centred_means(moments: Moments) -> NDArray[np.float64] | None:
    """Means (K, d) of the classes that occur, minus the mean of all samples; None if they coincide or are too few."""
    sums = moments.sums
    counts = moments.counts
    present = counts > 0
    if present.sum() <= 1 or not np.isfinite(sums).all():
        return None
    centred = sums[present] / counts[present, None] - sums.sum(axis=0) / counts.sum()
    return centred if centred.any() else None


def _distance_from_simplex(products: NDArray[np.float64]) -> float:
    """Frobenius distance of a K x K matrix, scaled to norm 1, from the simplex's `E`; NaN for a zero matrix."""
    classes = len(products)
    norm = np.linalg.norm(products)
    if not norm > 0:
        return float("nan")
    simplex = (np.eye(classes) - 1 / classes) / np.sqrt(classes - 1)
    return float(np.linalg.norm(products / norm - simplex))
