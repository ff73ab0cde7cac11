"""Residual networks for small images (He et al. 2016, arXiv 1512.03385, section 4.2).

Shortcuts are option A, subsampled and padded with zeros: what the paper uses for
CIFAR, and the only choice whose parameter count is the paper's 0.27M for 20 layers.
"""

from __future__ import annotations

from abc import ABC
from typing import ClassVar

from trainers.backbones import Backbone, Extractor, InputShape


class _SmallResNet(Backbone, ABC):
    blocks: ClassVar[int]
    """Residual blocks in each of the three stages."""

    def build(self, shape: InputShape) -> Extractor:
        """The network (n, C, H, W) -> (n, 64), convolutions drawn He normal by fan-out."""
        from trainers.networks import resnet

        return Extractor(resnet.resnet(self.blocks, shape.channels), width=resnet.WIDTHS[-1])


class ResNet8(_SmallResNet):
    """Residual network of 8 layers for small images: the quick one."""

    name = "resnet8"
    blocks = 1


class ResNet20(_SmallResNet):
    """Residual network of 20 layers for small images, as on CIFAR-10 in its paper."""

    name = "resnet20"
    blocks = 3
