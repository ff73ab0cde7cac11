"""Whether a trained model does better than chance on its own training images.

A model that does not has *collapsed*: its metrics are valid, but no better than a guess. docs/theory.md has the
definition. The decision uses only predictions, labels and features of the images, without torch.
"""

from __future__ import annotations

import math
from bisect import bisect_right

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from trainers.seeds import stable_random

LEVEL = 1e-3
"""One-sided level. With a higher p, predictions are no better than if they were independent of the labels."""

DRAWS = 9999
"""Permutations of the labels if p is not computed exactly."""

IMAGES = 1024
"""Number of training images to check, unless `EACH` per class is more."""

EACH = 2
"""Minimum number of images per class to check."""

ROUNDING = 2.0**-18
"""Differences between features up to this share of the largest feature are rounding: 32 units of float32."""

Labels = NDArray[np.integer]


def looked_at(labels: Labels, rng: RandomState) -> NDArray[np.int64]:
    """Rows (m,), ascending, of the images to check: all if there are few, otherwise equally many per class.

    A smaller class gives all its images and other classes make up for it, so that rare classes are included.

    Args:
        labels: Shape (n,).
        rng: Draws the images of each class.
    """
    if len(labels) <= IMAGES:
        return np.arange(len(labels))
    names, counts = np.unique(labels, return_counts=True)
    most = max(IMAGES, EACH * len(names))
    each = bisect_right(range(1, int(counts.max()) + 1), most, key=lambda quota: int(np.minimum(counts, quota).sum()))
    kept = [rng.permutation(np.flatnonzero(labels == name))[:each] for name in names]
    return np.sort(np.concatenate(kept))


class Spread:
    """The lowest and highest value of every feature over streamed batches."""

    def __init__(self) -> None:
        self._low: NDArray[np.float64] | None = None
        self._high: NDArray[np.float64] | None = None

    def add(self, features: NDArray[np.floating]) -> None:
        """Count a batch (m, d)."""
        low = features.min(axis=0).astype(np.float64)
        high = features.max(axis=0).astype(np.float64)
        self._low = low if self._low is None else np.minimum(self._low, low)
        self._high = high if self._high is None else np.maximum(self._high, high)

    @property
    def is_constant(self) -> bool:
        """Whether all images have the same features, up to rounding."""
        if self._low is None or self._high is None:
            return False
        largest = np.maximum(abs(self._low), abs(self._high)).max()
        return bool((self._high - self._low).max() <= ROUNDING * largest)


def collapse(labels: Labels, predictions: Labels, *, constant_features: bool) -> str | None:
    """Why a model counts as collapsed; None if it does not.

    Args:
        labels: The labels used in training, shape (n,).
        predictions: Shape (n,).
        constant_features: Whether the features of all images are the same.
    """
    if len(np.unique(labels)) == 1:
        return None  # one class: nothing to tell apart
    number = len(labels)
    if constant_features:
        return f"the features of all {number} training images looked at are the same"
    if len(np.unique(predictions)) == 1:
        return f"all {number} training images looked at are predicted as class {predictions[0]}"
    if best_p(labels) > LEVEL:
        return None  # too few images: even a perfect model would look like a guess
    p = independence_p(labels, predictions)
    if p <= LEVEL:
        return None
    recall = mean_recall(labels, predictions)
    return (
        f"no better than a guess on {number} training images: mean class-wise recall {100 * recall:.1f} %, p = {p:.2g} "
        f"(at most {LEVEL:g} is asked for)"
    )


def mean_recall(labels: Labels, predictions: Labels) -> float:
    """Recall averaged over the classes that occur."""
    names, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    right = np.bincount(places[labels == predictions], minlength=len(names))
    return float((right / counts).mean())


def best_p(labels: Labels) -> float:
    """The lowest p of any predictions, reached if all are right: 1 / multinomial(n; n_k)."""
    counts = np.unique(labels, return_counts=True)[1]
    return math.exp(sum(math.lgamma(count + 1) for count in counts.tolist()) - math.lgamma(len(labels) + 1))


def independence_p(labels: Labels, predictions: Labels) -> float:
    """One-sided p of the mean recall under random permutations of the labels; labels and predictions (n,).

    Exact if all predictions are right, and for two classes (hypergeometric). Otherwise Cantelli's bound with the
    exact variance if it is at most `LEVEL`; else an estimate from fixed permutations. These stop once p is certain
    to be above `LEVEL`; the estimate then uses the permutations so far.
    """
    if np.array_equal(labels, predictions):
        return best_p(labels)
    names, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    classes = len(names)
    found = np.searchsorted(names, predictions).clip(max=classes - 1)
    found = np.where(names[found] == predictions, found, classes)  # predicting a class without images is never right
    if classes == 2 and found.max() < classes:  # noqa: PLR2004 - no other class is predicted
        return _hypergeometric_p(places, found)
    bound = _cantelli(places, found, counts)
    return bound if bound <= LEVEL else _permutation_p(places, found, counts)


def _hypergeometric_p(labels: Labels, predictions: Labels) -> float:
    """The p for labels and predictions 0 and 1: given their counts, recall depends only on how many ones are right."""
    number = len(labels)
    ones = int(labels.sum())
    predicted = int(predictions.sum())
    right = int((labels & predictions).sum())
    ways = (
        math.comb(ones, hits) * math.comb(number - ones, predicted - hits)
        for hits in range(right, min(ones, predicted) + 1)
    )
    return sum(ways) / math.comb(number, predicted)  # integers, so that nothing is rounded before the division


def _cantelli(labels: Labels, predictions: Labels, counts: NDArray[np.int64]) -> float:
    """An upper bound of p: 1 / (1 + z^2), by the mean and variance of a sum over a random pairing (Hoeffding 1951)."""
    number = len(labels)
    classes = len(counts)
    predicted = np.bincount(predictions, minlength=classes + 1)
    # What an image predicted as p adds if paired with label k; then the same, centred over p and over k.
    adds = np.vstack([np.diag(1 / counts), np.zeros(classes)])
    by_prediction = adds @ counts / number
    by_label = predicted @ adds / number
    apart = adds - by_prediction[:, None] - by_label + predicted @ by_prediction / number
    variance = float(predicted @ apart**2 @ counts) / (number - 1)
    distance = _recalls(labels, predictions, counts) - float(predicted @ by_prediction)
    return variance / (variance + distance**2) if distance > 0 else 1.0


def _permutation_p(labels: Labels, predictions: Labels, counts: NDArray[np.int64]) -> float:
    observed = _recalls(labels, predictions, counts) - 1e-9  # equal sums can round differently
    draw = stable_random("chance")
    as_good = 0
    for drawn in range(1, DRAWS + 1):
        as_good += _recalls(draw.permutation(labels), predictions, counts) >= observed
        if (as_good + 1) / (DRAWS + 1) > LEVEL:
            return (as_good + 1) / (drawn + 1)
    return (as_good + 1) / (DRAWS + 1)


def _recalls(labels: Labels, predictions: Labels, counts: NDArray[np.int64]) -> float:
    """The sum of recalls over classes; labels are 0 … K - 1."""
    return float((np.bincount(labels[labels == predictions], minlength=len(counts)) / counts).sum())
