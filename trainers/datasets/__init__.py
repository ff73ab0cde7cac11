"""Datasets: one file a family. A file added here is a plug-in added."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from trainers.corruptions import CORRUPTIONS, Corruption
from trainers.plugin import Frozen, Plugin

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images: `pixels` uint8 (n, C, H, W), `labels` int64 (n,)."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> Images:
        """The images of these rows, in this order."""
        return Images(self.pixels[rows], self.labels[rows])


@dataclass(frozen=True, eq=False)
class Verification:
    """Pairs to verify among m faces.

    `pixels` uint8 (m, C, H, W) are the distinct faces, `first` and `second` int64 (p,) the
    places among them of each pair's faces, `genuine` bool (p,) whether they show one person, and
    `identity` int64 (m,) whom each face shows, if that is known. `fold` int64 (p,) is the part
    of the pairs that each belongs to, where they come in parts to be tested in turn.
    """

    pixels: NDArray[np.uint8]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    genuine: NDArray[np.bool_]
    identity: NDArray[np.int64] | None = None
    fold: NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of both splits, int64 (n,), from 0 to `classes` - 1."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    classes: int


@dataclass(frozen=True, eq=False)
class TrainTest:
    """The official split of a dataset; row numbers of `test` are the sample ids."""

    train: Images
    test: Images
    classes: int
    pairs: Verification | None = None
    """Pairs of images to verify, where the dataset brings some."""

    @property
    def labels(self) -> Labels:
        """The labels alone."""
        return Labels(self.train.labels, self.test.labels, self.classes)


HASHED = 2**30
"""Bytes of pixels a fingerprint reads of each split: about a second's work."""

BLOCK = 1024
"""Images in memory at a time while hashing."""


def fingerprint(images: TrainTest) -> str:
    """Which images these are: 16 hex digits over shapes, pixels and labels of both splits.

    Of pixels beyond `HASHED` bytes, every second, third … image is hashed, spread evenly.
    """
    digest = hashlib.sha256()
    for split in (images.train, images.test):
        # The shape keeps apart equal bytes cut up differently; the byte order is the same on every machine.
        digest.update(repr(split.pixels.shape).encode())
        stride = -(-split.pixels.nbytes // HASHED) or 1
        for start in range(0, len(split), stride * BLOCK):
            digest.update(split.pixels[start : start + stride * BLOCK : stride].tobytes())
        digest.update(split.labels.astype("<i8").tobytes())
    return digest.hexdigest()[:16]


def digest_of(manifest: Mapping[str, str]) -> str:
    """SHA-256 over the SHA-256 of each file and its name, in the order of the names."""
    whole = hashlib.sha256()
    for name in sorted(manifest):
        whole.update(f"{manifest[name]}  {name}\n".encode(errors="surrogateescape"))
    return whole.hexdigest()


class MissingDataError(Exception):
    """The files of a dataset are not where they should be; the message says what to do."""


class UnusableDataError(MissingDataError):
    """The files are there, and as they are they make no dataset; the message says why, and what to do."""


def _one_or_more(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else (value,)


class Shift(Frozen):
    """Test sets as they might be found in use: every corruption named, at every severity named."""

    corruption: Annotated[tuple[Corruption, ...], BeforeValidator(_one_or_more), Field(min_length=1)] = CORRUPTIONS
    """Families of ImageNet-C; all of them where none is named."""
    severity: Annotated[
        tuple[Annotated[int, Field(ge=1, le=5)], ...], BeforeValidator(_one_or_more), Field(min_length=1)
    ] = (1, 2, 3, 4, 5)
    """Severities of ImageNet-C, from 1 (weak) to 5 (strong); all of them where none is named."""


class Dataset(Plugin, ABC):
    """Labelled images with a fixed training and test split, whole or modified.

    Modifiers are the same for every dataset; drawn from (dataset, seed), in this order.
    """

    official: ClassVar[str | None] = None
    """Of a published dataset, whose name fixes its content: the published checksums, or what else identifies it."""
    classes: ClassVar[int] = 0
    """How many classes a published dataset has; 0 where only the files tell."""

    hold_out: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Classes left out of training, whose test samples count as unknown. The others are renumbered."""
    train_fraction: float = Field(default=1.0, gt=0, le=1)
    """Share of every class's training images to use."""
    imbalance: float = Field(default=1.0, ge=1)
    """Training images of the first class over those of the last, falling exponentially between (Cui 2019)."""
    shift: Shift | None = None
    """Corrupted copies of the test set on which the model is evaluated besides; training is untouched."""

    @abstractmethod
    def load(self, data_dir: Path) -> TrainTest:
        """Read both splits into memory.

        Args:
            data_dir: Folder that holds (or receives) the dataset's files.

        Raises:
            MissingDataError: The files are absent and could not be fetched.
        """

    @abstractmethod
    def prepare(self, data_dir: Path) -> None:
        """Make sure `load` will succeed: find the files, or download them once.

        Raises:
            MissingDataError: Neither is possible.
        """

    @property
    def is_published(self) -> bool:
        """Whether the name stands for a published dataset; never that of a class from outside this package."""
        return self.official is not None and type(self).__module__.startswith(f"{__package__}.")

    @property
    def published_digest(self) -> str | None:
        """The fixed digest of a published dataset."""
        return hashlib.sha256((self.official or "").encode()).hexdigest() if self.is_published else None

    def is_official(self, data_dir: Path) -> bool:
        """Whether the name alone says what the images are.

        Args:
            data_dir: Folder that holds the dataset's files.

        Raises:
            MissingDataError: The files are absent, and only they tell whether they are the published ones.
        """
        del data_dir
        return self.is_published

    def digest(self, data_dir: Path) -> str:
        """What the data are, 64 hex digits; it differs wherever what `load` gives differs.

        By default over the files that `manifest` names. A dataset of one's own that implements neither has the arrays
        hashed that it loads, on a machine that trains.

        Args:
            data_dir: Folder that holds the dataset's files.

        Raises:
            MissingDataError: The files are absent.
            NotImplementedError: Only the arrays tell.
        """
        if self.published_digest is not None and self.is_official(data_dir):
            return self.published_digest
        if (files := self.manifest(data_dir)) is not None:
            return digest_of(files)
        raise NotImplementedError(data_dir)

    def manifest(self, data_dir: Path) -> dict[str, str] | None:
        """SHA-256 of each file that `load` reads, by its name; None where the dataset has no files to name.

        Args:
            data_dir: Folder that holds the dataset's files.

        Raises:
            MissingDataError: The files are absent.
        """
        del data_dir
        return None

    def find(self, data_dir: Path) -> None:
        """Look for the files, and fetch, decode or write none; how good they are is for `prepare` to say.

        Raises:
            MissingDataError: They are absent.
            NotImplementedError: This dataset offers no way to look.
        """
        raise NotImplementedError(data_dir)

    def labels(self, data_dir: Path) -> Labels:
        """The labels of both splits as `load` gives them, without reading any image: optional.

        A plan counts by them whether the batch fits, say. Without them a launch loads the images to count.

        Args:
            data_dir: Folder that holds the dataset's files.

        Raises:
            MissingDataError: The files are absent; an UnusableDataError where they make no dataset.
            NotImplementedError: This dataset offers no way to know.
        """
        raise NotImplementedError(data_dir)
