"""Poly-1: cross-entropy with its first polynomial term re-weighted (Leng 2022, arXiv 2204.12511)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.losses import Loss

if TYPE_CHECKING:
    from torch import Tensor


class Poly1(Loss):
    """Softmax cross-entropy plus epsilon times (1 - P_y)."""

    name = "poly1"
    epsilon: float = 1.0
    """Weight of the extra term; 0 is cross-entropy."""

    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """`CE + epsilon (1 - P_y)`, shape (n,)."""
        from torch.nn.functional import cross_entropy

        loss = cross_entropy(logits, labels, reduction="none")
        return loss + self.epsilon * (1 - (-loss).exp())
