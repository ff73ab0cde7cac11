"""The registry: an index, in SQL, of what was planned, what runs and what came of it.

SQLite serves one machine and PostgreSQL a team, through the same code. Only the driver
writes here, in short transactions. What it says of a result is a copy: the Parquet files
are the truth, and the registry can be rebuilt from them.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, get_args

from sqlalchemy import (
    ColumnElement,
    Engine,
    Select,
    bindparam,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session, aliased

from orchestrator.experiment.plan import AT, original
from orchestrator.outcome import (
    RESULTS,
    Collapsed,
    Diverged,
    Ending,
    Failed,
    Finished,
    Lost,
    Result,
    Stopped,
    has_figures,
    is_done,
)
from orchestrator.records.sql import database, events
from orchestrator.records.sql.events import Event, storable, tell
from orchestrator.records.sql.migrations import bring_to_head, revision_of
from orchestrator.records.sql.schema import (
    ArtefactKind,
    ArtefactRow,
    AttemptRow,
    CellRow,
    CellState,
    EventKind,
    ExperimentRow,
    LeaseRow,
    MembershipRow,
    Row,
)

if TYPE_CHECKING:
    from types import TracebackType

    from orchestrator.experiment.model import Experiment
    from orchestrator.experiment.plan import Cell, Plan

_BATCH = 10_000
"""Parameters a statement: SQLite takes 32 766, PostgreSQL 65 535."""

Key = TypeVar("Key")
Value = TypeVar("Value")

Kind = tuple[str, str, str]
"""Loss, backbone and dataset under the catalogue's names (`Plugin.key`)."""


@dataclass(frozen=True)
class Running:
    """A cell under way, named as in its experiment."""

    cell: str
    name: str
    node: str
    since: datetime
    seen: datetime | None
    """When it was last heard of."""
    progress: int
    """Epochs it has done."""


@dataclass(frozen=True)
class Launch:
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
    launches: tuple[Launch, ...]
    running: tuple[Running, ...]
    failures: tuple[Failure, ...]
    events: tuple[Event, ...]
    """The last of them, oldest first."""
    documents: tuple[Artefact, ...]
    """What the experiment as a whole has left."""
    replicas: int = 0
    """Cells that were trained again so that pairs meet in one environment; they are in no count."""


