"""Handwritten digits that come with scikit-learn: no download, and training takes seconds."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

from trainers.datasets import Dataset, Extent, Images, Labels, MissingDataError, TrainTest

TRAIN_IMAGES = 1000
"""Where the file is split. It is ordered by writer, so a split in file order tests on unseen writers, and at most
one writer is in both parts. A shuffled split would test on writers seen in training."""


TEST_IMAGES = 797


class Digits(Dataset):
    """1797 handwritten digits, 8x8 grey, 10 classes; comes with scikit-learn.

    The test part of the UCI set `optdigits` (Alpaydin & Kaynak 1998): 1000 images
    to train on and 797 to test on, in file order.
    """

    name = "digits"
    classes = 10
    official = "914ff5182cd7c0b85584989a5f0b09ef499a9ad7cc26a2c3898920228616b100"
    """Their `arrays_digest`."""

    def extent(self, labels: Labels | None = None) -> Extent:
        """As they come."""
        del labels
        return Extent((1, 8, 8), self.classes, TRAIN_IMAGES, TEST_IMAGES)

    def load(self, data_dir: Path) -> TrainTest:
        """Both splits; pixels uint8 (n, 1, 8, 8), with grey levels 0..16 scaled to 0..255.

        Raises:
            MissingDataError: scikit-learn is not installed, or has other images.
        """
        self.prepare(data_dir)
        import numpy as np
        from sklearn.datasets import load_digits

        from trainers.datasets.content import arrays_digest

        grey, labels = map(np.asarray, load_digits(return_X_y=True))
        pixels = np.rint(grey * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
        images = Images(pixels, labels.astype(np.int64))
        rows = np.arange(len(images))
        found = TrainTest(images.take(rows[:TRAIN_IMAGES]), images.take(rows[TRAIN_IMAGES:]), classes=10)
        if arrays_digest(found) != self.official:
            raise MissingDataError(
                "No data for 'digits': this scikit-learn brings other images. Install another version."
            )
        return found

    def labels(self, data_dir: Path) -> Labels:
        """The labels of both splits, read from scikit-learn's file, because importing scikit-learn takes a second.

        Raises:
            MissingDataError: scikit-learn is not installed.
        """
        self.find(data_dir)
        import numpy as np

        folders = getattr(find_spec("sklearn"), "submodule_search_locations", None) or ["."]
        file = Path(folders[0], "datasets", "data", "digits.csv.gz")
        if not file.exists():
            return self.load(data_dir).labels
        with gzip.open(file, "rt", encoding="ascii") as lines:
            found = np.array([int(float(line.rpartition(",")[2])) for line in lines], np.int64)
        return Labels(found[:TRAIN_IMAGES], found[TRAIN_IMAGES:], classes=10)

    def prepare(self, data_dir: Path) -> None:
        """Check that scikit-learn is installed; the images come with it.

        Raises:
            MissingDataError: It is not.
        """
        self.find(data_dir)

    def find(self, data_dir: Path) -> None:
        """The same as `prepare`, which writes nothing.

        Raises:
            MissingDataError: scikit-learn is not installed.
        """
        del data_dir
        if find_spec("sklearn") is None:  # importing it would take a second of every launch
            raise MissingDataError("No data for 'digits': they come with scikit-learn, which is not installed.")
