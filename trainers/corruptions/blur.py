"""Blur: pixels are averaged with others or swapped with them."""

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
"""Above this radius, the published code smooths the disk over five pixels instead of three."""


def defocus_blur(chunk: Chunk, radius: float, alias_blur: float) -> Tensor:
    """A point becomes a disk; `radius` and the smoothing of the disk's edge grow with the image."""
    radius = radius * chunk.scale
    alias_blur = alias_blur * chunk.scale
    # The edge is smoothed over one pixel (two for wide disks), or over `scale` pixels in larger images.
    spread = max(2 if radius > WIDE else 1, round(chunk.scale))
    reach = ceil(radius) + spread
    offsets = torch.arange(-reach, reach + 1)
    disk = (offsets**2 + offsets[:, None] ** 2 <= radius**2).double()
    disk = smooth(disk[None], alias_blur, truncate=spread / alias_blur)[0]
    return _filtered(chunk.images, disk / disk.sum())


def _filtered(images: Tensor, kernel: Tensor) -> Tensor:
    """Filter images (n, C, H, W), mirrored at the border, by a symmetric kernel (2r + 1, 2r + 1)."""
    reach = len(kernel) // 2
    height, width = images.shape[2:]
    padded = pad(images, (reach,) * 4, mode="reflect")
    # By Fourier transform, because a disk of radius 10 has over 300 taps and is not separable.
    size = (height + 2 * reach, width + 2 * reach)
    product = torch.fft.rfft2(padded) * torch.fft.rfft2(kernel, s=size)
    return torch.fft.irfft2(product, s=size)[..., 2 * reach :, 2 * reach :]


def glass_blur(chunk: Chunk, sigma: float, distance: float, rounds: float) -> Tensor:
    """Frosted glass: smooth, replace pixels by near ones, smooth again.

    `sigma` and `distance` grow with the image. The published code is meant to swap two pixels, but assigns views of
    an array, so one of the two is duplicated; we reproduce this.
    """
    images = smooth(chunk.images, sigma * chunk.scale)
    height, width = chunk.size
    reach = max(1, round(distance * chunk.scale))
    jumps = (chunk.uniform(int(rounds), 2, height, width) * 2 * reach).floor().long() - reach
    places = torch.arange(height * width).repeat(len(images), 1)
    for jump in jumps.unbind(1):
        places = places.gather(1, _sources(jump, reach))
    moved = images.flatten(2).gather(2, places[:, None].expand(-1, images.shape[1], -1)).view_as(images)
    return smooth(moved, sigma * chunk.scale)


def _sources(jump: Tensor, reach: int) -> Tensor:
    """The source index of each pixel (n, H * W) if pixels, from last to first, take the value at the end of their jump.

    Args:
        jump: Rows and columns to jump, from -reach to reach - 1, shape (n, 2, H, W).
        reach: Pixels closer than this to the border keep their value.
    """
    height, width = jump.shape[2:]
    rows = torch.arange(reach + 1, height - reach + 1)[:, None]
    own = (rows * width + torch.arange(reach + 1, width - reach + 1)).flatten()
    down, right = jump.flatten(2)[:, :, own].unbind(1)
    sources = torch.arange(height * width).repeat(len(jump), 1)
    sources[:, own] = own + down * width + right
    moves = torch.zeros(height * width, dtype=torch.bool).index_fill(0, own, value=True)
    # A jump can end at a later pixel. That pixel was replaced before, so follow its source.
    onward = (sources > torch.arange(height * width)) & moves[sources]
    while onward.any():
        sources, onward = (
            torch.where(onward, sources.gather(1, sources), sources),
            onward & onward.gather(1, sources),
        )
    return sources


def motion_blur(chunk: Chunk, radius: float, sigma: float) -> Tensor:
    """The camera moves, within 45 degrees of the horizontal; `radius` and `sigma` grow with the image."""
    degrees = 90 * chunk.uniform() - 45
    return drag(chunk.images, radius * chunk.scale, sigma * chunk.scale, degrees)


def zoom_blur(chunk: Chunk, stop: float, step: float) -> Tensor:
    """The camera approaches: the mean of the image and its enlargements from 1 up to `stop`."""
    factors = np.arange(1, stop, step).tolist()  # as published: rounding decides whether `stop` is included
    enlarged = torch.zeros_like(chunk.images)
    for factor in factors:
        enlarged += zoom(chunk.images, factor)
    return (chunk.images + enlarged) / (len(factors) + 1)
