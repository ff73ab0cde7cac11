"""What commands have printed: `logs/CELL_ID.txt`, written again by each attempt, bounded and without credentials."""

from __future__ import annotations

from orchestrator.errors import RequestError
from orchestrator.privacy import public
from orchestrator.records.files.storage import Storage
from orchestrator.workspace import Workspace

ENDING = ".txt"


def keep(place: Workspace, cell: str, printed: str) -> None:
    """Keep what the command of a cell has printed so far."""
    Storage(place.logs).write(f"{cell}{ENDING}", public(printed).encode())


def printed(place: Workspace, prefix: str) -> str:
    """What the command of a cell has printed.

    Args:
        place: The workspace.
        prefix: The cell's id, or how it begins.

    Raises:
        RequestError: No cell of a command, or several, have ids that begin so.
    """
    storage = Storage(place.logs)
    names = [file.name for file in storage.list() if file.name.endswith(ENDING) and not file.is_half_written]
    found = [name for name in names if name.startswith(prefix)] if prefix else []
    if not found:
        raise RequestError(f"No output of a cell '{prefix}' is in {place.logs}. Only cells of a command have one.")
    if len(found) > 1:
        raise RequestError(f"{len(found)} cells have ids that begin with '{prefix}': write more of it.")
    return (storage.read(found[0]) or b"").decode(errors="replace")
