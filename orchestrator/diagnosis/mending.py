"""What `doctor --fix` does: it makes registry and MLflow agree with the files. No file is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from orchestrator.diagnosis.finding import several
from orchestrator.experiment.plan import Plan
from orchestrator.outcome import is_done
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.rebuild import rebuild
from orchestrator.records.reconciliation import reconcile
from orchestrator.records.tracking.experiment_page import ExperimentPage
from orchestrator.sentences import counted

if TYPE_CHECKING:
    from orchestrator.records.sql.registry import Registry
    from orchestrator.records.tracking.runs import Tracking


def mend(
    plan: Plan | None, evaluations: Evaluations, registry: Registry, tracking: Callable[[str], Tracking]
) -> list[str]:
    """Repair what can be repaired, and say what was done; a second call finds nothing to do.

    Args:
        plan: The plan whose cells are repaired. Without it, all cells are repaired in the registry, and the spool is
            sent to MLflow; but only a plan says under which labels a cell's run belongs.
        evaluations: The cells' files, which are right if something differs.
        registry: An open registry, which may be empty.
        tracking: The store by the name of an experiment.

    Raises:
        UnreachableError: A store does not answer; earlier repairs stay done.
        NewerFormatError: A newer version wrote a file.
        WorkspaceError: A file cannot be opened.

    Returns:
        One sentence for each kind of repair that was made or failed.
    """
    if plan and not plan.is_told:
        return ["Nothing was fixed: without its data, the cells of the experiment are unknown. Pass --data-dir."]
    plan = plan and evaluations.with_replicas(plan)
    said = list(_registry(plan, evaluations, registry))
    for name in [plan.experiment.name] if plan else registry.experiments():
        runs = tracking(name)
        runs.prepare()
        said += _spool(runs)
        if ExperimentPage(runs.uri, name).end_unfinished():
            said.append(f"The run of the comparison in MLflow's '{name}' was unfinished: marked as killed.")
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
        yield f"{several(sorted(lost))} done in the registry but without a file: the next launch runs them again."
    if put_right := [cell for cell, state in after.items() if is_done(state) and before.get(cell) != state]:
        yield f"{several(sorted(put_right))} done by their files: now done in the registry, too."
    yield from damaged


def _cells(registry: Registry) -> set[str]:
    return {cell for name in registry.experiments() for cell in registry.states(name)}


def _spool(runs: Tracking) -> Iterator[str]:
    caught_up = runs.catch_up()
    if caught_up.told:
        yield f"Sent {counted(caught_up.told, 'attempt')} from the spool to MLflow's '{runs.experiment}'."
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
