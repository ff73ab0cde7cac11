"""What a launch does, or would do, about cells that are done: of other code, of other environments, of other seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator.errors import OrchestratorError, RequestError
from orchestrator.experiment.choices import AXES
from orchestrator.experiment.plan import Cell, Plan
from orchestrator.experiment.reading import recalled
from orchestrator.reproduction import finished_cells
from orchestrator.stores import Stores
from orchestrator.study import Study

if TYPE_CHECKING:
    from orchestrator.records.sql.registry import Registry
    from orchestrator.records.sql.status import Status
    from orchestrator.reproduction.anchors import Outlook

# What judges old cells takes a while to import, and most plans have none: it is imported where there are some.


def recorded(study: Study, plan: Plan) -> list[dict[str, Any]]:
    """How the finished cells of a plan came about, one dictionary per cell."""
    return finished_cells.recorded(plan, study.stores.evaluations, study.place.results(plan.experiment.name))


def environments(study: Study, plan: Plan) -> dict[str, set[str]]:
    """The environments of the cells of a plan that are done, by id; of those with replicas, several."""
    return finished_cells.environments(plan, study.stores.evaluations, study.place.results(plan.experiment.name))


def replicas(study: Study, plan: Plan, states: Mapping[str, str]) -> tuple[list[Cell], str]:
    """The replicas that a launch on this machine would train, and what makes them needed.

    Args:
        study: The experiment and its stores.
        plan: Its cells.
        states: Of every cell, by id.
    """
    from orchestrator.reproduction.replicas_due import changes, due

    found = environments(study, plan)
    again = due(plan, found, states)
    return again, changes(again, found, plan, study.stores.evaluations)


def changed(study: Study, plan: Plan) -> list[str]:
    """Which finished cells of a plan a launch here would train by other code or elsewhere; sentences for people."""
    rows = recorded(study, plan)
    if not rows:
        return []
    from orchestrator.reproduction.code_changes import changed

    return changed(plan, rows)


def outdated(study: Study) -> list[str]:
    """As `changed`, of all cells, whatever seeds are asked for; nothing as long as recipes are sought."""
    trials = study.trials
    if trials and not trials.over:
        return []
    return changed(study, poolable(study, study.plan))


def outdated_of(
    found: Iterable[Status], study: Study | None, records: Registry | None, stores: Stores
) -> dict[str, list[str] | None]:
    """The same by experiment, of the study that was asked for, or of all that were found as they were last launched.

    None of an experiment that cannot be read here.
    """
    if study:
        return {study.experiment.name: outdated(study)}
    return {status.experiment: _outdated(status.experiment, records, stores) for status in found}


def _outdated(experiment: str, records: Registry | None, stores: Stores) -> list[str] | None:
    with suppress(OrchestratorError, KeyError, TypeError):
        if records and (document := records.document(experiment)):
            return outdated(Study.of(recalled(document), stores))
    return None


def older(study: Study, plan: Plan) -> list[str]:
    """All that is to be known of finished cells of several environments or of other code; sentences for people."""
    from orchestrator.reproduction.code_changes import changed
    from orchestrator.reproduction.pooling import pooled

    rows = recorded(study, plan)
    pool = pooled(plan.experiment, rows, study.stores.ledger(plan.experiment.name))
    return [*changed(plan, rows), *(pool.told() if pool else ())]


def poolable(study: Study, plan: Plan) -> Plan:
    """A plan with all cells that may be pooled with its own: of the whole experiment, and done ones of other seeds."""
    rest = _rest(study, plan)
    cells = {cell.id: cell for cell in (*rest.cells, *plan.cells)}
    wide = replace(rest, cells=tuple(cells.values()))
    return replace(wide, cells=(*wide.cells, *finished_cells.at_other_seeds(wide, study.stores.evaluations)))


def _rest(study: Study, plan: Plan) -> Plan:
    """The cells of the whole experiment; the plan alone where these cannot be told."""
    if all(getattr(study.whole, axis) == getattr(plan.experiment, axis) for axis in AXES.values()):
        return plan
    with suppress(RequestError):  # of what is left out, no data need be here, and no recipe found
        whole = replace(study, experiment=study.whole, given_data_dir=study.data_dir, known=None)
        return replace(whole, known={**whole.contents, **plan.contents}).plan
    return plan


def outlook(study: Study, plan: Plan, pending: Sequence[Cell]) -> Outlook | None:
    """What a launch would do about old cells before it trains those pending; tuning stages pool nothing.

    Args:
        study: The experiment and its stores.
        plan: What the launch would run.
        pending: The cells and replicas that it would train.

    Returns:
        None where it would do nothing.
    """
    if not pending or any(cell.trial is not None for cell in pending):
        return None
    wide = poolable(study, plan)
    rows = recorded(study, wide)
    if not rows:
        return None
    from orchestrator.reproduction.anchors import outlook

    return outlook(wide, rows, pending, study.stores.evaluations, study.stores.ledger(plan.experiment.name))


def trust(study: Study, plan: Plan, say: Callable[[str], None]) -> None:
    """Let all finished cells that may meet a plan's be pooled because the user says so, and record it."""
    from orchestrator.records.files.results import aggregate
    from orchestrator.reproduction import pooling

    wide = poolable(study, plan)
    found = aggregate(wide, study.stores.evaluations)
    ledger = study.stores.ledger(wide.experiment.name)
    pooling.trust(wide.experiment, found.rows(), found.replica_rows(), ledger, say)
