"""What a launch notes in the registry: at once, or in the same order when the registry answers again.

The registry is an index that can be made again. While it is away, what is to be noted waits in memory; that is little,
because no further cell begins meanwhile. What no cell's file tells is also written down in the workspace, so that the
next launch notes it should this one die, and so that a registry that was replaced hears of it again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import DamagedFileError, UnreachableError
from orchestrator.experiment.plan import Cell
from orchestrator.launching.outages import Outage
from orchestrator.outcome import Ending, Failed, Lost, Started, Stopped
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.sql.attempt_spool import AttemptSpool

if TYPE_CHECKING:
    from orchestrator.records.sql.leases import Lease
    from orchestrator.records.sql.registry import Registry

Note = Callable[["Registry"], None]


class Notes:
    """The registry, as the driver of a launch writes to it.

    Args:
        lease: The launch's right to run cells.
        evaluations: The cells' files, which tell a registry that was replaced what is done.
        spool: The folder for what no cell's file tells.
        say: Shows a sentence.
    """

    def __init__(self, lease: Lease, evaluations: Evaluations, spool: Path, say: Callable[[str], None]) -> None:
        self.lease = lease
        self.outage = Outage("The registry", self._catch_up, say)
        self._evaluations = evaluations
        self._spool = AttemptSpool.at(spool, lease.experiment, lease.owner)
        self._lock = threading.RLock()
        self._waiting: deque[Note] = deque()
        self._running: dict[str, Started] = {}
        self._is_behind = False
        self._was_replaced = False

    def started(self, event: Started) -> None:
        """An attempt has begun."""
        self._running[event.cell.id] = event
        self.note(partial(self._start, event))

    def alive(self, cell: Cell, epoch: int | None = None) -> None:
        """A cell still computes; nobody needs to know later."""
        if not self.outage.is_on:
            self.note(lambda registry: registry.note_alive(cell, self.lease.experiment, epoch))

    def ended(self, ending: Ending) -> None:
        """An attempt has ended."""
        self._running.pop(ending.cell.id, None)
        if isinstance(ending, (Failed, Lost, Stopped)):
            self._spool.add(ending)
        self.note(lambda registry: registry.record(ending, self.lease.experiment))

    def note(self, work: Note) -> None:
        """Do what changes the registry, now or when it answers again; doing it twice must change nothing."""
        with self._lock:
            self._waiting.append(work)
            if not self.outage.is_on:
                try:
                    self._tell()
                except UnreachableError as error:
                    self.outage.begin(error)

    def settle(self, *, patient: bool) -> bool:
        """Whether the registry knows all; where it is to be waited for, as long as a launch waits."""
        if self._was_replaced:  # while it was, what was noted may have gone to the one that is no more
            self.note(lambda registry: self._bring_back())  # noqa: ARG005 - it is the lease's
        while True:
            self.note(lambda registry: None)  # noqa: ARG005 - what was left over is told before
            if not (patient and self.outage.is_on) or self.outage.is_too_long:
                break
            self.outage.wait(1.0)
        self.outage.close()
        if self._waiting:
            return False
        self._spool.remove()
        return True

    def take_over(self) -> None:
        """Note what launches that are over left in the workspace.

        Raises:
            UnreachableError: The registry does not answer.
        """
        for file, endings in self._spool.left(self.lease.cells, self.lease.known()):
            for ending in endings:
                self.lease.registry.record(ending, self.lease.experiment)
            with suppress(OSError):
                file.unlink()
        self.lease.remember_failures()

    def is_done(self, cell: Cell) -> bool:
        """Whether a cell has a sound file, which the registry then knows of."""
        try:
            outcome = self._evaluations.account(cell).outcome(cell)
        except (FileNotFoundError, DamagedFileError):
            return False
        self.lease.registry.restore(outcome, self.lease.experiment)
        return True

    def _start(self, event: Started, registry: Registry) -> None:
        if self._running.get(event.cell.id) is event:  # else its end tells all
            owner = self.lease.owner
            registry.start_attempt(
                event.cell, self.lease.experiment, node=event.node, started=event.started, owner=owner
            )

    def _tell(self) -> None:
        """Tell all that waits, in order."""
        while self._waiting:
            self._waiting[0](self.lease.registry)
            self._waiting.popleft()

    def _catch_up(self) -> None:
        """Bring the registry in step: what it is, what it knew before, and what it has not heard."""
        self._is_behind = self.lease.resume() or self._is_behind
        if self._is_behind:
            self._was_replaced = True
            self._bring_back()
            self._is_behind = False
        with self._lock:
            self._tell()

    def _bring_back(self) -> None:
        """Tell a registry that was replaced what files and workspace know."""
        cells = dict(self.lease.cells)
        done = self._evaluations.ids(replicas=True)
        for cell in cells.values():
            if cell.id in done:
                self.is_done(cell)
        for ending in self._spool.endings(cells):
            self.lease.registry.record(ending, self.lease.experiment)
        for event in list(self._running.values()):
            self._start(event, self.lease.registry)
