"""The registry's tables: an index of cells, of every attempt to run one, of what was left, and of what happened.

Nothing here is the truth about a result; the Parquet files are. States and outcomes
are checked by the type checker and not by the database, because SQLite cannot alter a
CHECK without rebuilding the table and whatever refers to it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

from sqlalchemy import (
    CHAR,
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from orchestrator.outcome import Result

CellState = Literal["planned", "running", Result, "failed"]
AttemptOutcome = Literal["running", Result, "failed", "interrupted", "lost"]
EventKind = Literal[
    "begun",
    "ended",
    "stopped",
    "taken_over",
    "adopted",
    "rebuilt",
    "added",
    "taken_back",
    "started",
    "retried",
    Result,
    "failed",
    "lost",
    "interrupted",
]
"""The first eight are of launches and files, the others of a cell."""
ArtefactKind = Literal["evaluation", "validation", "run", "table", "report", "additions"]


class Moment(TypeDecorator[datetime]):
    """An instant in UTC. SQLite stores no time zone, so it is taken off and put back here."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The instant in UTC, as the database stores it."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The instant with its time zone."""
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


class Row(DeclarativeBase):
    """A row of any table."""

    metadata = MetaData(
        # Constraints need names for a migration to alter them; these are Alembic's recommended ones.
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: Moment(),
        dict[str, Any]: JSON(),
        CellState: String(),
        AttemptOutcome: String(),
        EventKind: String(),
        ArtefactKind: String(),
    }


Kind = tuple[str, str, str]
"""Loss, backbone and dataset under the catalogue's names (`Plugin.key`)."""

CellId = Annotated[str, mapped_column(String(80))]
"""64 digits; of a replica, `@` and the environment behind them."""
Digest = Annotated[str, mapped_column(CHAR(64))]
LongText = Annotated[str, mapped_column(Text())]


class ExperimentRow(Row):
    """An experiment as it was last launched, and the claims it was first launched with."""

    __tablename__ = "experiments"

    name: Mapped[str] = mapped_column(primary_key=True)
    question: Mapped[LongText]
    claims_hash: Mapped[Digest]
    """SHA-256 of the claims at the first launch: whether they were stated before the results."""
    document: Mapped[dict[str, Any]]
    first_launched: Mapped[datetime]


class CellRow(Row):
    """A cell, whichever experiments share it, under the catalogue's names."""

    __tablename__ = "cells"

    id: Mapped[CellId] = mapped_column(primary_key=True)
    loss: Mapped[str]
    backbone: Mapped[str]
    dataset: Mapped[str]
    seed: Mapped[int] = mapped_column(BigInteger)
    recipe: Mapped[dict[str, Any]]
    state: Mapped[CellState]
    updated: Mapped[datetime]


class MembershipRow(Row):
    """A cell of an experiment, under the labels of that experiment."""

    __tablename__ = "experiment_cells"

    experiment: Mapped[str] = mapped_column(ForeignKey("experiments.name"), primary_key=True)
    cell: Mapped[CellId] = mapped_column(ForeignKey("cells.id"), primary_key=True)
    loss: Mapped[str]
    backbone: Mapped[str]
    dataset: Mapped[str]


class LeaseRow(Row):
    """A launch under way; its driver renews it, so that a dead one's expires by itself."""

    __tablename__ = "leases"

    owner: Mapped[str] = mapped_column(CHAR(32), primary_key=True)
    experiment: Mapped[str] = mapped_column(ForeignKey("experiments.name"))
    host: Mapped[str]
    machine: Mapped[str]
    """What tells whether a process id seen here means the same there."""
    pid: Mapped[int]
    process: Mapped[str]
    """When the process began, which tells it from a later one with its id."""
    since: Mapped[datetime]
    seen: Mapped[datetime]


class AttemptRow(Row):
    """One run of one cell; kept for good, whatever came of it."""

    __tablename__ = "attempts"
    __table_args__ = (
        UniqueConstraint("cell", "number"),
        # Asked of every launch (what did a dead driver leave?) and of every estimate (what has finished?).
        Index(None, "outcome", "experiment"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    cell: Mapped[CellId] = mapped_column(ForeignKey("cells.id"))
    experiment: Mapped[str] = mapped_column(ForeignKey("experiments.name"))
    number: Mapped[int]
    """1 for the cell's first attempt, whichever experiment made it."""
    node: Mapped[str]
    started: Mapped[datetime]
    seconds: Mapped[float | None]
    outcome: Mapped[AttemptOutcome]
    epoch: Mapped[int | None]
    """Where it diverged."""
    owner: Mapped[str | None] = mapped_column(CHAR(32))
    """The launch that made it."""
    seen: Mapped[datetime | None]
    """The last heartbeat."""
    progress: Mapped[int | None]
    """Epochs it has done."""
    fault: Mapped[str | None]
    """Which fault of the machinery ended it (`outcome.Fault`)."""
    error: Mapped[LongText | None]
    """Why it failed, was lost or collapsed."""
    traceback: Mapped[LongText | None]


class EventRow(Row):
    """Something that happened, as a sentence for people; rows are only ever added."""

    __tablename__ = "events"
    # Asked of every status: what happened last?
    __table_args__ = (Index(None, "experiment", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    time: Mapped[datetime]
    experiment: Mapped[str | None] = mapped_column(ForeignKey("experiments.name"))
    cell: Mapped[CellId | None] = mapped_column(ForeignKey("cells.id"))
    kind: Mapped[EventKind]
    sentence: Mapped[LongText]


class ArtefactRow(Row):
    """Something that a cell or an experiment left, and where it was when it was last looked for."""

    __tablename__ = "artefacts"

    uri: Mapped[LongText] = mapped_column(primary_key=True)
    kind: Mapped[ArtefactKind]
    cell: Mapped[CellId | None] = mapped_column(ForeignKey("cells.id"), index=True)
    experiment: Mapped[str | None] = mapped_column(ForeignKey("experiments.name"), index=True)
    """Absent where it is the cell's, whichever experiments share it."""
    sha256: Mapped[str | None] = mapped_column(CHAR(64))
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    created: Mapped[datetime | None]
