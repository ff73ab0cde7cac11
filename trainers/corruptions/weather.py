"""Weather: something lies before the scene, or the light is another."""

from __future__ import annotations

import torch
from torch import Tensor

from trainers.corruptions.chunk import Chunk
from trainers.corruptions.filters import drag, plasma, smooth, stretched, zoom

LUMA = (0.299, 0.587, 0.114)
"""What red, green and blue add to the grey of a pixel (ITU-R BT.601)."""


def snow(  # noqa: PLR0917 – as many as were published
    chunk: Chunk, mean: float, deviation: float, size: float, least: float, radius: float, sigma: float, clear: float
) -> Tensor:
    """Falling flakes before a whitened image.

    Args:
        chunk: The images.
        mean: Of the normal noise the flakes are made of.
        deviation: Of that noise.
        size: By how much the noise is enlarged; grows with the image.
        least: Noise below this is no flake.
        radius: Of the flakes' motion blur; grows with the image.
        sigma: Of that blur; grows with the image.
        clear: Share of the image that is not whitened.
    """
    flakes = zoom(mean + deviation * chunk.normal(1, *chunk.size), max(1.0, size * chunk.scale))
    flakes = torch.where(flakes < least, 0, flakes).clamp(0, 1)
    falling = drag(flakes, radius * chunk.scale, sigma * chunk.scale, 90 * chunk.uniform() - 135)
    white = torch.maximum(chunk.images, 1.5 * _grey(chunk.images) + 0.5)
    return clear * chunk.images + (1 - clear) * white + falling + falling.flip(2, 3)


def _grey(images: Tensor) -> Tensor:
    """Images (n, 1 or 3, H, W) without colour: (n, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    return (images * images.new_tensor(LUMA)[:, None, None]).sum(dim=1, keepdim=True)


def frost(chunk: Chunk, image: float, ice: float) -> Tensor:
    """The image, weighted, plus crystals of ice, weighted.

    The published crystals are cut from six photographs. We have none, and grow them from noise:
    numbers under frost do not compare with published ones.
    """
    return image * chunk.images + ice * _crystals(chunk)


OCTAVES = (16, 32, 64)
"""Sides of the image over the smoothing of the noise, from large crystals to small."""


def _crystals(chunk: Chunk) -> Tensor:
    """Bright ridges on a dark ground, in [0, 1], (n, 1, H, W).

    Ridges are where smooth noise passes through zero; three octaves, each half as strong.
    """
    height, width = chunk.size
    noise = chunk.normal(len(OCTAVES), height, width)
    ridges = torch.zeros_like(noise[:, 0])
    for octave, part in enumerate(OCTAVES):
        waves = smooth(noise[:, octave], min(height, width) / part, edge="reflect")
        waves = waves / waves.std(dim=(1, 2), keepdim=True)
        ridges += (1 - waves.abs()).clamp_min(0) / 2**octave
    return stretched(ridges)[:, None]


def fog(chunk: Chunk, thickness: float, decay: float) -> Tensor:
    """Clouds are added, and all is darkened to the image's own brightest value."""
    brightest = chunk.images.amax(dim=(1, 2, 3), keepdim=True)
    return (chunk.images + thickness * plasma(chunk, decay)) * brightest / (brightest + thickness)


def brightness(chunk: Chunk, more: float) -> Tensor:
    """Add to the value of hue, saturation and value, the largest of a pixel's channels."""
    value = chunk.images.amax(dim=1, keepdim=True)
    brighter = (value + more).clamp_max(1)
    # At equal hue and saturation the channels keep their ratios; black has none and becomes grey.
    return torch.where(value > 0, chunk.images * (brighter / value), brighter)
