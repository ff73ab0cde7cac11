"""Softmax cross-entropy: the baseline that compares the scores of one sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.losses import Loss

if TYPE_CHECKING:
    from torch import Tensor


class Softmax(Loss):
    """Softmax cross-entropy without bias."""

    name = "softmax"

    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """`-s_y + log sum_k exp(s_k)`, shape (n,)."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(logits, labels, reduction="none")
