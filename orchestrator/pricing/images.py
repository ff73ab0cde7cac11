"""How many images a cell passes through its network, and of which shape; found without opening any image."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from orchestrator.experiment.checks import LabelSource
from orchestrator.experiment.plan import Cell
from trainers.datasets import Dataset, Extent, MissingDataError
from trainers.datasets.decoded import Decoded
from trainers.datasets.frozen import Frozen
from trainers.division import rows
from trainers.recipe import Recipe

Shape = tuple[int, int, int]
"""Channels, height and width."""

SHAPES: dict[str, Shape] = {
    "cifar10": (3, 32, 32),
    "cifar100": (3, 32, 32),
    "digits": (1, 8, 8),
    "fashion_mnist": (1, 28, 28),
    "mnist": (1, 28, 28),
    "stl10": (3, 96, 96),
    "svhn": (3, 32, 32),
    "tiny_imagenet": (3, 64, 64),
}
"""Of data sets whose images have one size, which no parameter changes."""

PUBLISHED = {"digits": (1000, 797)}
"""Images of published data sets whose class does not count them."""


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
    """Of the file into which all images are decoded once, on each machine; 0 where none is written."""


def images_of(labels_of: LabelSource) -> Callable[[Cell], ImageCounts | None]:
    """A function for the images of a cell; None where neither the files nor the data set's name tell.

    Args:
        labels_of: Returns the labels of a dataset, where they are here.
    """
    known = dict[tuple[object, ...], ImageCounts | None]()

    def found(cell: Cell) -> ImageCounts | None:
        recipe = cell.recipe
        # By object identity: many cells share a few dataset objects. Seeds change which images, not how many.
        key = id(recipe.dataset), recipe.training.validation_fraction, recipe.scored_on
        if key not in known:
            known[key] = _images(recipe, labels_of)
        return known[key]

    return found


def shape_of(dataset: Dataset) -> Shape | None:
    """The shape of a data set's images; None where only its files tell."""
    if (size := getattr(dataset, "size", None)) and not dataset.vectors:
        return getattr(dataset, "channels", 3), size, size
    return SHAPES.get(dataset.name)


def shape_here(dataset: Dataset, labels_of: LabelSource) -> Shape | None:
    """The shape of a data set's samples; only files say how long vectors are, and those that are computed have none."""
    if (shape := shape_of(dataset)) or isinstance(dataset, Frozen):
        return shape
    with suppress(MissingDataError, ValueError):  # `checks.problems` says what is wrong
        labels = labels_of(dataset)
        return labels and labels.shape
    return None


def _images(recipe: Recipe, labels_of: LabelSource) -> ImageCounts | None:
    dataset = recipe.dataset
    shape = shape_here(dataset, labels_of)
    if shape is None:
        return None
    counts = _counted(recipe, labels_of) or _published(recipe)
    if counts is None:
        return None
    train, validation, test, classes, everything = counts
    shift = dataset.shift
    copies = len(shift.corruption) * len(shift.severity) if shift else 0
    decoded = everything * math.prod(shape) if isinstance(dataset, Decoded) else 0
    evaluated = test * (1 + copies)
    if (others := dataset.unknowns) and (size := _size(others, labels_of)):
        evaluated += size.test if recipe.scored_on == "test" else 0
        decoded += (size.train + size.test) * math.prod(shape) if isinstance(others, Decoded) else 0
    return ImageCounts(train, validation, evaluated, shape, classes, decoded)


def _size(dataset: Dataset, labels_of: LabelSource) -> Extent | None:
    """How many images there are, where the labels are here or the name says it."""
    try:
        return dataset.extent(labels_of(dataset))
    except (MissingDataError, ValueError):  # as below
        return None


def _counted(recipe: Recipe, labels_of: LabelSource) -> tuple[int, int, int, int, int] | None:
    """Training, validation and test images, classes, and all images, where the labels are here."""
    dataset = recipe.dataset
    try:
        labels = labels_of(dataset.model_copy(update={"shift": None}))
        if labels is None:
            return None
        chosen = rows(labels, recipe)
    except (MissingDataError, ValueError):  # `checks.problems` says what is wrong
        return None
    test = len(chosen.test) + len(chosen.unknown) + len(chosen.certification)
    everything = len(labels.train) + len(labels.test)
    return len(chosen.train), len(chosen.validation), test, labels.classes - len(dataset.hold_out), everything


def _published(recipe: Recipe) -> tuple[int, int, int, int, int] | None:
    """The same from what is known of a published data set by its name."""
    dataset = recipe.dataset
    train, test = PUBLISHED.get(dataset.name, (getattr(dataset, "train_images", None), None))
    test = test or getattr(dataset, "test_images", None)
    if not (train and test and dataset.classes):
        return None
    train = getattr(dataset, "train_size", None) or train
    test = getattr(dataset, "test_size", None) or test
    everything = train + test
    known = dataset.classes - len(dataset.hold_out)
    used = train * known / dataset.classes * dataset.train_fraction * _share(dataset.imbalance)
    validation = round(used * recipe.training.validation_fraction)
    if recipe.scored_on == "validation":
        test = 0
    return round(used) - validation, validation, test, known, everything


def _share(imbalance: float) -> float:
    """The fraction of training images that is left if classes become exponentially smaller by this ratio."""
    return 1.0 if imbalance == 1 else (1 - 1 / imbalance) / math.log(imbalance)
