"""Residual networks for faces, layer for layer those of insightface (`arcface_torch/backbones/iresnet.py`).

Modules have the same names and order, so that published weights load and the same random draws give the same weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

WIDTHS = (64, 128, 256, 512)
FEATURES = 512


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions between three batch norms, the second one with the stride, and a shortcut."""

    def __init__(self, channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride > 1 or channels != width:
            self.downsample = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, images: Tensor) -> Tensor:
        """Feature maps (n, channels, H, W) -> (n, width, ceil(H / stride), ceil(W / stride))."""
        shortcut = images if self.downsample is None else self.downsample(images)
        maps = self.prelu(self.bn2(self.conv1(self.bn1(images))))
        return self.bn3(self.conv2(maps)) + shortcut


class IResNet(nn.Module):
    """Images (n, channels, H, W) -> features (n, 512), batch-normalised.

    Args:
        blocks: Blocks in each of the four stages; each stage halves the resolution.
        channels: Channels of the images.
        size: Height and width of the images; 112 x 112 as published.
    """

    def __init__(self, blocks: Sequence[int], channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.prelu = nn.PReLU(WIDTHS[0])
        self.layer1 = _stage(WIDTHS[0], WIDTHS[0], blocks[0])
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], blocks[1])
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], blocks[2])
        self.layer4 = _stage(WIDTHS[2], WIDTHS[3], blocks[3])
        self.bn2 = nn.BatchNorm2d(WIDTHS[3])
        height, width = (-(-side // 2 ** len(WIDTHS)) for side in size)
        self.fc = nn.Linear(WIDTHS[3] * height * width, FEATURES)
        self.features = nn.BatchNorm1d(FEATURES)
        # As published: the scale of the last batch norm is fixed.
        self.features.weight.requires_grad = False
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, 0.1)

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, channels, H, W) -> features (n, 512)."""
        maps = self.prelu(self.bn1(self.conv1(images)))
        maps = self.layer4(self.layer3(self.layer2(self.layer1(maps))))
        return self.features(self.fc(self.bn2(maps).flatten(1)))


def _stage(channels: int, width: int, blocks: int) -> nn.Sequential:
    """Blocks in a row; the first one halves the resolution."""
    return nn.Sequential(
        ResidualBlock(channels, width, stride=2), *(ResidualBlock(width, width) for _ in range(1, blocks))
    )
