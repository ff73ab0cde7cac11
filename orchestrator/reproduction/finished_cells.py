"""Finished cells, each with the environment in which it was trained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from orchestrator.errors import DamagedFileError
from orchestrator.experiment.plan import PROTOCOL, Cell, Plan, original
from orchestrator.outcome import has_figures
from orchestrator.provenance.environment import Environment, LossCode
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.storage import in_parallel
from orchestrator.records.files.summaries import Summaries

__all__ = ["Environment", "Past", "Setting", "finished"]

Setting = tuple[str, str]
"""Dataset and backbone, as the experiment labels them."""


@dataclass(frozen=True)
class Past:
    """A cell with figures, and how it was trained according to its file."""

    cell: Cell
    environment: Environment
    loss: LossCode
    seconds: float

    @property
    def setting(self) -> Setting:
        """Its dataset and backbone."""
        return self.cell.dataset, self.cell.backbone


def finished(cells: Sequence[Cell], evaluations: Evaluations) -> list[Past]:
    """The cells with figures, read from their files; damaged files are skipped."""
    rows = {row["cell_id"]: row for row in told(cells, evaluations) if has_figures(row["state"])}
    return [past(cell, rows[cell.id], rows[cell.id]["seconds"]) for cell in cells if cell.id in rows]


def past(cell: Cell, row: Mapping[str, Any], seconds: float) -> Past:
    """A finished cell from its row of the results table, or from a row of `told`."""
    return Past(cell, Environment.of(row), LossCode.of(cell.loss, row), seconds)


def at_other_seeds(plan: Plan, evaluations: Evaluations) -> list[Cell]:
    """The done cells that differ from those of a plan only in the seed.

    Only files in the folders of the plan's axis values are opened, without those of the plan's own cells.
    """
    each = {(cell.loss, cell.backbone, cell.dataset): cell for cell in plan.cells if cell.data_known}
    kinds = {_but_for_the_seed(cell.recipe.model_dump(mode="json")): cell for cell in each.values()}
    own = {cell.id for cell in plan.cells}
    folders = {_folder(evaluations.name(cell)) for cell in kinds.values()}
    here = [(name, cell) for name, cell in evaluations.cells() if cell == original(cell) and cell not in own]
    found = list[Cell]()
    names = [name for name, _ in here if _folder(name) in folders]
    for content in Summaries.of(evaluations, names).contents(names):
        recipe = content["recipe"]
        like = kinds.get(_but_for_the_seed(recipe)) if content["protocol"] == PROTOCOL else None
        if like:
            again = like.recipe.model_copy(update={"seed": recipe["seed"]})
            found.append(replace(like, id=content["cell_id"], seed=recipe["seed"], recipe=again))
    return sorted(found, key=lambda cell: (cell.seed, cell.id))


def _but_for_the_seed(recipe: Mapping[str, Any]) -> str:
    return json.dumps({name: value for name, value in recipe.items() if name != "seed"}, sort_keys=True)


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def told(cells: Sequence[Cell], evaluations: Evaluations) -> list[dict[str, Any]]:
    """How cells were trained, read from their files; missing and damaged files are skipped."""
    rows = in_parallel(partial(_told, evaluations), cells, evaluations.storage.readers)
    return [row for row in rows if row]


def _told(evaluations: Evaluations, cell: Cell) -> dict[str, Any] | None:
    try:
        content = evaluations.content(cell)
    except (FileNotFoundError, DamagedFileError):
        return None
    named = {"cell_id": cell.id, "loss": cell.loss, "backbone": cell.backbone, "dataset": cell.dataset}
    return {**content["provenance"], **named, **{name: content[name] for name in ("state", "started", "seconds")}}
