"""Leases: which launch is alive, and which cells it may run.

A launch holds a lease on its experiment and renews it while it lives. A cell is claimed
before it runs, by opening an attempt at it, so that no two launches — of one experiment or
of two that share cells — ever run it at once. What a dead launch has left is taken over.

No two clocks are compared. What a lease holds in `seen` changes with each renewal; others
watch whether it does, for so long by their own clock.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Literal

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from orchestrator.errors import RequestError, UnreachableError
from orchestrator.experiment.plan import Cell, Plan
from orchestrator.outcome import Result, is_done
from orchestrator.records.sql import processes
from orchestrator.records.sql.changes import attempts_at, enrol, locked, new_attempt, put_back, set_state
from orchestrator.records.sql.events import tell
from orchestrator.records.sql.registry import Registry
from orchestrator.records.sql.schema import AttemptRow, CellRow, LeaseRow
from orchestrator.sentences import counted

if TYPE_CHECKING:
    from orchestrator.experiment.model import Experiment

EXPIRY = 60.0
"""Seconds for which a lease is seen unchanged until its launch counts as dead."""

RENEWAL = 10.0
"""Seconds between two renewals."""

LOOK = 1.0
"""Seconds between two looks of a launch that waits to know whether another one lives."""

Claim = Literal["mine", "taken", "wait", Result, "failed"]
"""Whether this launch may run a cell, another one is running it, its own lease is lost, or what came of it there."""

Sign = Literal["dead", "alive", "unknown"]


class Watch:
    """Tells living launches from dead ones by whether their leases change while it looks.

    Time in which it did not look counts for little, because the registry may have been away, or this process stopped:
    nobody could renew a lease then, or nobody saw it.

    Args:
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[str, datetime] = {}
        self._silence: defaultdict[str, float] = defaultdict(float)
        self._moved = set[str]()
        self._looked: float | None = None

    def look(self, leases: Iterable[LeaseRow]) -> None:
        """Note which leases have changed since the last look."""
        with self._lock:
            now = self._clock()
            passed = 0.0 if self._looked is None else min(now - self._looked, RENEWAL)
            self._looked = now
            for lease in leases:
                known = self._seen.get(lease.owner)
                self._seen[lease.owner] = lease.seen
                if known == lease.seen:
                    self._silence[lease.owner] += passed
                else:
                    self._silence[lease.owner] = 0.0
                    if known is not None:
                        self._moved.add(lease.owner)

    def sign(self, lease: LeaseRow) -> Sign:
        """Whether a launch lives, as far as is known."""
        process = processes.state(lease.host, lease.machine, lease.pid, lease.process)
        if process == "gone" or self._silence[lease.owner] > EXPIRY:
            return "dead"
        return "alive" if process == "running" or lease.owner in self._moved else "unknown"

    def is_dead(self, lease: LeaseRow) -> bool:
        """Whether a launch is known to be dead."""
        return self.sign(lease) == "dead"


def _nobody() -> None:
    """Nobody is told."""


