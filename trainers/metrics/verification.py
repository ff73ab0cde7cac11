"""Verification: whether two samples belong to the same class, from a pair of features, as for faces.

A pair is genuine if its samples share a class, otherwise an impostor. NaN similarities
count as errors: a genuine pair is then rejected, an impostor pair accepted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainers.metrics.operating_points import true_accept_rate

BLOCK = 4096
"""Pairs processed at a time; more only costs memory."""


def draw_pairs(labels: ArrayLike, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw distinct pairs of samples: first `count // 2` genuine pairs, then equally many impostor pairs.

    All pairs of a kind are equally likely; if there are fewer than `count // 2`, all are
    returned. `labels[pairs[:, 0]] == labels[pairs[:, 1]]` tells which pairs are genuine.

    Args:
        labels: Classes of the samples, shape (n,).
        count: Number of pairs.
        rng: Draws the pairs.

    Returns:
        Indices into `labels`, shape (m, 2), the lower first; m <= count.
    """
    labels = np.asarray(labels)
    order = np.argsort(labels, kind="stable")
    sorted_labels = labels[order]
    first_of_class = np.searchsorted(sorted_labels, sorted_labels, side="left")
    position = np.arange(labels.size)
    # Sorted by label, a sample's earlier partners are contiguous: those of its class, or all before its class.
    genuine = _draw(first_of_class, position - first_of_class, count // 2, rng)
    impostor = _draw(np.zeros_like(position), first_of_class, count // 2, rng)
    return np.sort(order[np.concatenate([genuine, impostor])], axis=1)


def cosine(features: ArrayLike, pairs: ArrayLike) -> NDArray[np.float64]:
    """Cosine of the two features of each pair; 0 if one of them is the zero vector.

    Args:
        features: Shape (n, d), not necessarily normalised.
        pairs: Indices, shape (m, 2).

    Returns:
        Similarities of shape (m,), in -1 ... 1.
    """
    features = np.asarray(features, np.float64)
    pairs = np.asarray(pairs)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit = np.divide(features, lengths, out=np.zeros_like(features), where=lengths != 0)
    similarity = np.empty(len(pairs))
    for start in range(0, len(pairs), BLOCK):
        rows = slice(start, start + BLOCK)
        similarity[rows] = (unit[pairs[rows, 0]] * unit[pairs[rows, 1]]).sum(axis=1)
    return similarity


class Roc(NamedTuple):
    """False and true accept rates, from (0, 0) to (1, 1), arrays of shape (m,).

    A pair is accepted if its similarity is at least the threshold. The first threshold is
    infinite and accepts none; the others are the distinct similarities, descending.
    """

    threshold: NDArray[np.float64]
    false_accept_rate: NDArray[np.float64]
    true_accept_rate: NDArray[np.float64]


def roc(similarity: ArrayLike, genuine: ArrayLike) -> Roc:
    """The receiver operating characteristic, with all its points.

    Args:
        similarity: Of each pair, shape (n,).
        genuine: Whether each pair is genuine, shape (n,).

    Returns:
        The curve; the rates of a kind without pairs are NaN.
    """
    genuine = np.asarray(genuine, np.bool_)
    distinct, group = np.unique(filled(similarity, genuine), return_inverse=True)
    return Roc(
        threshold=np.append(np.inf, distinct[::-1]),
        false_accept_rate=_accepted(group[~genuine], distinct.size),
        true_accept_rate=_accepted(group[genuine], distinct.size),
    )


def filled(similarity: ArrayLike, genuine: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Similarities (n,) with NaN replaced so that it is an error: -inf for genuine pairs, inf for impostors."""
    similarity = np.asarray(similarity, np.float64)
    return np.where(np.isnan(similarity), np.where(genuine, -np.inf, np.inf), similarity)


def equal_error_rate(similarity: ArrayLike, genuine: ArrayLike) -> float:
    """The error rate at which false accepts equal false rejects, interpolated between points of `roc`.

    Args:
        similarity: Of each pair, shape (n,).
        genuine: Whether each pair is genuine, shape (n,).

    Returns:
        0 for perfect separation, 1/2 for chance; NaN without pairs of both kinds.

    Examples:
        >>> from trainers.metrics.verification import equal_error_rate
        >>> equal_error_rate([0.9, 0.8, 0.7, 0.2], [True, False, True, False])  # at 0.8 either error is 1 of 2
        0.5
    """
    _, false_accept, true_accept = roc(similarity, genuine)
    return crossing(false_accept, true_accept)


def crossing(false_accept: NDArray[np.float64], true_accept: NDArray[np.float64]) -> float:
    """The equal error rate of a curve (m,) from (0, 0) to (1, 1), interpolated linearly."""
    excess = false_accept + true_accept - 1  # false accept rate minus false reject rate: from -1 up to 1
    if np.isnan(excess).any():
        return float("nan")
    after = int(np.argmax(excess >= 0))
    share = -excess[after - 1] / (excess[after] - excess[after - 1])
    return float(false_accept[after - 1] + share * (false_accept[after] - false_accept[after - 1]))


def accuracy_over_folds(similarity: ArrayLike, genuine: ArrayLike, fold: ArrayLike) -> float:
    """Cross-validated accuracy, as for LFW: each fold at the threshold that is best on the other folds.

    A pair is accepted if its similarity is at least the threshold; of equally good thresholds the lowest is used.

    Args:
        similarity: Of each pair, shape (n,).
        genuine: Whether each pair is genuine, shape (n,).
        fold: The fold of each pair, shape (n,).

    Returns:
        The mean over folds, in 0 ... 1; NaN with fewer than two folds.
    """
    genuine = np.asarray(genuine, np.bool_)
    fold = np.asarray(fold)
    values = filled(similarity, genuine)
    parts = np.unique(fold)
    right: list[float] = []
    for part in parts if len(parts) > 1 else ():
        tested = fold == part
        threshold = _best_threshold(values[~tested], genuine[~tested])
        right.append(float(np.mean((values[tested] >= threshold) == genuine[tested])))
    return float(np.mean(right)) if right else float("nan")


def _best_threshold(values: NDArray[np.float64], genuine: NDArray[np.bool_]) -> float:
    """The lowest of the thresholds with the highest accuracy; infinity if rejecting all pairs is best."""
    distinct, group = np.unique(values, return_inverse=True)
    gain = np.bincount(group, weights=np.where(genuine, 1, -1), minlength=len(distinct))
    accepted = np.append(np.cumsum(gain[::-1])[::-1], 0)  # per threshold: accepted genuine pairs minus impostors
    return float(np.append(distinct, np.inf)[int(np.argmax(accepted))])


def true_accept_rate_at(similarity: ArrayLike, genuine: ArrayLike, false_accept_rate: float) -> float:
    """Share of genuine pairs above the lowest threshold that respects the false accept rate.

    Args:
        similarity: Of each pair, shape (n,).
        genuine: Whether each pair is genuine, shape (n,).
        false_accept_rate: The limit, a share of impostor pairs in 0 ... 1. Below 1 / (number of
            impostor pairs) none may be accepted.

    Returns:
        TAR@FAR, 0 ... 1; NaN without pairs of both kinds.
    """
    similarity = np.asarray(similarity, np.float64)
    genuine = np.asarray(genuine, np.bool_)
    return true_accept_rate(similarity[genuine], similarity[~genuine], false_accept_rate)


def _draw(
    first: NDArray[np.int64], partners: NDArray[np.int64], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw distinct pairs (m, 2) of positions: j with one of the `partners[j]` positions from `first[j]` on."""
    # Number all pairs in the order of their later sample, draw numbers, and turn them into pairs again.
    ends = np.cumsum(partners)
    total = int(partners.sum())
    chosen = rng.choice(total, min(count, total), replace=False, shuffle=False) if total else np.empty(0, np.int64)
    later = np.searchsorted(ends, chosen, side="right")
    earlier = first[later] + chosen - (ends - partners)[later]
    return np.stack([earlier, later], axis=1)


def _accepted(group: NDArray[np.int64], groups: int) -> NDArray[np.float64]:
    """Cumulative share of members in the last 0, 1, ... `groups` groups; NaN without members."""
    if not group.size:
        return np.full(groups + 1, np.nan)
    return np.append(0, np.cumsum(np.bincount(group, minlength=groups)[::-1])) / group.size
