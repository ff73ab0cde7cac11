"""Train a few cells again under another instruction set: `python docs/results/again.py [EXPERIMENT…]`, else of all.

What it finds goes to `tables/machine-sample.parquet`, cell by cell, so that a second call trains only what is missing.
`ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2` before the command makes a processor do with less than it can.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from operator import attrgetter
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from kept import ROOT, TABLES, Kept, Row
from machine import SAMPLE, SHOWN
from make import DATA, bring_data

from orchestrator.execution.worker import loaded
from orchestrator.experiment.plan import PROTOCOL, Cell, plan
from orchestrator.provenance import machine
from orchestrator.stores import Stores
from orchestrator.study import Study
from orchestrator.workspace import Workspace
from trainers.fit import fit

CELLS = 2
"""Of each experiment."""

FILE = TABLES / f"{SAMPLE}.parquet"
HERE = torch.backends.cpu.get_cpu_capability()


def main(names: Sequence[str]) -> None:
    """Train what is missing, a cell per core at a time."""
    bring_data()
    rows = pq.read_table(FILE).to_pylist() if FILE.exists() else []
    done = {(row["cell_id"], row["then"], row["instruction_set"]) for row in rows}
    missing = [each for each in drawn(names) if (each.cell.id, each.then, HERE) not in done]
    about = {"protocol": PROTOCOL, "instruction_set": HERE, "torch_version": torch.__version__}
    about["processor"] = str(machine()["processor"])
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        asked = {pool.submit(trained, each.cell): each for each in missing}
        for count, answer in enumerate(as_completed(asked), start=1):
            name, cell, then = asked[answer]
            rows.append({"experiment": name, "cell_id": cell.id, "then": then, **answer.result(), **about})
            pq.write_table(pa.Table.from_pylist(rows), FILE, compression="zstd")
            print(f"{count} of {len(asked)}: {name}, {cell.name}", flush=True)


class Drawn(NamedTuple):
    """A committed cell to train again."""

    experiment: str
    cell: Cell
    then: float
    """When it began, which says which training its figures are of."""


def drawn(names: Sequence[str]) -> Iterator[Drawn]:
    """Finished cells that another instruction set trained: the first by id, a hash that knows nothing of results."""
    nowhere = Stores(Workspace.at(str(ROOT / "build" / "again")))
    tables = sorted(file.stem for file in TABLES.glob("*.parquet") if not file.stem.startswith("machine"))
    for name in names or tables:
        kept = Kept.read(name)
        elsewhere = [row for row in kept.of("cell") if row["instruction_set"] != HERE]
        began = {row["cell_id"]: row["started"] for row in elsewhere if row["state"] == "finished"}
        cells = plan(kept.settled, Study.of(kept.settled, nowhere, DATA).contents).cells
        for cell in sorted((cell for cell in cells if cell.id in began), key=attrgetter("id"))[:CELLS]:
            yield Drawn(name, cell, began[cell.id])


def trained(cell: Cell) -> Row:
    """The figures of a cell that is trained in this process, with as many threads as the first time."""
    torch.set_num_threads(cell.resources.cpus)
    began = time.perf_counter()
    plain = cell.recipe.dataset.model_copy(update={"shift": None})
    data = loaded(plain, DATA).data  # pyright: ignore[reportArgumentType]  # it hashes
    found = fit(cell.recipe, data, data_dir=DATA)
    return {**{name: found.metrics.get(name) for name in SHOWN}, "seconds": time.perf_counter() - began}


if __name__ == "__main__":
    main(sys.argv[1:])
