"""Put registry and tracking store back from the cells' files, which alone are the truth."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

from orchestrator.errors import DamagedFileError
from orchestrator.experiment.plan import Cell, Plan
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.inventory import take_inventory
from orchestrator.records.reconciliation import reconcile
from orchestrator.records.sql.registry import Registry
from orchestrator.records.tracking.runs import Tracking
from orchestrator.sentences import counted
from orchestrator.workspace import Workspace


def rebuild(
    evaluations: Evaluations,
    registry: Registry,
    plans: Sequence[Plan],
    windows: Mapping[str, Tracking],
    complain: Callable[[str], None],
) -> tuple[int, int]:
    """Put every cell that has a file back; doing it again changes nothing.

    A cell of a plan gets its labels, its state and an attempt; any other only its state,
    because an attempt is made for an experiment. What no file tells stays lost: failed
    attempts, and when an experiment was first launched with which claims.

    MLflow chooses the ids of its runs, so a new run has another id than the one that
    the cell's file, and with it the results table, names. Files are immutable and stay as
    they are; the tag `cell_id` leads from one to the other.

    Args:
        evaluations: The files.
        registry: Where cells and attempts are put back.
        plans: The experiments whose cells are to be theirs again.
        windows: Where runs are put back, by experiment; already prepared.
        complain: Told of each damaged file, which is passed over.

    Raises:
        NewerFormatError: A file is of a newer version; what was put back until then stays.
        WorkspaceError: A file cannot be opened at present.

    Returns:
        How many cells were found, and how many files are damaged.
    """
    asked: defaultdict[str, list[tuple[str, Cell]]] = defaultdict(list)
    plans = [evaluations.with_replicas(plan) for plan in plans if plan.is_told]  # others would lose their cells
    for plan in plans:
        registry.plan(plan)
        for cell in plan.cells:
            asked[cell.id].append((plan.experiment.name, cell))
    cells = damaged = 0
    news = Counter[str]()
    runs = dict[str, str]()
    for _, account in evaluations.accounts():
        if isinstance(account, DamagedFileError):
            complain(str(account))
            damaged += 1
            continue
        cells += 1
        registry.keep(account.cell_id, account.recipe, account.state)
        for name, cell in asked.get(account.cell_id, ()):
            news[name] += registry.restore(account.outcome(cell), name)
            runs |= {cell.id: account.mlflow_run_id} if account.mlflow_run_id else {}
    for plan in plans:
        name = plan.experiment.name
        if news[name]:
            registry.tell("rebuilt", f"{_put_back(news[name])}.", name)
        if window := windows.get(name):
            reconcile(window, plan.cells, evaluations, registry, thorough=True)
        told = {run.cell_id: run.run_id for run in window.runs()} if window else runs
        take_inventory(registry, plan, Workspace(evaluations.folder.parent), told, certain=window is not None)
    return cells, damaged


def _put_back(number: int) -> str:
    return (
        f"{counted(number, 'cell')} {'is put back from its file' if number == 1 else 'are put back from their files'}"
    )
