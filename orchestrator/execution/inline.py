"""Run cells one after another in this process: the reference for every other executor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.execution.executor import Listener
from orchestrator.execution.worker import Worker
from orchestrator.plan import Cell


@dataclass(frozen=True)
class Inline:
    """Runs cells here; nothing is parallel, so a debugger works."""

    worker: Worker

    def run(self, cells: Sequence[Cell], listen: Listener) -> None:
        """Run all cells in order."""
        for cell in cells:
            listen(self.worker.run(cell, listen))
