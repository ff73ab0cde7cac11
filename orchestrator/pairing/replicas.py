"""Replicas: cells that a launch retrains so that losses are compared within one environment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

from orchestrator.experiment.plan import Cell, Plan, original
from orchestrator.outcome import Adopted, Diverged, Ending, Failed, Finished, is_done
from orchestrator.pairing.blocks import Group, replicas

Blocks = Mapping[str, Collection[str]]
"""The environments of done cells, by id; cells with replicas have several."""


class Pairing:
    """Requests replicas as soon as two cells of a seed turn out to be from different environments.

    No replica is requested twice, even if it failed.

    Args:
        plan: The experiment and its cells.
        blocks: The environments of done cells.
        can: Returns the environments in which a cell can be trained now, the best first.
        recall: Returns the environment of a cell that another launch has completed.
    """

    def __init__(
        self, plan: Plan, blocks: Blocks, can: Callable[[Cell], Sequence[str]], recall: Callable[[Cell], str | None]
    ) -> None:
        self._plan = plan
        self._can = can
        self._recall = recall
        self._blocks = {cell: set(found) for cell, found in blocks.items()}
        self._groups = defaultdict[Group, list[Cell]](list)
        for cell in plan.cells:
            self._groups[_group(cell)].append(cell)
        self._asked = set[str]()

    def first(self) -> list[Cell]:
        """The replicas to start with."""
        return self._fresh(self._plan.cells)

    def possible(self, waiting: Collection[str]) -> list[Cell]:
        """The replicas that may be requested once the waiting cells are done, in whichever environment.

        Args:
            waiting: The ids of the cells that wait.
        """
        begun = {_group(cell) for cell in self._plan.cells if self._blocks.get(cell.id)}
        coming = (cell for cell in self._plan.cells if cell.id in waiting and _group(cell) in begun)
        choices = max((len(self._can(cell)) for cell in coming), default=0)

        def nth(place: int, cell: Cell) -> str:
            found = self._can(cell) or [""]
            return found[min(place, len(found) - 1)]

        each = (foreseen(self._plan, self._blocks, waiting, partial(nth, place)) for place in range(choices))
        return [*{cell.id: cell for found in each for cell in found}.values()]

    def heard(self, event: Ending | Adopted) -> list[Cell]:
        """Record how a cell or replica ended; return the replicas that are needed now."""
        match event:
            case Finished(environment=environment) | Diverged(environment=environment):
                found = environment
            case Adopted(state=state) if is_done(state):
                found = self._recall(event.cell)
            case Failed() if event.cell.environment:
                self._blocks[original(event.cell.id)].discard(event.cell.environment)
                found = None
            case _:
                return []
        if found:
            self._blocks.setdefault(original(event.cell.id), set()).add(found)
        return self._fresh(self._groups[_group(event.cell)])

    def _fresh(self, cells: Iterable[Cell]) -> list[Cell]:
        def can(cell: Cell) -> list[str]:
            return [name for name in self._can(cell) if cell.again_in(name).id not in self._asked]

        found = replicas(self._plan.experiment, cells, self._blocks, can)
        self._asked |= {cell.id for cell in found}
        for cell in found:  # counted as done, so that the next event requests no second one
            self._blocks[original(cell.id)].add(cell.environment or "")
        return found


def foreseen(plan: Plan, blocks: Blocks, waiting: Collection[str], here: Callable[[Cell], str]) -> list[Cell]:
    """The replicas that a launch on only this machine would train.

    Args:
        plan: The experiment and its cells.
        blocks: The environments of done cells.
        waiting: The ids of the cells that the launch would train.
        here: Returns the environment of a cell trained on this machine.
    """
    begun = {_group(cell) for cell in plan.cells if cell.id in blocks}
    cells = [cell for cell in plan.cells if _group(cell) in begun]
    new = {cell.id: [here(cell)] for cell in cells if cell.id in waiting}
    return replicas(plan.experiment, cells, {**blocks, **new}, lambda cell: [here(cell)])


def _group(cell: Cell) -> Group:
    return cell.dataset, cell.backbone, cell.seed
