"""Residual networks for small images (He et al. 2016, arXiv 1512.03385, section 4.2).

Shortcuts are option A (subsampling and zero padding), as in the paper for CIFAR. It is the
only option that gives the paper's parameter count, 0.27M for 20 layers.
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
    """Residual network of 8 layers for small images, for quick experiments."""

    name = "resnet8"
    blocks = 1


class ResNet20(_SmallResNet):
    """Residual network of 20 layers for small images, as in the paper for CIFAR-10."""

    name = "resnet20"
    blocks = 3
