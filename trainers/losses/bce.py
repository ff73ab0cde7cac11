"""Binary cross-entropy, summed over classes (arXiv 2403.07289, 2505.05813)."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from trainers.losses import DiverseLoss, Loss, UnifiedLoss, prior

if TYPE_CHECKING:
    from torch import Tensor


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """`sp(-z_y) + sum_{k != y} sp(z_k)` with the softplus `sp`; (n, K), (n,) -> (n,).

    Summed over classes, not averaged: an average divides the step by K, and BCE
    then seems to fail.
    """
    from torch.nn.functional import softplus

    return softplus(against(logits, labels)).sum(dim=1)


def against(logits: Tensor, labels: Tensor) -> Tensor:
    """The logits (n, K) with the sign of the true class flipped: higher is worse in every column.

    One function then serves all terms of the sum over classes. The shorter
    `softplus(logits).sum() - z_y` would cancel where the loss is small.
    """
    own = logits.gather(1, labels[:, None])
    return logits.scatter(1, labels[:, None], -own)


class _BinaryCrossEntropy(Loss, ABC):
    one_vs_rest = True
    is_sigmoid = True
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Label smoothing as in timm: targets are 1 - s + s/K for the true class and s/K for the others."""

    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Binary cross-entropy of the logits, summed over classes, shape (n,)."""
        loss = binary_cross_entropy(logits, labels)
        if not self.smoothing:
            return loss
        # The loss is linear in the targets: moving mass m from one sign to the other adds m z.
        spread = self.smoothing / logits.shape[1]
        own = logits.gather(1, labels[:, None]).squeeze(1)
        return loss + self.smoothing * own - spread * logits.sum(dim=1)


class BCE(_BinaryCrossEntropy):
    """Binary cross-entropy without bias."""

    name = "bce"


class BCEFixed(_BinaryCrossEntropy):
    """Binary cross-entropy with a constant bias for all classes."""

    name = "bce_fixed"
    bias: float | Literal["prior"] = "prior"
    """The constant; `prior` is log(K - 1), at which every class starts at probability 1/K."""

    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Binary cross-entropy of the logits minus the constant, shape (n,)."""
        return super().per_sample(logits - self.initial_bias(logits.shape[1]), labels)

    def initial_bias(self, classes: int) -> float:
        """The constant."""
        return prior(classes) if self.bias == "prior" else self.bias


class BCEUnified(_BinaryCrossEntropy, UnifiedLoss):
    """Binary cross-entropy with one learnable bias for all classes."""

    name = "bce_unified"


class BCEDiverse(_BinaryCrossEntropy, DiverseLoss):
    """Binary cross-entropy with a learnable bias per class."""

    name = "bce_diverse"
