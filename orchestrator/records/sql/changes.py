"""Changes of the registry's rows, within a transaction."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, load_only

from orchestrator.outcome import RESULTS, Collapsed, Diverged, Ending, Failed, Finished, Lost, Result, Stopped, is_done
from orchestrator.records.sql.events import storable
from orchestrator.records.sql.schema import AttemptRow, CellRow, CellState, ExperimentRow, Kind, MembershipRow, Row

if TYPE_CHECKING:
    from orchestrator.experiment.model import Experiment
    from orchestrator.experiment.plan import Cell, Plan


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
        "first_launched": utc_now(),
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


def enrol(session: Session, plan: Plan, *, forget: bool = True) -> None:
    """What `Registry.plan` does, within a transaction; unless it is to forget, no cell leaves the experiment."""
    _register(session, plan.experiment)
    experiment = plan.experiment.name
    known = _labels(session, experiment)
    wanted = {cell.id: cell for cell in plan.cells}
    # In one order for all drivers, lest two on PostgreSQL wait for each other's rows.
    fresh = [cell for _, cell in sorted(wanted.items()) if known.get(cell.id) != _label(cell)]
    gone = sorted(known.keys() - wanted.keys()) if forget else []
    if fresh:
        add_cells(session, {cell.id: cell.recipe.model_dump(mode="json") for cell in fresh})
        add_members(session, experiment, fresh)
    if gone:
        members = Row.metadata.tables["experiment_cells"]
        leave = delete(members).where(members.c.experiment == experiment, members.c.cell == bindparam("gone"))
        session.connection().execute(leave, [{"gone": cell} for cell in gone])


def put_back(session: Session, experiment: Experiment, cells: Iterable[Cell]) -> bool:
    """Record what of an experiment and its cells is not known; returns whether the experiment was."""
    is_known = session.get(ExperimentRow, experiment.name) is not None
    _register(session, experiment)
    wanted = sorted(cells, key=lambda cell: cell.id)
    if wanted:
        add_cells(session, {cell.id: cell.recipe.model_dump(mode="json") for cell in wanted})
        add_members(session, experiment.name, wanted)
    return is_known


def _labels(session: Session, experiment: str) -> dict[str, Kind]:
    query = select(MembershipRow.cell, MembershipRow.loss, MembershipRow.backbone, MembershipRow.dataset)
    rows = session.execute(query.where(MembershipRow.experiment == experiment))
    return {cell: (loss, backbone, dataset) for cell, loss, backbone, dataset in rows}


def _label(cell: Cell) -> Kind:
    return cell.loss, cell.backbone, cell.dataset


def add_cells(session: Session, recipes: Mapping[str, Mapping[str, Any]]) -> None:
    """Add cells by id; in a recipe's JSON, a plug-in's name is its key."""
    now = utc_now()
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


def add_members(session: Session, experiment: str, cells: Iterable[Cell]) -> None:
    """Make cells an experiment's, under its labels."""
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


# Statements that each note of a cell makes are built once: building one takes as long as carrying it out.
_LOCKED = (
    select(CellRow)
    .options(load_only(CellRow.state))
    .where(CellRow.id == bindparam("cell"))
    .with_for_update()
    .execution_options(populate_existing=True)
)
_OF_CELL = select(AttemptRow).where(AttemptRow.cell == bindparam("cell")).order_by(AttemptRow.number)


def locked(session: Session, cell: str) -> CellRow:
    """The row of a cell, held against other drivers until the transaction ends."""
    # Holding the cell keeps the numbers of its attempts apart when two drivers start it at once.
    return session.scalars(_LOCKED, {"cell": cell}).one()


def set_state(row: CellRow, state: CellState) -> None:
    """Change a cell's state, and note when."""
    row.state = state
    row.updated = utc_now()


def attempts_at(session: Session, cell: str) -> Sequence[AttemptRow]:
    """All attempts at a cell, which are few, oldest first."""
    return session.scalars(_OF_CELL, {"cell": cell}).all()


