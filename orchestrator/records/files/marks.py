"""The seals of files of which `verify` found something. A seal that is not there says nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from orchestrator.records.files.storage import Storage
from orchestrator.workspace import Location

_LINE = re.compile(r"^[0-9a-f]{64}$", re.MULTILINE)


@dataclass(frozen=True)
class Marks:
    """The seals of one kind, one per line in a file of a workspace."""

    folder: Location
    kind: str

    def seals(self) -> set[str]:
        """All that are known."""
        content = Storage(self.folder).read(self._name) or b""
        return set(_LINE.findall(content.decode("ascii", "replace")))

    def add(self, seals: Iterable[str]) -> None:
        """Write more of them. What another process adds meanwhile may be lost; where nothing can be written, all is."""
        if fresh := set(seals):
            lines = [f"{seal}\n" for seal in sorted(self.seals() | fresh)]
            with suppress(OSError):
                Storage(self.folder).write(self._name, "".join(lines).encode())

    @property
    def _name(self) -> str:
        return f"{self.kind}.txt"