class Registry:
    """An open registry; close it, or use it as a context manager."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(writes=True)

    @classmethod
    def open(cls, url: str) -> Self:
        """Connect, and bring the schema up to date.

        Args:
            url: `sqlite:///FILE` (created if absent, its folder not) or `postgresql://USER:PASSWORD@HOST/DATABASE`.

        Raises:
            UnreachableError: The URL is malformed, its driver is missing, or the database does not answer.
            WorkspaceError: The schema is newer than this version knows.
        """
        address = database.address(url)
        engine = database.engine(address)
        try:
            with database.answering(address, DBAPIError):
                bring_to_head(engine)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine)

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def plan(self, plan: Plan) -> None:
        """Record an experiment and its cells; cells that are known keep their state.

        The experiment's cells become those of this plan: a cell that is no longer asked for
        leaves the experiment but stays in the registry, with its attempts. The claims' hash
        stays that of the first launch.
        """
        with self.writing() as session:
            enrol(session, plan)

    def join(self, experiment: str, cells: Iterable[Cell]) -> None:
        """Record further cells of an experiment that is known, beside those that it has."""
        with self.writing() as session:
            fresh = sorted(cells, key=lambda cell: cell.id)
            _add_cells(session, {cell.id: cell.recipe.model_dump(mode="json") for cell in fresh})
            _add_members(session, experiment, fresh)

    def started(self, cell: Cell, experiment: str, *, node: str, started: float) -> None:
        """An attempt at a planned cell begins: the one opened by its claim, or else a new one.

        Args:
            cell: The cell, which is running from now on.
            experiment: On whose behalf.
            node: Where it runs.
            started: Seconds since 1970, UTC.
        """
        with self.writing() as session:
            row = locked(session, cell.id)
            attempt = _open_attempt(session, cell.id, experiment)
            if attempt is None or attempt.node:
                if attempt is not None:  # whoever made it did not live to tell its end
                    attempt.outcome = "interrupted"
                    session.flush()
                attempt = new_attempt(session, cell.id, experiment)
            attempt.node = node
            attempt.started = _moment(started)
            attempt.seen = _now()
            set_state(row, "running")
            tell(session, *events.beginning(cell.name, attempt), experiment=experiment, cell=cell.id)

    def alive(self, cell: Cell, experiment: str, progress: int | None = None) -> None:
        """Note that the open attempt at a cell was heard of, and how many epochs it has done."""
        with self.writing() as session:
            if attempt := _open_attempt(session, cell.id, experiment):
                attempt.seen = _now()
                attempt.progress = attempt.progress if progress is None else progress

    def record(self, ending: Ending, experiment: str) -> None:
        """Close the open attempt at a planned cell, or add one already closed, and set the cell's state."""
        with self.writing() as session:
            attempt = _record(session, ending, experiment)
            tell(session, *events.ending(ending.cell.name, attempt), experiment=experiment, cell=ending.cell.id)

    def restore(self, outcome: Finished | Collapsed | Diverged, experiment: str) -> bool:
        """Record what a planned cell's file tells of it, unless an attempt with that end is known already.

        Returns:
            Whether it was news.
        """
        ended = _result(outcome)
        known = select(AttemptRow.id).where(AttemptRow.cell == outcome.cell.id, AttemptRow.outcome == ended)
        with self.writing() as session:
            if session.scalars(known.limit(1)).first() is None:
                _record(session, outcome, experiment)
                return True
            _adopt(session, {outcome.cell.id: ended})
            return False

    def cut_short(self, experiment: str) -> set[str]:
        """The cells, by id, whose last attempt is known to have ended with its launch, and no more."""
        later = aliased(AttemptRow)
        query = select(AttemptRow.cell).where(
            AttemptRow.outcome == "interrupted",
            AttemptRow.experiment == experiment,
            ~select(later.id).where(later.cell == AttemptRow.cell, later.number > AttemptRow.number).exists(),
        )
        with self.reading() as session:
            return set(session.scalars(query))

    def keep(self, cell: str, recipe: Mapping[str, Any], state: Result) -> None:
        """Make sure that a cell is known, and in this state, whether or not an experiment asks for it.

        Args:
            cell: Its id.
            recipe: The recipe as JSON, from the cell's file.
            state: What its file tells.
        """
        with self.writing() as session:
            _add_cells(session, {cell: recipe})
            _adopt(session, {cell: state})

    def adopt(self, states: Mapping[str, Literal[Result, "planned"]], experiment: str | None = None) -> None:
        """Set the states of cells by id, as files or the lack of one tell them; unknown cells are passed over.

        Args:
            states: By id.
            experiment: In whose story it is told, if anything was to be set.
        """
        with self.writing() as session:
            if changed := _adopt(session, states):
                tell(session, "adopted", events.adopted(states.values(), changed), experiment=experiment)

    def tell(self, kind: EventKind, sentence: str, experiment: str) -> None:
        """Add to an experiment's story what is noted nowhere else."""
        with self.writing() as session:
            tell(session, kind, sentence, experiment=experiment)

    def left(self, artefacts: Iterable[Artefact], *, all_of: str | None = None) -> None:
        """Note what was left by experiments and cells that are known, and where.

        Args:
            artefacts: Any; one that is known is brought up to date.
            all_of: The experiment of which these are all: what else it had left is forgotten.
        """
        found = {artefact.uri: artefact for artefact in artefacts}
        with self.writing() as session:
            known = {artefact.uri: artefact for artefact in _artefacts(session, all_of)} if all_of else {}
            # In one order for all drivers, as with cells.
            changed = [vars(artefact) for uri, artefact in sorted(found.items()) if known.get(uri) != artefact]
            if changed:
                session.connection().execute(_upsert_artefacts(session), changed)
            if gone := sorted(known.keys() - found.keys()):
                table = Row.metadata.tables["artefacts"]
                forget = delete(table).where(table.c.uri == bindparam("gone"))
                session.connection().execute(forget, [{"gone": uri} for uri in gone])

    def artefacts(self, experiment: str) -> list[Artefact]:
        """What an experiment and its cells have left."""
        with self.reading() as session:
            return _artefacts(session, experiment)

    def events(self, experiment: str, most: int = events.SHOWN) -> list[Event]:
        """The last events of an experiment, oldest first."""
        with self.reading() as session:
            return events.latest(session, experiment, most)

    def experiments(self) -> list[str]:
        """The names of all experiments, in the order of their first launch."""
        with self.reading() as session:
            return list(session.scalars(select(ExperimentRow.name).order_by(ExperimentRow.first_launched)))

    def document(self, experiment: str) -> dict[str, Any] | None:
        """What was asked when an experiment was last launched, as JSON; None of one that is not known."""
        with self.reading() as session:
            return session.scalar(select(ExperimentRow.document).where(ExperimentRow.name == experiment))

    def states(self, experiment: str) -> dict[str, CellState]:
        """The state of each cell of an experiment, by id."""
        query = select(CellRow.id, CellRow.state).join(MembershipRow)
        with self.reading() as session:
            return _pairs(session, query.where(MembershipRow.experiment == experiment))

    def states_of(self, cells: Collection[str]) -> dict[str, CellState]:
        """The state of each of these cells that the registry knows, by id."""
        ids = list(cells)
        states: dict[str, CellState] = {}
        with self.reading() as session:
            for start in range(0, len(ids), _BATCH):
                query = select(CellRow.id, CellRow.state).where(CellRow.id.in_(ids[start : start + _BATCH]))
                states.update(_pairs(session, query))
        return states

    def failures(self, experiment: str) -> list[Failure]:
        """The cells of an experiment that failed, with the reason of the latest failure, by name."""
        with self.reading() as session:
            return _failures(session, experiment)

    def durations(self, experiment: str | None = None) -> dict[Kind, list[float]]:
        """Seconds of each attempt that trained a model to its end by loss, backbone and dataset, oldest first.

        Args:
            experiment: Only attempts at this experiment's cells, whichever experiment made them.
                Without it, recipes of every length are mixed.
        """
        query = (
            select(CellRow.loss, CellRow.backbone, CellRow.dataset, AttemptRow.seconds)
            .join(AttemptRow, AttemptRow.cell == CellRow.id)
            .where(AttemptRow.outcome.in_(filter(has_figures, RESULTS)))
            .order_by(AttemptRow.id)
        )
        if experiment is not None:
            query = query.join(MembershipRow).where(MembershipRow.experiment == experiment)
        measured: defaultdict[Kind, list[float]] = defaultdict(list)
        with self.reading() as session:
            for loss, backbone, dataset, seconds in session.execute(query):
                measured[loss, backbone, dataset].append(seconds or 0)
        return dict(measured)

    def status(self, experiment: str) -> Status:
        """How many cells are in which state, what is running and what failed."""
        with self.reading() as session:
            return Status(
                experiment,
                _counts(session, experiment),
                tuple(_launches(session, experiment)),
                tuple(_running(session, experiment)),
                tuple(_failures(session, experiment)),
                tuple(events.latest(session, experiment, events.SHOWN)),
                tuple(_documents(session, experiment)),
                _replicas(session, experiment),
            )

    @contextmanager
    def writing(self) -> Generator[Session]:
        """A transaction that may change rows."""
        answering = database.answering(self._engine.url, OperationalError)
        with answering, Session(self._writer) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Generator[Session]:
        """A transaction that only asks."""
        with database.answering(self._engine.url, OperationalError), Session(self._engine) as session:
            yield session


