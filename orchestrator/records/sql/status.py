"""Where an experiment stands: questions to the registry, within a transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TypeVar, get_args

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session, aliased

from orchestrator.experiment.plan import AT, original
from orchestrator.outcome import RESULTS
from orchestrator.records.sql import processes
from orchestrator.records.sql.events import Event
from orchestrator.records.sql.schema import (
    ArtefactKind,
    ArtefactRow,
    AttemptRow,
    CellRow,
    CellState,
    LeaseRow,
    MembershipRow,
)

Key = TypeVar("Key")


Value = TypeVar("Value")


@dataclass(frozen=True)
class Running:
    """A cell under way, named as in its experiment."""

    cell: str
    name: str
    node: str
    since: datetime
    seen: datetime | None
    """The last heartbeat."""
    progress: int
    """Epochs it has done."""


@dataclass(frozen=True)
class LaunchUnderWay:
    """A launch under way."""

    host: str
    pid: int
    since: datetime
    seen: datetime


@dataclass(frozen=True)
class Failure:
    """A cell whose latest attempt failed, named as in its experiment."""

    cell: str
    name: str
    error: str
    traceback: str
    when: datetime


@dataclass(frozen=True)
class Artefact:
    """One thing that a cell or an experiment left; a cell's file has no experiment, because any may share it.

    `sha256` is absent where it is not worth reading for: a cell's file has checksums of its own.
    """

    uri: str
    """`file:///…` or `s3://…`, and for a run MLflow's `runs:/ID`."""
    kind: ArtefactKind
    cell: str | None = None
    experiment: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    created: datetime | None = None


@dataclass(frozen=True)
class Status:
    """Where an experiment stands; `counts` has every state."""

    experiment: str
    counts: Mapping[CellState, int]
    launches: tuple[LaunchUnderWay, ...]
    running: tuple[Running, ...]
    failures: tuple[Failure, ...]
    events: tuple[Event, ...]
    """The last of them, oldest first."""
    documents: tuple[Artefact, ...]
    """What the experiment as a whole has left."""
    replicas: int = 0
    """Cells that were trained again so that pairs meet in one environment; they are in no count."""


def pairs(session: Session, query: Select[Key, Value]) -> dict[Key, Value]:
    """The rows of a query of two columns, as a dictionary."""
    return {key: value for key, value in session.execute(query)}  # noqa: C416 - `dict()` loses the types


def counts(session: Session, experiment: str) -> dict[CellState, int]:
    """How many cells of an experiment are in each state, replicas apart."""
    query = (
        select(CellRow.state, func.count())
        .join(MembershipRow)
        .where(MembershipRow.experiment == experiment, ~CellRow.id.contains(AT))
        .group_by(CellRow.state)
    )
    counted = pairs(session, query)
    return {state: counted.get(state, 0) for state in get_args(CellState)}


def replicas(session: Session, experiment: str) -> int:
    """How many replicas of an experiment are done."""
    done = CellRow.id.contains(AT) & CellRow.state.in_(RESULTS)
    query = select(func.count()).select_from(CellRow).join(MembershipRow)
    return session.scalar(query.where(MembershipRow.experiment == experiment, done)) or 0


def running(session: Session, experiment: str) -> Iterator[Running]:
    """The attempts under way."""
    for name, attempt in _latest(session, experiment, "running"):
        yield Running(attempt.cell, name, attempt.node, attempt.started, attempt.seen, attempt.progress or 0)


def launches(session: Session, experiment: str) -> Iterator[LaunchUnderWay]:
    """The launches under way, oldest first, without those whose process on this machine is gone."""
    for lease in session.scalars(select(LeaseRow).where(LeaseRow.experiment == experiment).order_by(LeaseRow.since)):
        if processes.state(lease.host, lease.machine, lease.pid, lease.process) == "gone":
            continue
        yield LaunchUnderWay(lease.host, lease.pid, lease.since, lease.seen)


def failures(session: Session, experiment: str) -> list[Failure]:
    """The cells whose latest attempt failed."""
    return [
        Failure(
            attempt.cell,
            name,
            attempt.error or "",
            attempt.traceback or "",
            attempt.started + timedelta(seconds=attempt.seconds or 0),
        )
        for name, attempt in _latest(session, experiment, "failed")
    ]


def _latest(session: Session, experiment: str, state: CellState) -> Iterator[tuple[str, AttemptRow]]:
    """The cells in a state, by name, with the latest attempt that ended, or is, in it."""
    other = aliased(AttemptRow)
    latest = select(func.max(other.number)).where(other.cell == AttemptRow.cell, other.outcome == state)
    query = (
        select(MembershipRow, CellRow.seed, AttemptRow)
        .join(CellRow, CellRow.id == MembershipRow.cell)
        .join(AttemptRow, AttemptRow.cell == CellRow.id)
        .where(MembershipRow.experiment == experiment, CellRow.state == state)
        .where(AttemptRow.outcome == state, AttemptRow.number == latest.scalar_subquery())
        .order_by(MembershipRow.loss, MembershipRow.backbone, MembershipRow.dataset, CellRow.seed, CellRow.id)
    )
    for member, seed, attempt in session.execute(query):
        name = f"{member.loss}/{member.backbone}/{member.dataset}/s{seed}"
        yield name + member.cell.removeprefix(original(member.cell)), attempt


def artefacts(session: Session, experiment: str) -> list[Artefact]:
    """What an experiment and its cells have left."""
    members = select(MembershipRow.cell).where(MembershipRow.experiment == experiment)
    shared = ArtefactRow.experiment.is_(None) & ArtefactRow.cell.in_(members)
    return _read_artefacts(session, (ArtefactRow.experiment == experiment) | shared)


def documents(session: Session, experiment: str) -> list[Artefact]:
    """What an experiment as a whole has left."""
    return _read_artefacts(session, (ArtefactRow.experiment == experiment) & ArtefactRow.cell.is_(None))


def _read_artefacts(session: Session, which: ColumnElement[bool]) -> list[Artefact]:
    columns = [getattr(ArtefactRow, field.name) for field in fields(Artefact)]
    return [Artefact(*row) for row in session.execute(select(*columns).where(which).order_by(ArtefactRow.uri))]
