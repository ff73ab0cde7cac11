"""Columns that the results table has beyond its schema: what trials tried, user-defined measures, an operation's."""

from __future__ import annotations

import pyarrow as pa

from orchestrator.errors import DamagedFileError, RequestError
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.operation import MEASURES
from orchestrator.experiment.own_measures import BALANCED, balanced, is_own, value
from orchestrator.experiment.plan import Cell, Plan
from orchestrator.outcome import has_figures
from orchestrator.records.files.cell_rows import set_cell_aside
from orchestrator.records.files.class_names import called
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.storage import in_parallel
from orchestrator.thresholds.operating_point import measures, measures_of_trial
from trainers.evaluation import Evaluation


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


def with_derived(table: pa.Table, plan: Plan, evaluations: Evaluations) -> tuple[pa.Table, dict[str, str]]:
    """With a column for each user-defined measure that a claim is about, and for each of the operation.

    Where there are such measures, `BALANCED` says how many samples each class has.

    Returns:
        The table without cells whose rows cannot be read, and of each of these, by id, what is wrong with its file.

    Raises:
        RequestError: A measure cannot be computed, or the operation names a class that there is not.
    """
    asked = plan.experiment
    own = dict.fromkeys(filter(is_own, (metric for claim in asked.claims for metric in claim.metrics)))
    names = [*own, *(MEASURES if asked.operation else ())]
    if not names:
        return table, {}
    cells = {cell.id: cell for cell in plan.cells}
    finished = [cells[row["cell_id"]] if has_figures(row["state"]) else None for row in table.to_pylist()]
    spoilt: dict[str, str] = {}

    def of(cell: Cell | None) -> dict[str, float | None]:
        if cell is None:
            return {}
        try:
            rows = evaluations.evaluation(cell)
            columns = {name: each for name, each in vars(rows).items() if each is not None}
            found = {metric: value(metric, columns, cell.name) for metric in own} | {BALANCED: balanced(columns)}
            return found | _operating(asked, cell, rows, evaluations)
        except DamagedFileError as error:  # since it was checked, which may be long ago
            spoilt[cell.id] = set_cell_aside(cell, evaluations, error)
            return {}

    found = list(in_parallel(of, finished, evaluations.storage.readers))
    for name in names:
        table = table.append_column(name, pa.array([values.get(name) for values in found], pa.float64()))
    table = table.append_column(BALANCED, pa.array([values.get(BALANCED) for values in found], pa.int64()))
    return table.filter(
        pa.array([cell_id not in spoilt for cell_id in table["cell_id"].to_pylist()], pa.bool_())
    ), spoilt


def _operating(asked: Experiment, cell: Cell, rows: Evaluation, evaluations: Evaluations) -> dict[str, float | None]:
    """The measures of the operation for a cell; none if that is about another data set, or there is none."""
    operation = asked.operation
    if operation is None or operation.dataset not in {None, cell.dataset}:
        return {}
    classes = called(evaluations.content(cell))
    try:
        if cell.trial is not None:
            return measures_of_trial(operation, classes, rows)
        return measures(operation, classes, evaluations.validation(cell), rows)
    except ValueError as error:
        raise RequestError(f"{cell.name}: {error}") from None
