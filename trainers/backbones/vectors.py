"""Backbones for vectors, such as features that another network computed."""

from __future__ import annotations

from pydantic import Field

from trainers.backbones import Backbone, Extractor, InputShape


class Identity(Backbone):
    """The input itself, so that only the class weights are trained: a linear classifier, or linear probe."""

    name = "identity"

    def build(self, shape: InputShape) -> Extractor:
        """A network without weights, (n, C, H, W) -> (n, C·H·W)."""
        from torch import nn

        return Extractor(nn.Flatten(), shape.channels * shape.height * shape.width)


class MLP(Backbone):
    """A multilayer perceptron: linear layers, each with batch normalisation and ReLU."""

    name = "mlp"
    depth: int = Field(default=1, ge=1, le=64)
    """Number of hidden layers."""
    width: int = Field(default=256, ge=1, le=2**16)
    """Units per hidden layer, and dimension of the features."""

    def build(self, shape: InputShape) -> Extractor:
        """The network (n, C, H, W) -> (n, `width`), weights drawn He normal by fan-in."""
        from trainers.networks import mlp

        inputs = shape.channels * shape.height * shape.width
        return Extractor(mlp.perceptron(inputs, self.depth, self.width), self.width)
