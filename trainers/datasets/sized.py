"""Datasets that can be reduced to a fixed subset; its size is a parameter, and so part of the cell's id."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from trainers.datasets import Dataset, Extent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from trainers.datasets import Labels

ORDER_SEED = 20250505
"""Seed of the order in which subsets are filled. Changing it would change every subset."""


class Sized(Dataset, ABC):
    """A dataset whose training and test sizes can be reduced; by default all images are used."""

    train_images: ClassVar[int | None] = None
    """Number of training images, if known without the files."""
    test_images: ClassVar[int | None] = None
    """Number of test images, if known without the files."""

    image_shape: ClassVar[tuple[int, int, int] | None] = None
    """Channels, height and width of its images, if known without the files."""

    train_size: int | None = Field(default=None, ge=1)
    """Use only this many training images, for quick experiments; smaller subsets are contained in larger ones."""
    test_size: int | None = Field(default=None, ge=1)
    """Use only this many test images."""

    @model_validator(mode="after")
    def _sizes_exist(self) -> Self:
        # Reject it while planning, before any file is read.
        self._check_size("train", self.train_size, self.train_images)
        self._check_size("test", self.test_size, self.test_images)
        return self

    def extent(self, labels: Labels | None = None) -> Extent | None:
        """As published, less what `train_size` and `test_size` leave out; or as many as there are labels."""
        shape = self._shape()
        if shape is None:
            return None
        if labels is not None:
            return Extent(shape, labels.classes, len(labels.train), len(labels.test))
        if self.train_images is None or self.test_images is None or not self.is_published:
            return None
        return Extent(shape, self.classes, self.train_size or self.train_images, self.test_size or self.test_images)

    def _shape(self) -> tuple[int, int, int] | None:
        return self.image_shape

    def _check_size(self, split: str, size: int | None, available: int | None) -> None:
        if size is not None and available is not None and size > available:
            raise ValueError(f"'{self.name}' has {available} {split} images, fewer than {split}_size={size}.")

    def _rows(self, split: str, size: int | None, available: int) -> NDArray[np.int64]:
        """The rows to use of a split of `available` images, in subset order: (size,) or all."""
        import numpy as np

        self._check_size(split, size, available)
        return np.arange(available) if size is None else fixed_order(available)[:size]


def fixed_order(count: int) -> NDArray[np.int64]:
    """A permutation of `range(count)`, shape (count,), always the same."""
    import numpy as np

    # RandomState's stream never changes between NumPy releases; that of a Generator may.
    order = np.random.RandomState(ORDER_SEED).permutation(count)
    return order.astype(np.int64)
