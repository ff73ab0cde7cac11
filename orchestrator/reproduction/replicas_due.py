"""The replicas that a launch on this machine would train, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from orchestrator.execution import environments
from orchestrator.experiment.plan import Cell, Plan, original
from orchestrator.outcome import is_done
from orchestrator.pairing.replicas import foreseen
from orchestrator.provenance.environment import change
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.results import Results


def due(plan: Plan, found: Mapping[str, Collection[str]], states: Mapping[str, str]) -> list[Cell]:
    """The replicas that a launch on this machine would train once the cells are done that wait; none without torch.

    Args:
        plan: The experiment and its cells.
        found: The environments of those that are done, by id.
        states: Of every cell, by id.
    """
    if not environments.can_be_told():
        return []
    waiting = {cell for cell, state in states.items() if not is_done(state)}
    return foreseen(plan, found, waiting, _here)


def owed(plan: Plan, results: Results) -> list[Cell]:
    """The same beside finished cells alone, by their results."""
    if not environments.can_be_told():
        return []
    found: defaultdict[str, set[str]] = defaultdict(set)
    for table in (results.table, results.replicas):
        for cell, name in zip(table["cell_id"].to_pylist(), table["environment"].to_pylist(), strict=True):
            found[original(cell)].add(name)
    return foreseen(plan, found, (), _here)


def changes(
    replicas: Iterable[Cell], found: Mapping[str, Collection[str]], plan: Plan, evaluations: Evaluations
) -> str:
    """How this machine differs from those on which the cells were trained that replicas repeat.

    Args:
        replicas: What is to be trained again.
        found: The environments of the cells that are done, by id.
        plan: The experiment and its cells.
        evaluations: The files.
    """
    cells = {cell.id: cell for cell in plan.cells}
    # One cell stands for all that go from one environment to another; one that is not trained yet has none.
    kinds = {(min(found.get(original(cell.id), ()), default=""), cell.environment): cell for cell in replicas}
    old = ((cells[original(cell.id)], cell) for cell in kinds.values())
    expected = environments.environment
    pairs = ((evaluations.origin(cell) or expected(cell), expected(replica)) for cell, replica in old)
    return "; ".join(dict.fromkeys(filter(None, (change(then, now) for then, now in pairs))))


def _here(cell: Cell) -> str:
    return environments.environment(cell).id
