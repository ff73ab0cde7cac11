"""Splits and batches. They depend on (dataset, seed) only, so that losses are compared in pairs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers import augmentation, selection
from trainers.augmentation import Mixed
from trainers.backbones import InputShape
from trainers.corruptions import corrupt
from trainers.datasets import Labels, TrainTest, Verification
from trainers.division import drawn_from, faults, rows
from trainers.metrics.verification import draw_pairs
from trainers.recipe import Recipe
from trainers.reproducibility import generator
from trainers.seeds import derive, stable_random
from trainers.weights import Preprocessing

RESIDENT = 2**32
"""Bytes of pixels up to which the whole dataset is put on the device; larger ones are copied batch by batch."""


@dataclass(frozen=True, eq=False)
class Resident:
    """Images kept as they are and normalised batch by batch.

    `pixels` uint8 (N, C, H, W), or vectors, float32 (N, d, 1, 1), of which only the rows `chosen` (n,)
    are used; `labels` int64 (n,) on the model's device; `sample` (n,) positions in the dataset's split;
    `mean` and `deviation` (1, C, 1, 1) of the training pixels.
    """

    pixels: Tensor
    chosen: Tensor
    labels: Tensor
    sample: NDArray[np.int64]
    mean: Tensor
    deviation: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> Resident:
        """The images of these rows (m,), in this order."""
        places = torch.from_numpy(rows)
        chosen = self.chosen[places.to(self.chosen.device)]
        labels = self.labels[places.to(self.labels.device)]
        return replace(self, chosen=chosen, labels=labels, sample=self.sample[rows])

    def raw(self) -> Tensor:
        """The pixels of all chosen images, (n, C, H, W)."""
        return self.pixels[self.chosen]

    def images(self, rows: slice | Tensor) -> Tensor:
        """Normalised images of these rows, float32 (m, C, H, W), channels last in memory."""
        chosen = self.chosen[rows if isinstance(rows, slice) else rows.to(self.chosen.device)]
        pixels = self.pixels[chosen].to(self.mean.device).float()
        return ((pixels - self.mean) / self.deviation).contiguous(memory_format=torch.channels_last)


class Verify(NamedTuple):
    """Pairs (p, 2) of `images`, whether both are of one class (p,), their identities (p, 2), and the fold (p,)."""

    images: Resident
    pairs: NDArray[np.int64]
    genuine: NDArray[np.bool_]
    identities: NDArray[np.int64] | None
    fold: NDArray[np.int64] | None


class Splits(NamedTuple):
    """Training, validation, test and unknown images; validation, unknown and certification may be empty.

    `unknown` are the test samples of held-out classes, or of another dataset, with the labels of their dataset;
    `verify` are pairs of them, or the pairs that come with the dataset.
    """

    train: Resident
    validation: Resident
    test: Resident
    unknown: Resident
    classes: int
    verify: Verify | None
    certification: Resident
    """Test images that are scored like the others, but kept apart from all figures."""

    @property
    def shape(self) -> InputShape:
        """The shape of one image as the model sees it: grey ones are in colour where weights expect colour."""
        channels, height, width = self.train.pixels.shape[1:]
        return InputShape(max(channels, self.train.mean.shape[1]), height, width)


def split(data: TrainTest, recipe: Recipe, device: torch.device, expected: Preprocessing | None = None) -> Splits:
    """The recipe's splits, on the device.

    Args:
        data: Both splits of the recipe's dataset.
        recipe: The recipe.
        device: Where the model is.
        expected: How the backbone's weights expect images to be normalised; otherwise the training images tell.

    Raises:
        ValueError: The recipe cannot be trained on these images (`division.faults`).
    """
    # A tuning trial never sees the test split.
    is_trial = recipe.scored_on == "validation"
    tested = data.train.labels[:0] if is_trial else data.test.labels
    groups = None if is_trial else data.test.groups
    known = Labels(data.train.labels, tested, data.classes, data.train.groups, test_groups=groups)
    if problems := list(faults(known, recipe)):
        raise ValueError("; ".join(problems))
    chosen = rows(known, recipe)
    _, numbers = selection.relabel(data.train.labels, recipe.dataset.hold_out, data.classes)
    classes = data.classes - len(set(recipe.dataset.hold_out))
    # Only of the images to train on: nothing held out may affect how images are normalised.
    moments = _moments(data.train.pixels, chosen.train) if expected is None else _expected(expected)
    mean, deviation = (moment.to(device) for moment in moments)
    train = _placed(data.train.pixels, device)

    def resident(pixels: Tensor, sample: NDArray[np.int64], labels: NDArray[np.int64]) -> Resident:
        places = torch.from_numpy(sample)
        own = torch.from_numpy(labels[sample])
        return Resident(pixels, places.to(pixels.device), own.to(device), sample, mean, deviation)

    labelled = _noisy(numbers[data.train.labels], recipe, classes)
    fitted, held_out, none = (
        resident(train, sample, labelled) for sample in (chosen.train, chosen.validation, chosen.train[:0])
    )
    if is_trial:
        # Held-out classes and pairs are in the test split, which a tuning trial never sees.
        return Splits(fitted, held_out, held_out, none, classes, None, none)
    test = _placed(data.test.pixels, device)
    unknown = resident(test, chosen.unknown, data.test.labels)
    if data.unknown is not None:
        if data.unknown.pixels.shape[1:] != data.test.pixels.shape[1:]:
            found, wanted = (list(part.pixels.shape[1:]) for part in (data.unknown, data.test))
            raise ValueError(f"unknown samples have the shape {found}, and known ones {wanted}")
        everything = np.arange(len(data.unknown))
        unknown = resident(_placed(data.unknown.pixels, device), everything, data.unknown.labels)
    return Splits(
        train=fitted,
        validation=held_out,
        test=resident(test, chosen.test, numbers[data.test.labels]),
        unknown=unknown,
        classes=classes,
        verify=_among(unknown, recipe) if data.pairs is None else _brought(data.pairs, unknown, device),
        certification=resident(test, chosen.certification, numbers[data.test.labels]),
    )


PAIRS = 20_000
"""Pairs drawn from unknown classes, half of them genuine."""


def _among(unknown: Resident, recipe: Recipe) -> Verify | None:
    """Pairs of samples from unknown classes, the same for every loss; None with fewer than two classes."""
    labels = unknown.labels.cpu().numpy()
    if len(np.unique(labels)) <= 1:
        return None
    draw = np.random.default_rng(derive("pairs", drawn_from(recipe.dataset), recipe.seed))
    pairs = draw_pairs(labels, PAIRS, draw)
    identities = labels[pairs]
    return Verify(unknown, pairs, identities[:, 0] == identities[:, 1], identities, None)


def _brought(pairs: Verification, like: Resident, device: torch.device) -> Verify:
    pixels = _placed(pairs.pixels, device)
    everything = np.arange(len(pairs.pixels))
    nowhere = torch.zeros(len(everything), dtype=torch.int64, device=device)  # faces of no class
    chosen = torch.from_numpy(everything).to(pixels.device)
    images = Resident(pixels, chosen, nowhere, everything, like.mean, like.deviation)
    places = np.stack([pairs.first, pairs.second], axis=1)
    who = None if pairs.identity is None else pairs.identity[places]
    return Verify(images, places, pairs.genuine, who, pairs.fold)


def _placed(pixels: NDArray[Any], device: torch.device) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a memory-mapped file may be read-only, and we only read
        tensor = torch.from_numpy(pixels)
    return tensor.to(device) if pixels.nbytes <= RESIDENT else tensor


def _noisy(labels: NDArray[np.int64], recipe: Recipe, classes: int) -> NDArray[np.int64]:
    if not recipe.training.label_noise:
        return labels
    draw = stable_random("label noise", drawn_from(recipe.dataset), recipe.seed)
    return selection.noisy_labels(labels, recipe.training.label_noise, classes, draw)


Moments = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Mean and standard deviation per channel, (C,)."""

