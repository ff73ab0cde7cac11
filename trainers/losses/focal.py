"""Focal loss: binary cross-entropy with less weight on easy decisions (Lin 2017, arXiv 1708.02002)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from trainers.losses import UnifiedLoss
from trainers.losses.bce import against

if TYPE_CHECKING:
    from torch import Tensor


class Focal(UnifiedLoss):
    """Focal loss over classes with one learnable bias."""

    name = "focal"
    one_vs_rest = True
    is_sigmoid = True
    gamma: float = Field(default=2.0, ge=0)
    """How fast the weight of an easy decision falls; 0 is binary cross-entropy."""

    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """`-sum_k (1 - p_k)^gamma log p_k`, p_k the probability of the right decision; shape (n,)."""
        from torch.nn.functional import softplus

        wrong = against(logits, labels)
        # 1 - p = sigmoid(wrong) = exp(-softplus(-wrong)), whose power needs no division and no clamp.
        return ((-self.gamma * softplus(-wrong)).exp() * softplus(wrong)).sum(dim=1)
