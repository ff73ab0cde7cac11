"""How many images a cell passes through its network, and of which shape; found without opening any image."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress

from orchestrator.experiment.checks import LabelSource
from orchestrator.experiment.plan import Cell
from orchestrator.pricing.work import BYTES, ImageCounts, Shape, width_of
from trainers.datasets import Dataset, Extent, MissingDataError
from trainers.datasets.decoded import Decoded
from trainers.datasets.frozen import Frozen
from trainers.division import rows
from trainers.recipe import Recipe

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


def images_of(labels_of: LabelSource) -> Callable[[Cell], ImageCounts | None]:
    """A function for the images of a cell; None where neither the files nor the data set's name tell.

    Args:
        labels_of: Returns the labels of a dataset, where they are here.
    """
    known = dict[tuple[object, ...], tuple[Dataset, ImageCounts | None]]()

    def found(cell: Cell) -> ImageCounts | None:
        recipe = cell.recipe
        # By object identity: many cells share a few dataset objects. Seeds change which images, not how many.
        key = id(recipe.dataset), recipe.training.validation_fraction, recipe.scored_on
        if key not in known:
            known[key] = recipe.dataset, _images(recipe, labels_of)  # kept, lest another one get its identity
        return known[key][1]

    return found


def shape_of(dataset: Dataset) -> Shape | None:
    """The shape of a data set's images; None where only its files tell."""
    if (size := getattr(dataset, "size", None)) and not dataset.vectors:
        return getattr(dataset, "channels", 3), size, size
    return SHAPES.get(dataset.name)


def shape_here(dataset: Dataset, labels_of: LabelSource) -> Shape | None:
    """The shape of a data set's samples: of vectors, as their files say, or as long as a network's features are."""
    if isinstance(dataset, Frozen):
        width = width_of(dataset.by)
        return (width, 1, 1) if width else None
    if shape := shape_of(dataset):
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
    decoded = _written(dataset, shape, everything, labels_of)
    evaluated = test * (1 + copies)
    if (others := dataset.unknowns) and (size := _size(others, labels_of)):
        evaluated += size.test if recipe.scored_on == "test" else 0
        decoded += (size.train + size.test) * math.prod(shape) if isinstance(others, Decoded) else 0
    return ImageCounts(train, validation, evaluated, shape, classes, decoded)


def _written(dataset: Dataset, shape: Shape, images: int, labels_of: LabelSource) -> int:
    """Bytes of the files that each machine writes once for these images: decoded pixels, and features."""
    if isinstance(dataset, Frozen):
        pixels = shape_here(dataset.of, labels_of)
        return BYTES * images * shape[0] + (_written(dataset.of, pixels, images, labels_of) if pixels else 0)
    return images * math.prod(shape) if isinstance(dataset, Decoded) else 0


def size_of(dataset: Dataset, labels_of: LabelSource) -> tuple[int, int] | None:
    """Training and test images of a data set, where the labels are here or the name says it."""
    if extent := _size(dataset, labels_of):
        return extent.train, extent.test
    with suppress(MissingDataError, ValueError):
        if labels := labels_of(dataset):
            return len(labels.train), len(labels.test)
    return None


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
    source = dataset.of if isinstance(dataset, Frozen) else dataset
    train, test = PUBLISHED.get(source.name, (getattr(source, "train_images", None), None))
    test = test or getattr(source, "test_images", None)
    if not (train and test and source.classes):
        return None
    train = getattr(source, "train_size", None) or train
    test = getattr(source, "test_size", None) or test
    everything = train + test
    known = source.classes - len(dataset.hold_out)
    used = train * known / source.classes * dataset.train_fraction * _share(dataset.imbalance)
    validation = round(used * recipe.training.validation_fraction)
    if recipe.scored_on == "validation":
        test = 0
    return round(used) - validation, validation, test, known, everything


def _share(imbalance: float) -> float:
    """The fraction of training images that is left if classes become exponentially smaller by this ratio."""
    return 1.0 if imbalance == 1 else (1 - 1 / imbalance) / math.log(imbalance)
