"""Augmentation of whole batches. Random numbers are drawn on the CPU, so that all devices see the same images.

All functions take normalised images, float (b, C, H, W), and pad with 0, the mean of the training
pixels. `crop`, `flip`, `cutout` and `rand_augment` draw separately for each image and keep its
label; `mixup` and `cutmix` mix images and, in the same proportion, the losses of their labels.
"""

from __future__ import annotations

from collections.abc import Callable
from math import radians, sqrt
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

HALF = 0.5
"""Probability of a flip."""


def flip(images: Tensor, draw: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability 1/2."""
    flipped = torch.rand(len(images), generator=draw).to(images.device) < HALF
    return torch.where(flipped[:, None, None, None], images.flip(3), images)


def crop(images: Tensor, draw: torch.Generator) -> Tensor:
    """Crop each image at a random place to its original size, after padding by an eighth of its height."""
    count, _, height, width = images.shape
    margin = max(1, height // 8)
    padded = pad(images, (margin,) * 4)
    top, left = torch.randint(0, 2 * margin + 1, (2, count, 1), generator=draw).to(images.device)
    rows = (top + torch.arange(height, device=images.device))[:, :, None]
    columns = (left + torch.arange(width, device=images.device))[:, None, :]
    image = torch.arange(count, device=images.device)[:, None, None]
    cropped = padded.permute(0, 2, 3, 1)[image, rows, columns]  # (b, H, W, C): channels last already
    return cropped.permute(0, 3, 1, 2)


def cutout(images: Tensor, draw: torch.Generator, share: float = 0.25) -> Tensor:
    """One square of zeros in each image (DeVries and Taylor, arXiv 1708.04552).

    Its centre may be any pixel, so part of it may lie outside; the paper found this best. The paper
    uses a quarter of the side for CIFAR-100 and half of it for CIFAR-10.

    Args:
        images: Shape (b, C, H, W).
        draw: A CPU generator.
        share: Side of the square as a share of the shorter side of the image.
    """
    count, _, height, width = images.shape
    side = max(1, round(share * min(height, width)))
    rows, columns = (_span(torch.randint(size, (count,), generator=draw), side, size) for size in (height, width))
    square = (rows[:, None, :, None] & columns[:, None, None, :]).to(images.device)
    return images * ~square  # unlike masked_fill, this keeps channels last


def _span(centre: Tensor, length: int, size: int) -> Tensor:
    """Which of `size` positions lie in a span of this length around each centre: (b,) -> bool (b, size)."""
    place = torch.arange(size) - (centre[:, None] - length // 2)
    return (place >= 0) & (place < length)


SMALLEST = 0.08
"""Smallest share of the area that `resized_crop` keeps, as in torchvision."""

LONGEST = 4 / 3
"""Largest ratio of the sides of a crop, as in torchvision."""

DEGREES = 15.0
"""Largest angle of `rotate`."""

JITTER = 0.4
"""Largest change of brightness, contrast and saturation by `jitter`."""

LUMINANCE = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey, as in Pillow."""


def resized_crop(images: Tensor, draw: torch.Generator) -> Tensor:
    """Scale a random part of each image to its whole size (Szegedy et al. 2015, arXiv 1409.4842).

    The share of the area is uniform from 8 % to 100 %, the ratio of the sides log-uniform from 3:4 to 4:3; a side that
    is longer than the image's is cut to it.
    """
    count, _, height, width = images.shape
    area, ratio, across, down = torch.rand(4, count, generator=draw)
    root = (SMALLEST + (1 - SMALLEST) * area).sqrt()
    stretch = LONGEST ** (ratio - 0.5)
    # The sides in units of the image's own.
    wide = (root * stretch * sqrt(height / width)).clamp(max=1)
    high = (root / stretch * sqrt(width / height)).clamp(max=1)
    zero = torch.zeros(count)
    matrices = [wide, zero, (1 - wide) * (2 * across - 1), zero, high, (1 - high) * (2 * down - 1)]
    # Between the outermost pixel and the edge lies half a pixel, which has that pixel's colour.
    return _warped(images, torch.stack(matrices, dim=1).view(-1, 2, 3), outside="border")


def rotate(images: Tensor, draw: torch.Generator) -> Tensor:
    """Rotate each image about its centre by up to 15 degrees either way; corners are filled with the mean."""
    count, _, height, width = images.shape
    angle = radians(DEGREES) * (2 * torch.rand(count, generator=draw) - 1)
    zero = torch.zeros(count)
    turn = [angle.cos(), -angle.sin() * height / width, zero, angle.sin() * width / height, angle.cos(), zero]
    return _warped(images, torch.stack(turn, dim=1).view(-1, 2, 3))


def _warped(images: Tensor, matrices: Tensor, outside: str = "zeros") -> Tensor:
    grid = affine_grid(matrices.to(images), list(images.shape), align_corners=False)
    return grid_sample(images, grid, padding_mode=outside, align_corners=False)


def jitter(images: Tensor, draw: torch.Generator, mean: Tensor, deviation: Tensor) -> Tensor:
    """Change brightness, contrast and saturation of each image by up to 40 % either way, in this order.

    As torchvision's `ColorJitter(0.4, 0.4, 0.4)`, which draws the order, too. Grey images have no saturation.

    Args:
        images: Shape (b, C, H, W), normalised.
        draw: A CPU generator.
        mean: Of the pixels, from 0 to 255, (1, C, 1, 1).
        deviation: As `mean`.
    """
    brightness, contrast, saturation = 1 + JITTER * (2 * torch.rand(3, len(images), generator=draw) - 1).to(images)
    pixels = images * deviation + mean
    pixels = (_per_image(brightness) * pixels).clamp(0, 255)
    pixels = _blended(pixels, _grey(pixels).mean(dim=(2, 3), keepdim=True), contrast)
    pixels = _blended(pixels, _grey(pixels), saturation)
    return (pixels - mean) / deviation


def _blended(pixels: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    share = _per_image(factor)
    return (share * pixels + (1 - share) * other).clamp(0, 255)


def _grey(pixels: Tensor) -> Tensor:
    """Luminance (b, 1, H, W); of images that are not red, green and blue, their only or mean channel."""
    if pixels.shape[1] != len(LUMINANCE):
        return pixels.mean(dim=1, keepdim=True)
    return (pixels * torch.tensor(LUMINANCE).to(pixels)[:, None, None]).sum(dim=1, keepdim=True)


OPERATIONS = (
    "identity",
    "rotate",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "brightness",
    "contrast",
)
"""What `rand_augment` draws from. The paper's posterize, solarize, equalize, autocontrast, colour and
sharpness are left out: they are defined on bytes or colours, and these are normalised floats."""

STEPS = 30
"""The paper's scale of magnitudes: 0 changes nothing, 30 is the strongest."""

# The strongest, as in torchvision: in degrees, pixels per pixel, shares of the side, and factor minus 1.
MOST_DEGREES = 30.0
MOST_SHEAR = 0.3
MOST_SHIFT = 150 / 331
MOST_FACTOR = 0.9


def rand_augment(
    images: Tensor, draw: torch.Generator, *, black: Tensor, operations: int = 2, magnitude: int = 9
) -> Tensor:
    """Apply several random operations in a row to each image (Cubuk et al., arXiv 1909.13719).

    Operations are drawn uniformly from `OPERATIONS`, each with a random sign of its magnitude. Brightness
    scales the distance to black, contrast that to the channel's mean; values are not clipped.

    Args:
        images: Shape (b, C, H, W).
        draw: A CPU generator.
        black: The pixel value 0 after normalisation, `-mean / deviation`, shape (1, C, 1, 1).
        operations: Operations per image; the paper's N.
        magnitude: From 0 to 30; the paper's M.
    """
    for _ in range(operations):
        kind = torch.randint(len(OPERATIONS), (len(images),), generator=draw)
        sign = 2 * torch.randint(2, (len(images),), generator=draw) - 1
        images = operate(images, kind, sign * magnitude / STEPS, black)
    return images


def operate(images: Tensor, kind: Tensor, strength: Tensor, black: Tensor) -> Tensor:
    """Apply one operation per image, given by number (b,) and strength in [-1, 1] (b,), both on the CPU."""
    chosen = {name: (kind == number).float() * strength for number, name in enumerate(OPERATIONS)}
    matrices = _affine(chosen, *images.shape[2:]).to(images)
    # An image that does not move must not be blurred by interpolation.
    stays = (matrices == torch.eye(2, 3).to(images)).all(dim=(1, 2))
    warped = grid_sample(images, affine_grid(matrices, list(images.shape), align_corners=False), align_corners=False)
    images = torch.where(_per_image(stays), images, warped)
    grey = images.mean(dim=(2, 3), keepdim=True)
    images = images + MOST_FACTOR * _per_image(chosen["contrast"].to(images)) * (images - grey)
    return images + MOST_FACTOR * _per_image(chosen["brightness"].to(images)) * (images - black)


def _affine(chosen: dict[str, Tensor], height: int, width: int) -> Tensor:
    """Matrices (b, 2, 3) from coordinates in the result to those in the image, both from -1 to 1 along each axis."""
    angle = chosen["rotate"] * radians(MOST_DEGREES)
    # At most one of these is not 0 for an image, so they can be added up.
    x_by_y = (MOST_SHEAR * chosen["shear_x"] - angle.sin()) * height / width
    y_by_x = (MOST_SHEAR * chosen["shear_y"] + angle.sin()) * width / height
    to_x, to_y = (2 * MOST_SHIFT * chosen[name] for name in ("translate_x", "translate_y"))
    return torch.stack([angle.cos(), x_by_y, to_x, y_by_x, angle.cos(), to_y], dim=1).view(-1, 2, 3)


def _per_image(values: Tensor) -> Tensor:
    return values[:, None, None, None]


class Mixed(NamedTuple):
    """Mixed images: each is its original with share `weight` and a partner with share `1 - weight`.

    `images` (b, C, H, W); `partner` int64 (b,), on the same device, is the row that each is mixed with;
    `weight` in [0, 1] is the same for the whole batch.
    """

    images: Tensor
    partner: Tensor
    weight: float

    def loss(self, per_sample: Callable[[Tensor], Tensor], labels: Tensor) -> Tensor:
        """`weight * L(y) + (1 - weight) * L(y_partner)`, for any loss, from labels (b,) to (b,).

        Where a loss is linear in the one-hot label at fixed scores, this equals the loss of the
        soft target `weight * onehot(y) + (1 - weight) * onehot(y_partner)`: cross-entropy is
        `logsumexp(s) - sum_k t_k s_k`, and binary cross-entropy `sum_k softplus(s_k) - t_k s_k`.
        With a margin, the label acts inside a softplus and the loss is not linear: there, this is
        the definition.
        """
        return self.weight * per_sample(labels) + (1 - self.weight) * per_sample(labels[self.partner])


def mixup(images: Tensor, draw: torch.Generator, alpha: float = 0.8) -> Mixed:
    """Blend each image with a partner (Zhang et al., arXiv 1710.09412).

    Args:
        images: Shape (b, C, H, W).
        draw: A CPU generator.
        alpha: The weight is drawn from Beta(alpha, alpha), once per batch; 0.8 in arXiv 2505.05813.
    """
    weight = _beta(alpha, draw)
    partner = _partner(images, draw)
    return Mixed(weight * images + (1 - weight) * images[partner], partner, weight)


def cutmix(images: Tensor, draw: torch.Generator, alpha: float = 1.0) -> Mixed:
    """Paste a box of a partner into each image (Yun et al., arXiv 1905.04899).

    The whole batch has the same box. Its centre may be any pixel, and it is cut off at the border;
    the weight is the share of the image outside the box.

    Args:
        images: Shape (b, C, H, W).
        draw: A CPU generator.
        alpha: The share outside the box, before it is cut off, is drawn from Beta(alpha, alpha); 1 in
            arXiv 2505.05813.
    """
    weight = _beta(alpha, draw)
    partner = _partner(images, draw)
    rows, columns = (
        _span(torch.randint(size, (1,), generator=draw), int(size * sqrt(1 - weight)), size)
        for size in images.shape[2:]
    )
    box = rows[0, :, None] & columns[0]
    pasted = torch.where(box.to(images.device), images[partner], images)
    return Mixed(pasted, partner, 1 - int(box.sum()) / box.numel())


def _beta(alpha: float, draw: torch.Generator) -> float:
    # torch's beta distribution takes no generator. RandomState's stream never changes between NumPy releases.
    seed = int(torch.randint(2**32, (), generator=draw))
    return float(np.random.RandomState(seed).beta(alpha, alpha))


def _partner(images: Tensor, draw: torch.Generator) -> Tensor:
    return torch.randperm(len(images), generator=draw).to(images.device)
