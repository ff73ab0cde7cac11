"""VGG networks for small images (Simonyan & Zisserman 2015, arXiv 1409.1556, configuration A)."""

from __future__ import annotations

from torch import nn

from trainers.networks import InputShape

STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))
"""Channels of each convolution; each stage ends with pooling."""

WIDTH = STAGES[-1][-1]


def vgg11(shape: InputShape) -> nn.Sequential:
    """Eight convolutions with batch normalisation, pooling, and the mean over all positions.

    At 32x32 pixels there are five poolings; at 8x8 only three, because the map is then a single pixel.

    Returns:
        A network (n, C, H, W) -> (n, 512) for images of `shape`, with fresh weights.
    """
    layers: list[nn.Module] = []
    before = shape.channels
    side = min(shape.height, shape.width)
    for stage in STAGES:
        for width in stage:
            layers += [_convolution(before, width), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            before = width
        if side > 1:  # a single row cannot be halved
            layers.append(nn.MaxPool2d(kernel_size=2))
            side //= 2
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _convolution(channels: int, width: int) -> nn.Conv2d:
    # The bias has no effect before batch normalisation; it is kept because every published VGG-11 has it.
    convolution = nn.Conv2d(channels, width, kernel_size=3, padding=1)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(convolution.bias)  # pyright: ignore[reportArgumentType]
    return convolution
