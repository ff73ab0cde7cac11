"""The torch side of backbones. Modules here import torch, so they are imported only inside `build`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import nn


class InputShape(NamedTuple):
    """The shape of one image."""

    channels: int
    height: int
    width: int


class Extractor(NamedTuple):
    """A network from images (n, C, H, W) to features (n, `width`)."""

    network: nn.Module
    width: int
