"""Which cells were trained in this workspace, and which imported ones were rerun here with the same numbers.

A workspace has a secret, which no export takes along. A cell's file is signed with it by the process that trained
the cell, so a file that is not is another's, whatever records say or lack: who removes them makes nothing verified.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Self

from orchestrator.records.files.marks import Marks
from orchestrator.records.files.storage import Storage
from orchestrator.workspace import Location

Origin = Literal["here", "verified", "unverified"]
"""Trained in this workspace; or imported, and itself or a sample of the same import rerun identically, or not."""

_KEY = "origin.key"
_SECRET = re.compile(rb"[0-9a-f]{64}")


def ensure_secret(root: Location) -> bytes:
    """The workspace's secret, made where there is none; of several processes that make one, all get the same.

    In an object store, the one that is written last stays: whoever starts workers asks for it before they run. A file
    that holds no secret, such as an empty one, is replaced: everybody can sign with an empty key.
    """
    storage = Storage(root)
    fresh = secrets.token_hex(32).encode()
    found = storage.read(_KEY)
    if found is None:
        storage.create(_KEY, fresh)
    elif _is_secret(found):
        return found
    else:
        storage.write(_KEY, fresh)
    return _secret(root) or fresh  # another process may have made one at the same moment


def _secret(root: Location) -> bytes | None:
    """The secret that is there; None where the file is missing, or holds none."""
    found = Storage(root).read(_KEY)
    return found if found and _is_secret(found) else None


def _is_secret(content: bytes) -> bool:
    return _SECRET.fullmatch(content) is not None


def signature(key: bytes, seal: str) -> str:
    """What only a holder of the secret can write beside a seal."""
    return hmac.digest(key, seal.encode(), "sha256").hex()


def identical(root: Location) -> Marks:
    """The seals of files whose cells were rerun here with the same numbers."""
    return Marks(root / "marks", "identical")


def different(root: Location) -> Marks:
    """Those whose cells were rerun here with other numbers."""
    return Marks(root / "marks", "different")


def note_import(root: Location, source: str, about: Mapping[str, Any], seals: Mapping[str, str | None]) -> None:
    """Keep which cells came with one import.

    Args:
        root: The workspace.
        source: The folder that they came from.
        about: What the export tells of the code that made it.
        seals: Of the files that were taken, by cell.
    """
    now = datetime.now(UTC)
    content = {
        "imported": now.isoformat(timespec="seconds"),
        "from": source,
        "export": dict(about),
        "cells": dict(seals),
    }
    name = f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}.json"
    Storage(root / "imports").write(name, (json.dumps(content, indent=2) + "\n").encode())


@dataclass(frozen=True)
class Origins:
    """What is known of origins in a workspace, read once."""

    key: bytes | None
    trusted: Collection[str]
    """Seals of imported files that count as verified."""

    @classmethod
    def of(cls, root: Location) -> Self:
        """All that the workspace tells: an import is verified when some of it was rerun, and all of that alike."""
        same = identical(root).seals()
        others = different(root).seals()
        batches = [batch for batch in _batches(root) if batch & same and not batch & others]
        return cls(_secret(root), (same | {seal for batch in batches for seal in batch}) - others)

    def origin(self, seal: str | None, signed: str | None) -> Origin:
        """Where the file with this seal and this signature comes from."""
        if seal is None:
            return "unverified"
        if self.key and signed and hmac.compare_digest(signed, signature(self.key, seal)):
            return "here"
        return "verified" if seal in self.trusted else "unverified"


def _batches(root: Location) -> list[set[str]]:
    storage = Storage(root / "imports")
    found = list[set[str]]()
    for file in storage.list():
        try:
            cells = json.loads(storage.read(file.name) or b"{}")["cells"]
            found.append({seal for seal in cells.values() if isinstance(seal, str)})
        except (ValueError, KeyError, TypeError, AttributeError):  # nothing is known by it
            continue
    return found
