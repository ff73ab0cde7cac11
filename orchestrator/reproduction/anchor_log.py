"""What was found of older environments, and of older code of a loss.

The measurements alone are kept, since verdicts follow from them and the claims.
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
"""Of the ledger. A reader refuses what it does not know.

Entries of version 1 are passed over: they are about cells of earlier protocols, which are pooled with nothing.
"""

Measures = dict[str, float | None]


@dataclass(frozen=True)
class Anchor:
    """A cell of an older environment that was trained again."""

    cell: str
    name: str
    setting: Setting
    then: Measures
    now: Measures | None
    """None where it diverged."""
    identical: bool
    """Whether all that its two files hold is the same bit for bit."""
    samples: int | None = None
    """Of its test set; None in entries that are older."""

    @property
    def loss(self) -> str:
        """Its loss's label."""
        dataset, backbone = self.setting
        return self.name.rpartition(f"/{backbone}/{dataset}/s")[0] or self.name


@dataclass(frozen=True)
class Entry:
    """Anchors that one launch trained again, or that it did without, because of an environment or a loss's code."""

    when: float
    """Seconds since 1970."""
    old: Origin
    expected: Origin
    """Where, or by what code, the launch was going to train, as far as it knew beforehand."""
    new: Origin
    """Where, or by what code, the anchors say they were trained."""
    settings: tuple[Setting, ...]
    anchors: tuple[Anchor, ...]
    trusted: bool = False
    """Old and new were pooled without a test, or against it, because the user said so."""

    @classmethod
    def of_trust(cls, old: Origin, new: Origin, settings: Iterable[Setting]) -> Self:
        """What the user lets through now."""
        return cls(time.time(), old, new, new, tuple(sorted(settings)), (), trusted=True)


@dataclass(frozen=True)
class Ledger:
    """All entries of an experiment, in one file."""

    place: Location

    def entries(self) -> tuple[Entry, ...]:
        """What was found so far, in its order; nothing where there is no file.

        Raises:
            DamagedFileError: The file is no ledger.
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
                f"{self.place} is no ledger of anchors: remove it, and the next launch trains anchors again."
            ) from None

    def add(self, entries: Iterable[Entry]) -> None:
        """Write further entries beside those that are there, whole or not at all."""
        document = {"version": VERSION, "entries": [asdict(entry) for entry in (*self.entries(), *entries)]}
        text = json.dumps(document, indent=1, allow_nan=False)
        Storage(self.place.parent).write(self.place.name, text.encode())


_ENTRIES = TypeAdapter(tuple[Entry, ...])
