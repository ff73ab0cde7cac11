"""The work of a cell: the FLOPs and bytes of all images that pass through its network."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from trainers.backbones import Backbone
from trainers.backbones.vectors import MLP, Identity
from trainers.plugin import Plugin
from trainers.recipe import Recipe

Shape = tuple[int, int, int]
"""Channels, height and width."""

FILE = Path(__file__).with_name("work.json")
"""What `python -m benchmarks.work` counted on torch's meta device."""

BYTES = 4
"""Of a number in float32."""


class Counts(NamedTuple):
    """The work of a backbone per image, without the last linear layer; `training` is forward and backward."""

    forward_flops: int
    training_flops: int
    forward_bytes: int
    training_bytes: int
    parameters: int
    width: int
    """Of its features."""


@dataclass(frozen=True)
class ImageCounts:
    """The images of a cell's splits, and their shape."""

    train: int
    validation: int
    test: int
    """All that are evaluated in the end: test images, those of unknown classes, and corrupted copies."""
    shape: Shape
    classes: int
    decoded_bytes: int = 0
    """Of the files that are written once on each machine, of decoded images and of features; 0 where there are none."""


@dataclass(frozen=True)
class Work:
    """The work of one cell."""

    training_flops: float
    """Of all training steps, and of the passes over validation images after each epoch."""
    final_flops: float
    """Of the passes after the last epoch."""
    moved_bytes: float
    """That operations read and write in all, as if none were fused."""
    parameters: int

    @property
    def flops(self) -> float:
        """All of them."""
        return self.training_flops + self.final_flops


@cache
def counts() -> dict[str, dict[Shape, Counts]]:
    """What was counted, by backbone and shape of an image."""
    found = json.loads(FILE.read_text(encoding="utf-8"))
    return {name: {_shape(text): Counts(*each) for text, each in by_shape.items()} for name, by_shape in found.items()}


def _shape(text: str) -> Shape:
    channels, height, width = map(int, text.split("x"))
    return channels, height, width


def per_image(backbone: Backbone, shape: Shape, classes: int) -> Counts | None:
    """The work per image, with the last linear layer; None for a backbone that was not counted.

    Images of a shape that was not counted have the work of the nearest one, scaled by the number of pixels.
    """
    found = bare(backbone, shape)
    if found is None:
        return None
    head = 2 * found.width * classes
    gradients = 2 if found.parameters else 1  # without a layer that learns before them, features need no gradient
    return Counts(
        found.forward_flops + head,
        found.training_flops + (1 + gradients) * head,
        found.forward_bytes + BYTES * classes,
        found.training_bytes + 3 * BYTES * classes,
        found.parameters + found.width * classes,
        found.width,
    )


def bare(backbone: Plugin, shape: Shape) -> Counts | None:
    """The same without the last linear layer."""
    return by_widths(backbone, math.prod(shape)) or _by_shape(backbone, shape)


def width_of(backbone: Plugin) -> int | None:
    """The width of a network's features, whatever its images; None where that is not known."""
    found = _known(backbone)
    return next(iter(found.values())).width if found else None


def by_widths(backbone: Plugin, inputs: int) -> Counts | None:
    """The work per sample of a network of linear layers, whose widths alone say it; None for another network.

    Args:
        backbone: The network.
        inputs: Numbers in a sample.
    """
    if isinstance(backbone, Identity):
        return Counts(0, 0, BYTES * inputs, BYTES * inputs, 0, inputs)
    if not isinstance(backbone, MLP):
        return None
    width = backbone.width
    depth = backbone.depth
    first = 2 * inputs * width
    forward = first + 2 * (depth - 1) * width**2
    return Counts(
        forward,
        3 * forward - first,  # inputs need no gradient
        BYTES * (2 * inputs + (6 * depth - 1) * width),
        BYTES * (3 * inputs + (16 * depth - 3) * width),
        forward // 2 + 2 * depth * width,  # two per unit belong to batch normalisation
        width,
    )


def _by_shape(backbone: Plugin, shape: Shape) -> Counts | None:
    """What was counted at this shape, or at the nearest one, scaled by the number of pixels."""
    counted = _known(backbone)
    if counted is None:
        return None
    nearest = min(counted, key=lambda known: (abs(math.log(_area(known) / _area(shape))), known != shape))
    found = counted[nearest]
    scale = 1.0 if nearest == shape else _area(shape) / _area(nearest)
    forward, training, read, moved = (round(number * scale) for number in found[:4])
    return Counts(forward, training, read, moved, found.parameters, found.width)


def _known(backbone: Plugin) -> dict[Shape, Counts] | None:
    """What was counted of a network that its name alone says; None if parameters change it."""
    return counts().get(backbone.key) if backbone.model_dump(exclude_defaults=True).keys() == {"name"} else None


def _area(shape: Shape) -> int:
    return shape[1] * shape[2]


def work_of(recipe: Recipe, images: ImageCounts) -> Work | None:
    """The work of a cell; None for a backbone that was not counted."""
    found = per_image(recipe.backbone, images.shape, images.classes)
    if found is None:
        return None
    epochs = recipe.training.epochs
    batch = recipe.training.batch_size
    trained = epochs * (images.train // batch) * batch
    looked = epochs * images.validation
    final = images.train + 2 * images.validation + images.test
    return Work(
        training_flops=float(trained * found.training_flops + looked * found.forward_flops),
        final_flops=float(final * found.forward_flops),
        moved_bytes=float(trained * found.training_bytes + (looked + final) * found.forward_bytes),
        parameters=found.parameters,
    )
