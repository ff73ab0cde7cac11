"""A run: the scores of one system in one setting under one seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

ALONE = "these samples"
"""The setting of scores that name none."""


class RunName(NamedTuple):
    """What a run is of."""

    dataset: str
    backbone: str
    """Empty where settings are not named by two columns."""
    system: str
    seed: int

    @property
    def setting(self) -> tuple[str, str]:
        """Where systems are compared."""
        return self.dataset, self.backbone

    def __str__(self) -> str:
        return f"'{self.system}' (seed {self.seed}, {' on '.join(filter(None, (self.backbone, self.dataset)))})"


@dataclass(frozen=True, eq=False)
class ScoredRun:
    """The scores of one run; arrays have one entry per sample, or per pair of images for verification."""

    place: RunName
    origin: str
    """The file."""
    row: Codes
    """In that file, from 0."""
    sample: Codes
    """A code for each id; equal ids have equal codes in all runs."""
    label: Codes
    values: Mapping[str, Floats]
    """`positive` and `rival`; `right`, of a prediction; `value`; or `similarity`, `genuine`, and both identities."""
    group: Codes | None = None
    account: Mapping[str, Any] = field(default_factory=dict)
    held_out: ScoredRun | None = None
    """The same run on the validation split."""

    def at(self, chosen: NDArray[Any]) -> ScoredRun:
        """These samples alone, in this order."""
        return replace(
            self,
            row=self.row[chosen],
            sample=self.sample[chosen],
            label=self.label[chosen],
            values={name: values[chosen] for name, values in self.values.items()},
            group=None if self.group is None else self.group[chosen],
        )


class Names:
    """Codes of texts that are shared by all tables."""

    def __init__(self) -> None:
        self._codes = dict[str, int]()
        self._last: tuple[Sequence[str], Codes] = ([], np.empty(0, np.int64))

    def of(self, local: Codes, names: Sequence[str]) -> Codes:
        """Shared codes for those of one table."""
        if names != self._last[0]:  # most tables have the same samples
            found = [self._codes.setdefault(name, len(self._codes)) for name in names]
            self._last = names, np.array(found, np.int64)
        return self._last[1][local] if len(names) else local

    def text(self, code: int) -> str:
        """The name of a code."""
        return next(name for name, known in self._codes.items() if known == code)


class Book(NamedTuple):
    """The names in all tables."""

    sample: Names
    label: Names
    group: Names

    @classmethod
    def empty(cls) -> Book:
        """Before any table is read."""
        return cls(Names(), Names(), Names())
