"""Datasets of which a fixed part may be used: the subset is a parameter, and so part of the identity."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from trainers.datasets import Dataset

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ORDER_SEED = 20250505
"""Seed of the order in which subsets are filled. Changing it changes every subset's meaning."""


class Sized(Dataset, ABC):
    """A dataset with a training and a test size, by default those of its files."""

    train_images: ClassVar[int | None] = None
    """How many training images there are, where that is known before the files are."""
    test_images: ClassVar[int | None] = None
    """How many test images there are, where that is known before the files are."""

    train_size: int | None = Field(default=None, ge=1)
    """Use this many training images only, for quick experiments; smaller subsets are part of larger ones."""
    test_size: int | None = Field(default=None, ge=1)
    """Use this many test images only."""

    @model_validator(mode="after")
    def _sizes_exist(self) -> Self:
        # Said while planning, before a file is read.
        self._check_size("train", self.train_size, self.train_images)
        self._check_size("test", self.test_size, self.test_images)
        return self

    def _check_size(self, split: str, size: int | None, available: int | None) -> None:
        if size is not None and available is not None and size > available:
            raise ValueError(f"'{self.name}' has {available} {split} images, fewer than {split}_size={size}.")

    def _rows(self, split: str, size: int | None, available: int) -> NDArray[np.int64]:
        """Which rows of a split of `available` images to use, in subset order: (size,) or all."""
        import numpy as np

        self._check_size(split, size, available)
        return np.arange(available) if size is None else fixed_order(available)[:size]


def fixed_order(count: int) -> NDArray[np.int64]:
    """A permutation of `range(count)`, shape (count,), the same wherever and whenever it is drawn."""
    import numpy as np

    # RandomState's stream is frozen for good; Generator's may change with a NumPy release.
    order = np.random.RandomState(ORDER_SEED).permutation(count)
    return order.astype(np.int64)
