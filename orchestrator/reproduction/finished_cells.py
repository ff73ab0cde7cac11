"""Finished cells, each with the environment in which it was trained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from orchestrator.errors import DamagedFileError
from orchestrator.experiment.additions import NO_ADDITIONS, Additions
from orchestrator.experiment.looks import Looked, began, planned
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import PROTOCOL, Cell, Plan, original
from orchestrator.experiment.questions import Key
from orchestrator.experiment.stated import dated
from orchestrator.outcome import has_figures
from orchestrator.provenance.environment import Environment, LossCode
from orchestrator.records.files import results
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.storage import Storage, in_parallel
from orchestrator.records.files.summaries import Summaries
from orchestrator.workspace import Location

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


def recorded(plan: Plan, evaluations: Evaluations, table: Location) -> list[dict[str, Any]]:
    """How the finished cells of a plan came about: from the results table, and from files that are younger than it."""
    cells = {cell.id: cell for cell in plan.cells if cell.data_known}
    files = evaluations.files()
    written = _written(table)
    ids = files.keys() & cells.keys()
    old = {cell_id for cell_id in ids if files[cell_id].modified < written}
    noted = (row for row in results.read_all(table) if row.get("environment"))
    rows = {row["cell_id"]: row for row in noted if row["cell_id"] in old}
    unknown = [cell for cell_id, cell in cells.items() if cell_id in ids and cell_id not in rows]
    return [*(rows[cell_id] for cell_id in cells if cell_id in rows), *told(unknown, evaluations)]


def environments(plan: Plan, evaluations: Evaluations, table: Location) -> dict[str, set[str]]:
    """The environments of the cells of a plan that are done, by id; of those with replicas, several.

    The results table tells them, of files that are not younger; the others tell themselves.
    """
    written = _written(table)
    noted = results.environments(table)
    files = evaluations.files()
    found: dict[str, set[str]] = {}
    for cell in evaluations.with_replicas(plan).cells:
        file = files.get(cell.id)
        known = noted.get(cell.id) if file and file.modified < written else None
        if file and (name := known or evaluations.environment(cell)):
            found.setdefault(original(cell.id), set()).add(name)
    return found


def _written(table: Location) -> float:
    """When a results table was written, in seconds since 1970; 0 where there is none."""
    return {file.name: file.modified for file in Storage(table.parent).list()}.get(table.name, 0.0)


def looked(
    file: Experiment,
    plan: Plan,
    found: results.Results,
    evaluations: Evaluations,
    additions: Additions = NO_ADDITIONS,
) -> Looked:
    """Under which plans of seeds the cells of an experiment began, and those of seeds that it has no longer.

    Args:
        file: The experiment as it stays asked, whatever the flags of this command change.
        plan: The cells that were asked for.
        found: Their results.
        evaluations: The files.
        additions: What was added to the file, and what was taken back.
    """
    now = planned(file, plan.experiment)
    looks = Looked(now, before=additions.earlier_plans(), taken_back=additions.looks())
    for row in found.all_rows():
        key = (row["dataset"], row["backbone"], row["loss"])
        record = found.stated.get(row["cell_id"])
        looks.cells[key].append(began(file.name, row["started"], record, is_foreign=row["origin"] != "here"))
    others = at_other_seeds(plan, evaluations)
    summaries = Summaries.of_cells(evaluations, others)
    for cell in others:
        content = summaries.content(cell)
        record = content["provenance"].get("stated")
        if record is None or record["experiment"] == file.name:  # else others asked for those seeds
            key = cell.dataset, cell.backbone, cell.loss
            looks.cells[key].append(began(file.name, content["started"], record, is_foreign=False))
    return looks


def edited(plan: Plan, stated: Mapping[str, Any], evaluations: Evaluations) -> list[str]:
    """Which claims some finished cells began without, or with others of that name; sentences for people.

    Args:
        plan: The cells that were asked for.
        stated: What the experiment's file states now.
        evaluations: The files.
    """
    keys: dict[str, Key] = {cell.id: (cell.dataset, cell.backbone, cell.loss) for cell in plan.cells}
    done = evaluations.ids()
    contents = evaluations.contents([evaluations.name(cell) for cell in plan.cells if cell.id in done])
    records = ((keys[content["cell_id"]], content["provenance"].get("stated")) for content in contents)
    return [
        f"claim '{name}' was stated or edited after results: {found.carried} of {found.cells} cells carry it"
        for name, found in dated(plan.experiment, stated, records).items()
        if found.word == "after"
    ]


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