@dataclass
class Lease:
    """This launch's right to run cells of an experiment."""

    registry: Registry
    owner: str
    asked: Experiment
    since: datetime
    watch: Watch
    left: frozenset[str] = frozenset()
    """Cells, by id, of which a dead launch had been running an attempt."""
    failed: Mapping[str, int] = field(default_factory=dict[str, int])
    """The number of the last failed attempt at each cell that had failed before this launch."""
    lost: bool = False
    """Whether it is gone, because this process stood still for long: others may have taken over."""
    on_loss: Callable[[], None] = _nobody
    """Called once when that is found."""
    cells: dict[str, Cell] = field(default_factory=dict[str, Cell])
    """All that this launch asks for, by id."""

    @property
    def experiment(self) -> str:
        """The experiment's name."""
        return self.asked.name

    def claim(self, cell: Cell) -> Claim:
        """Ask for a cell; if it is ours, an attempt at it is open from now on."""
        self.cells[cell.id] = cell
        if self.lost:
            return "wait"
        with self.registry.writing() as session:
            leases = list(_leases(session))
            self.watch.look(leases)
            if all(lease.owner != self.owner for lease in leases):
                self._lose()
                return "wait"
            row = locked(session, cell.id)
            if is_done(row.state):
                return row.state
            attempts = attempts_at(session, cell.id)
            if row.state == "failed" and _last_failure(attempts) > self.failed.get(cell.id, 0):
                return "failed"
            attempt = self._taken_over(session, cell, attempts, leases)
            if attempt == "taken":
                return "taken"
            attempt = attempt or new_attempt(session, cell.id, attempts, self.experiment)
            attempt.owner = self.owner
            attempt.node = ""
            attempt.started = datetime.now(UTC)
            set_state(row, "running")
            return "mine"

    def _taken_over(
        self, session: Session, cell: Cell, attempts: Iterable[AttemptRow], leases: Iterable[LeaseRow]
    ) -> AttemptRow | Literal["taken"] | None:
        """End what dead launches were running of a cell; `taken` if one lives, the attempt if the claim is known."""
        owners = {lease.owner: lease for lease in leases}
        own = None
        for attempt in [each for each in attempts if each.outcome == "running"]:
            lease = owners.get(attempt.owner or "")
            if attempt.owner == self.owner and not attempt.node:
                own = attempt  # a claim whose answer got lost with the connection
                continue
            if lease and attempt.owner != self.owner and not self.watch.is_dead(lease):
                return "taken"
            attempt.outcome = "interrupted"
            if lease and attempt.owner != self.owner:
                _give_up(session, lease.owner)  # should it live after all, it finds its lease gone
            story = f"{cell.name} was left running by a launch that is dead."
            tell(session, "taken_over", story, experiment=self.experiment, cell=cell.id)
        return own

    def others(self) -> dict[str, str]:
        """The cells that other launches are running, by id, and each one's machine; one on its way has its launch's."""
        asked = select(AttemptRow).where(AttemptRow.outcome == "running", AttemptRow.owner != self.owner)
        with self.registry.reading() as session:
            hosts = {lease.owner: lease.host for lease in _leases(session) if not self.watch.is_dead(lease)}
            running = [each for each in session.scalars(asked) if each.owner in hosts]
            return {attempt.cell: attempt.node or hosts[attempt.owner or ""] for attempt in running}

    def known(self) -> set[str]:
        """The launches that have a lease."""
        with self.registry.reading() as session:
            return set(session.scalars(select(LeaseRow.owner)))

    def remember_failures(self) -> None:
        """Take what has failed by now for failures before this launch, which may be tried again."""
        with self.registry.reading() as session:
            self.failed = _failures(session)

    def renew(self) -> None:
        """Show that this launch lives, and look whether the others do."""
        mine = update(LeaseRow).where(LeaseRow.owner == self.owner).values(seen=datetime.now(UTC))
        with self.registry.writing() as session:
            is_there = bool(session.scalars(mine.returning(LeaseRow.owner)).all())
            self.watch.look(_leases(session))
            if is_there:
                _bury(session, self.experiment, self.watch)
        if not is_there:
            self._lose()

    def resume(self) -> bool:
        """Take the lease up again, in a registry that may be another one by now.

        Raises:
            UnreachableError: The registry does not answer.

        Returns:
            Whether the registry knew less than this launch had noted there.
        """
        self.registry.mend()
        known = self.registry.states_of(self.cells)
        with self.registry.writing() as session:
            is_known = put_back(session, self.asked, self.cells.values())
            if session.get(LeaseRow, self.owner) is None:
                session.add(_row(self.owner, self.experiment, self.since))
        self.lost = False
        return not is_known or len(known) < len(self.cells)

    def _lose(self) -> None:
        if not self.lost:
            self.lost = True
            self.on_loss()


@contextmanager
def held(
    registry: Registry,
    plan: Plan,
    *,
    join: bool = False,
    asked: Plan | None = None,
    forget: bool = True,
    say: Callable[[str], None] = lambda sentence: None,  # noqa: ARG005 - nobody listens
    watch: Watch | None = None,
    wait: Callable[[float], object] = time.sleep,
) -> Generator[Lease]:
    """A lease on a plan's experiment, recorded with it, and renewed as long as the context lasts.

    Args:
        registry: Where the plan is recorded.
        plan: What this launch is to carry out.
        join: Share the work with the launches that run it already.
        asked: All that the experiment asks, where this launch leaves out some of it.
        forget: Whether the experiment's other cells leave it.
        say: Shows a sentence while it has to be found out whether another launch lives.
        watch: Tells living launches from dead ones.
        wait: Waits for some seconds.

    Raises:
        RequestError: Another launch of it is under way.
    """
    watch = watch or Watch()
    take = partial(_take, registry, plan, asked or plan, watch, join=join, forget=forget)
    lease = take()
    if isinstance(lease, str):
        say(lease)
        while isinstance(lease, str):
            wait(LOOK)
            lease = take()
    ended = threading.Event()
    renewal = threading.Thread(target=_renewing, args=(lease, ended), daemon=True)
    renewal.start()
    how: Literal["ended", "stopped"] = "stopped"
    try:
        yield lease
        how = "ended"
    finally:
        ended.set()
        renewal.join()
        # Where the registry is away, the lease ends with this process, as others see.
        with suppress(UnreachableError), registry.writing() as session:
            _give_up(session, lease.owner)
            tell(session, how, f"The launch by {_who()} {how}.", experiment=lease.experiment)


