"""Files of which something was found once, by their seals: so that it need not be found again.

A seal that is not there says nothing, so whoever removes a record only has the work done again.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from orchestrator.records.storage import Storage
from orchestrator.workspace import Location

_SEAL = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Marks:
    """The seals of one kind, a line each in a file of a workspace."""

    folder: Location
    kind: str

    def seals(self) -> set[str]:
        """All that are known."""
        content = Storage(self.folder).read(self._name) or b""
        return set(_SEAL.findall(content.decode("ascii", "replace")))

    def add(self, seals: Collection[str]) -> None:
        """Note more of them. What another process notes meanwhile may be lost; where nothing can be written, all is."""
        if seals:
            with suppress(OSError):
                Storage(self.folder).write(
                    self._name, "".join(f"{seal}\n" for seal in sorted({*self.seals(), *seals})).encode()
                )

    @property
    def _name(self) -> str:
        return f"{self.kind}.txt"
