"""The anchor log: how cells from older environments, or with older code of a loss, compare with retrained ones.

Only measurements are kept, because verdicts follow from them and the claims.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Self

from pydantic import TypeAdapter
from pydantic_core import from_json

from orchestrator.errors import DamagedFileError, NewerFormatError
from orchestrator.provenance.environment import Origin
from orchestrator.records.files.storage import Storage
from orchestrator.reproduction.finished_cells import Setting
from orchestrator.workspace import Location

VERSION = 2
"""The version of the log's format. A reader refuses later versions.

Entries of version 1 are skipped: they are about cells of earlier protocols, which are never pooled.
"""

Measures = dict[str, float | None]


@dataclass(frozen=True)
class Anchor:
    """A cell of an older environment that was retrained."""

    cell: str
    name: str
    setting: Setting
    then: Measures
    now: Measures | None
    """None if it diverged."""
    identical: bool
    """Whether its two files agree bit for bit."""
    samples: int | None = None
    """The size of its test set; None in older entries."""

    @property
    def loss(self) -> str:
        """The label of its loss."""
        dataset, backbone = self.setting
        return self.name.rpartition(f"/{backbone}/{dataset}/s")[0] or self.name


@dataclass(frozen=True)
class AnchorEntry:
    """The anchors that one launch retrained, or skipped with --trust-old, for an environment or a loss's code."""

    when: float
    """Seconds since 1970."""
    old: Origin
    expected: Origin
    """The environment or code with which the launch expected to train."""
    new: Origin
    """The environment or code that the anchors recorded."""
    settings: tuple[Setting, ...]
    anchors: tuple[Anchor, ...]
    trusted: bool = False
    """Whether old and new were pooled untested, or against the test, because of --trust-old."""

    @classmethod
    def of_trust(cls, old: Origin, new: Origin, settings: Iterable[Setting]) -> Self:
        """An entry for what --trust-old pools now."""
        return cls(time.time(), old, new, new, tuple(sorted(settings)), (), trusted=True)


@dataclass(frozen=True)
class Ledger:
    """The anchor log of an experiment, in one file."""

    place: Location

    def entries(self) -> tuple[AnchorEntry, ...]:
        """The entries so far, in order; empty if there is no file.

        Raises:
            DamagedFileError: The file is not an anchor log.
            NewerFormatError: A newer version of this program wrote it.
        """
        content = Storage(self.place.parent).read(self.place.name)
        if content is None:
            return ()
        try:
            document = from_json(content)
            if document["version"] > VERSION:
                raise NewerFormatError(
                    f"{self.place} has version {document['version']}; this program reads {VERSION}: upgrade it."
                )
            return _ENTRIES.validate_python(document["entries"]) if document["version"] == VERSION else ()
        except (ValueError, KeyError, TypeError):
            raise DamagedFileError(
                f"{self.place} is not an anchor log: remove it, and the next launch trains anchors again."
            ) from None

    def add(self, entries: Iterable[AnchorEntry]) -> None:
        """Append entries to the file, all or none."""
        document = {"version": VERSION, "entries": [asdict(entry) for entry in (*self.entries(), *entries)]}
        text = json.dumps(document, indent=1, allow_nan=False)
        Storage(self.place.parent).write(self.place.name, text.encode())


_ENTRIES = TypeAdapter(tuple[AnchorEntry, ...])
