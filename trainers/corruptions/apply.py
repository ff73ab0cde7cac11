"""Corrupt images given as bytes, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trainers.corruptions import CORRUPTIONS, SEVERITIES, Corruption, blur, digital, noise, weather
from trainers.corruptions.chunk import Chunk
from trainers.corruptions.constants import strength

FAMILIES: dict[Corruption, Callable[..., Tensor]] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
}
"""Each takes a chunk and its constants, and returns images (n, C, H, W) that may leave [0, 1]."""

VALUES = 2**20
"""Values in a chunk: 8 MiB in float64, of which a corruption holds perhaps ten copies at once."""

SMALLEST_SIDE = 8


def in_chunks(
    pixels: Tensor, corruption: Corruption, severity: int, draw: torch.Generator, values: int = VALUES
) -> Tensor:
    """`corrupt`, at most `values` values at a time, which does not affect the result."""
    _check(pixels, corruption, severity)
    # One seed per image, so that its draws do not depend on other images or on the chunk size.
    seeds: list[int] = torch.randint(2**63 - 1, (len(pixels),), generator=draw).tolist()
    images = max(1, values // pixels[0].numel()) if len(pixels) else 1
    corrupted = torch.empty_like(pixels)
    constants, scale = strength(corruption, severity, min(pixels.shape[2:]))
    for start in range(0, len(pixels), images):
        rows = slice(start, start + images)
        draws = [torch.Generator().manual_seed(seed) for seed in seeds[rows]]
        chunk = Chunk(pixels[rows].cpu().double() / 255, draws, scale)
        corrupted[rows] = _bytes(FAMILIES[corruption](chunk, *constants))
    return corrupted


def _bytes(images: Tensor) -> Tensor:
    """Round to bytes. The published code truncates, which darkens even unchanged pixels."""
    # First round to six digits: the last bit of a sum can depend on the chunk size, and would
    # otherwise decide how a value near one half is rounded.
    return (images.clamp(0, 1) * 255).round(decimals=6).round().to(torch.uint8)


def _check(pixels: Tensor, corruption: str, severity: int) -> None:
    if corruption not in CORRUPTIONS:
        raise ValueError(f"No corruption named '{corruption}'. Known: {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity is {severity}; it must be one of {', '.join(map(str, SEVERITIES))}")
    batch = pixels.dim() == 4  # noqa: PLR2004
    well_formed = batch and pixels.shape[1] in (1, 3) and min(pixels.shape[2:]) >= SMALLEST_SIDE
    if pixels.dtype != torch.uint8 or not well_formed:
        raise ValueError(
            f"pixels are {pixels.dtype} {tuple(pixels.shape)}; they must be uint8 (n, C, H, W) "
            f"with 1 or 3 channels and sides of at least {SMALLEST_SIDE}"
        )