def _renewing(lease: Lease, ended: threading.Event) -> None:
    while not ended.wait(RENEWAL):
        with suppress(UnreachableError):  # the database may come back in time
            lease.renew()


def _take(registry: Registry, plan: Plan, asked: Plan, watch: Watch, *, join: bool, forget: bool) -> Lease | str:
    """A lease; or a sentence, as long as nobody knows whether another launch lives.

    Raises:
        RequestError: Another launch lives.
    """
    since = datetime.now(UTC)
    experiment = plan.experiment.name
    with registry.writing() as session:
        watch.look(_leases(session))
        left = _bury(session, experiment, watch)
        left |= _abandon(session, select(AttemptRow.id).where(AttemptRow.owner.is_(None)))
        for other in _leases(session):
            if other.experiment == experiment and not join:
                return _met(other, watch)
        enrol(session, asked, forget=forget)
        owner = uuid.uuid4().hex
        session.add(_row(owner, experiment, since))
        failed = _failures(session)
        tell(session, "begun", f"A launch of {counted(len(plan), 'cell')} begins by {_who()}.", experiment=experiment)
    cells = {cell.id: cell for cell in (*asked.cells, *plan.cells)}
    return Lease(registry, owner, asked.experiment, since, watch, frozenset(left), failed, cells=cells)


def _met(other: LeaseRow, watch: Watch) -> str:
    launched = f"launched by process {other.pid} on {other.host} at {other.since:%Y-%m-%d %H:%M:%S} UTC"
    if watch.sign(other) == "alive":
        raise RequestError(
            f"Experiment '{other.experiment}' is under way: {launched}. "
            "Add --join to share its work, or wait until it ends."
        )
    return (
        f"Experiment '{other.experiment}' was {launched}. Whether that launch lives is known in at most "
        f"{EXPIRY:.0f} s; if it does not, this one goes on with its work."
    )


def _row(owner: str, experiment: str, since: datetime) -> LeaseRow:
    pid = os.getpid()
    machine = processes.machine()
    place = {"host": socket.gethostname(), "machine": machine, "pid": pid, "process": processes.began(pid)}
    return LeaseRow(owner=owner, experiment=experiment, since=since, seen=datetime.now(UTC), **place)


def _failures(session: Session) -> dict[str, int]:
    """The number of the last failed attempt at each cell that has failed."""
    last = select(AttemptRow.cell, func.max(AttemptRow.number)).join(CellRow, CellRow.id == AttemptRow.cell)
    failed = last.where(CellRow.state == "failed", AttemptRow.outcome == "failed").group_by(AttemptRow.cell)
    return {cell: number for cell, number in session.execute(failed)}  # noqa: C416 - `dict()` loses the types


def _last_failure(attempts: Iterable[AttemptRow]) -> int:
    return max((each.number for each in attempts if each.outcome == "failed"), default=0)


def under_way(registry: Registry, experiment: str) -> str | None:
    """Which launch of an experiment is alive, for people; None if none is."""
    with registry.reading() as session:
        alive = [lease for lease in _leases(session) if lease.experiment == experiment and not Watch().is_dead(lease)]
        return f"process {alive[0].pid} on {alive[0].host}" if alive else None


_LEASES = select(LeaseRow).order_by(LeaseRow.since)


def _leases(session: Session) -> Iterable[LeaseRow]:
    return session.scalars(_LEASES).all()


def _bury(session: Session, experiment: str, watch: Watch) -> set[str]:
    """End the leases of dead launches of an experiment; return the cells that these were running."""
    left: set[str] = set()
    for lease in _leases(session):
        if lease.experiment == experiment and watch.is_dead(lease):
            cells = _give_up(session, lease.owner)
            running = counted(len(cells), "cell")
            story = f"The launch by process {lease.pid} on {lease.host} is dead; it was running {running}."
            tell(session, "taken_over", story, experiment=lease.experiment)
            left |= cells
    return left


def _give_up(session: Session, owner: str) -> set[str]:
    """End a lease and the attempts made under it; return the cells of these."""
    left = _abandon(session, select(AttemptRow.id).where(AttemptRow.owner == owner))
    session.execute(delete(LeaseRow).where(LeaseRow.owner == owner))
    return left


def _who() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _abandon(session: Session, attempts: object) -> set[str]:
    """Close those of the attempts that are open, and plan their cells again."""
    closed = (
        update(AttemptRow)
        .where(AttemptRow.outcome == "running", AttemptRow.id.in_(attempts))  # pyright: ignore[reportArgumentType]
        .values(outcome="interrupted")
        .returning(AttemptRow.cell)
    )
    cells = set(session.scalars(closed))
    again = update(CellRow).where(CellRow.id.in_(cells), CellRow.state == "running")
    session.execute(again.values(state="planned", updated=datetime.now(UTC)))
    return cells