CONSTANT = 1e-6
"""A dimension of vectors whose deviation is below this share of its mean counts as constant: float32 has 7 digits."""

COUNTED = 2**28
"""Pixel values from which mean and deviation are computed, at most; larger sets use every second, third, … image."""


def _moments(pixels: NDArray[Any], chosen: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per channel, (1, C, 1, 1)."""
    of_parts = _moments_of_bytes if pixels.dtype == np.uint8 else _moments_of_floats
    stride = -(-len(chosen) * pixels[0].size // COUNTED)
    parts = np.array_split(np.sort(chosen)[::stride], max(1, len(chosen) // 4096))
    first, second = (
        torch.tensor(moment, dtype=torch.float32)[None, :, None, None] for moment in of_parts(pixels, parts)
    )
    return first, second


def _expected(preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of red, green and blue as weights expect them, (1, 3, 1, 1)."""
    of_bytes = [255 * torch.tensor(each) for each in (preprocessing.mean, preprocessing.deviation)]
    return of_bytes[0][None, :, None, None], of_bytes[1][None, :, None, None]


def _moments_of_floats(pixels: NDArray[np.float32], parts: Sequence[NDArray[np.int64]]) -> Moments:
    """In two passes of float64. A constant dimension has deviation 1, so that it is not blown up where it varies."""
    count = sum(map(len, parts))
    mean = np.sum([pixels[part].sum(axis=(0, 2, 3), dtype=np.float64) for part in parts], axis=0) / count
    squares = np.sum([((pixels[part] - mean[:, None, None]) ** 2).sum(axis=(0, 2, 3)) for part in parts], axis=0)
    deviation = np.sqrt(squares / max(1, count - 1))
    return mean, np.where(deviation > CONSTANT * np.abs(mean), deviation, 1.0)


def _moments_of_bytes(pixels: NDArray[np.uint8], parts: Sequence[NDArray[np.int64]]) -> Moments:
    """Exact, because byte values are counted."""
    counts = np.zeros((pixels.shape[1], 256), np.int64)
    for part in parts:
        block = pixels[part]
        counts += [np.bincount(block[:, channel].reshape(-1), minlength=256) for channel in range(len(counts))]
    values = np.arange(256, dtype=np.float64)
    total = counts.sum(axis=1)
    mean = counts @ values / total
    variance = (counts * (values - mean[:, None]) ** 2).sum(axis=1) / (total - 1)
    return mean, np.maximum(np.sqrt(variance), 1e-6)  # avoids dividing by 0 for a constant channel


def shifted(test: Resident, recipe: Recipe) -> Iterator[tuple[str, Resident]]:
    """The corrupted copies of the test images, each named `corruption-severity`."""
    shift = recipe.dataset.shift
    for corruption in shift.corruption if shift else ():
        for severity in shift.severity if shift else ():
            name = f"{corruption}-{severity}"
            draw = generator("shift", drawn_from(recipe.dataset), recipe.seed, name)
            everything = torch.arange(len(test), device=test.chosen.device)
            yield name, replace(test, pixels=corrupt(test.raw(), corruption, severity, draw), chosen=everything)


class Place(NamedTuple):
    """A position between two batches of an epoch: batches done, and the generator's state after them."""

    step: int
    draws: Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """Images (m, C, H, W), labels (b,), the place after the batch, and how the images are mixed, if at all.

    In distributed training, the images are only the rows `mine` (m,) of the batch. The labels are always those of
    the whole batch, because a row can be mixed with any other.
    """

    images: Tensor
    labels: Tensor
    after: Place
    mixed: Mixed | None = None
    mine: slice = field(default_factory=lambda: slice(None))

    def parts(self, count: int) -> Iterator[Batch]:
        """The batch in equal parts; as it is if one is asked for."""
        if count == 1:
            yield self
            return
        size = len(self.images) // count
        start = self.mine.start or 0
        for at in range(0, count * size, size):
            mine = slice(start + at, start + at + size)
            yield replace(self, images=self.images[at : at + size], mine=mine)

    def loss(self, per_sample: Callable[[Tensor], Tensor]) -> Tensor:
        """The losses (m,) of the images, given a function from labels (m,) to losses (m,)."""

        def of_mine(labels: Tensor) -> Tensor:
            return per_sample(labels[self.mine])

        return of_mine(self.labels) if self.mixed is None else self.mixed.loss(of_mine, self.labels)


def batches(train: Resident, recipe: Recipe, epoch: int, place: Place | None = None) -> Iterator[Batch]:
    """One epoch of shuffled, augmented batches, or the rest of it after `place`.

    An incomplete last batch is dropped, so that every step averages over the same number of samples.
    """
    # One generator per epoch, so that an epoch can be resumed without repeating the draws of earlier ones.
    draw = generator("batches", drawn_from(recipe.dataset), recipe.seed, epoch)
    size = recipe.training.batch_size
    order = torch.randperm(len(train), generator=draw).to(train.labels.device)
    if place is not None:
        draw.set_state(place.draws)  # resume without drawing the earlier batches again
    for step in range(0 if place is None else place.step, len(train) // size):
        chosen = order[step * size : (step + 1) * size]
        images = _augmented(train.images(chosen), train, recipe, draw)
        labels = train.labels[chosen]
        mixed = _mixed(images, recipe, draw)
        after = Place(step + 1, draw.get_state())
        yield Batch(images if mixed is None else mixed.images, labels, after, mixed)


def _mixed(images: Tensor, recipe: Recipe, draw: torch.Generator) -> Mixed | None:
    mixing = recipe.training.mixing
    if not mixing:
        return None
    kind = mixing[int(torch.randint(len(mixing), (), generator=draw))]
    return getattr(augmentation, kind)(images, draw)


def _augmented(images: Tensor, train: Resident, recipe: Recipe, draw: torch.Generator) -> Tensor:
    for kind in recipe.training.augmentation:
        if kind == "rand_augment":
            images = augmentation.rand_augment(images, draw, black=-train.mean / train.deviation)
        elif kind == "jitter":
            images = augmentation.jitter(images, draw, train.mean, train.deviation)
        else:
            images = getattr(augmentation, kind)(images, draw)
    return images
