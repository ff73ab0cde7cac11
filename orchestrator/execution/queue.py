"""The waiting cells: which is next, which must wait, and whether a lost one is retried."""

from __future__ import annotations

import heapq
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Literal, Protocol

from orchestrator.execution.waiting import CellKind, Waiting
from orchestrator.experiment.plan import Cell
from orchestrator.outcome import Adopted, Attempt, Diverged, Ending, Failed, Fault, Finished, Lost, Result, Stopped

RETRIES: Mapping[Fault, int] = {"process": 3, "node": 20, "memory": 1, "storage": 10, "hang": 1}
"""How often a cell is retried after each kind of fault. Kinds are counted separately, so that lost machines use up
none of a cell's other retries. Every count is finite, because a cell may itself be what kills its machines."""

PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""First and longest delay before a retry, in seconds; the delay doubles each time."""

ASK_AGAIN = 2.0
"""Seconds until a cell that another launch runs is claimed again."""

LOOK_AGAIN = 0.5
"""Seconds until the cells that wait for machines, or for a service, are checked again, unless a cell ends before."""

GENEROSITY = 10
SHORTEST_LIMIT = 600.0
"""Without a time limit in the experiment, an attempt may take `GENEROSITY` times as long as earlier cells of its kind
did on average, and at least `SHORTEST_LIMIT` seconds."""

Permission = Literal["mine", "taken", "wait", Result, "failed"]
"""This launch may run the cell; or another launch is running it; or no cell may begin at present; or how it ended."""

Place = tuple[str, ...] | Literal["wait", "gone"]
"""The ids of the machines that a cell may run on (empty: any), or that it must wait, or that its machines are gone."""


@dataclass(frozen=True)
class Ticket:
    """Permission for one attempt at a cell."""

    cell: Cell
    time_limit: float | None = None
    """Seconds after which its process is killed."""
    alone: bool = False
    """Whether it needs a machine to itself, because memory ran out when it shared one."""
    nodes: tuple[str, ...] = ()
    """The ids of the machines that it may run on; empty for any."""

    def __deepcopy__(self, memo: object) -> Ticket:
        """Return itself: it is immutable, and Tune copies all it is given, which takes milliseconds."""
        del memo
        return self


class Places(Protocol):
    """Decides on which machines cells may run."""

    @property
    def revision(self) -> int:
        """Grows whenever any cell may ask for something else than before."""
        ...

    def asks(self, cell: Cell) -> Hashable:
        """What a cell asks for: all that ask for the same may run on the same machines.

        Between two revisions it changes only for cells of the data set, backbone and seed of one that was handed out or
        has ended.
        """
        ...

    def place(self, cell: Cell) -> Place:
        """Where a cell may run now."""
        ...

    def taken(self, cell: Cell, nodes: tuple[str, ...]) -> None:
        """Record that a cell was handed out to these machines."""
        ...

    def ended(self, cell: Cell, environment: str | None = None) -> None:
        """Record that an attempt has ended; if the cell is done, in which environment."""
        ...


def _lost_home(cell: Cell) -> Failed:
    error = f"No machine of environment {cell.environment} is left to train it on."
    return Failed(cell, Attempt("", time.time(), 0.0), error, "")


def _unclaimed(cell: Cell) -> Permission:
    del cell
    return "mine"


def _unheard(adopted: Adopted | Failed) -> None:
    del adopted


@dataclass(frozen=True)
class TimeBudget:
    """The time in which all cells have to end."""

    until: float
    """By the queue's clock."""
    guess: Callable[[Cell], float | None]
    """Seconds of a cell of whose kind none has a duration; None if unknown, which lets it begin."""


class _Anywhere:
    """Allows any machine for any cell."""

    revision = 0

    def asks(self, cell: Cell) -> Hashable:
        """The same as any other."""
        del cell
        return None

    def place(self, cell: Cell) -> Place:
        """Anywhere."""
        del cell
        return ()

    def taken(self, cell: Cell, nodes: tuple[str, ...]) -> None:
        """Nothing to remember."""

    def ended(self, cell: Cell, environment: str | None = None) -> None:
        """Nothing to forget."""


def _no_more(event: Ending | Adopted) -> Iterable[Cell]:
    del event
    return ()