def schema(url: str) -> tuple[str, str | None]:
    """The registry as messages may show it, and its schema's revision; None where no registry is yet.

    Unlike opening it, asking creates and migrates nothing.

    Raises:
        UnreachableError: As `Registry.open` does.
    """
    address = database.address(url)
    if database.is_absent(address):
        return database.shown(address), None
    engine = database.engine(address)
    try:
        with database.answering(address, DBAPIError), engine.connect() as connection:
            return database.shown(address), revision_of(connection)
    finally:
        engine.dispose()


def _insert(session: Session, table: str) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that can resolve conflicts, which each dialect offers by itself and in the same words."""
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    return dialect.insert(Row.metadata.tables[table])


def _register(session: Session, experiment: Experiment) -> None:
    document = experiment.model_dump(mode="json")
    row = {
        "name": experiment.name,
        "question": experiment.question,
        "claims_hash": _stated(document),
        "document": document,
        "first_launched": _now(),
    }
    insertion = _insert(session, "experiments").values(row)
    edited = {name: insertion.excluded[name] for name in ("question", "document")}
    session.execute(insertion.on_conflict_do_update(index_elements=["name"], set_=edited))


def _stated(document: Mapping[str, Any]) -> str:
    """The hash of what must be stated before results: the claims, and the rule by which seeds are added."""
    claims = _said(document.get("claims"))
    seeds = document.get("seeds")
    return _digest([claims, seeds] if isinstance(seeds, Mapping) else claims)


def _said(content: Any) -> Any:
    """The content without what is not given, so that a field added to claims later changes no old hash."""
    if isinstance(content, Mapping):
        said = {name: _said(value) for name, value in content.items() if value is not None}
        return {name: value for name, value in said.items() if name != "expect" and LATER.get(name) != value}
    return [_said(value) for value in content] if isinstance(content, list) else content


LATER: Mapping[str, object] = {"over": "each", "population": False, "family": "primary"}
"""Fields that claims got when there were hashes already, at their defaults."""


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def enrol(session: Session, plan: Plan) -> None:
    """What `Registry.plan` does, within a transaction."""
    _register(session, plan.experiment)
    experiment = plan.experiment.name
    known = _labels(session, experiment)
    wanted = {cell.id: cell for cell in plan.cells}
    # In one order for all drivers, lest two on PostgreSQL wait for each other's rows.
    fresh = [cell for _, cell in sorted(wanted.items()) if known.get(cell.id) != _label(cell)]
    gone = sorted(known.keys() - wanted.keys())
    if fresh:
        _add_cells(session, {cell.id: cell.recipe.model_dump(mode="json") for cell in fresh})
        _add_members(session, experiment, fresh)
    if gone:
        members = Row.metadata.tables["experiment_cells"]
        leave = delete(members).where(members.c.experiment == experiment, members.c.cell == bindparam("gone"))
        session.connection().execute(leave, [{"gone": cell} for cell in gone])


def _labels(session: Session, experiment: str) -> dict[str, Kind]:
    query = select(MembershipRow.cell, MembershipRow.loss, MembershipRow.backbone, MembershipRow.dataset)
    rows = session.execute(query.where(MembershipRow.experiment == experiment))
    return {cell: (loss, backbone, dataset) for cell, loss, backbone, dataset in rows}


def _label(cell: Cell) -> Kind:
    return cell.loss, cell.backbone, cell.dataset


def _add_cells(session: Session, recipes: Mapping[str, Mapping[str, Any]]) -> None:
    """Add cells by id; in a recipe's JSON, a plug-in's name is its key."""
    now = _now()
    rows = [
        {
            "id": cell,
            **{axis: recipe[axis]["name"] for axis in ("loss", "backbone", "dataset")},
            "seed": recipe["seed"],
            "recipe": recipe,
            "state": "planned",
            "updated": now,
        }
        for cell, recipe in recipes.items()
    ]
    session.connection().execute(_insert(session, "cells").on_conflict_do_nothing(), rows)


def _add_members(session: Session, experiment: str, cells: Iterable[Cell]) -> None:
    insertion = _insert(session, "experiment_cells")
    labels = {label: insertion.excluded[label] for label in ("loss", "backbone", "dataset")}
    relabelled = insertion.on_conflict_do_update(index_elements=["experiment", "cell"], set_=labels)
    rows = [
        {
            "experiment": experiment,
            "cell": cell.id,
            "loss": cell.loss,
            "backbone": cell.backbone,
            "dataset": cell.dataset,
        }
        for cell in cells
    ]
    session.connection().execute(relabelled, rows)


def locked(session: Session, cell: str) -> CellRow:
    """The row of a cell, held against other drivers until the transaction ends."""
    # Holding the cell keeps the numbers of its attempts apart when two drivers start it at once.
    return session.get_one(CellRow, cell, with_for_update=True)


def set_state(row: CellRow, state: CellState) -> None:
    """Change a cell's state, and note when."""
    row.state = state
    row.updated = _now()


