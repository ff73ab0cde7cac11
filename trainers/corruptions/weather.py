"""Weather: something covers the scene, or the light changes."""

from __future__ import annotations

import torch
from torch import Tensor

from trainers.corruptions.chunk import Chunk
from trainers.corruptions.filters import drag, plasma, smooth, stretched, zoom

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the grey value of a pixel (ITU-R BT.601)."""


def snow(  # noqa: PLR0917 – as many as were published
    chunk: Chunk, mean: float, deviation: float, size: float, least: float, radius: float, sigma: float, clear: float
) -> Tensor:
    """Falling flakes in front of a whitened image.

    Args:
        chunk: The images.
        mean: Mean of the normal noise that flakes are made from.
        deviation: Standard deviation of that noise.
        size: Zoom factor of the noise; grows with the image.
        least: Noise below this becomes 0, so that there is no flake.
        radius: Radius of the flakes' motion blur; grows with the image.
        sigma: Standard deviation of that blur; grows with the image.
        clear: Weight of the original image against the whitened one.
    """
    flakes = zoom(mean + deviation * chunk.normal(1, *chunk.size), max(1.0, size * chunk.scale))
    flakes = torch.where(flakes < least, 0, flakes).clamp(0, 1)
    falling = drag(flakes, radius * chunk.scale, sigma * chunk.scale, 90 * chunk.uniform() - 135)
    white = torch.maximum(chunk.images, 1.5 * _grey(chunk.images) + 0.5)
    return clear * chunk.images + (1 - clear) * white + falling + falling.flip(2, 3)


def _grey(images: Tensor) -> Tensor:
    """Images (n, 1 or 3, H, W) in grey, (n, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    return (images * images.new_tensor(LUMA)[:, None, None]).sum(dim=1, keepdim=True)


def frost(chunk: Chunk, image: float, ice: float) -> Tensor:
    """A weighted sum of the image and ice crystals.

    The published crystals are cut from six photographs. We do not have these and generate crystals
    from noise, so results under frost are not comparable with published ones.
    """
    return image * chunk.images + ice * _crystals(chunk)


OCTAVES = (16, 32, 64)
"""Side of the image divided by the width of the smoothing, from large crystals to small."""


def _crystals(chunk: Chunk) -> Tensor:
    """Bright ridges on a dark background, in [0, 1], (n, 1, H, W).

    Ridges are the zero crossings of smooth noise. Each of three octaves is half as strong as the one before.
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
    """Add clouds, then darken so that the brightest value stays that of the image."""
    brightest = chunk.images.amax(dim=(1, 2, 3), keepdim=True)
    return (chunk.images + thickness * plasma(chunk, decay)) * brightest / (brightest + thickness)


def brightness(chunk: Chunk, more: float) -> Tensor:
    """Increase V of HSV (hue, saturation, value), which is the largest of a pixel's channels."""
    value = chunk.images.amax(dim=1, keepdim=True)
    brighter = (value + more).clamp_max(1)
    # With fixed hue and saturation, the ratios of channels stay the same; black has none and becomes grey.
    return torch.where(value > 0, chunk.images * (brighter / value), brighter)
