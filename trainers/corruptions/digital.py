"""Digital corruptions, caused by cameras, screens and file formats."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from trainers.corruptions.chunk import Chunk
from trainers.corruptions.filters import at, smooth


def contrast(chunk: Chunk, share: float) -> Tensor:
    """Keep this share of the distance to the mean of each channel."""
    mean = chunk.images.mean(dim=(2, 3), keepdim=True)
    return mean + share * (chunk.images - mean)


def elastic_transform(chunk: Chunk, amplitude: float, sigma: float, jitter: float) -> Tensor:
    """Stretch like rubber: a random affine map, and a smooth displacement of every pixel.

    Lengths are fractions of the shorter side. The published code interpolates after each of the
    two steps; we interpolate once, after both, and so blur less.

    Args:
        chunk: The images.
        amplitude: Amplitude of the displacement, which is uniform noise before smoothing.
        sigma: Standard deviation of the smoothing.
        jitter: Largest move of each coordinate of the three points that define the affine map.
    """
    height, width = chunk.size
    side = min(height, width)
    shift = smooth(2 * chunk.uniform(2, height, width) - 1, sigma * side, truncate=3, edge="reflect")
    rows, columns = (amplitude * side * shift).unbind(1)
    rows = rows + torch.arange(height)[:, None]
    columns = columns + torch.arange(width)
    affine = _pulled(chunk, jitter * side)
    place = torch.stack([columns, rows, torch.ones_like(rows)], dim=3)  # (n, H, W, 3)
    source_columns, source_rows = (place @ affine[:, None]).unbind(3)
    return at(chunk.images, source_rows, source_columns)


def _pulled(chunk: Chunk, jitter: float) -> Tensor:
    """Affine maps (n, 3, 2) from (column, row, 1) in the result to column and row in the image."""
    height, width = chunk.size
    reach = min(height, width) // 3
    column = width // 2
    row = height // 2
    points = [[column + reach, row + reach], [column + reach, row - reach], [column - reach, row - reach]]
    before = torch.tensor(points, dtype=torch.float64)
    after = before + jitter * (2 * chunk.uniform(3, 2) - 1)
    ones = torch.ones(len(after), 3, 1, dtype=torch.float64)
    return torch.linalg.solve(torch.cat([after, ones], dim=2), before.expand_as(after))


def pixelate(chunk: Chunk, share: float) -> Tensor:
    """Shrink to this share of the side and enlarge again, both with Pillow's box filter."""
    rows, columns = (_coarse(size, share) for size in chunk.size)
    return rows @ chunk.images @ columns.T


def _coarse(size: int, share: float) -> Tensor:
    """Shrinking and enlarging along one axis, as a matrix (size, size)."""
    few = int(size * share)
    # A coarse pixel is the mean of the fine pixels whose centres it covers; each fine pixel then takes its value.
    centres = (torch.arange(size, dtype=torch.float64) + 0.5) * few / size
    covers = (centres.ceil() - 1).long()[None, :] == torch.arange(few)[:, None]
    below = centres.floor().long()
    return (covers.double() / covers.sum(dim=1, keepdim=True))[below]


def jpeg_compression(chunk: Chunk, quality: float) -> Tensor:
    """Compress to JPEG of this quality and back, with Pillow, as published."""
    pixels = (chunk.images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    decoded = np.stack([_through_jpeg(image, int(quality)) for image in pixels])
    return torch.from_numpy(decoded).view(len(pixels), *chunk.size, -1).permute(0, 3, 1, 2).double() / 255


def _through_jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Compress an image (H, W, C); if C is 1, the result has no channel axis, as in Pillow."""
    with BytesIO() as file:
        Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(file, "JPEG", quality=quality)
        return np.array(Image.open(file))
