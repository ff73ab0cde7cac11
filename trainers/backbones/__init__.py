"""Backbones: one file per family. Adding a file here adds its plug-ins."""

from __future__ import annotations

from abc import ABC, abstractmethod

from trainers.networks import Extractor, InputShape
from trainers.plugin import Plugin

__all__ = ["Backbone", "Extractor", "InputShape"]


class Backbone(Plugin, ABC):
    """A feature extractor: a classifier without its last linear layer."""

    @abstractmethod
    def build(self, shape: InputShape) -> Extractor:
        """The network with freshly drawn weights, for images of `shape`.

        Weights come from torch's global generator, which the caller seeds.
        """
