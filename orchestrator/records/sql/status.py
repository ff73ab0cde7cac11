"""Where an experiment stands: questions to the registry, within a transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from statistics import fmean
from typing import TypeVar, get_args

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session, aliased

from orchestrator.experiment.plan import AT, original
from orchestrator.outcome import RESULTS
from orchestrator.records.sql import processes
from orchestrator.records.sql.events import SHOWN, Event, latest
from orchestrator.records.sql.schema import (
    ArtefactKind,
    ArtefactRow,
    AttemptRow,
    CellRow,
    CellState,
    Kind,
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
    epochs: int = 0
    """Epochs that it takes in all; 0 if the registry does not know."""


@dataclass(frozen=True)
class LaunchUnderWay:
    """A launch under way, or one whose process is gone."""

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
    dead: tuple[LaunchUnderWay, ...] = ()
    """Launches whose process on this machine is gone; what they were running counts as planned."""
    seconds_left: float | None = None
    """Until the cells that wait and run are done, at the pace so far; None if nothing runs, or nothing tells."""


@dataclass(frozen=True)
class TriedAttempt:
    """One attempt at a cell, as people ask for it."""

    cell: str
    name: str
    number: int
    node: str
    started: datetime
    seconds: float | None
    outcome: str
    error: str
    traceback: str


def pairs(session: Session, query: Select[Key, Value]) -> dict[Key, Value]:
    """The rows of a query of two columns, as a dictionary."""
    return {key: value for key, value in session.execute(query)}  # noqa: C416 - `dict()` loses the types


def of_experiment(session: Session, experiment: str, durations: Mapping[Kind, Sequence[float]]) -> Status:
    """Where an experiment stands.

    Args:
        session: A transaction.
        experiment: Its name.
        durations: Seconds that its finished cells took, by kind.
    """
    gone = {lease.owner: lease for lease in session.scalars(select(LeaseRow)) if _state(lease) == "gone"}
    under_way = list(running(session, experiment))
    alive = tuple(cell for owner, cell in under_way if owner not in gone)
    found = counts(session, experiment)
    left = sum(AT not in cell.cell for owner, cell in under_way if owner in gone)
    found |= {"running": found["running"] - left, "planned": found["planned"] + left}
    waiting = {**_waiting(session, experiment)}
    return Status(
        experiment,
        found,
        tuple(launches(session, experiment)),
        alive,
        tuple(failures(session, experiment)),
        tuple(latest(session, experiment, SHOWN)),
        tuple(documents(session, experiment)),
        replicas(session, experiment),
        dead=tuple(_launch(lease) for lease in gone.values() if lease.experiment == experiment),
        seconds_left=seconds_left(alive, waiting, durations, datetime.now(UTC)),
    )


def seconds_left(
    running: Collection[Running], waiting: Mapping[Kind, int], durations: Mapping[Kind, Sequence[float]], now: datetime
) -> float | None:
    """Seconds until cells are done, if as many run at once as now; None if nothing runs, or nothing tells.

    Args:
        running: The cells under way.
        waiting: How many cells of each kind wait.
        durations: Seconds that finished cells took, by kind.
        now: The time.
    """
    means = {kind: fmean(seconds) for kind, seconds in durations.items()}
    spent = {cell.cell: max(0.0, (now - cell.since).total_seconds()) for cell in running}
    paces = [spent[cell.cell] * cell.epochs / cell.progress for cell in running if cell.progress]
    if not running or not (means or paces):
        return None
    usual = fmean(means.values() or paces)
    work = sum(number * means.get(kind, usual) for kind, number in waiting.items())
    rest = [
        spent[cell.cell] * (cell.epochs / cell.progress - 1) if cell.progress else max(0.0, usual - spent[cell.cell])
        for cell in running
    ]
    return max(*rest, (work + sum(rest)) / len(running))


def _waiting(session: Session, experiment: str) -> dict[Kind, int]:
    """How many cells of each kind wait."""
    kind = (CellRow.loss, CellRow.backbone, CellRow.dataset)
    query = select(*kind, func.count()).join(MembershipRow).group_by(*kind)
    rows = session.execute(query.where(MembershipRow.experiment == experiment, CellRow.state == "planned"))
    return {(loss, backbone, dataset): number for loss, backbone, dataset, number in rows}


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


def running(session: Session, experiment: str) -> Iterator[tuple[str | None, Running]]:
    """The attempts under way, each with the launch that makes it."""
    found = list(_latest(session, experiment, "running"))
    asked = select(CellRow.id, CellRow.recipe).where(CellRow.id.in_([attempt.cell for _, attempt in found]))
    epochs = {cell: recipe.get("training", {}).get("epochs", 0) for cell, recipe in session.execute(asked)}
    for name, attempt in found:
        about = (attempt.cell, name, attempt.node, attempt.started, attempt.seen, attempt.progress or 0)
        yield attempt.owner, Running(*about, epochs.get(attempt.cell, 0))


def launches(session: Session, experiment: str) -> Iterator[LaunchUnderWay]:
    """The launches under way, oldest first, without those whose process on this machine is gone."""
    for lease in session.scalars(select(LeaseRow).where(LeaseRow.experiment == experiment).order_by(LeaseRow.since)):
        if _state(lease) != "gone":
            yield _launch(lease)


def _state(lease: LeaseRow) -> processes.State:
    return processes.state(lease.host, lease.machine, lease.pid, lease.process)


def _launch(lease: LeaseRow) -> LaunchUnderWay:
    return LaunchUnderWay(lease.host, lease.pid, lease.since, lease.seen)


def tried(session: Session, prefix: str, experiment: str | None = None) -> list[TriedAttempt]:
    """The attempts at the cells whose ids begin so, oldest first, named as in their experiment."""
    query = (
        select(MembershipRow, CellRow.seed, AttemptRow)
        .join(CellRow, CellRow.id == MembershipRow.cell)
        .join(AttemptRow, AttemptRow.cell == CellRow.id)
        .where(AttemptRow.cell.startswith(prefix, autoescape=True), MembershipRow.experiment == AttemptRow.experiment)
        .order_by(AttemptRow.cell, AttemptRow.number)
    )
    if experiment is not None:
        query = query.where(AttemptRow.experiment == experiment)
    return [
        TriedAttempt(
            attempt.cell,
            _name(member, seed),
            attempt.number,
            attempt.node,
            attempt.started,
            attempt.seconds,
            attempt.outcome,
            attempt.error or "",
            attempt.traceback or "",
        )
        for member, seed, attempt in session.execute(query)
    ]


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
        yield _name(member, seed), attempt


def _name(member: MembershipRow, seed: int) -> str:
    name = f"{member.loss}/{member.backbone}/{member.dataset}/s{seed}"
    return name + member.cell.removeprefix(original(member.cell))


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
