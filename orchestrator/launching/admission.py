"""Whether a cell may begin now: the launch's lease, the registry and the storage of the workspace have to agree."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.errors import OutageError, UnreachableError
from orchestrator.experiment.plan import Cell
from orchestrator.launching.notes import Notes
from orchestrator.launching.outages import Outage, passes, patiently
from orchestrator.outcome import Diverged, Event, Finished, Lost
from orchestrator.records.files.storage import Storage
from orchestrator.workspace import Workspace

if TYPE_CHECKING:
    from orchestrator.execution.queue import Permission, Queue
    from orchestrator.records.files.checkpoints import Checkpoints

STRIKES = 3
"""Attempts in a row that end because storage does not answer, until it has to answer before another cell begins."""

_SAMPLE = bytes(2**16)
"""Written to see whether storage takes something: an empty file fits on a full disk."""


@dataclass
class Admission:
    """Says which cells of a queue may begin; every service may go away and come back."""

    notes: Notes
    place: Workspace
    states: Checkpoints
    say: Callable[[str], None]
    store: Outage = field(init=False)
    gave_up: OutageError | None = None
    """Why the launch stops before its end."""
    _queue: Queue | None = None
    _strikes: int = 0
    _tried: set[str] = field(default_factory=set[str])
    """Cells that this launch has begun, whose files may be there although their attempts were lost."""
    _is_recalling: bool = False
    _trusts: bool = True
    """Whether the registry alone is asked what is done; not after others may have taken over."""

    def __post_init__(self) -> None:
        """Begin with everything at its place."""
        self.store = Outage("The storage of the workspace", self._probe, self.say)

    def admit(self, queue: Queue) -> None:
        """Decide for this queue from now on."""
        self._queue = queue
        self.notes.lease.on_loss = self._recall

    def claim(self, cell: Cell) -> Permission:
        """Ask for a cell. Raises nothing, because executors' threads would end with it."""
        for outage in (self.notes.outage, self.store):
            if outage.is_too_long:
                self._give_up(outage)
            if outage.is_on:
                return "wait"
        try:
            return self._claimed(cell)
        except UnreachableError as error:
            self.notes.outage.begin(error)
        except Exception as error:
            if not passes(error):
                raise
            self.store.begin(error)
        return "wait"

    def heard(self, event: Event) -> None:
        """Count the attempts in a row that storage ended."""
        if isinstance(event, (Finished, Diverged)):
            self._strikes = 0
        if isinstance(event, Lost) and event.fault == "storage":
            self._strikes += 1
            if self._strikes >= STRIKES:
                self.store.begin(f"{self._strikes} attempts in a row ended because storage did not answer.")

    def close(self) -> None:
        """The last cell has ended: wait until the registry knows, unless the user stopped the launch.

        Raises:
            OutageError: A service stayed away.
        """
        self.store.close()
        is_stopped = self._queue is not None and self._queue.is_closed
        is_settled = self.notes.settle(patient=not is_stopped)
        if self.gave_up:
            raise self.gave_up
        if not (is_settled or is_stopped):
            raise self.notes.outage.end()

    def _claimed(self, cell: Cell) -> Permission:
        lease = self.notes.lease
        if lease.lost and not self._is_back():
            return "wait"
        if (cell.id in self._tried or not self._trusts) and self.notes.is_done(cell):
            with suppress(OSError):
                self.states.clear(cell)
        permission = lease.claim(cell)
        if permission == "mine":
            self._tried.add(cell.id)
        return permission

    def _recall(self) -> None:
        """Have running cells save their state and stop: others may have taken them over."""
        self._is_recalling = True
        self._trusts = False
        self.say(
            "This launch stood still, and another one may have taken its cells over. "
            "Running cells save their state; then it asks which are done, and goes on with the others."
        )
        with suppress(OutageError):
            patiently(self.states.ask_to_stop, self.say)

    def _is_back(self) -> bool:
        """Take the lease up again once no cell runs; whether that is done."""
        if self._queue is not None and self._queue.running():
            return False
        if self._is_recalling:
            self.states.forget_stop()
            self._is_recalling = False
        self.notes.lease.resume()
        return True

    def _give_up(self, outage: Outage) -> None:
        """Stop politely: a service stayed away."""
        if self.gave_up is None:
            self.gave_up = outage.end()
            if self._queue is not None:
                self._queue.close()
            with suppress(OSError):
                self.states.ask_to_stop()

    def _probe(self) -> None:
        """Write where cells write; raises as long as that fails."""
        name = f".probe.{secrets.token_hex(4)}"
        for place in (self.place.checkpoints, self.place.evaluations, self.place.validation):
            storage = Storage(place)
            storage.write(name, _SAMPLE)
            storage.delete(name)
        self._strikes = 0