def open_attempt(attempts: Iterable[AttemptRow], experiment: str) -> AttemptRow | None:
    """That of the attempts at a cell which is under way on behalf of an experiment."""
    return next((each for each in attempts if each.outcome == "running" and each.experiment == experiment), None)


def new_attempt(session: Session, cell: str, attempts: Sequence[AttemptRow], experiment: str) -> AttemptRow:
    """Another attempt at a cell that is `locked`, beside those that there are."""
    number = attempts[-1].number + 1 if attempts else 1
    attempt = AttemptRow(cell=cell, experiment=experiment, number=number, outcome="running")
    session.add(attempt)
    return attempt


def record_ending(session: Session, ending: Ending, experiment: str) -> AttemptRow | None:
    """What `Registry.record` does, within a transaction; None if the ending is known already."""
    row = locked(session, ending.cell.id)
    attempts = attempts_at(session, row.id)
    if _is_known(attempts, ending):
        return None
    known = open_attempt(attempts, experiment) or _cut_short(attempts, ending)
    is_twice = known is not None and is_done(row.state) and any(each.outcome in RESULTS for each in attempts)
    attempt = known or new_attempt(session, row.id, attempts, experiment)
    state = _close(attempt, ending)
    if is_twice and is_done(state):  # another launch took the cell over and was faster: one attempt has the result
        attempt.outcome = "interrupted"
    # Nothing can undo a result that another driver has meanwhile got from the same cell, or what it is at.
    elif is_done(state) or not (is_done(row.state) or _is_at_work(attempts, attempt)):
        set_state(row, state)
    return attempt


def _is_known(attempts: Iterable[AttemptRow], ending: Ending) -> bool:
    """Whether the ending was recorded: the answer to that may have got lost with the connection."""
    started = moment(ending.attempt.started)
    wanted = _outcome(ending)
    error = storable(ending.error) if isinstance(ending, (Failed, Lost)) else None
    return any(
        each.started == started and each.outcome == wanted and (error is None or each.error == error)
        for each in attempts
    )


def _outcome(ending: Ending) -> str:
    match ending:
        case Lost():
            return "lost"
        case Failed():
            return "failed"
        case Stopped():
            return "interrupted"
        case _:
            return result_of(ending)


def _is_at_work(attempts: Iterable[AttemptRow], attempt: AttemptRow) -> bool:
    """Whether another attempt at the cell is under way."""
    return any(each.outcome == "running" for each in attempts if each is not attempt)


def _cut_short(attempts: Iterable[AttemptRow], ending: Ending) -> AttemptRow | None:
    """The attempt that got this result, where it was given up because its launch was dead."""
    if isinstance(ending, Failed):
        return None
    started = moment(ending.attempt.started)
    return next((each for each in attempts if each.outcome == "interrupted" and each.started == started), None)


def set_states(session: Session, states: Mapping[str, str]) -> int:
    """What `Registry.adopt` does, within a transaction; returns how many states were others."""
    if not states:
        return 0
    cells = Row.metadata.tables["cells"]
    correct = (
        update(cells)
        .where(cells.c.id == bindparam("cell"), cells.c.state != bindparam("found"))
        .values(state=bindparam("found"), updated=bindparam("now"))
    )
    now = utc_now()
    found = [{"cell": cell, "found": state, "now": now} for cell, state in sorted(states.items())]
    return session.connection().execute(correct, found).rowcount


def upsert_artefacts(session: Session) -> sqlite.Insert | postgresql.Insert:
    """The statement that writes artefacts, in place of those of the same URI."""
    insertion = _insert(session, "artefacts")
    new = {column.name: column for column in insertion.excluded if column.name != "uri"}
    return insertion.on_conflict_do_update(index_elements=["uri"], set_=new)


def result_of(outcome: Finished | Collapsed | Diverged) -> Result:
    """The state that an outcome gives its cell."""
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
    attempt.started = moment(ending.attempt.started)
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


def moment(seconds: float) -> datetime:
    """A time in seconds since 1970, as the tables have it."""
    return datetime.fromtimestamp(seconds, UTC)


def utc_now() -> datetime:
    """The time now, as the tables have it."""
    return datetime.now(UTC)
