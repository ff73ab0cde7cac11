"""Splits and batches, drawn from (dataset, seed) only, so that losses are compared in pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from trainers.backbones import InputShape
from trainers.datasets import Dataset, Images, TrainTest
from trainers.recipe import Recipe
from trainers.reproducibility import generator, permutation


@dataclass(frozen=True, eq=False)
class Resident:
    """Images that stay on the device as bytes and are normalised batch by batch.

    `pixels` uint8 (n, C, H, W), `labels` int64 (n,), `mean` and `deviation` (1, C, 1, 1)
    of the training pixels.
    """

    pixels: Tensor
    labels: Tensor
    mean: Tensor
    deviation: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, rows: slice | Tensor) -> Tensor:
        """Normalised images of these rows, float32 (n, C, H, W), channels last in memory."""
        pixels = self.pixels[rows].float()
        return ((pixels - self.mean) / self.deviation).contiguous(memory_format=torch.channels_last)


class Splits(NamedTuple):
    """Training, validation (perhaps empty) and test images."""

    train: Resident
    validation: Resident
    test: Resident
    classes: int

    @property
    def shape(self) -> InputShape:
        """The shape of one image."""
        return InputShape(*self.train.pixels.shape[1:])


def split(data: TrainTest, recipe: Recipe, device: torch.device) -> Splits:
    """Hold out the recipe's validation images and put all on the device.

    Raises:
        ValueError: The batch is larger than what is left to train on.
    """
    order = permutation(len(data.train), "validation split", _name(recipe.dataset), recipe.seed)
    held_out = round(len(data.train) * recipe.training.validation_fraction)
    train = data.train.take(order[held_out:])
    if len(train) < recipe.training.batch_size:
        raise ValueError(
            f"batch_size {recipe.training.batch_size} is larger than the {len(train)} training images of "
            f"'{recipe.dataset.key}'; choose a smaller batch_size"
        )
    pixels = torch.from_numpy(train.pixels).double()
    mean = pixels.mean(dim=(0, 2, 3), keepdim=True).float().to(device)
    deviation = pixels.std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-6).float().to(device)

    def resident(images: Images) -> Resident:
        pixels, labels = torch.from_numpy(images.pixels), torch.from_numpy(images.labels)
        return Resident(pixels.to(device), labels.to(device), mean, deviation)

    validation = data.train.take(order[:held_out])
    return Splits(resident(train), resident(validation), resident(data.test), data.classes)


def batches(train: Resident, recipe: Recipe, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of shuffled, augmented batches: images (b, C, H, W) and labels (b,).

    An incomplete last batch is left out, so that every step averages over equally many.
    """
    draw = generator("batches", _name(recipe.dataset), recipe.seed, epoch)
    size = recipe.training.batch_size
    order = torch.randperm(len(train), generator=draw).to(train.labels.device)
    for start in range(0, len(train) - size + 1, size):
        rows = order[start : start + size]
        yield augment(train.images(rows), recipe.training.augmentation, draw), train.labels[rows]


HALF = 0.5
"""The chance of a flip."""


def augment(images: Tensor, kinds: tuple[str, ...], draw: torch.Generator) -> Tensor:
    """Crop and flip each image of a batch (b, C, H, W) by draws of its own."""
    if "crop" in kinds:
        images = _crop(images, draw)
    if "flip" in kinds:
        flipped = torch.rand(len(images), generator=draw).to(images.device) < HALF
        images = torch.where(flipped[:, None, None, None], images.flip(3), images)
    return images


def _crop(images: Tensor, draw: torch.Generator) -> Tensor:
    """Windows of the original size from images padded by an eighth of their height."""
    count, _, height, width = images.shape
    margin = max(1, height // 8)
    padded = torch.nn.functional.pad(images, (margin,) * 4)
    top, left = torch.randint(0, 2 * margin + 1, (2, count, 1), generator=draw).to(images.device)
    rows = (top + torch.arange(height, device=images.device))[:, :, None]
    columns = (left + torch.arange(width, device=images.device))[:, None, :]
    image = torch.arange(count, device=images.device)[:, None, None]
    cropped = padded.permute(0, 2, 3, 1)[image, rows, columns]  # (b, H, W, C): channels last already
    return cropped.permute(0, 3, 1, 2)


def _name(dataset: Dataset) -> dict[str, object]:
    return dataset.model_dump(mode="json")
