"""Columns that the results table has beyond its schema: what trials tried, and measures of one's own."""

from __future__ import annotations

import pyarrow as pa

from orchestrator.errors import DamagedFileError
from orchestrator.experiment.own_measures import BALANCED, balanced, is_own, value
from orchestrator.experiment.plan import Cell, Plan
from orchestrator.outcome import has_figures
from orchestrator.records.files.cell_rows import set_cell_aside
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.storage import in_parallel


def with_trials(table: pa.Table, plan: Plan) -> pa.Table:
    """Of a tuning stage: with the number of each trial, and the values that it tried; others are as they were."""
    tuning = plan.experiment.tuning
    cells = {cell.id: cell for cell in plan.cells if cell.trial is not None}
    if tuning is None or not cells:
        return table
    found = [cells[cell_id] for cell_id in table["cell_id"].to_pylist()]
    table = table.append_column("trial", pa.array([cell.trial for cell in found], pa.int64()))
    for name in tuning.space:
        of = "training" if name in tuning.shared else "loss"
        values = [getattr(getattr(cell.recipe, of), name, None) for cell in found]
        numbers = all(isinstance(value, (int, float)) or value is None for value in values)
        form = pa.float64() if numbers else pa.string()
        texts = [value if numbers or value is None else str(value) for value in values]
        table = table.append_column(name, pa.array(texts, form))
    return table


def with_own_measures(table: pa.Table, plan: Plan, evaluations: Evaluations) -> tuple[pa.Table, dict[str, str]]:
    """With a column for each measure of one's own that a claim is about, and of how many samples each class has.

    Returns:
        The table without cells whose rows cannot be read, and of each of these, by id, what is wrong with its file.
    """
    asked = dict.fromkeys(filter(is_own, (metric for claim in plan.experiment.claims for metric in claim.metrics)))
    if not asked:
        return table, {}
    cells = {cell.id: cell for cell in plan.cells}
    finished = [cells[row["cell_id"]] if has_figures(row["state"]) else None for row in table.to_pylist()]

    spoilt: dict[str, str] = {}

    def of(cell: Cell | None) -> list[float | None]:
        if cell is None:
            return [None] * (len(asked) + 1)
        try:
            columns = {name: each for name, each in vars(evaluations.evaluation(cell)).items() if each is not None}
        except DamagedFileError as error:  # since it was checked, which may be long ago
            spoilt[cell.id] = set_cell_aside(cell, evaluations, error)
            return [None] * (len(asked) + 1)
        return [*(value(metric, columns, cell.name) for metric in asked), balanced(columns)]

    found = list(in_parallel(of, finished, evaluations.storage.readers))
    for place, metric in enumerate(asked):
        table = table.append_column(metric, pa.array([values[place] for values in found], pa.float64()))
    table = table.append_column(BALANCED, pa.array([values[-1] for values in found], pa.int64()))
    return table.filter(
        pa.array([cell_id not in spoilt for cell_id in table["cell_id"].to_pylist()], pa.bool_())
    ), spoilt
