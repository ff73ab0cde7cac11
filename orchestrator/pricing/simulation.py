"""A cluster that is not there: a launch's own queue hands out cells, machines come and go, and a clock jumps."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count

from orchestrator.execution.queue import LONGEST_PAUSE, PAUSE, Queue, Ticket
from orchestrator.experiment.plan import Cell
from orchestrator.outcome import Attempt, Ending, Finished, Lost

PENDING = 64
"""Cells that may wait for room once they were handed out, as those that Tune holds."""

EPSILON = 1e-9
"""Fractions of a GPU do not add up exactly."""


@dataclass
class Machine:
    """One machine: its room, and what runs on it."""

    id: str
    cpus: float
    gpus: float
    device: str
    is_up: bool = True
    running: dict[str, SimulatedAttempt] = field(default_factory=dict[str, "SimulatedAttempt"])

    def fits(self, cell: Cell) -> bool:
        """Whether a cell has room now."""
        need = cell.resources
        return self.is_up and self.cpus >= need.cpus and self.gpus + EPSILON >= need.gpus

    def take(self, cell: Cell, times: int = 1) -> None:
        """Give a cell its room; with -1, take it back."""
        self.cpus -= times * cell.resources.cpus
        self.gpus -= times * cell.resources.gpus


@dataclass
class SimulatedAttempt:
    """An attempt under way."""

    cell: Cell
    machine: Machine
    started: float
    ends: float
    is_over: bool = False


@dataclass(frozen=True)
class Absence:
    """A machine that is taken away, and comes back or not. Times are in seconds."""

    machine: str
    gone: float
    back: float | None = None


@dataclass
class Clock:
    """Seconds since the start, which only the simulation changes."""

    now: float = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@dataclass(frozen=True)
class SimulationReport:
    """What came of a simulated launch."""

    seconds: float
    """From the start to the end of the last cell."""
    finished: int
    lost: int
    """Attempts that ended because their machine went away."""
    busy: dict[str, float]
    """Seconds of attempts, times the cell's GPUs, or cores where it has none, by device."""
    wasted: float
    """The part of that which had to be done again."""


class Simulation:
    """Runs a queue's cells on machines that are not there.

    Cells on several devices take the room of one.

    Args:
        machines: The machines.
        seconds: How long a cell takes on a device.
        clock: The queue's clock.
        saved: Seconds between two saved states of a cell, from which its next attempt goes on.
        changed: Called with the machines whenever some go away or come back.
        heard: Called with the end of every attempt, as the queue reports it.
        begun: Called when an attempt begins on a machine.
    """

    def __init__(
        self,
        machines: Sequence[Machine],
        seconds: Callable[[Cell, str], float],
        clock: Clock,
        *,
        saved: float = 60.0,
        changed: Callable[[Sequence[Machine]], None] = lambda _: None,
        heard: Callable[[Ending], None] = lambda _: None,
        begun: Callable[[Cell, str], None] = lambda *_: None,
    ) -> None:
        self._machines = {machine.id: machine for machine in machines}
        self._seconds = seconds
        self._clock = clock
        self._saved = saved
        self._changed = changed
        self._heard = heard
        self._begun = begun
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._pending: list[Ticket] = []
        self._left: dict[str, float] = {}
        """The fraction of a cell that its next attempt has to do."""
        self._busy: dict[str, float] = {}
        self._wasted = 0.0
        self._finished = 0
        self._lost = 0
        self._last = 0.0

    def run(self, queue: Queue, outages: Iterable[Absence] = ()) -> SimulationReport:
        """Run until nothing is left to run.

        Raises:
            RuntimeError: Cells are left that no machine can run.
        """
        for outage in outages:
            self._at(outage.gone, self._go(queue, outage))
        self._hand_out(queue)
        while not queue.over:
            if not self._events:
                raise RuntimeError("cells are left that no machine can run")
            self._clock.now, _, happens = heapq.heappop(self._events)
            happens()
            self._hand_out(queue)
        return SimulationReport(self._last, self._finished, self._lost, self._busy, self._wasted)

    def _at(self, when: float, happens: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), happens))

    def _hand_out(self, queue: Queue) -> None:
        """Start what has room; what was handed out before comes first, as in Tune."""
        self._pending = [ticket for ticket in self._pending if not self._start(queue, ticket)]
        while len(self._pending) < PENDING and self._has_room() and (ticket := queue.take()):
            if not self._start(queue, ticket):
                self._pending.append(ticket)

    def _has_room(self) -> bool:
        """Whether it is worth asking for a cell."""
        return any(machine.is_up and machine.cpus >= 1 for machine in self._machines.values())

    def _start(self, queue: Queue, ticket: Ticket) -> bool:
        cell = ticket.cell
        allowed = ticket.nodes or self._machines
        fitting = [machine for name in allowed if (machine := self._machines[name]).fits(cell)]
        if not fitting:
            return False
        machine = min(fitting, key=lambda each: (each.gpus, each.cpus))
        machine.take(cell)
        now = self._clock.now
        takes = self._seconds(cell, machine.device) * self._left.get(cell.id, 1.0)
        attempt = SimulatedAttempt(cell, machine, now, now + takes)
        machine.running[cell.id] = attempt
        queue.started(cell)
        self._begun(cell, machine.id)
        self._at(attempt.ends, lambda: self._end(queue, attempt))
        return True

    def _end(self, queue: Queue, attempt: SimulatedAttempt) -> None:
        if attempt.is_over:  # its machine went away
            return
        now = self._clock.now
        self._leave(attempt)
        self._finished += 1
        self._last = now
        told = Finished(attempt.cell, Attempt(attempt.machine.id, attempt.started, now - attempt.started), {})
        self._heard(queue.ended(told))

    def _leave(self, attempt: SimulatedAttempt) -> None:
        attempt.is_over = True
        machine = attempt.machine
        machine.take(attempt.cell, -1)
        del machine.running[attempt.cell.id]
        spent = (self._clock.now - attempt.started) * _units(attempt.cell)
        self._busy[machine.device] = self._busy.get(machine.device, 0.0) + spent

    def _go(self, queue: Queue, outage: Absence) -> Callable[[], None]:
        def go() -> None:
            machine = self._machines[outage.machine]
            machine.is_up = False
            self._changed(self._up())
            for attempt in list(machine.running.values()):
                self._lose(queue, attempt)
            if outage.back is not None:
                self._at(outage.back, back)

        def back() -> None:
            self._machines[outage.machine].is_up = True
            self._changed(self._up())

        return go

    def _up(self) -> list[Machine]:
        return [machine for machine in self._machines.values() if machine.is_up]

    def _lose(self, queue: Queue, attempt: SimulatedAttempt) -> None:
        now = self._clock.now
        self._leave(attempt)
        self._lost += 1
        spent = now - attempt.started
        kept = spent // self._saved * self._saved
        whole = attempt.ends - attempt.started
        left = self._left.get(attempt.cell.id, 1.0)
        self._left[attempt.cell.id] = left * (1 - kept / whole)
        self._wasted += (spent - kept) * _units(attempt.cell)
        lost = Lost(attempt.cell, Attempt(attempt.machine.id, attempt.started, spent), "node", "The machine left.", "")
        self._heard(queue.ended(lost))
        pause = PAUSE
        while pause <= 2 * LONGEST_PAUSE:  # the queue says how long the cell has to wait; look at each such time
            self._at(now + pause, _nothing)
            pause *= 2


def _nothing() -> None:
    """Only the time has come to look again."""


def _units(cell: Cell) -> float:
    return (cell.resources.gpus or cell.resources.cpus) * cell.resources.devices
