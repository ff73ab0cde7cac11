"""Files of which something was found once, by their seals: so that it need not be found again.

A seal that is not there says nothing, so whoever removes a record only has the work done again. What was found in a
file's rows is noted under its seal and stamp together, because bytes may change behind a footer that stays.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from orchestrator.records.files.storage import Storage
from orchestrator.workspace import Location

_LINE = re.compile(r"^([0-9a-f]{64})(?: ([0-9a-f]{64}))?$", re.MULTILINE)


def stamped(seal: str, stamp: str) -> str:
    """What stands for a file as it lies there now."""
    return hashlib.sha256(f"{seal} {stamp}".encode()).hexdigest()


@dataclass(frozen=True)
class Marks:
    """The seals of one kind, a line each in a file of a workspace; behind a seal may stand what was found, a digest."""

    folder: Location
    kind: str

    def seals(self) -> set[str]:
        """All that are known."""
        return set(self.notes())

    def notes(self) -> dict[str, str]:
        """The same, with what was found; empty where nothing is noted."""
        content = Storage(self.folder).read(self._name) or b""
        return dict(_LINE.findall(content.decode("ascii", "replace")))

    def add(self, seals: Iterable[str] | Mapping[str, str]) -> None:
        """Note more of them. What another process notes meanwhile may be lost; where nothing can be written, all is."""
        fresh = dict(seals) if isinstance(seals, Mapping) else dict.fromkeys(seals, "")
        if fresh:
            lines = [f"{seal} {note}".strip() for seal, note in sorted({**self.notes(), **fresh}.items())]
            with suppress(OSError):
                Storage(self.folder).write(self._name, "".join(f"{line}\n" for line in lines).encode())

    @property
    def _name(self) -> str:
        return f"{self.kind}.txt"
