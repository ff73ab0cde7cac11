"""Drawn images in the place of a data set that is not here, or is too large for a try."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Self

from pydantic import Field

from trainers.datasets import Dataset, Extent, Images, Labels, TrainTest

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

FORMAT = 1
"""Raise this when other images are drawn."""


class StandIn(Dataset):
    """Drawn noise in the place of a data set: images of its shape, as many as it has, of as many classes.

    Nothing can be learnt from them; `rehearse --stand-in` tries each kind of cell on them. However many images there
    are, they take little memory: all are cut from one line of random bytes, each a byte further on.
    """

    name = "stand_in"

    of: str = Field(min_length=1)
    """What the data set is called."""
    shape: tuple[int, int, int]
    """Channels, height and width."""
    number_of_classes: int = Field(ge=2)
    """As many as the data set has."""
    train: int = Field(ge=1)
    """Training images."""
    test: int = Field(ge=1)
    """Test images."""

    @classmethod
    def for_(cls, dataset: Dataset, extent: Extent) -> Self:
        """The stand-in for a data set, with its modifiers."""
        modifiers = {name: getattr(dataset, name) for name in Dataset.model_fields}
        if dataset.unknowns is not None:
            modifiers["unknowns"] = cls(
                of=f"unknowns {dataset.unknowns.key}",
                shape=extent.shape,
                number_of_classes=extent.classes,
                train=1,
                test=extent.test,
            )
        sizes = {"number_of_classes": extent.classes, "train": extent.train, "test": extent.test}
        return cls(of=dataset.key, shape=extent.shape, **sizes, **modifiers)

    @property
    def _whose(self) -> tuple[str, str | None]:
        return self.name, self.of

    def extent(self, labels: Labels | None = None) -> Extent:
        """As asked."""
        del labels
        return Extent(self.shape, self.number_of_classes, self.train, self.test)

    def prepare(self, data_dir: Path) -> None:
        """There is nothing to find."""

    def find(self, data_dir: Path) -> None:
        """There is nothing to find."""

    def digest(self, data_dir: Path) -> str:
        """A hash of the parameters, which determine all images."""
        del data_dir
        return hashlib.sha256(f"{FORMAT} {self.extent()}".encode()).hexdigest()

    def labels(self, data_dir: Path) -> Labels:
        """The classes in turn."""
        del data_dir
        return Labels(self._labels(self.train), self._labels(self.test), self.number_of_classes)

    def load(self, data_dir: Path) -> TrainTest:
        """Both splits; pixels uint8 (n, C, H, W), which share their memory."""
        del data_dir
        train = Images(self._pixels("train", self.train), self._labels(self.train))
        test = Images(self._pixels("test", self.test), self._labels(self.test))
        return TrainTest(train, test, self.number_of_classes)

    def _labels(self, count: int) -> NDArray[np.int64]:
        import numpy as np

        return np.arange(count, dtype=np.int64) % self.number_of_classes

    def _pixels(self, split: str, count: int) -> NDArray[np.uint8]:
        import numpy as np

        channels, height, width = self.shape
        seed = int.from_bytes(hashlib.sha256(split.encode()).digest()[:8], "big")
        line = np.random.default_rng(seed).integers(0, 256, channels * height * width + count - 1, np.uint8)
        strides = (1, height * width, width, 1)
        return np.lib.stride_tricks.as_strided(line, (count, channels, height, width), strides)
