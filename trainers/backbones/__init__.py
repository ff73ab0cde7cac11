"""Backbones: one file per family. Adding a file here adds its plug-ins."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from trainers.networks import Extractor, InputShape
from trainers.plugin import Plugin

__all__ = ["Backbone", "Extractor", "InputShape"]


class Backbone(Plugin, ABC):
    """A feature extractor: a classifier without its last linear layer.

    Import torch inside methods, because planning imports this class and must not import torch.

    Examples:
        >>> from trainers.backbones import Backbone
        >>> class OneLayer(Backbone):
        ...     name = "one_layer"
        ...     width: int = 32
        ...
        ...     def build(self, shape):
        ...         from torch import nn
        ...         from trainers.networks import Extractor
        ...
        ...         layer = nn.LazyLinear(self.width)
        ...         return Extractor(nn.Sequential(nn.Flatten(), layer, nn.ReLU()), self.width)
        >>> import torch
        >>> from trainers.networks import InputShape
        >>> network, width = OneLayer(width=8).build(InputShape(3, 4, 4))
        >>> network(torch.zeros(5, 3, 4, 4)).shape
        torch.Size([5, 8])
    """

    @abstractmethod
    def build(self, shape: InputShape) -> Extractor:
        """The network with freshly drawn weights, for images of `shape`.

        Weights come from torch's global generator, which the caller seeds.
        """

    def build_with(self, shape: InputShape, arguments: Mapping[str, Any]) -> Extractor:
        """The network, built with arguments that certain weights need, which only timm's networks take.

        Raises:
            ValueError: It takes none.
        """
        if arguments:
            raise ValueError(f"These weights are for a network of timm (timm:NAME), not for {self.key}.")
        return self.build(shape)
