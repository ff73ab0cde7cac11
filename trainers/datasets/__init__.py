"""Datasets: one file a family. A file added here is a plug-in added."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainers.plugin import Plugin

if TYPE_CHECKING:
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
class TrainTest:
    """The official split of a dataset; row numbers of `test` are the sample ids."""

    train: Images
    test: Images
    classes: int


def fingerprint(images: TrainTest) -> str:
    """Which images these are: 16 hex digits over shapes, pixels and labels of both splits."""
    digest = hashlib.sha256()
    for split in (images.train, images.test):
        # The shape keeps apart equal bytes cut up differently; the byte order is the same on every machine.
        digest.update(repr(split.pixels.shape).encode())
        digest.update(split.pixels.tobytes())
        digest.update(split.labels.astype("<i8").tobytes())
    return digest.hexdigest()[:16]


class MissingDataError(Exception):
    """The files of a dataset are not where they should be; the message says what to do."""


class Dataset(Plugin, ABC):
    """Labelled images with a fixed training and test split."""

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
