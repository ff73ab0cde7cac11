"""Building blocks of several corruptions: smoothing, motion blur, zooming, sampling, and plasma."""

from __future__ import annotations

from math import ceil
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from trainers.corruptions.chunk import Chunk

Edge = Literal["nearest", "reflect"]
"""SciPy's names: `nearest` repeats the border pixel, `reflect` mirrors at the border pixel's outer edge."""


def smooth(images: Tensor, sigma: float, truncate: float = 4, edge: Edge = "nearest") -> Tensor:
    """Gaussian filter of images (n, ..., H, W), cut off at `truncate` sigmas."""
    rows, columns = (_smoothing(size, sigma, truncate, edge) for size in images.shape[-2:])
    return rows @ images @ columns.T


def _smoothing(size: int, sigma: float, truncate: float, edge: Edge) -> Tensor:
    """The filter along one axis, as a matrix (size, size), so that it can be wider than the image."""
    radius = int(truncate * sigma + 0.5)
    taps = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (taps / max(sigma, 1e-9)) ** 2)
    sources = torch.arange(size)[:, None] + torch.arange(-radius, radius + 1)
    if edge == "nearest":
        sources = sources.clamp(0, size - 1)
    else:
        around = sources % (2 * size)
        sources = torch.minimum(around, 2 * size - 1 - around)
    return torch.zeros(size, size, dtype=torch.float64).scatter_add_(
        1, sources, (weights / weights.sum()).expand(size, -1)
    )


def drag(images: Tensor, radius: float, sigma: float, degrees: Tensor) -> Tensor:
    """Motion blur as in ImageMagick: half a Gaussian of `2 radius + 1` taps along a line.

    Args:
        images: Shape (n, C, H, W); border pixels are repeated outside.
        radius: Half the number of taps, in pixels.
        sigma: Standard deviation of the Gaussian, in pixels.
        degrees: Direction for each image, shape (n,); 0 is horizontal.
    """
    height, width = images.shape[2:]
    taps = torch.arange(2 * ceil(radius) + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (taps / sigma) ** 2)
    angle = torch.deg2rad(degrees)[:, None, None]
    flat = images.flatten(2)
    blurred = torch.zeros_like(flat)
    for tap, weight in zip(taps.tolist(), (weights / weights.sum()).tolist(), strict=True):
        rows = (torch.arange(height)[:, None] + (tap * angle.sin()).round().long()).clamp(0, height - 1)
        columns = (torch.arange(width)[None, :] + (tap * angle.cos()).round().long()).clamp(0, width - 1)
        sources = (rows * width + columns).flatten(1)[:, None].expand_as(flat)
        blurred += weight * flat.gather(2, sources)
    return blurred.view_as(images)


def zoom(images: Tensor, factor: float) -> Tensor:
    """Enlarge the centre of images (n, C, H, W) to their size, pixel for pixel as published.

    The centre is cut out in whole pixels, enlarged by linear interpolation (corner to corner) to whole
    pixels, and cropped. Because of this rounding, factors close to 1 change nothing in small images.
    """
    rows, columns = (_zooming(size, factor) for size in images.shape[2:])
    return rows @ images @ columns.T


def _zooming(size: int, factor: float) -> Tensor:
    """The enlargement along one axis, as a matrix (size, size)."""
    kept = ceil(size / factor)
    enlarged = round(kept * factor)
    taken = torch.arange(size, dtype=torch.float64) + (enlarged - size) // 2
    places = taken * ((kept - 1) / (enlarged - 1))
    low = places.floor().long().clamp(max=kept - 2)
    share = (places - low)[:, None]
    first = (low + (size - kept) // 2)[:, None]
    empty = torch.zeros(size, size, dtype=torch.float64)
    return empty.scatter_(1, first, 1 - share).scatter_(1, first + 1, share)


def at(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Sample images (n, C, H, W) at fractional rows and columns (n, H, W), by linear interpolation.

    Outside, images are mirrored at the centre of the border pixel.
    """
    height, width = images.shape[2:]
    grid = torch.stack([2 * columns / (width - 1) - 1, 2 * rows / (height - 1) - 1], dim=3)
    return grid_sample(images, grid, padding_mode="reflection", align_corners=True)


def plasma(chunk: Chunk, decay: float) -> Tensor:
    """Clouds by the diamond-square algorithm (Fournier et al., CACM 1982), in [0, 1], (n, 1, H, W).

    Args:
        chunk: Gives the size and the random draws.
        decay: As in the published code, the variation shrinks by `decay` squared from one octave to the next.
    """
    height, width = chunk.size
    side = 2 ** (max(height, width) - 1).bit_length()  # a power of 2, because the algorithm halves it down to 1
    variation = 2 * chunk.uniform(side, side) - 1
    clouds = torch.zeros_like(variation)
    step = side
    amplitude = 1.0
    while step > 1:
        half = step // 2
        odd = slice(half, None, step)
        even = slice(0, None, step)
        corners = clouds[:, even, even]
        pairs = corners + corners.roll(-1, 1)
        clouds[:, odd, odd] = (pairs + pairs.roll(-1, 2)) / 4 + amplitude * variation[:, odd, odd]
        centres = clouds[:, odd, odd]
        beside = centres + centres.roll(1, 1) + corners + corners.roll(-1, 2)
        above = centres + centres.roll(1, 2) + corners + corners.roll(-1, 1)
        clouds[:, even, odd] = beside / 4 + amplitude * variation[:, even, odd]
        clouds[:, odd, even] = above / 4 + amplitude * variation[:, odd, even]
        step = half
        amplitude = amplitude / decay**2
    return stretched(clouds)[:, None, :height, :width]


def stretched(fields: Tensor) -> Tensor:
    """Scale each field of (n, H, W) linearly so that its minimum is 0 and its maximum 1."""
    low = fields.amin(dim=(1, 2), keepdim=True)
    high = fields.amax(dim=(1, 2), keepdim=True)
    return (fields - low) / (high - low)
