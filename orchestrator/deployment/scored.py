"""Scores of images, as a decision and a certificate see them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from orchestrator.deployment.certificate import Reference, ScoreHistogram
from orchestrator.thresholds.consequences import Flags, Floats, Samples, Use, consequences

BINS = 30
"""Bins of scores, of equal numbers of certified images."""

UNKNOWN = -1
"""The label of images without one."""


def samples(scores: NDArray[np.float32], label: NDArray[np.int32]) -> Samples:
    """Images with all their scores.

    Args:
        scores: Of K classes, (n, K).
        label: The true classes (n,); `UNKNOWN` if there are none.
    """
    exact = scores.astype(np.float64)
    two = np.partition(exact, -2, axis=1)[:, -2:]
    prediction = exact.argmax(axis=1).astype(np.int32)
    if label.size and label[0] == UNKNOWN:
        nothing = np.full(label.size, np.nan)
        return Samples(label, prediction, two[:, 1], two[:, 0], nothing, nothing)
    each = np.arange(label.size)
    positive = exact[each, label]
    exact[each, label] = -np.inf
    return Samples(label, prediction, two[:, 1], two[:, 0], positive, exact.max(axis=1))


def joined(parts: Sequence[Samples]) -> Samples:
    """The images of several parts as those of one; each image is its own unit."""
    columns = (np.concatenate(column) for column in zip(*(part[:-1] for part in parts), strict=True))
    return Samples(*columns)


def decisions(seen: Samples, threshold: float) -> NDArray[np.int32]:
    """The class whose score alone lies above the threshold (n,); -1 if there is none or more than one."""
    return np.where(_is_one(seen, threshold), seen.prediction, -1).astype(np.int32)


def outcomes(seen: Samples, use: Use, threshold: float) -> NDArray[np.int64]:
    """What becomes of each image (n,): 0 accepted, 1 rejected, 2 looked at."""
    is_one = _is_one(seen, threshold)
    says_good = np.ones(is_one.size, bool) if use.good is None else use.good[seen.prediction]
    return np.where(is_one & says_good, 0, np.where(is_one | ~np.bool_(use.is_reviewed), 1, 2)).astype(np.int64)


def reference(seen: Samples, use: Use, threshold: float) -> Reference:
    """What certified images look like, by the kinds of classes that have shares of their own in production."""
    top = _edges(seen.top)
    second = _edges(seen.second)
    what = outcomes(seen, use, threshold)
    every: Flags = np.ones(use.classes, bool)
    found = list[ScoreHistogram]()
    for share, classes in consequences(seen, use, np.array([threshold])).kinds(every):
        mine = np.isin(seen.label, classes)
        if mine.any():
            kind = ScoreHistogram(
                share=share,
                classes=_whole(classes),
                top=_whole(binned(seen.top[mine], top)),
                second=_whole(binned(seen.second[mine], second)),
                outcomes=_whole(np.bincount(what[mine], minlength=3)),
            )
            found.append(kind)
    total = sum(kind.share for kind in found)
    kinds = tuple(kind.model_copy(update={"share": kind.share / total}) for kind in found)
    return Reference(top=tuple(top.tolist()), second=tuple(second.tolist()), kinds=kinds)


def binned(values: Floats, edges: Floats) -> NDArray[np.int64]:
    """How many values fall between the edges (B,)."""
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=edges.size + 1)


def _edges(values: Floats) -> Floats:
    """Edges that divide the values into bins of equal numbers."""
    return np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))


def _is_one(seen: Samples, threshold: float) -> Flags:
    return (seen.top > threshold) & (seen.second < threshold)


def _whole(counts: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(counts.tolist())
