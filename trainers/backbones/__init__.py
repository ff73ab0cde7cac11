"""Backbones: one file per family. Adding a file here adds its plug-ins."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from trainers.networks import Extractor, InputShape
from trainers.plugin import Plugin
from trainers.weights import Weights, fetch, find

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

    weights: str | None = Field(default=None, min_length=1, exclude_if=lambda weights: weights is None)
    """Pretrained weights to start from: a file (relative to the data folder) that ends in .safetensors, .pth, .pt or
    .bin; an installed package that brings one; or a tag of timm's weights. Images are then normalised as the weights
    expect. Left out of the cell's id at its default, so that the ids of older cells do not change."""
    freeze: Literal["none", "all"] | Annotated[int, Field(ge=1)] = Field(
        default="none", exclude_if=lambda freeze: freeze == "none"
    )
    """What training leaves as it is, with the statistics of batch normalisation: `all` of the backbone, or its first N
    blocks. A block is a layer, or a module of several, such as a residual block; containers are opened. Left out of the
    cell's id at its default, as `weights` is."""

    def prepare(self, data_dir: Path) -> None:
        """Make sure that its weights are here, if it has any: look for them, or download those of a tag once.

        Raises:
            MissingWeightsError: They are not here and cannot be downloaded.
        """
        if self.weights is not None:
            fetch(self.weights, self.key, data_dir)

    def pretrained(self, data_dir: Path) -> Weights | None:
        """Its weights, if it has any.

        Raises:
            MissingWeightsError: They are not here.
        """
        return None if self.weights is None else find(self.weights, self.key, data_dir)

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
