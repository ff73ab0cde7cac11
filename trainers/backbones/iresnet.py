"""Residual networks for faces: ArcFace's improved variant (arXiv 1801.07698), as published by insightface."""

from __future__ import annotations

from abc import ABC
from typing import ClassVar

from trainers.backbones import Backbone, Extractor, InputShape


class _IResNet(Backbone, ABC):
    blocks: ClassVar[tuple[int, int, int, int]]
    """Residual blocks in each of the four stages."""

    def build(self, shape: InputShape) -> Extractor:
        """The network (n, C, H, W) -> (n, 512); published for aligned faces, 3 x 112 x 112."""
        from trainers.networks import iresnet

        network = iresnet.IResNet(self.blocks, shape.channels, (shape.height, shape.width))
        return Extractor(network, width=iresnet.FEATURES)


class IResNet18(_IResNet):
    """Residual network of 18 layers for faces (IR-ResNet-18)."""

    name = "iresnet18"
    blocks = (2, 2, 2, 2)


class IResNet50(_IResNet):
    """Residual network of 50 layers for faces (IR-ResNet-50)."""

    name = "iresnet50"
    blocks = (3, 4, 14, 3)
