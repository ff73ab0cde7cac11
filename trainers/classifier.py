"""The model: a backbone, the class scores, and the bias that the loss learns."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from trainers.backbones import Backbone, InputShape
from trainers.losses import Loss
from trainers.networks.pretrained import frozen, pretrained
from trainers.weights import Weights


class Classifier(nn.Module):
    """Features, scores and logits of K classes.

    `scores` do not include the bias; `logits` are scores minus the bias, and are what the
    loss sees. The bias is a parameter of shape (1,) or (K,), or None.
    """

    bias: nn.Parameter | None
    log_scale: Tensor | None

    def __init__(
        self, backbone: Backbone, loss: Loss, shape: InputShape, classes: int, weights: Weights | None = None
    ) -> None:
        super().__init__()
        extractor = backbone.build(shape) if weights is None else pretrained(backbone, weights, shape)
        self.backbone, self.width = extractor
        self._frozen = frozen(self.backbone, backbone.freeze)
        self.linear = nn.Linear(self.width, classes, bias=False)
        self.classes = classes
        self.how = loss.scores
        biases = loss.biases(classes)
        self.bias = nn.Parameter(torch.full((biases,), loss.initial_bias(classes))) if biases else None
        log_scale = torch.tensor(math.log(loss.scores.scale))
        if loss.scores.learn_scale:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale if loss.scores.scale != 1 else None)

    def train(self, mode: bool = True) -> Classifier:
        """Switch to training or evaluation; what is frozen stays in evaluation, with its statistics."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def features(self, images: Tensor) -> Tensor:
        """Images (n, C, H, W) to features (n, d)."""
        return self.backbone(images)

    def scores(self, features: Tensor) -> Tensor:
        """Features (n, d) to scores (n, K)."""
        return self._scaled(self._metrics(features))

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, C, H, W) to logits (n, K)."""
        return self.logits(self.features(images))

    def logits(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Features (n, d) to logits (n, K); with the training margin if labels (n,) are given."""
        metrics = self._metrics(features)
        if labels is not None and self.how.margin:
            metrics = self._handicapped(metrics, labels)
        scores = self._scaled(metrics)
        return scores if self.bias is None else scores - self.bias

    def learned_bias(self) -> list[float]:
        """The learnt biases: none, one, or one per class."""
        return [] if self.bias is None else self.bias.detach().double().tolist()

    def _metrics(self, features: Tensor) -> Tensor:
        """Inner products (n, K) of features and weights, either of them normalised if the loss says so."""
        if self.how.normalise_features:
            features = normalize(features, dim=1)
        return linear(features, self.class_weights())

    def class_weights(self) -> Tensor:
        """The weights (K, d) behind the scores, normalised if the loss says so, without the scale."""
        weights = self.linear.weight
        return normalize(weights, dim=1) if self.how.normalise_weights else weights

    def _scaled(self, metrics: Tensor) -> Tensor:
        return metrics if self.log_scale is None else metrics * self.log_scale.exp()

    def _handicapped(self, cosines: Tensor, labels: Tensor) -> Tensor:
        """The cosines (n, K), with the margin subtracted from the true class."""
        margin = self.how.margin
        own = cosines.gather(1, labels[:, None])
        if self.how.margin_kind == "cosine":
            return cosines.scatter(1, labels[:, None], own - margin)
        # cos(θ + m) rises again beyond θ = π - m; there ArcFace continues along a straight line.
        sine = (1 - own.square()).clamp_min(1e-12).sqrt()  # the root's gradient is infinite at 0
        turned = own * math.cos(margin) - sine * math.sin(margin)
        beyond = own - margin * math.sin(margin)
        return cosines.scatter(1, labels[:, None], torch.where(own > -math.cos(margin), turned, beyond))
