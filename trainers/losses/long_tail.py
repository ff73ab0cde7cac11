"""Losses for classes of different sizes: they see how many training images each class has."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING

from pydantic import Field

from trainers.losses import Loss

if TYPE_CHECKING:
    from torch import Tensor


def logit_adjusted(logits: Tensor, labels: Tensor, class_counts: Tensor, strength: float) -> Tensor:
    """Cross-entropy of the logits z plus `strength` times the log of the class shares: (n, K), (n,), (K,) -> (n,).

    A class without training images counts as one of a single image, because the log of 0 is infinite.
    """
    from torch.nn.functional import cross_entropy

    counts = class_counts.clamp_min(1).double()
    shares = (counts / counts.sum()).log().to(logits)
    return cross_entropy(logits + strength * shares, labels, reduction="none")


class _Adjusted(Loss, ABC):
    @property
    def _strength(self) -> float:
        return 1.0

    def per_sample(self, logits: Tensor, labels: Tensor, *, class_counts: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]  # asked for by name
        """Cross-entropy of the adjusted logits, shape (n,); the scores that are evaluated are not adjusted."""
        return logit_adjusted(logits, labels, class_counts, self._strength)


class SoftmaxBalanced(_Adjusted):
    """Balanced SoftMax: a class's exponential is weighted by its training images (Ren et al. 2020, arXiv 2007.10740).

    The loss is `-log(n_y exp(z_y) / sum_k n_k exp(z_k))`; it equals `softmax_logit_adjusted` with `tau` 1.
    """

    name = "softmax_balanced"


class SoftmaxLogitAdjusted(_Adjusted):
    """Softmax cross-entropy of logits plus tau times the log of the class shares (Menon et al. 2021, arXiv 2007.07314).

    The loss of the paper's equation 10. Its other form, plain SoftMax whose scores are adjusted afterwards, is not this
    one.
    """

    name = "softmax_logit_adjusted"
    tau: float = Field(default=1.0, gt=0)
    """τ. At 1, scores are consistent for the balanced error; towards 0, the loss becomes plain SoftMax."""

    @property
    def _strength(self) -> float:
        return self.tau
