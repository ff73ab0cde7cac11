"""Which training images are used, and under which labels: drawn from a seed, by NumPy alone.

Rows come ascending, so that a selection keeps the order of its dataset. RandomState's stream is
frozen for good; a Generator's may change with a NumPy release.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Rows = NDArray[np.int64]


def long_tail(labels: Labels, imbalance: float, rng: RandomState) -> Rows:
    """Rows (m,) of a selection whose classes shrink exponentially (Cui et al. 2019, Cao et al. 2019).

    Class k of K keeps `int(n_max * imbalance^(-k / (K - 1)))` images, drawn without replacement,
    where n_max is the size of the largest class; a class that has fewer keeps all. At equal seeds,
    the rows of a higher imbalance are among those of a lower one.

    Args:
        labels: Shape (n,).
        imbalance: Size of the first class over that of the last, at least 1.
        rng: Decides which images stay.

    Raises:
        ValueError: The imbalance is below 1, or so high that a class would be left empty.
    """
    _, counts = np.unique(labels, return_counts=True)
    largest = int(counts.max())
    last = max(1, len(counts) - 1)
    if not 1 <= imbalance <= largest:
        raise ValueError(f"imbalance is {imbalance:g}; it must lie between 1 and {largest}, the largest class's images")

    def size(rank: int, count: int) -> int:
        # One image at least: n * n^-1 may round to just below 1.
        return min(count, max(1, int(largest * imbalance ** (-rank / last))))

    return _keep(labels, size, rng)


def fraction(labels: Labels, share: float, rng: RandomState) -> Rows:
    """Rows (m,) of a share of each class, rounded, but one image at least.

    At equal seeds, the rows of a smaller share are among those of a larger one.

    Args:
        labels: Shape (n,).
        share: Above 0, at most 1.
        rng: Decides which images stay.

    Raises:
        ValueError: The share lies outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share:g}; it must lie above 0 and be at most 1")
    return _keep(labels, lambda _, count: max(1, round(share * count)), rng)


def _keep(labels: Labels, size: Callable[[int, int], int], rng: RandomState) -> Rows:
    """So many rows of each class as `size` says of its rank and count."""
    kept: list[Rows] = []
    for rank, label in enumerate(np.unique(labels)):
        rows = np.flatnonzero(labels == label)
        # All are shuffled, however few are kept: so smaller selections lie within larger ones.
        kept.append(rng.permutation(rows)[: size(rank, len(rows))])
    return np.sort(np.concatenate(kept))


def held_out(labels: Labels, count: int) -> Rows:
    """Rows (m,) of a validation split: the first of each class, so many that all classes give about the same share.

    A class of two images or more gives one at least, if `count` suffices, and none gives its last. A smaller split
    lies within a larger one.

    Args:
        labels: In the order of a draw, shape (n,).
        count: How many rows are wanted; fewer come where each class but for its last image gives fewer.
    """
    _, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    by_class = np.argsort(inverse, kind="stable")
    place = np.empty(len(labels), np.int64)  # of an image among those of its class
    place[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    size = sizes[inverse]
    # Image i of n, counted from 0, is the one whose turn comes when a share of (i + 1/2) / n is held out.
    turns = np.lexsort(((place + 0.5) / size, place > 0))
    return np.sort(turns[place[turns] < size[turns] - 1][:count])


def noisy_labels(labels: Labels, share: float, classes: int, rng: RandomState) -> Labels:
    """Symmetric label noise: with chance `share`, a label becomes another, each other one alike.

    At equal seeds, the labels changed by a smaller share are changed alike by a larger one.

    Args:
        labels: Shape (n,), from 0 to `classes` - 1.
        share: From 0 to 1.
        classes: How many there are.
        rng: Decides which labels change, and into what.

    Returns:
        Labels, shape (n,).

    Raises:
        ValueError: The share lies outside [0, 1], or there are fewer than 2 classes.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share:g}; it must lie between 0 and 1")
    if classes < 2:  # noqa: PLR2004
        raise ValueError(f"classes is {classes}; a label becomes another only where there are 2 or more")
    changed = rng.random_sample(len(labels)) < share
    others = (labels + rng.randint(1, classes, len(labels))) % classes
    return np.where(changed, others, labels)


def without_classes(labels: Labels, held_out: Collection[int]) -> Rows:
    """Rows (m,) of the images that belong to no held-out class; labels (n,)."""
    return np.flatnonzero(~np.isin(labels, list(held_out)))


UNKNOWN = -1
"""The label of an image whose class is held out."""


def relabel(labels: Labels, held_out: Collection[int], classes: int) -> tuple[Labels, Labels]:
    """Number the classes that are not held out from 0, in their order.

    Args:
        labels: Shape (n,), from 0 to `classes` - 1.
        held_out: Classes without a number of their own.
        classes: How many there are, the held-out ones among them.

    Returns:
        The new labels, shape (n,), and the new number of each old class, shape (classes,):
        `UNKNOWN` where it is held out.

    Raises:
        ValueError: A held-out class does not exist, or none is left.
    """
    strange = sorted(set(held_out) - set(range(classes)))
    if strange:
        raise ValueError(f"held_out names {', '.join(map(str, strange))}; the classes are 0 to {classes - 1}")
    kept = ~np.isin(np.arange(classes), list(held_out))
    if not kept.any():
        raise ValueError(f"held_out names all {classes} classes; leave some to train on")
    numbers = np.where(kept, np.cumsum(kept) - 1, UNKNOWN).astype(np.int64)
    return numbers[labels], numbers
