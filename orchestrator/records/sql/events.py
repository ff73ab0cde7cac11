"""What happened to an experiment and its cells, as sentences for people.

An event is a row more in the transaction that notes the same for programs: it is there if
and only if what it tells of is, and costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from orchestrator.outcome import RESULTS
from orchestrator.privacy import public
from orchestrator.records.sql.schema import AttemptRow, EventKind, EventRow, Row
from orchestrator.sentences import counted

SHOWN = 10
"""Of an experiment's events, how many a status has."""

ROUTINE: frozenset[EventKind] = frozenset({"started", *RESULTS, "failed"})
"""What the numbers of a status say as well."""


_ADDED = insert(Row.metadata.tables[EventRow.__tablename__])


@dataclass(frozen=True)
class Event:
    """Something that happened, to a cell or to the experiment as a whole."""

    time: datetime
    kind: EventKind
    cell: str | None
    sentence: str


def tell(
    session: Session, kind: EventKind, sentence: str, *, experiment: str | None = None, cell: str | None = None
) -> None:
    """Add an event to what a transaction does."""
    # Past the session, whose objects cost as much again, and which nobody asks for.
    row = {"time": datetime.now(UTC), "experiment": experiment, "cell": cell, "kind": kind}
    session.connection().execute(_ADDED, {**row, "sentence": storable(sentence)})


def latest(session: Session, experiment: str, most: int) -> list[Event]:
    """The last events of an experiment, oldest first."""
    query = select(EventRow).where(EventRow.experiment == experiment).order_by(EventRow.id.desc()).limit(most)
    rows = reversed(session.scalars(query).all())
    return [Event(row.time, row.kind, row.cell, row.sentence) for row in rows]


def beginning(name: str, attempt: AttemptRow) -> tuple[EventKind, str]:
    """What to tell of an attempt that begins, at the cell of this name."""
    if attempt.number == 1:
        return "started", f"{name} begins on {attempt.node}."
    return "retried", f"{name} begins on {attempt.node}, attempt {attempt.number}."


def ending(name: str, attempt: AttemptRow) -> tuple[EventKind, str]:
    """What to tell of an attempt that is closed, at the cell of this name."""
    where = f"{name}, attempt {attempt.number} on {attempt.node},"
    match attempt.outcome:
        case "diverged":
            return "diverged", f"{where} diverged in epoch {attempt.epoch}."
        case "collapsed":
            return "collapsed", f"{where} collapsed after {attempt.seconds or 0:.1f} s: {attempt.error}."
        case "failed":
            return "failed", f"{where} failed: {attempt.error}"
        case "lost":
            return "lost", f"{where} was lost ({attempt.fault}) and is to be tried again: {attempt.error}"
        case "interrupted":
            return "interrupted", f"{where} was stopped."
        case _:
            return "finished", f"{where} finished after {attempt.seconds or 0:.1f} s."


def adopted(states: Iterable[str], number: int) -> str:
    """The sentence where the states of several cells were set as files say."""
    if set(states) == {"planned"}:
        verb = "that has no file is" if number == 1 else "that have no file are"
        return f"{counted(number, 'cell')} {verb} planned again."
    return f"{counted(number, 'cell')} {'is done by its file' if number == 1 else 'are done by their files'}."


def storable(text: str) -> str:
    """The text without what a database refuses (NUL, halves of surrogate pairs), and without passwords."""
    return public(text.encode("utf-8", "backslashreplace").decode("utf-8"))
