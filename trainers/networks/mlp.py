"""A multilayer perceptron."""

from __future__ import annotations

from torch import nn


def perceptron(inputs: int, depth: int, width: int) -> nn.Sequential:
    """Linear layers without bias, each with batch normalisation and ReLU: (n, C, H, W) -> (n, width)."""
    layers: list[nn.Module] = [nn.Flatten()]
    for layer in range(depth):
        linear = nn.Linear(width if layer else inputs, width, bias=False)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        layers += [linear, nn.BatchNorm1d(width), nn.ReLU()]
    return nn.Sequential(*layers)
