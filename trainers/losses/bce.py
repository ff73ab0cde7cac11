"""Binary cross-entropy over classes, summed over classes (arXiv 2403.07289, 2505.05813)."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING

from trainers.losses import BiasedLoss, Loss

if TYPE_CHECKING:
    from torch import Tensor


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """`sp(-z_y) + sum_{k != y} sp(z_k)` with the softplus `sp`; (n, K), (n,) -> (n,).

    The sum over classes, not their mean: a mean divides the step by K and looks
    as if BCE failed.
    """
    from torch.nn.functional import softplus

    # Flipping the own class's sign gives both terms one softplus. The shorter
    # `softplus(logits).sum() - z_y` would cancel where the loss is small.
    own = logits.gather(1, labels[:, None])
    return softplus(logits.scatter(1, labels[:, None], -own)).sum(dim=1)


class BCE(Loss):
    """Binary cross-entropy without bias."""

    name = "bce"

    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Binary cross-entropy of the raw scores, shape (n,)."""
        return binary_cross_entropy(logits, labels)


class _LearntBias(BiasedLoss, ABC):
    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Binary cross-entropy of the scores less the bias, shape (n,)."""
        return binary_cross_entropy(logits, labels)


class BCEUnified(_LearntBias):
    """Binary cross-entropy with one learnable bias for all classes."""

    name = "bce_unified"

    def biases(self, classes: int) -> int:
        """One bias, shared by every class."""
        del classes
        return 1


class BCEDiverse(_LearntBias):
    """Binary cross-entropy with a learnable bias per class."""

    name = "bce_diverse"

    def biases(self, classes: int) -> int:
        """A bias for each class."""
        return classes
