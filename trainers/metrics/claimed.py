"""Predicted probabilities: softmax of the scores, and the sigmoid of each score minus the bias.

Computed from whole batches of scores (m, K), because an evaluation does not keep all scores of many classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Sigmoid(NamedTuple):
    """What follows from score minus bias for each sample, arrays of shape (n,)."""

    positive: Floats
    """Score minus bias of the true class."""
    rival: Floats
    """The highest score minus bias of any other class."""
    likelihood: Floats
    """Negative log-likelihood of all K binary decisions, in nats."""
    brier: Floats
    """Squared distance of the K probabilities from the one-hot label."""


class Claimed(NamedTuple):
    """Predicted probabilities of some samples, compared with their labels."""

    brier: Floats
    """Squared distance of the softmax probabilities from the one-hot label, (n,)."""
    sigmoid: Sigmoid | None
    """None if there is no bias."""


def claimed(scores: ArrayLike, labels: NDArray[np.integer], bias: Sequence[float]) -> Claimed:
    """Compare the probabilities that scores imply with the labels.

    Args:
        scores: Of all classes, shape (n, K).
        labels: True classes, shape (n,).
        bias: None, one for all classes, or one per class.
    """
    exact = np.asarray(scores, np.float64)
    with np.errstate(invalid="ignore"):  # infinite scores make every result NaN
        softmax = _squared_distance(np.exp(exact - _logsumexp(exact)), labels)
        return Claimed(softmax, _sigmoid(exact - np.asarray(bias), labels) if len(bias) else None)


def joined(batches: Sequence[Claimed]) -> Claimed:
    """Concatenate batches, of which there is at least one."""
    sigmoid = [batch.sigmoid for batch in batches if batch.sigmoid is not None]
    return Claimed(
        np.concatenate([batch.brier for batch in batches]),
        Sigmoid(*map(np.concatenate, zip(*sigmoid, strict=True))) if sigmoid else None,
    )


def _sigmoid(logits: Floats, labels: NDArray[np.integer]) -> Sigmoid:
    own = labels[:, None] == np.arange(logits.shape[1])
    against = np.where(own, -logits, logits)
    return Sigmoid(
        positive=logits[own],
        rival=np.where(own, -np.inf, logits).max(axis=1),
        likelihood=np.logaddexp(0, against).sum(axis=1),
        brier=(np.exp(-np.logaddexp(0, -against)) ** 2).sum(axis=1),
    )


def _squared_distance(probabilities: Floats, labels: NDArray[np.integer]) -> Floats:
    wanted = labels[:, None] == np.arange(probabilities.shape[1])
    return ((probabilities - wanted) ** 2).sum(axis=1)


def _logsumexp(scores: Floats) -> Floats:
    top = scores.max(axis=1, keepdims=True)
    return top + np.log(np.exp(scores - top).sum(axis=1, keepdims=True))
