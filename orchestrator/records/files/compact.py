"""Writes the rows of all samples of a finished experiment as one dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.errors import DamagedFileError, RequestError
from orchestrator.experiment.plan import Cell, Plan
from orchestrator.records.files import cell_file
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.storage import Storage
from orchestrator.workspace import Location

if TYPE_CHECKING:
    from trainers.evaluation import Evaluation


from orchestrator.records.files.cell_rows import set_cell_aside
from orchestrator.records.files.results import aggregate

SAMPLES = pa.schema([("cell_id", pa.string()), ("seed", pa.int64()), *cell_file.SCHEMA])
"""Of the dataset of all samples; its folders add `dataset`, `backbone` and `loss`, as the experiment labels them."""


_ROWS = 2**22
"""Of a file of the dataset, about: some 100 MiB."""


def compact_samples(
    plan: Plan,
    evaluations: Evaluations,
    folder: Location,
    read: Callable[[Evaluations, Cell], Evaluation | None] = Evaluations.evaluation,
) -> int:
    """Write the rows of all samples of a finished experiment as one dataset; the cells' files stay.

    It is partitioned by dataset, backbone and loss; within a file each cell has a row group
    of its own, in the order of seeds. Written again, it is the same; files that an earlier
    plan left in the folder are removed.

    Args:
        plan: The experiment's cells.
        evaluations: Their files.
        folder: Where the dataset goes.
        read: Which rows of a cell: those of the test split, or `Evaluations.validation`.

    Returns:
        How many rows there are.

    Raises:
        RequestError: A cell is not done, or its file is damaged and was set aside.
    """
    found = aggregate(plan, evaluations)
    if found.missing:
        name = plan.experiment.name
        count = len(found.missing)
        raise RequestError(
            "\n".join([*found.damaged, f"{count} of {len(plan)} cells of '{name}' are not done: launch it first."])
        )
    storage = Storage(folder)
    written = set[str]()
    rows = 0
    for partition, cells in _partitions(plan):
        samples = max(evaluations.content(cell)["samples"] for cell in cells)
        at_once = max(1, _ROWS // max(1, samples))
        for start in range(0, len(cells), at_once):
            name = f"{partition}/part-{start // at_once:05}.parquet"
            content, count = _joined(cells[start : start + at_once], evaluations, read)
            storage.write(name, content)
            written.add(name)
            rows += count
    for file in storage.list():
        if file.name not in written:
            storage.delete(file.name)
    return rows


def _partitions(plan: Plan) -> Iterator[tuple[str, list[Cell]]]:
    def partition(cell: Cell) -> str:
        return cell_file.partition(cell.dataset, cell.backbone, cell.loss)

    for name, cells in groupby(sorted(plan.cells, key=lambda cell: (partition(cell), cell.seed)), partition):
        yield name, list(cells)


def _joined(
    cells: Sequence[Cell], evaluations: Evaluations, read: Callable[[Evaluations, Cell], Evaluation | None]
) -> tuple[bytes, int]:
    """A Parquet file of the rows of some cells, and how many they are."""
    sink = pa.BufferOutputStream()
    count = 0
    with pq.ParquetWriter(sink, SAMPLES, compression="zstd", store_schema=False, write_page_checksum=True) as writer:
        for cell in cells:
            try:
                rows = cell_file.columns(read(evaluations, cell))
            except DamagedFileError as error:
                raise RequestError(set_cell_aside(cell, evaluations, error)) from None
            same = {"cell_id": [cell.id] * len(rows["sample"]), "seed": [cell.seed] * len(rows["sample"])}
            writer.write_table(pa.table({**same, **rows}, schema=SAMPLES))
            count += len(rows["sample"])
    return sink.getvalue().to_pybytes(), count
