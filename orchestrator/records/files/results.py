"""The results table: built from the cells' files alone, written, and read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.errors import DamagedFileError
from orchestrator.experiment.plan import Cell, Plan, original
from orchestrator.experiment.questions import Key
from orchestrator.pairing.blocks import POOLS
from orchestrator.records.files import cell_file, splits
from orchestrator.records.files.cell_rows import SCHEMA, Reader, set_cell_aside
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.extra_columns import with_derived, with_trials
from orchestrator.records.files.origin import Origins
from orchestrator.records.files.storage import Storage
from orchestrator.records.files.summaries import Summaries
from orchestrator.workspace import Location

Licences = Mapping[tuple[tuple[str, str], str], Sequence[str]]
"""Of a setting and an environment there: the environments whose cells may be pooled with it."""


@dataclass(frozen=True)
class Results:
    """The table, the cells without a file, and what is wrong with files set aside."""

    table: pa.Table
    missing: tuple[Cell, ...]
    damaged: tuple[str, ...]
    replicas: pa.Table
    """In the same columns, the cells that were trained again so that pairs meet in one environment."""
    stated: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What its experiment stated when each cell or replica began, by its id, where that was recorded."""
    lost: tuple[str, ...] = ()
    """Why each file of validation rows that is missing, or another, cannot be read; its cell is done nevertheless."""
    licences: Licences = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary a cell, in the order of the plan."""
        return self._licensed(self.table)

    def all_rows(self) -> list[dict[str, Any]]:
        """The rows of cells, and behind them those of replicas."""
        return [*self.rows(), *self.replica_rows()]

    def without(self, cells: Collection[str]) -> Results:
        """The same without the rows of these cells and replicas."""
        if not cells:
            return self
        kept = [
            table.filter(pa.array([each not in cells for each in table["cell_id"].to_pylist()], pa.bool_()))
            for table in (self.table, self.replicas)
        ]
        return replace(self, table=kept[0], replicas=kept[1])

    def statements(self) -> Iterator[tuple[Key, Mapping[str, Any] | None]]:
        """Of each cell its dataset, backbone and loss, and what was stated when it began; None where nothing was."""
        columns = self.table.select(["dataset", "backbone", "loss", "cell_id"]).to_pydict()
        for dataset, backbone, loss, cell in zip(*columns.values(), strict=True):
            yield (dataset, backbone, loss), self.stated.get(cell)

    def runs(self) -> dict[str, str]:
        """MLflow's ids of the runs of cells that were tracked, by cell."""
        columns = self.table.select(["cell_id", "mlflow_run_id"]).to_pydict()
        return {cell: run for cell, run in zip(*columns.values(), strict=True) if run}

    def complaints(self) -> Iterator[str]:
        """What is wrong with files; sentences for people."""
        yield from self.damaged
        if self.lost:
            others = f" So are those of {len(self.lost) - 1} more." if self.lost[1:] else ""
            yield f"{self.lost[0]}{others} Figures that follow from them stand as the cells' own files state them."

    def replica_rows(self) -> list[dict[str, Any]]:
        """One dictionary a replica."""
        return self._licensed(self.replicas)

    def _licensed(self, table: pa.Table) -> list[dict[str, Any]]:
        rows = table.to_pylist()
        if self.licences:
            for row in rows:
                row[POOLS] = self.licences.get(((row["dataset"], row["backbone"]), row["environment"]), ())
        return rows


