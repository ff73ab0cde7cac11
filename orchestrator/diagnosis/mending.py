"""What `doctor --fix` does: registry and MLflow are made to tell what the files tell. No file is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from orchestrator.diagnosis.finding import several
from orchestrator.experiment.plan import Plan
from orchestrator.outcome import is_done
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.rebuild import rebuild
from orchestrator.records.reconciliation import reconcile

if TYPE_CHECKING:
    from orchestrator.records.sql.registry import Registry
    from orchestrator.records.tracking.runs import Tracking


def mend(
    plan: Plan | None, evaluations: Evaluations, registry: Registry, tracking: Callable[[str], Tracking]
) -> list[str]:
    """Put right what can be, and say what that was; doing it again finds nothing more to do.

    Args:
        plan: Whose cells to look at. Without it, all cells are put right in the registry, and what waits
            in the spool is told; but only a plan says under which labels a cell's run belongs.
        evaluations: The cells' files, which are right where something differs.
        registry: An open one, which may be empty.
        tracking: The store by the name of an experiment.

    Raises:
        UnreachableError: A store does not answer; what was done until then stays done.
        NewerFormatError: A file is of a newer version.
        WorkspaceError: A file cannot be opened at present.

    Returns:
        A sentence for each kind of thing that was done, or could not be.
    """
    if plan and not plan.is_told:
        return ["Nothing is mended: which cells are the experiment's cannot be told without its data. Pass --data-dir."]
    plan = plan and evaluations.with_replicas(plan)
    said = list(_registry(plan, evaluations, registry))
    for name in [plan.experiment.name] if plan else registry.experiments():
        runs = tracking(name)
        runs.prepare()
        said += _spool(runs)
        said += _runs(runs, plan, evaluations, registry, tracking)
    return said


def _registry(plan: Plan | None, evaluations: Evaluations, registry: Registry) -> Iterator[str]:
    files = evaluations.ids(replicas=True)
    known = {cell.id for cell in plan.cells} if plan else _cells(registry)
    asked = files & known if plan else files
    before = registry.states_of(asked)
    damaged: list[str] = []
    rebuild(evaluations, registry, [plan] if plan else [], {}, damaged.append)
    after = registry.states_of(asked)
    if lost := [cell for cell, state in registry.states_of(known).items() if is_done(state) and cell not in files]:
        registry.adopt(dict.fromkeys(lost, "planned"))
        yield f"{several(sorted(lost))} done in the registry, without a file: to be run again."
    if put_right := [cell for cell, state in after.items() if is_done(state) and before.get(cell) != state]:
        yield f"{several(sorted(put_right))} done by their files: now in the registry, too."
    yield from damaged


def _cells(registry: Registry) -> set[str]:
    return {cell for name in registry.experiments() for cell in registry.states(name)}


def _spool(runs: Tracking) -> Iterator[str]:
    caught_up = runs.catch_up()
    if caught_up.told:
        yield f"Attempts told to MLflow's '{runs.experiment}' that had waited in the spool: {caught_up.told}."
    yield from caught_up.troubles


def _runs(
    runs: Tracking,
    plan: Plan | None,
    evaluations: Evaluations,
    registry: Registry,
    tracking: Callable[[str], Tracking],
) -> Iterator[str]:
    others = [name for name in registry.experiments() if name != runs.experiment]
    elsewhere = {run.cell_id for name in others for run in tracking(name).runs("attributes.status = 'FINISHED'")}
    cells = plan.cells if plan else ()
    changed = reconcile(runs, cells, evaluations, registry, elsewhere=elsewhere, thorough=True)
    for what, ids in sorted(changed.items()):
        yield f"{several(sorted(ids))} {what}."
