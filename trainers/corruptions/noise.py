"""Noise, independent for every value."""

from __future__ import annotations

import torch
from torch import Tensor

from trainers.corruptions.chunk import Chunk


def gaussian_noise(chunk: Chunk, deviation: float) -> Tensor:
    """Low light: normal noise is added."""
    return chunk.images + deviation * chunk.normal(*chunk.images.shape[1:])


def shot_noise(chunk: Chunk, photons: float) -> Tensor:
    """Shot noise: Poisson counts, with `photons` expected where the image is white."""
    return chunk.each(lambda number, draw: torch.poisson(chunk.images[number] * photons, draw)) / photons


def impulse_noise(chunk: Chunk, share: float) -> Tensor:
    """Broken bits: this share of the values becomes black or white, each with probability 1/2."""
    chance, value = chunk.uniform(2, *chunk.images.shape[1:]).unbind(1)
    return torch.where(chance < share, value.round(), chunk.images)