class Queue:
    """Hands out cells, the longest first, so that no long one runs alone at the end.

    Cells with equal resources follow each other, because a worker process can be reused only
    for a cell that needs the same. One cell of each kind that has no duration yet runs first,
    to measure it. Safe to use from several threads.

    Args:
        cells: The cells to run.
        claim: Called before a cell is handed out, to claim it for this launch.
        adopted: Called with each cell that another launch has completed, and each replica whose environment is gone.
        more: Called, one at a time, with the end of every attempt and with each cell that another launch has
            completed; returns further cells, which are added before the queue can appear to be over.
        durations: Seconds that earlier cells took, by kind of cell.
        most: The most cells to run at once.
        places: Decides on which machines a cell may run; by default any.
        clock: A monotonic clock, in seconds.
        budget: The time in which all cells have to end; a cell that is expected to end later does not begin.
    """

    def __init__(
        self,
        cells: Iterable[Cell],
        *,
        claim: Callable[[Cell], Permission] = _unclaimed,
        adopted: Callable[[Adopted | Failed], None] = _unheard,
        more: Callable[[Ending | Adopted], Iterable[Cell]] = _no_more,
        durations: Mapping[CellKind, Sequence[float]] | None = None,
        most: int | None = None,
        places: Places | None = None,
        clock: Callable[[], float] = time.monotonic,
        budget: TimeBudget | None = None,
    ) -> None:
        self.adopted = adopted
        self.ran_out = False
        """Whether it was closed because no further cell would end in time."""
        self._budget = budget
        self.places = places or _Anywhere()
        self._claim = claim
        self._more = more
        self._most = most
        self._clock = clock
        self._lock = threading.RLock()
        self._order = count()
        self._fresh = Waiting(self.places.asks)
        self._revision = self.places.revision
        self.add(cells)
        self._postponed: list[tuple[float, int, Ticket]] = []
        self._running: dict[str, Ticket] = {}
        self._clearing: str | None = None
        self._sent: set[CellKind] = set()
        self._sums = {kind: (sum(seconds), len(seconds)) for kind, seconds in (durations or {}).items()}
        self._lost: Counter[tuple[str, Fault]] = Counter()
        self._homeless = set[str]()
        self._closed = False

    def add(self, cells: Iterable[Cell]) -> None:
        """Add cells to run, none of which was added before."""
        with self._lock:
            self._barren = -math.inf
            for cell in cells:
                self._fresh.add(cell)

    def waiting(self) -> Iterator[Cell]:
        """Every cell that has not been handed out."""
        yield from self._fresh
        yield from (ticket.cell for _, _, ticket in self._postponed)

    @property
    def over(self) -> bool:
        """Whether nothing runs and nothing will."""
        with self._lock:
            return not self._running and (self._closed or not (self._fresh or self._postponed))

    def close(self) -> None:
        """Hand out nothing more. Takes no lock: it may be called by a signal, at any point."""
        self._closed = True

    def run_out(self) -> None:
        """Close it because the budget is spent; takes no lock."""
        self.ran_out = True
        self.close()

    @property
    def is_closed(self) -> bool:
        """Whether it has been closed."""
        return self._closed

    def take(self) -> Ticket | None:
        """Hand out the next cell to run; None if there is none, or none at present."""
        with self._lock:
            while not (self._closed or self._is_full()):
                ticket = self._next()
                if ticket is None:
                    if self._budget and not self._has_any_in_time():
                        self.run_out()
                    return None
                if ticket.cell.id in self._homeless:
                    self._running[ticket.cell.id] = ticket
                    self.adopted(_lost_home(ticket.cell))
                    continue
                claim = self._claim(ticket.cell)
                if claim == "mine":
                    self._running[ticket.cell.id] = ticket
                    self.places.taken(ticket.cell, ticket.nodes)
                    self._fresh.changed(ticket.cell)
                    self._clearing = ticket.cell.id if ticket.alone else None
                    return ticket
                if claim == "wait":
                    self._postpone(ticket, 0.0)
                    self._barren = self._clock() + LOOK_AGAIN
                    return None
                if claim == "taken":
                    self._postpone(ticket, ASK_AGAIN)
                else:
                    settled = Adopted(ticket.cell, claim)
                    self.adopted(settled)
                    self.add(self._more(settled))
                    self._fresh.changed(ticket.cell)  # where it ended, its group may follow
            return None

    def started(self, cell: Cell) -> None:
        """Record that a cell has started on its machine."""
        with self._lock:
            if self._clearing == cell.id:
                self._clearing = None

    def ended(self, ending: Ending) -> Ending:
        """Record how an attempt ended.

        Returns:
            The ending to report: a cell that was lost once too often has failed.
        """
        with self._lock:
            ticket = self._running.pop(ending.cell.id)
            self.started(ending.cell)
            if isinstance(ending, Stopped) and not self._closed:
                self._postpone(ticket, 0.0)  # it was only to be asked whose it is
            told = self._again(ticket, ending) if isinstance(ending, Lost) else ending
            self.places.ended(told.cell, told.environment if isinstance(told, (Finished, Diverged)) else None)
            self._fresh.changed(told.cell)
            if isinstance(told, Finished):
                total, number = self._sums.get(told.cell.kind, (0.0, 0))
                self._sums[told.cell.kind] = total + told.attempt.seconds, number + 1
            self.add(self._more(told))
            return told

    def running(self) -> set[str]:
        """The ids of the cells whose attempts have not ended."""
        with self._lock:
            return set(self._running)

    def _is_full(self) -> bool:
        # While other cells keep taking parts of a machine, it never becomes free for a cell that needs all of it.
        return self._clearing is not None or (self._most is not None and len(self._running) >= self._most)

    def _next(self) -> Ticket | None:
        now = self._clock()
        if now < self._barren:
            return None
        self._follow_revision()
        wait = set[Hashable]()
        for entry in sorted(self._postponed):
            if entry[0] > now:
                break
            if self._is_in_time(entry[2].cell) and (ticket := self._placed(entry[2], wait)):
                self._postponed.remove(entry)
                heapq.heapify(self._postponed)
                return ticket
        for cell in self._next_fresh():
            if ticket := self._placed(Ticket(cell, self._limit(cell)), wait):
                self._fresh.remove(cell)
                self._sent.add(cell.kind)
                return ticket
        if self._fresh:
            self._barren = now + LOOK_AGAIN
        return None

    def _follow_revision(self) -> None:
        if self._revision != (revision := self.places.revision):
            self._revision = revision
            self._fresh.all_changed()

    def _next_fresh(self) -> Iterator[Cell]:
        """The cells that were never handed out and may begin, in order; of those that ask for the same, the first."""
        firsts = self._fresh.kinds()
        for resources in sorted(firsts, key=lambda needed: (needed.gpus, needed.cpus), reverse=True):
            kinds = firsts[resources]
            for kind in sorted(kinds, key=lambda kind: self._urgency(kind, kinds[kind]), reverse=True):
                if self._is_in_time(kinds[kind]):
                    yield from self._fresh.heads(resources, kind)

    def _is_in_time(self, cell: Cell) -> bool:
        """Whether a cell that begins now is expected to end within the budget."""
        if self._budget is None:
            return True
        expected = self._expected(cell.kind)
        expected = self._budget.guess(cell) or 0.0 if expected is None else expected
        return self._clock() + expected <= self._budget.until

    def _has_any_in_time(self) -> bool:
        """Whether some waiting cell may still begin, or nothing waits."""
        firsts = [cell for kinds in self._fresh.kinds().values() for cell in kinds.values()]
        waiting = [*firsts, *(ticket.cell for _, _, ticket in self._postponed)]
        return not waiting or any(self._is_in_time(cell) for cell in waiting)

    def _placed(self, ticket: Ticket, wait: set[Hashable]) -> Ticket | None:
        """The ticket with its machines; None if it has to wait for them.

        Args:
            ticket: Permission for a cell.
            wait: What cells ask for that has no room at this look; it is added to.
        """
        asks = self.places.asks(ticket.cell)
        if asks in wait:
            return None
        place = self.places.place(ticket.cell)
        if place == "gone":
            self._homeless.add(ticket.cell.id)
            return ticket
        if place == "wait":
            wait.add(asks)
            return None
        return replace(ticket, nodes=place)

    def _urgency(self, kind: CellKind, cell: Cell) -> tuple[bool, bool, float]:
        expected = self._expected(kind)
        return kind not in self._sent, expected is None, expected or cell.recipe.training.epochs

    def _expected(self, kind: CellKind) -> float | None:
        total, number = self._sums.get(kind, (0.0, 0))
        return total / number if number else None

    def _limit(self, cell: Cell) -> float | None:
        if cell.time_limit is not None:
            return cell.time_limit
        expected = self._expected(cell.kind)
        return None if expected is None else max(GENEROSITY * expected, SHORTEST_LIMIT)

    def _again(self, ticket: Ticket, lost: Lost) -> Lost | Failed:
        self._lost[lost.cell.id, lost.fault] += 1
        times = self._lost[lost.cell.id, lost.fault]
        most = RETRIES[lost.fault]
        if times > most:
            error = f"{lost.error} ({times} attempts ended by this kind of fault: {lost.fault})"
            return Failed(lost.cell, lost.attempt, error, lost.traceback)
        again = replace(ticket, alone=ticket.alone or lost.fault == "memory")
        self._postpone(again, min(PAUSE * 2 ** (times - 1), LONGEST_PAUSE))
        return lost

    def _postpone(self, ticket: Ticket, seconds: float) -> None:
        heapq.heappush(self._postponed, (self._clock() + seconds, next(self._order), ticket))