def aggregate(plan: Plan, evaluations: Evaluations, known: Known = lambda _: None, *, anew: bool = False) -> Results:
    """Build the results table of a plan from the cells' files, each of which is read once.

    What this table, the report, `compare` and other readers need of a file is kept as its summary, beside the table:
    only files that are new, or that changed since, are opened. User-defined measures and those of an operation are the
    exception: they may need any column, and what they compute may change, so they come from the cells' files each time.

    A file that cannot be trusted is renamed to `….damaged`, so that its cell counts as
    missing and the next launch trains it again.

    Args:
        plan: The experiment's cells.
        evaluations: Their files.
        known: How many test samples a cell's data have, and the digest of these where the data are here.
        anew: Whether to read every file, and to keep nothing.
    """
    summaries = None if anew else Summaries.of_cells(evaluations, plan.cells)
    read = Reader(plan.experiment.name, evaluations, summaries, Origins.of(evaluations.folder.parent))
    parts = read.parts(plan.cells)
    gone = {cell.id for part in parts for cell in part.missing}
    table = with_trials(pa.Table.from_batches([part.rows for part in parts], SCHEMA), plan)
    table, spoilt = with_derived(table, plan, evaluations)
    gone |= spoilt.keys()
    again = [cell for cell in evaluations.replicas(plan.cells) if original(cell.id) not in gone]
    replicas = read.parts(again)
    other = pa.Table.from_batches([part.rows for part in replicas], SCHEMA)
    other, spoilt_replicas = with_derived(other, Plan(plan.experiment, tuple(again)), evaluations)
    damaged = [sentence for part in (*parts, *replicas) for sentence in part.damaged]
    tested = [each for part in (*parts, *replicas) for each in part.tested]
    cells = {cell.id: cell for cell in (*plan.cells, *again)}
    strangers = splits.strangers(tested, lambda each: known(cells[each.name]))
    strange = {each.tested.name: _exclude(cells[each.tested.name], each, evaluations) for each in strangers}
    gone |= strange.keys()
    found = Results(
        table,
        tuple(cell for cell in plan.cells if cell.id in gone),
        (*damaged, *spoilt.values(), *spoilt_replicas.values(), *strange.values()),
        other,
        {cell: record for part in (*parts, *replicas) for cell, record in part.stated.items()},
        tuple(sentence for part in (*parts, *replicas) for sentence in part.lost),
    )
    return found.without({*strange, *(cell.id for cell in again if original(cell.id) in strange)})


Known = Callable[[Cell], tuple[int, str | None] | None]
"""How many test samples a cell's data have, and their digest; None where that is not known."""


def _exclude(cell: Cell, stranger: splits.Stranger, evaluations: Evaluations) -> str:
    """The sentence on a cell that was tested on other samples than the others, and is set aside if it can be."""
    path = evaluations.path(cell.recipe, cell.id)
    if stranger.is_settled:
        return set_cell_aside(cell, evaluations, DamagedFileError(f"{path} {stranger.why}."))
    return f"{path} {stranger.why}. It is left out: `verify` reruns cells, and tells which are right."


def write(results: Results, path: Location) -> None:
    """Write the table, whole or not at all, and beside it that of the replicas, where there are any."""
    storage = Storage(path.parent)
    again = of_replicas(path.name)
    storage.write(path.name, _encoded(results.table))
    if results.replicas.num_rows:
        storage.write(again, _encoded(results.replicas))
    else:
        storage.delete(again)


def holds(results: Results, path: Location) -> bool:
    """Whether results have every cell of a table that was written; one that cannot be read has none."""
    return {row["cell_id"] for row in read(path)} <= set(results.table["cell_id"].to_pylist())


def of_replicas(name: str) -> str:
    """The name of the table of replicas beside a results table of this name."""
    return f"{name.removesuffix('.parquet')}.replicas.parquet"


def _encoded(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def read(place: Location) -> list[dict[str, Any]]:
    """The rows of a table that was written; none where there is no table, or one that cannot be read."""
    content = Storage(place.parent).read(place.name)
    if content is None:
        return []
    try:
        return cell_file.opened_in_memory(content).read(use_threads=False).to_pylist()
    except pa.ArrowException:
        return []


def read_all(place: Location) -> list[dict[str, Any]]:
    """The rows of a table that was written, and those of its replicas; none where there is no table."""
    return [*read(place), *read(place.parent / of_replicas(place.name))]


def environments(place: Location) -> dict[str, str]:
    """The environment of each cell and replica, by id, as a table that was written and that of its replicas say."""
    found: dict[str, str] = {}
    for name in (place.name, of_replicas(place.name)):
        content = Storage(place.parent).read(name)
        with suppress(pa.ArrowException, KeyError):
            if content is not None:
                table = cell_file.opened_in_memory(content).read(["cell_id", "environment"], use_threads=False)
                found |= dict(zip(*(table[column].to_pylist() for column in ("cell_id", "environment")), strict=True))
    return found
