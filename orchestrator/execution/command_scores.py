"""What a command of the user leaves: the scores of its splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from trainers.evaluation import Evaluation


class Split(Protocol):
    """The scores of one split."""

    @property
    def sample(self) -> NDArray[np.int32]:
        """The number of each sample, (n,)."""
        ...

    @property
    def label(self) -> NDArray[np.int32]:
        """Their classes, (n,)."""
        ...

    @property
    def scores(self) -> NDArray[np.float32]:
        """Of all classes, (n, K)."""
        ...


class Found(Protocol):
    """What a command found."""

    @property
    def test(self) -> Split | None:
        """The scores of the test split."""
        ...

    @property
    def validation(self) -> Split | None:
        """Those of the validation split."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; empty where they are only numbered."""
        ...

    @property
    def fingerprint(self) -> str:
        """Of the names and labels of all samples."""
        ...


ReadScores = Callable[[Path, Mapping[str, str]], Found]
"""Reads what a command wrote to a path; a path, and what `system` and `seed` should be."""


def rows(split: Split) -> Evaluation:
    """The rows of a split's samples."""
    from trainers.inference import rows_of

    return rows_of(split.scores, split.label, split.sample)
