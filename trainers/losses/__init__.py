"""Losses: one file a family. A file added here is a plug-in added."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from trainers.plugin import Plugin

if TYPE_CHECKING:
    from torch import Tensor


class Loss(Plugin, ABC):
    """A per-sample loss on the scores of all classes, and the biases it learns."""

    @abstractmethod
    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of each sample.

        Args:
            logits: Scores less the bias, shape (n, K).
            labels: Class indices, shape (n,).

        Returns:
            Losses, shape (n,). Averaging is the caller's job.
        """

    def biases(self, classes: int) -> int:
        """How many biases are learnt: 0, 1 for all classes, or one per class."""
        del classes
        return 0


class BiasedLoss(Loss, ABC):
    """A loss that learns its bias together with the network.

    The bias is *subtracted* from the scores, so that it compares directly with a
    decision threshold (arXiv 2505.05813, `Wh - b`).
    """

    bias_init: float | Literal["prior"] = 0.0
    """Starting value; `prior` is log(K - 1), at which every class starts at probability 1/K."""
    bias_learning_rate: float = Field(default=1.0, ge=0)
    """Factor on the recipe's learning rate."""
    bias_weight_decay: float = Field(default=0.0, ge=0)
    """L2 decay of the bias itself; any decay pulls the threshold towards 0."""

    def initial_bias(self, classes: int) -> float:
        """The bias before the first step."""
        return math.log(classes - 1) if self.bias_init == "prior" else self.bias_init
