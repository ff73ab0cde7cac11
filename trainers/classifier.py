"""The model: a backbone, one linear layer without bias, and the bias the loss learns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainers.backbones import Backbone, InputShape
from trainers.losses import BiasedLoss, Loss


class Classifier(nn.Module):
    """Features, scores and logits of K classes.

    `scores` are `w_k . x`, bias not included; `logits` are scores less the bias, which is
    what the loss sees. The bias is a parameter of shape (1,) or (K,), or None.
    """

    bias: nn.Parameter | None

    def __init__(self, backbone: Backbone, loss: Loss, shape: InputShape, classes: int) -> None:
        super().__init__()
        self.backbone, self.width = backbone.build(shape)
        self.linear = nn.Linear(self.width, classes, bias=False)
        self.classes = classes
        biases = loss.biases(classes)
        initial = loss.initial_bias(classes) if isinstance(loss, BiasedLoss) else 0.0
        self.bias = nn.Parameter(torch.full((biases,), initial)) if biases else None

    def features(self, images: Tensor) -> Tensor:
        """Images (n, C, H, W) to features (n, d)."""
        return self.backbone(images)

    def scores(self, features: Tensor) -> Tensor:
        """Features (n, d) to scores (n, K)."""
        return self.linear(features)

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, C, H, W) to logits (n, K)."""
        scores = self.scores(self.features(images))
        return scores if self.bias is None else scores - self.bias

    def learned_bias(self) -> list[float]:
        """The learnt biases: none, one, or one per class."""
        return [] if self.bias is None else self.bias.detach().double().tolist()
