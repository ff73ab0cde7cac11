"""Endings of attempts that no cell's file tells, in the workspace until the registry has them for good.

A launch has a file of its own, with a line of JSON for each ending. It outlives the launch and the registry.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from orchestrator.experiment.plan import Cell
from orchestrator.outcome import Attempt, Failed, Lost, Stopped
from orchestrator.privacy import masked

Unfiled = Failed | Lost | Stopped
"""An ending of which no cell's file tells."""


@dataclass(frozen=True)
class AttemptSpool:
    """The files of one experiment, and that of one launch of it."""

    folder: Path
    """Of the experiment."""
    owner: str
    """The launch."""

    @classmethod
    def at(cls, spool: Path, experiment: str, owner: str) -> AttemptSpool:
        """The spool of a launch, below the folder for all."""
        return cls(spool / "attempts" / quote(experiment, safe=""), owner)

    def add(self, ending: Unfiled) -> None:
        """Write an ending down. Where that is impossible, it is only in memory."""
        line = json.dumps(_told(ending)) + "\n"
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(line)

    def endings(self, cells: Mapping[str, Cell]) -> Iterator[Unfiled]:
        """What this launch wrote down."""
        yield from _endings(self._file, cells)

    def left(self, cells: Mapping[str, Cell], alive: Collection[str]) -> Iterator[tuple[Path, list[Unfiled]]]:
        """The files of launches that are over, and what they hold.

        Args:
            cells: The cells by id; endings of others are left out.
            alive: The launches that are not over.
        """
        for file in sorted(self.folder.glob("*.jsonl")):
            if file.stem not in {self.owner, *alive}:
                yield file, list(_endings(file, cells))

    def remove(self) -> None:
        """Remove this launch's file: the registry has it all."""
        with suppress(OSError):
            self._file.unlink(missing_ok=True)

    @property
    def _file(self) -> Path:
        return self.folder / f"{self.owner}.jsonl"


def _told(ending: Unfiled) -> dict[str, Any]:
    told: dict[str, Any] = {"kind": type(ending).__name__, "cell": ending.cell.id, "attempt": asdict(ending.attempt)}
    if isinstance(ending, Stopped):
        return told
    told |= {"error": masked(ending.error), "traceback": masked(ending.traceback)}
    return told | ({"fault": ending.fault} if isinstance(ending, Lost) else {})


def _endings(file: Path, cells: Mapping[str, Cell]) -> Iterator[Unfiled]:
    """Those of a file; a line that was cut off with its writer, or that nobody can read, tells nothing."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        with suppress(ValueError, KeyError, TypeError):
            told = json.loads(line)
            if cell := cells.get(told["cell"]):
                yield _ending(told, cell)


def _ending(told: Mapping[str, Any], cell: Cell) -> Unfiled:
    attempt = Attempt(**told["attempt"])
    if told["kind"] == "Stopped":
        return Stopped(cell, attempt)
    if told["kind"] == "Failed":
        return Failed(cell, attempt, told["error"], told["traceback"])
    return Lost(cell, attempt, told["fault"], told["error"], told["traceback"])
