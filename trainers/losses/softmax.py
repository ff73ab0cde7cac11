"""Softmax cross-entropy: the baseline. It compares scores only within a sample, never with a common threshold."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING

from pydantic import Field

from trainers.evaluation import DecideBy
from trainers.losses import DiverseLoss, Loss, UnifiedLoss

if TYPE_CHECKING:
    from torch import Tensor


class _CrossEntropy(Loss, ABC):
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Label smoothing: this share of the target is spread evenly over all classes."""

    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """`-z_y + log sum_k exp(z_k)` of the logits z, shape (n,)."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(logits, labels, reduction="none", label_smoothing=self.smoothing)


class Softmax(_CrossEntropy):
    """Softmax cross-entropy without bias."""

    name = "softmax"


class SoftmaxCalibrated(_CrossEntropy):
    """Softmax cross-entropy, with the threshold on probabilities calibrated on validation (Guo et al. 2017)."""

    name = "softmax_calibrated"
    decide_by: DecideBy = "calibrated"


class SoftmaxUnified(_CrossEntropy, UnifiedLoss):
    """Softmax cross-entropy with one learnable bias, which cancels and has no effect."""

    name = "softmax_unified"


class SoftmaxDiverse(_CrossEntropy, DiverseLoss):
    """Softmax cross-entropy with a learnable bias per class."""

    name = "softmax_diverse"
