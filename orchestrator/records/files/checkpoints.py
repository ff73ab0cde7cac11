"""Where cells keep the state from which another attempt goes on, and where running cells are asked to stop."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from orchestrator.experiment.plan import Cell
from orchestrator.records.files.storage import Storage
from orchestrator.workspace import Location

STATE = "state"
"""The name of a state in the folder of its cell."""

UNUSABLE = "unusable-"
"""With which the names of states begin that were set aside."""

STOP = ".stop-"
"""With which the names of files begin that ask running cells to stop."""


@dataclass(frozen=True)
class Checkpoints:
    """The states below one place of the workspace; a plain value, so that it crosses to worker processes."""

    place: Location
    launch: str
    """The id of the launch, under which its cells are asked to stop."""
    every_epochs: int | None = None
    every_seconds: float | None = None

    def shelf(self, cell: Cell) -> StateFile:
        """Where the cell's state lies."""
        return StateFile(Storage(self.place), cell.id)

    def last_words(self, cell: Cell) -> Path | None:
        """The file for the stack of a process that had to be ended; None in an object store."""
        return self.place / cell.id / "last-words.txt" if isinstance(self.place, Path) else None

    def folder(self, cell: Cell) -> Path | None:
        """A folder for the state of a command; None in an object store."""
        return self.place / cell.id if isinstance(self.place, Path) else None

    def clear(self, cell: Cell) -> None:
        """Remove the state of a cell that is done."""
        if folder := self.folder(cell):
            shutil.rmtree(folder, ignore_errors=True)
            return
        storage = Storage(self.place)
        for stored in list(storage.list(cell.id)):
            storage.delete(stored.name)

    def ask_to_stop(self) -> None:
        """Ask every running cell of this launch to save its state and stop."""
        Storage(self.place).write(self._wish, b"")

    def is_stopping(self) -> bool:
        """Whether running cells shall save their state and stop."""
        return Storage(self.place).read(self._wish) is not None

    def forget_stop(self) -> None:
        """The launch has ended: nobody is left to be asked."""
        Storage(self.place).delete(self._wish)

    @property
    def _wish(self) -> str:
        return f"{STOP}{self.launch}"


@dataclass(frozen=True)
class StateFile:
    """One cell's state in a folder of its own."""

    storage: Storage
    folder: str

    def read(self) -> bytes | None:
        """The state, if there is one."""
        return self.storage.read(f"{self.folder}/{STATE}")

    def write(self, content: bytes) -> None:
        """Put a state in the place of the one before, whole or not at all."""
        self.storage.write(f"{self.folder}/{STATE}", content)

    def set_aside(self) -> None:
        """Keep a state that cannot be used where a person may look at it."""
        self.storage.move(f"{self.folder}/{STATE}", f"{self.folder}/{UNUSABLE}{time.time_ns()}")
