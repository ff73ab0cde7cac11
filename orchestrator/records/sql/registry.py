"""The registry: an index, in SQL, of what was planned, what runs and what came of it.

SQLite serves one machine and PostgreSQL a team, through the same code. Only the driver
writes here, in short transactions. What it says of a result is a copy: the Parquet files
are the truth, and the registry can be rebuilt from them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Self

from sqlalchemy import Engine, bindparam, delete, select
from sqlalchemy.orm import Session, aliased

from orchestrator.outcome import RESULTS, Collapsed, Diverged, Ending, Finished, Result, has_figures
from orchestrator.records.sql import database, events
from orchestrator.records.sql.events import Event, tell
from orchestrator.records.sql.migrations import bring_to_head, revision_of
from orchestrator.records.sql.schema import (
    AttemptRow,
    CellRow,
    CellState,
    EventKind,
    ExperimentRow,
    Kind,
    MembershipRow,
    Row,
)

if TYPE_CHECKING:
    from types import TracebackType

    from orchestrator.experiment.plan import Cell, Plan


from orchestrator.records.sql import changes, status
from orchestrator.records.sql.changes import enrol, locked, new_attempt, set_state
from orchestrator.records.sql.status import Artefact, Failure, Status, TriedAttempt

_BATCH = 10_000
"""Parameters a statement: SQLite takes 32 766, PostgreSQL 65 535."""


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
            with database.answering(address):
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

    def plan(self, plan: Plan, *, forget: bool = True) -> None:
        """Record an experiment and its cells; cells that are known keep their state.

        The experiment's cells become those of this plan, unless it is not to forget others: a cell
        that is no longer asked for leaves the experiment but stays in the registry, with its
        attempts. The claims' hash stays that of the first launch.
        """
        with self.writing() as session:
            enrol(session, plan, forget=forget)

    def join(self, experiment: str, cells: Iterable[Cell]) -> None:
        """Record further cells of an experiment that is known, beside those that it has."""
        with self.writing() as session:
            fresh = sorted(cells, key=lambda cell: cell.id)
            changes.add_cells(session, {cell.id: cell.recipe.model_dump(mode="json") for cell in fresh})
            changes.add_members(session, experiment, fresh)

    def mend(self) -> None:
        """Connect anew, and make the schema where it is missing; raises as `open` does."""
        self._engine.dispose()
        with database.answering(self._engine.url):
            bring_to_head(self._engine)

    def start_attempt(
        self, cell: Cell, experiment: str, *, node: str, started: float, owner: str | None = None
    ) -> None:
        """Begin an attempt at a planned cell: the one opened by its claim, or else a new one.

        Args:
            cell: The cell, which is running from now on.
            experiment: On whose behalf.
            node: Where it runs.
            started: Seconds since 1970, UTC.
            owner: The launch that makes it, if the claim did not tell.
        """
        with self.writing() as session:
            row = locked(session, cell.id)
            attempts = changes.attempts_at(session, cell.id)
            attempt = changes.open_attempt(attempts, experiment)
            if attempt is None or attempt.node:
                if attempt is not None:  # whoever made it did not live to tell its end
                    attempt.outcome = "interrupted"
                    session.flush()
                attempt = new_attempt(session, cell.id, attempts, experiment)
            attempt.node = node
            attempt.owner = attempt.owner or owner
            attempt.started = changes.moment(started)
            attempt.seen = changes.utc_now()
            set_state(row, "running")
            tell(session, *events.beginning(cell.name, attempt), experiment=experiment, cell=cell.id)

    def note_alive(self, cell: Cell, experiment: str, progress: int | None = None) -> None:
        """Note a heartbeat of the open attempt at a cell, and how many epochs it has done."""
        with self.writing() as session:
            if attempt := changes.open_attempt(changes.attempts_at(session, cell.id), experiment):
                attempt.seen = changes.utc_now()
                attempt.progress = attempt.progress if progress is None else progress

    def record(self, ending: Ending, experiment: str) -> None:
        """Close the open attempt at a planned cell, or add one already closed, and set the cell's state."""
        with self.writing() as session:
            attempt = changes.record_ending(session, ending, experiment)
            if attempt is None:
                return
            tell(session, *events.ending(ending.cell.name, attempt), experiment=experiment, cell=ending.cell.id)

    def restore(self, outcome: Finished | Collapsed | Diverged, experiment: str) -> bool:
        """Record what a planned cell's file tells of it, unless an attempt with that end is known already.

        Returns:
            Whether it was news.
        """
        ended = changes.result_of(outcome)
        known = select(AttemptRow.id).where(AttemptRow.cell == outcome.cell.id, AttemptRow.outcome == ended)
        with self.writing() as session:
            if session.scalars(known.limit(1)).first() is None:
                changes.record_ending(session, outcome, experiment)
                return True
            changes.set_states(session, {outcome.cell.id: ended})
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
            changes.add_cells(session, {cell: recipe})
            changes.set_states(session, {cell: state})

    def adopt(self, states: Mapping[str, Literal[Result, "planned"]], experiment: str | None = None) -> None:
        """Set the states of cells by id, as files or the lack of one tell them; unknown cells are passed over.

        Args:
            states: By id.
            experiment: Whose events name it, where anything was set.
        """
        with self.writing() as session:
            if changed := changes.set_states(session, states):
                tell(session, "adopted", events.adopted(states.values(), changed), experiment=experiment)

    @contextmanager
    def alone(self, experiment: str) -> Generator[None]:
        """Within: no other driver is within it for the same experiment, nor writes to a SQLite registry."""
        with self.writing() as session:
            session.get(ExperimentRow, experiment, with_for_update=True)
            yield

    def tell(self, kind: EventKind, sentence: str, experiment: str) -> None:
        """Add to an experiment's story what is noted nowhere else."""
        with self.writing() as session:
            tell(session, kind, sentence, experiment=experiment)

    def note_artefacts(self, artefacts: Iterable[Artefact], *, all_of: str | None = None) -> None:
        """Note what was left by experiments and cells that are known, and where.

        Args:
            artefacts: Any; one that is known is brought up to date.
            all_of: The experiment of which these are all: what else it had left is forgotten.
        """
        found = {artefact.uri: artefact for artefact in artefacts}
        with self.writing() as session:
            known = {artefact.uri: artefact for artefact in status.artefacts(session, all_of)} if all_of else {}
            # In one order for all drivers, as with cells.
            changed = [vars(artefact) for uri, artefact in sorted(found.items()) if known.get(uri) != artefact]
            if changed:
                session.connection().execute(changes.upsert_artefacts(session), changed)
            if gone := sorted(known.keys() - found.keys()):
                table = Row.metadata.tables["artefacts"]
                forget = delete(table).where(table.c.uri == bindparam("gone"))
                session.connection().execute(forget, [{"gone": uri} for uri in gone])

    def artefacts(self, experiment: str) -> list[Artefact]:
        """What an experiment and its cells have left."""
        with self.reading() as session:
            return status.artefacts(session, experiment)

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
            return status.pairs(session, query.where(MembershipRow.experiment == experiment))

    def states_of(self, cells: Collection[str]) -> dict[str, CellState]:
        """The state of each of these cells that the registry knows, by id."""
        ids = list(cells)
        states: dict[str, CellState] = {}
        with self.reading() as session:
            for start in range(0, len(ids), _BATCH):
                query = select(CellRow.id, CellRow.state).where(CellRow.id.in_(ids[start : start + _BATCH]))
                states.update(status.pairs(session, query))
        return states

    def failures(self, experiment: str) -> list[Failure]:
        """The cells of an experiment that failed, with the reason of the latest failure, by name."""
        with self.reading() as session:
            return status.failures(session, experiment)

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
        durations = self.durations(experiment)
        with self.reading() as session:
            return status.of_experiment(session, experiment, durations)

    def tried(self, prefix: str, experiment: str | None = None) -> list[TriedAttempt]:
        """The attempts at the cells whose ids begin so, of one experiment or of all, oldest first."""
        with self.reading() as session:
            return status.tried(session, prefix, experiment)

    @contextmanager
    def writing(self) -> Generator[Session]:
        """A transaction that may change rows."""
        answering = database.answering(self._engine.url)
        with answering, Session(self._writer) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Generator[Session]:
        """A transaction that only asks."""
        with database.answering(self._engine.url), Session(self._engine) as session:
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
        with database.answering(address), engine.connect() as connection:
            return database.shown(address), revision_of(connection)
    finally:
        engine.dispose()
