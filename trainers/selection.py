"""Select training images and change their labels, drawn from a seed; NumPy only.

Rows are ascending, so that a selection keeps the order of its dataset. Draws use RandomState, whose
stream never changes between NumPy releases; that of a Generator may.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Rows = NDArray[np.int64]


def long_tail(labels: Labels, imbalance: float, rng: RandomState) -> Rows:
    """Rows (m,) of a long-tailed selection: class sizes fall exponentially (Cui et al. 2019, Cao et al. 2019).

    Class k of K keeps `int(n_max * imbalance^(-k / (K - 1)))` images, drawn without replacement,
    where n_max is the size of the largest class; a smaller class keeps all. With the same seed,
    the rows of a higher imbalance are a subset of those of a lower one.

    Args:
        labels: Shape (n,).
        imbalance: Size of the first class divided by that of the last, at least 1.
        rng: Draws the images to keep.

    Raises:
        ValueError: The imbalance is below 1, or so high that a class would be empty.
    """
    _, counts = np.unique(labels, return_counts=True)
    largest = int(counts.max())
    last = max(1, len(counts) - 1)
    if not 1 <= imbalance <= largest:
        raise ValueError(f"imbalance is {imbalance:g}; it must lie between 1 and {largest}, the largest class's images")

    def size(rank: int, count: int) -> int:
        # At least one image: n * n^-1 can round to just below 1.
        return min(count, max(1, int(largest * imbalance ** (-rank / last))))

    return _keep(labels, size, rng)


def fraction(labels: Labels, share: float, rng: RandomState) -> Rows:
    """Rows (m,) of a share of each class, rounded, but at least one image.

    With the same seed, the rows of a smaller share are a subset of those of a larger one.

    Args:
        labels: Shape (n,).
        share: In (0, 1].
        rng: Draws the images to keep.

    Raises:
        ValueError: The share is outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share:g}; it must lie above 0 and be at most 1")
    return _keep(labels, lambda _, count: max(1, round(share * count)), rng)


def _keep(labels: Labels, size: Callable[[int, int], int], rng: RandomState) -> Rows:
    """Rows of each class, as many as `size` gives for the rank and the count of the class."""
    kept: list[Rows] = []
    for rank, label in enumerate(np.unique(labels)):
        rows = np.flatnonzero(labels == label)
        # Shuffle all rows even if few are kept, so that smaller selections are subsets of larger ones.
        kept.append(rng.permutation(rows)[: size(rank, len(rows))])
    return np.sort(np.concatenate(kept))


def set_aside(labels: Labels, share: float, rng: RandomState) -> Rows:
    """Rows (m,) of a share of each class, rounded: at least one, and never a class's last image.

    With the same seed, the rows of a smaller share are a subset of those of a larger one.

    Args:
        labels: Shape (n,).
        share: In (0, 1).
        rng: Draws the images.
    """
    if not len(labels):
        return np.empty(0, np.int64)
    return _keep(labels, lambda _, count: min(count - 1, max(1, round(share * count))), rng)


def held_out(labels: Labels, count: int) -> Rows:
    """Rows (m,) of a stratified validation split: the first rows of each class, about the same share of all classes.

    Every class of two images or more gives at least one, if `count` suffices, and no class gives its last image. A
    smaller split is a subset of a larger one.

    Args:
        labels: In random order, shape (n,).
        count: Number of rows; fewer are returned if the classes cannot give that many.
    """
    _, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    by_class = np.argsort(inverse, kind="stable")
    place = np.empty(len(labels), np.int64)  # position of an image within its class
    place[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    size = sizes[inverse]
    # Each class gives one image first. Then image i of n, counted from 0, follows at a share of (i + 1/2) / n.
    turns = np.lexsort(((place + 0.5) / size, place > 0))
    return np.sort(turns[place[turns] < size[turns] - 1][:count])


def whole_groups(groups: Rows, labels: Labels, count: int) -> Rows:
    """Rows (m,) of whole groups, at most `count` of them: the first groups that fit and that leave rows of every class.

    Args:
        groups: The group of each row, in random order, shape (n,).
        labels: The class of each row, from 0 to K - 1, shape (n,).
        count: Largest number of rows.
    """
    names, first = np.unique(groups, return_index=True)
    left = np.bincount(labels)
    taken = np.zeros(len(groups), np.bool_)
    for name in names[np.argsort(first)]:
        members = groups == name
        given = np.bincount(labels[members], minlength=len(left))
        if members.sum() + taken.sum() <= count and (given < left).all(where=given > 0):
            left -= given
            taken |= members
    return np.flatnonzero(taken)


def noisy_labels(labels: Labels, share: float, classes: int, rng: RandomState) -> Labels:
    """Symmetric label noise: with probability `share`, a label is replaced by a uniform draw from the other classes.

    With the same seed, a larger share changes the same labels, in the same way, and more.

    Args:
        labels: Shape (n,), from 0 to `classes` - 1.
        share: From 0 to 1.
        classes: Number of classes.
        rng: Draws the labels to change and their new values.

    Returns:
        Labels, shape (n,).

    Raises:
        ValueError: The share is outside [0, 1], or there are fewer than 2 classes.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share:g}; it must lie between 0 and 1")
    if classes < 2:  # noqa: PLR2004
        raise ValueError(f"classes is {classes}; a label becomes another only where there are 2 or more")
    # Draw for every label, changed or not, so that a larger share changes the same labels in the same way.
    changed = rng.random_sample(len(labels)) < share
    others = (labels + rng.randint(1, classes, len(labels))) % classes
    return np.where(changed, others, labels)


def without_classes(labels: Labels, held_out: Collection[int]) -> Rows:
    """Rows (m,) of the images whose class is not held out; labels (n,)."""
    return np.flatnonzero(~np.isin(labels, list(held_out)))


UNKNOWN = -1
"""Label of images whose class is held out."""


def relabel(labels: Labels, held_out: Collection[int], classes: int) -> tuple[Labels, Labels]:
    """Renumber the classes that are not held out from 0, in their order.

    Args:
        labels: Shape (n,), from 0 to `classes` - 1.
        held_out: Classes that get no number.
        classes: Number of classes, including the held-out ones.

    Returns:
        The new labels, shape (n,), and the new number of each old class, shape (classes,);
        `UNKNOWN` for held-out classes.

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
