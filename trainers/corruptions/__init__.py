"""The 15 corruptions of ImageNet-C, at five severities (Hendrycks and Dietterich, ICLR 2019, arXiv 1903.12261).

The names need no torch, so that planning can use them; the work is done in `apply`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Noise = Literal["gaussian_noise", "shot_noise", "impulse_noise"]
Blur = Literal["defocus_blur", "glass_blur", "motion_blur", "zoom_blur"]
Weather = Literal["snow", "frost", "fog", "brightness"]
Digital = Literal["contrast", "elastic_transform", "pixelate", "jpeg_compression"]
Corruption = Literal[Noise, Blur, Weather, Digital]

CORRUPTIONS: tuple[Corruption, ...] = get_args(Corruption)
"""All families, in the order of the paper: noise, blur, weather, digital."""

SEVERITIES = (1, 2, 3, 4, 5)
"""From hardly visible to hardly recognisable."""


def corrupt(pixels: Tensor, corruption: Corruption, severity: int, draw: torch.Generator) -> Tensor:
    """Corrupt images, with independent random draws for each.

    Everything is computed on the CPU in float64, so that every device is tested on the same images.

    Args:
        pixels: Images, uint8 (n, C, H, W), C = 1 or 3, H and W at least 8.
        corruption: One of `CORRUPTIONS`.
        severity: One of `SEVERITIES`.
        draw: A CPU generator, the only source of randomness.

    Returns:
        Corrupted images, uint8 (n, C, H, W), on the device of `pixels`.

    Raises:
        ValueError: Unknown corruption or severity, or pixels of another type or shape.
    """
    from trainers.corruptions.apply import in_chunks

    return in_chunks(pixels, corruption, severity, draw)
