"""Leases: which launch is alive, and which cells it may run.

A launch holds a lease on its experiment and renews it while it lives. A cell is claimed
before it runs, by opening an attempt at it, so that no two launches — of one experiment or
of two that share cells — ever run it at once. What a dead launch has left is taken over.
"""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from orchestrator.errors import RequestError, UnreachableError
from orchestrator.experiment.plan import Cell, Plan
from orchestrator.outcome import Result, is_done
from orchestrator.records.sql.changes import enrol, locked, new_attempt, set_state
from orchestrator.records.sql.events import tell
from orchestrator.records.sql.registry import Registry
from orchestrator.records.sql.schema import AttemptRow, CellRow, LeaseRow

EXPIRY = timedelta(seconds=60)
"""Time without renewal after which a launch on another machine counts as dead."""

RENEWAL = 10.0
"""Seconds between two renewals."""

Claim = Literal["mine", "taken", Result, "failed"]
"""Whether this launch may run a cell, another one is running it, or what came of it there."""


@dataclass
class Lease:
    """This launch's right to run cells of an experiment."""

    registry: Registry
    owner: str
    experiment: str
    since: datetime
    left: frozenset[str] = frozenset()
    """Cells, by id, of which a dead launch had been running an attempt."""
    lost: bool = False
    """Whether it expired, because this process stood still for long: others may have taken over."""

    def claim(self, cell: Cell) -> Claim:
        """Ask for a cell; if it is ours, an attempt at it is open from now on."""
        if self.lost:
            return "taken"
        with self.registry.writing() as session:
            row = locked(session, cell.id)
            if is_done(row.state):
                return row.state
            if row.state == "failed" and row.updated > self.since:
                return "failed"
            running = select(AttemptRow).where(AttemptRow.cell == cell.id, AttemptRow.outcome == "running")
            alive = {lease.owner for lease in _leases(session) if not _is_dead(lease)}
            for attempt in session.scalars(running):
                if attempt.owner in alive - {self.owner}:
                    return "taken"
                attempt.outcome = "interrupted"
                story = f"{cell.name} was left running by a launch that is dead."
                tell(session, "taken_over", story, experiment=self.experiment, cell=cell.id)
            attempt = new_attempt(session, cell.id, self.experiment)
            attempt.owner = self.owner
            attempt.node = ""
            attempt.started = datetime.now(UTC)
            set_state(row, "running")
            return "mine"

    def others(self) -> dict[str, str]:
        """The cells that other launches are running, by id, and each one's machine; one on its way has its launch's."""
        asked = select(AttemptRow).where(AttemptRow.outcome == "running", AttemptRow.owner != self.owner)
        with self.registry.reading() as session:
            hosts = {lease.owner: lease.host for lease in _leases(session) if not _is_dead(lease)}
            running = [each for each in session.scalars(asked) if each.owner in hosts]
            return {attempt.cell: attempt.node or hosts[attempt.owner or ""] for attempt in running}

    def renew(self) -> None:
        """Show that this launch lives."""
        mine = update(LeaseRow).where(LeaseRow.owner == self.owner).values(seen=datetime.now(UTC))
        with self.registry.writing() as session:
            self.lost = not session.scalars(mine.returning(LeaseRow.owner)).all()


@contextmanager
def held(
    registry: Registry, plan: Plan, *, join: bool = False, asked: Plan | None = None, forget: bool = True
) -> Generator[Lease]:
    """A lease on a plan's experiment, recorded with it, and renewed as long as the context lasts.

    Args:
        registry: Where the plan is recorded.
        plan: What this launch is to carry out.
        join: Share the work with the launches that run it already.
        asked: All that the experiment asks, where this launch leaves out some of it.
        forget: Whether the experiment's other cells leave it.

    Raises:
        RequestError: Another launch of it is under way.
    """
    lease = _take(registry, plan, asked or plan, join=join, forget=forget)
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
        with registry.writing() as session:
            _bury(session)
            _give_up(session, lease.owner)
            tell(session, how, f"The launch by {_who()} {how}.", experiment=lease.experiment)


def _renewing(lease: Lease, ended: threading.Event) -> None:
    while not ended.wait(RENEWAL):
        with suppress(UnreachableError):  # the database may come back in time
            lease.renew()


def _take(registry: Registry, plan: Plan, asked: Plan, *, join: bool, forget: bool) -> Lease:
    now = datetime.now(UTC)
    experiment = plan.experiment.name
    with registry.writing() as session:
        left = _bury(session)
        left |= _abandon(session, select(AttemptRow.id).where(AttemptRow.owner.is_(None)))
        for lease in _leases(session):
            if lease.experiment == experiment and not join:
                raise RequestError(
                    f"Experiment '{experiment}' is under way: launched by process {lease.pid} on {lease.host} at "
                    f"{lease.since:%Y-%m-%d %H:%M:%S} UTC, last heartbeat {(now - lease.seen).seconds} s ago. "
                    f"Add --join to share its work; if that launch is dead, its lease expires after {EXPIRY.seconds} s."
                )
        enrol(session, asked, forget=forget)
        owner = uuid.uuid4().hex
        pid = os.getpid()
        place = {"host": socket.gethostname(), "machine": _machine(), "pid": pid, "process": _began(pid)}
        session.add(LeaseRow(owner=owner, experiment=experiment, since=now, seen=now, **place))
        tell(session, "begun", f"A launch of {len(plan)} cells begins by {_who()}.", experiment=experiment)
    return Lease(registry, owner, experiment, now, frozenset(left))


def under_way(registry: Registry, experiment: str) -> str | None:
    """Which launch of an experiment is alive, for people; None if none is."""
    with registry.reading() as session:
        alive = [lease for lease in _leases(session) if lease.experiment == experiment and not _is_dead(lease)]
        return f"process {alive[0].pid} on {alive[0].host}" if alive else None


def _leases(session: Session) -> Iterable[LeaseRow]:
    return session.scalars(select(LeaseRow).order_by(LeaseRow.since)).all()


def _bury(session: Session) -> set[str]:
    """End the leases of dead launches; return the cells that these were running."""
    left: set[str] = set()
    for lease in _leases(session):
        if _is_dead(lease):
            cells = _give_up(session, lease.owner)
            story = f"The launch by process {lease.pid} on {lease.host} is dead; it was running {len(cells)} cells."
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


def _is_dead(lease: LeaseRow) -> bool:
    """Whether the launch is known to be dead, or its last heartbeat is too old."""
    if lease.machine == _machine() and lease.host == socket.gethostname() and _began(lease.pid) != lease.process:
        return True
    return datetime.now(UTC) - lease.seen > EXPIRY


def _machine() -> str:
    """The running system and its process numbering, in which a process id means something."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return str(uuid.getnode())


def _began(pid: int) -> str:
    """When a process began, in whatever unit; empty if there is none of that id."""
    try:
        # After the name, which may hold anything, the start time is the twentieth field.
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except OSError:
        pass
    if Path("/proc/self/stat").exists():
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        return "?"
    return "?"
