"""Residual networks for small images (He et al. 2016, arXiv 1512.03385, section 4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from torch.nn.functional import pad, relu

if TYPE_CHECKING:
    from torch import Tensor

WIDTHS = (16, 32, 64)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters (option A)."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            _convolution(channels, width, stride),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            _convolution(width, width),
            nn.BatchNorm2d(width),
        )
        self.stride = stride
        self.added = width - channels

    def forward(self, images: Tensor) -> Tensor:
        """Feature maps (n, channels, H, W) -> (n, width, ceil(H / stride), ceil(W / stride))."""
        return relu(self.residual(images) + self._shortcut(images))

    def _shortcut(self, images: Tensor) -> Tensor:
        subsampled = images[:, :, :: self.stride, :: self.stride]
        return pad(subsampled, (0, 0, 0, 0, 0, self.added))


def resnet(blocks: int, channels: int) -> nn.Sequential:
    """A network of `6 blocks + 2` layers without the last one, with fresh weights.

    Args:
        blocks: Residual blocks in each of the three stages.
        channels: Channels of the images.

    Returns:
        A network (n, channels, H, W) -> (n, 64), for any H, W >= 1.
    """
    stem, *_ = WIDTHS
    layers: list[nn.Module] = [_convolution(channels, stem), nn.BatchNorm2d(stem), nn.ReLU(inplace=True)]
    before = stem
    for width in WIDTHS:
        for _ in range(blocks):
            # A stage halves the resolution where it doubles the width.
            layers.append(BasicBlock(before, width, stride=width // before))
            before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _convolution(channels: int, width: int, stride: int = 1) -> nn.Conv2d:
    convolution = nn.Conv2d(channels, width, kernel_size=3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution
