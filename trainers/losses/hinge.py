"""One-vs-rest hinge: a margin on either side of the threshold (Rifkin and Klautau 2004)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from trainers.losses import UnifiedLoss
from trainers.losses.bce import against

if TYPE_CHECKING:
    from torch import Tensor


class Hinge(UnifiedLoss):
    """One-vs-rest hinge over classes with one learnable bias."""

    name = "hinge"
    one_vs_rest = True
    width: float = Field(default=1.0, gt=0)
    """Distance from the threshold, on either side, from which the loss is 0."""

    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """`max(0, width - z_y) + sum_{k != y} max(0, width + z_k)`, shape (n,)."""
        return (against(logits, labels) + self.width).clamp_min(0).sum(dim=1)
