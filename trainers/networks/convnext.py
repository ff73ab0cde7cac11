"""ConvNeXt for small images (Liu et al. 2022, arXiv 2201.03545, section 2 and figure 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import layer_norm, pad

from trainers.networks import InputShape

if TYPE_CHECKING:
    from torch import Tensor

WIDTHS = (40, 80, 160)
DEPTHS = (2, 2, 2)
SMALL = 16
"""For images smaller than this, in pixels, the stem keeps the resolution: patches would leave too few positions."""

_EPSILON = 1e-6


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each position, (n, C, H, W) -> (n, C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - nn.LayerNorm calls it so
        """Feature maps (n, C, H, W), normalised over C."""
        channels_last = input.permute(0, 2, 3, 1)
        normalised = layer_norm(channels_last, self.normalized_shape, self.weight, self.bias, self.eps)
        return normalised.permute(0, 3, 1, 2)


class Patches(nn.Conv2d):
    """A linear map of non-overlapping patches, (n, C, H, W) -> (n, width, ceil(H / side), ceil(W / side))."""

    def __init__(self, channels: int, width: int, side: int) -> None:
        super().__init__(channels, width, kernel_size=side, stride=side)
        self.side = side

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - nn.Conv2d calls it so
        """Feature maps, one position per patch."""
        height, width = input.shape[2:]
        # Pad the last patches with zeros; otherwise the last rows and columns would be ignored.
        return super().forward(pad(input, (0, -width % self.side, 0, -height % self.side)))


class Block(nn.Module):
    """A residual block: 7x7 depthwise convolution, normalisation, and two pointwise layers around a GELU."""

    def __init__(self, width: int, layer_scale: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, kernel_size=7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=_EPSILON)
        self.pointwise = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.layer_scale = nn.Parameter(torch.full((width,), layer_scale))

    def forward(self, maps: Tensor) -> Tensor:
        """Feature maps (n, width, H, W) -> (n, width, H, W)."""
        channels_last = self.depthwise(maps).permute(0, 2, 3, 1)
        branch = self.layer_scale * self.pointwise(self.norm(channels_last))
        return maps + branch.permute(0, 3, 1, 2)


def convnext(shape: InputShape, layer_scale: float) -> nn.Sequential:
    """A network of three stages without a classifier, with fresh weights.

    Args:
        shape: The images it will see, of any height and width.
        layer_scale: Initial factor on each residual branch.

    Returns:
        A network (n, C, H, W) -> (n, 160).
    """
    before, *_ = WIDTHS
    layers: list[nn.Module] = [_stem(shape, before), ChannelNorm(before, eps=_EPSILON)]
    for width, depth in zip(WIDTHS, DEPTHS, strict=True):
        if width != before:
            layers += [ChannelNorm(before, eps=_EPSILON), Patches(before, width, side=2)]
        layers += [Block(width, layer_scale) for _ in range(depth)]
        before = width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(before, eps=_EPSILON)]
    return nn.Sequential(*layers).apply(_draw)


def _stem(shape: InputShape, width: int) -> nn.Conv2d:
    if min(shape.height, shape.width) < SMALL:
        # Patches of one pixel would not do: layer normalisation of a single grey value leaves only its sign.
        return nn.Conv2d(shape.channels, width, kernel_size=3, padding=1)
    return Patches(shape.channels, width, side=2)


def _draw(module: nn.Module) -> None:
    """Draw weights LeCun normal and set biases to 0; the paper's constant deviation of 0.02 suits AdamW, not SGD."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
        nn.init.zeros_(module.bias)  # pyright: ignore[reportArgumentType]