def _open_attempt(session: Session, cell: str, experiment: str) -> AttemptRow | None:
    return session.scalars(
        select(AttemptRow).where(
            AttemptRow.cell == cell, AttemptRow.experiment == experiment, AttemptRow.outcome == "running"
        )
    ).one_or_none()


def new_attempt(session: Session, cell: str, experiment: str) -> AttemptRow:
    """Another attempt at a cell that is `locked`."""
    latest = session.scalar(select(func.max(AttemptRow.number)).where(AttemptRow.cell == cell))
    attempt = AttemptRow(cell=cell, experiment=experiment, number=(latest or 0) + 1, outcome="running")
    session.add(attempt)
    return attempt


def _record(session: Session, ending: Ending, experiment: str) -> AttemptRow:
    """What `Registry.record` does, within a transaction."""
    row = locked(session, ending.cell.id)
    attempt = (
        _open_attempt(session, row.id, experiment)
        or _cut_short(session, ending)
        or new_attempt(session, row.id, experiment)
    )
    state = _close(attempt, ending)
    # Nothing can undo a result that another driver has meanwhile got from the same cell.
    if is_done(state) or not is_done(row.state):
        set_state(row, state)
    return attempt


def _cut_short(session: Session, ending: Ending) -> AttemptRow | None:
    """The attempt that got this result, where it was given up because its launch was dead."""
    if not isinstance(ending, (Finished, Diverged)):
        return None
    started = _moment(ending.attempt.started)
    query = select(AttemptRow).where(
        AttemptRow.cell == ending.cell.id, AttemptRow.outcome == "interrupted", AttemptRow.started == started
    )
    return session.scalars(query.limit(1)).first()


