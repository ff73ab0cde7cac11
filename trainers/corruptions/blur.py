"""Blur: pixels are averaged with others, or change places with them."""

from __future__ import annotations

from math import ceil
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from trainers.corruptions.chunk import Chunk
from trainers.corruptions.filters import drag, smooth, zoom

WIDE: Final = 8
"""From this radius the published code smooths a disk over five pixels instead of three."""


def defocus_blur(chunk: Chunk, radius: float, alias_blur: float) -> Tensor:
    """A point becomes a disk; `radius` and the smoothing of the disk's edge grow with the image."""
    radius, alias_blur = radius * chunk.scale, alias_blur * chunk.scale
    # The edge spreads by one pixel (two for wide disks), and by as much more as the image is larger.
    spread = max(2 if radius > WIDE else 1, round(chunk.scale))
    reach = ceil(radius) + spread
    offsets = torch.arange(-reach, reach + 1)
    disk = (offsets**2 + offsets[:, None] ** 2 <= radius**2).double()
    disk = smooth(disk[None], alias_blur, truncate=spread / alias_blur)[0]
    return _filtered(chunk.images, disk / disk.sum())


def _filtered(images: Tensor, kernel: Tensor) -> Tensor:
    """Images (n, C, H, W) filtered by a symmetric kernel (2r + 1, 2r + 1), mirrored beyond their border."""
    reach = len(kernel) // 2
    height, width = images.shape[2:]
    padded = pad(images, (reach,) * 4, mode="reflect")
    # By Fourier transform: a disk of radius 10 has over 300 taps and is no product of two rows.
    size = (height + 2 * reach, width + 2 * reach)
    product = torch.fft.rfft2(padded) * torch.fft.rfft2(kernel, s=size)
    return torch.fft.irfft2(product, s=size)[..., 2 * reach :, 2 * reach :]


def glass_blur(chunk: Chunk, sigma: float, distance: float, rounds: float) -> Tensor:
    """Frosted glass: smoothed, pixels swapped with near ones, smoothed again.

    `sigma` and `distance` grow with the image. The published code swaps pixel after pixel from the
    last to the first; here all those swap at once that cannot meet, and the rest in turn.
    """
    images = smooth(chunk.images, sigma * chunk.scale)
    height, width = chunk.size
    reach = max(1, round(distance * chunk.scale))
    jumps = (chunk.uniform(int(rounds), 2, height, width) * 2 * reach).floor().long() - reach
    places = torch.arange(height * width).repeat(len(images), 1)
    for jump in jumps.unbind(1):
        _swap(places, jump, reach)
    swapped = images.flatten(2).gather(2, places[:, None].expand(-1, images.shape[1], -1)).view_as(images)
    return smooth(swapped, sigma * chunk.scale)


def _swap(places: Tensor, jump: Tensor, reach: int) -> None:
    """Swap every place of (n, H * W), in place, with the one that its jump (n, 2, H, W) leads to."""
    height, width = jump.shape[2:]
    apart = 2 * reach + 1
    for first_row in range(reach, reach + apart):
        for first_column in range(reach, reach + apart):
            rows = torch.arange(first_row, height - reach + 1, apart)[:, None]
            columns = torch.arange(first_column, width - reach + 1, apart)
            own = (rows * width + columns).flatten().expand(len(places), -1)
            down, right = jump[:, :, rows, columns].flatten(2).unbind(1)
            other = own + down * width + right
            values = places.gather(1, own)
            places.scatter_(1, own, places.gather(1, other)).scatter_(1, other, values)


def motion_blur(chunk: Chunk, radius: float, sigma: float) -> Tensor:
    """The camera moves, within 45 degrees of the horizontal; `radius` and `sigma` grow with the image."""
    degrees = 90 * chunk.uniform() - 45
    return drag(chunk.images, radius * chunk.scale, sigma * chunk.scale, degrees)


def zoom_blur(chunk: Chunk, stop: float, step: float) -> Tensor:
    """The camera nears: the mean of the image and of its enlargements from 1 up to `stop`."""
    factors = np.arange(1, stop, step).tolist()  # NumPy's, as rounding decides whether `stop` belongs to it
    enlarged = torch.zeros_like(chunk.images)
    for factor in factors:
        enlarged += zoom(chunk.images, factor)
    return (chunk.images + enlarged) / (len(factors) + 1)
