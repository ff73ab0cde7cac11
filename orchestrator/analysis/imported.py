"""What a reader must know of cells that were trained elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from orchestrator.sentences import Sentence
from trainers.metrics import MEASURES, STATED


@dataclass(frozen=True)
class ImportedCells:
    """How many cells were imported, and what of theirs no row tells."""

    cells: int
    of: int
    """All cells with a result."""
    unverified: int
    stated: tuple[str, ...]
    """Measures that are as their sender states them."""
    diverged: int = 0
    """How many diverged, as their senders state: unverified ones without rows."""

    @classmethod
    def among(cls, rows: Sequence[Mapping[str, Any]]) -> Self | None:
        """Those of a results table; None where all cells were trained here."""
        counts = Counter(row.get("origin") or "here" for row in rows)
        foreign = [row for row in rows if (row.get("origin") or "here") != "here"]
        if not foreign:
            return None
        stated = [name for name in MEASURES if name in STATED and any(row.get(name) is not None for row in foreign)]
        diverged = sum(row["state"] == "diverged" and row["origin"] == "unverified" for row in foreign)
        return cls(len(foreign), len(rows), counts["unverified"], tuple(stated), diverged)

    def sentences(self) -> Iterator[Sentence]:
        """What to tell."""
        told = {"cells": self.cells, "of": self.of, "unverified": self.unverified}
        if self.unverified:
            yield (
                "Imported cells: {cells} of {of}. Unverified, because no sample was rerun here with the same numbers: {unverified}.",  # noqa: E501
                told,
            )
        else:
            yield "Imported cells: {cells} of {of}. A sample was rerun here with the same numbers.", told
        if self.diverged:
            counts = {"diverged": self.diverged, "cells": self.cells}
            text = (
                "Imported cells that diverged, as stated by the sender and not shown by any row: {diverged} of {cells}."
            )
            yield text, counts
        if self.stated:
            yield (
                "Of imported cells, these figures are as stated by the sender, because rows do not give them: {names}.",
                {"names": ", ".join(self.stated)},
            )

    def told(self) -> list[str]:
        """The same in English."""
        return [text.format(**values) for text, values in self.sentences()]

    def to_json(self) -> dict[str, Any]:
        """The counts and names."""
        return asdict(self)