def _adopt(session: Session, states: Mapping[str, str]) -> int:
    """What `Registry.adopt` does, within a transaction; returns how many states were others."""
    if not states:
        return 0
    cells = Row.metadata.tables["cells"]
    correct = (
        update(cells)
        .where(cells.c.id == bindparam("cell"), cells.c.state != bindparam("found"))
        .values(state=bindparam("found"), updated=bindparam("now"))
    )
    now = _now()
    found = [{"cell": cell, "found": state, "now": now} for cell, state in sorted(states.items())]
    return session.connection().execute(correct, found).rowcount


def _upsert_artefacts(session: Session) -> sqlite.Insert | postgresql.Insert:
    insertion = _insert(session, "artefacts")
    new = {column.name: column for column in insertion.excluded if column.name != "uri"}
    return insertion.on_conflict_do_update(index_elements=["uri"], set_=new)


def _artefacts(session: Session, experiment: str) -> list[Artefact]:
    members = select(MembershipRow.cell).where(MembershipRow.experiment == experiment)
    shared = ArtefactRow.experiment.is_(None) & ArtefactRow.cell.in_(members)
    return _read_artefacts(session, (ArtefactRow.experiment == experiment) | shared)


def _documents(session: Session, experiment: str) -> list[Artefact]:
    return _read_artefacts(session, (ArtefactRow.experiment == experiment) & ArtefactRow.cell.is_(None))


def _read_artefacts(session: Session, which: ColumnElement[bool]) -> list[Artefact]:
    columns = [getattr(ArtefactRow, field.name) for field in fields(Artefact)]
    return [Artefact(*row) for row in session.execute(select(*columns).where(which).order_by(ArtefactRow.uri))]


def _result(outcome: Finished | Collapsed | Diverged) -> Result:
    match outcome:
        case Collapsed():
            return "collapsed"
        case Finished():
            return "finished"
        case Diverged():
            return "diverged"


def _close(attempt: AttemptRow, ending: Ending) -> CellState:
    """Note how an attempt ended; return the state that this gives its cell."""
    attempt.node = ending.attempt.node
    attempt.seconds = ending.attempt.seconds
    attempt.started = _moment(ending.attempt.started)
    match ending:
        case Collapsed(reason=reason):
            attempt.outcome = "collapsed"
            attempt.error = storable(reason)
        case Finished():
            attempt.outcome = "finished"
        case Diverged(epoch=epoch):
            attempt.outcome = "diverged"
            attempt.epoch = epoch
        case Failed(error=error, traceback=traceback):
            attempt.outcome = "failed"
            attempt.error = storable(error)
            attempt.traceback = storable(traceback)
        case Lost(fault=fault, error=error, traceback=traceback):
            attempt.outcome = "lost"
            attempt.fault = fault
            attempt.error = storable(error)
            attempt.traceback = storable(traceback)
            return "planned"
        case Stopped():
            attempt.outcome = "interrupted"
            return "planned"
    return attempt.outcome


def _pairs(session: Session, query: Select[Key, Value]) -> dict[Key, Value]:
    return {key: value for key, value in session.execute(query)}  # noqa: C416 - `dict()` loses the types


def _counts(session: Session, experiment: str) -> dict[CellState, int]:
    query = (
        select(CellRow.state, func.count())
        .join(MembershipRow)
        .where(MembershipRow.experiment == experiment, ~CellRow.id.contains(AT))
        .group_by(CellRow.state)
    )
    counted = _pairs(session, query)
    return {state: counted.get(state, 0) for state in get_args(CellState)}


def _replicas(session: Session, experiment: str) -> int:
    done = CellRow.id.contains(AT) & CellRow.state.in_(RESULTS)
    query = select(func.count()).select_from(CellRow).join(MembershipRow)
    return session.scalar(query.where(MembershipRow.experiment == experiment, done)) or 0


def _running(session: Session, experiment: str) -> Iterator[Running]:
    for name, attempt in _latest(session, experiment, "running"):
        yield Running(attempt.cell, name, attempt.node, attempt.started, attempt.seen, attempt.progress or 0)


def _launches(session: Session, experiment: str) -> Iterator[Launch]:
    for lease in session.scalars(select(LeaseRow).where(LeaseRow.experiment == experiment).order_by(LeaseRow.since)):
        yield Launch(lease.host, lease.pid, lease.since, lease.seen)


def _failures(session: Session, experiment: str) -> list[Failure]:
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


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _now() -> datetime:
    return datetime.now(UTC)
