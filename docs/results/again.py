"""Train a few cells of each experiment again, on another machine: `python docs/results/again.py`.

What it finds goes to `tables/machine-sample.parquet`, cell by cell, so that a second call trains only what is missing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from operator import attrgetter

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from kept import ROOT, TABLES, Kept, Row
from machine import SAMPLE, SHOWN
from make import DATA, bring_data

from orchestrator.execution.worker import loaded
from orchestrator.experiment.plan import PROTOCOL, Cell, plan
from orchestrator.provenance import machine, torch_state
from orchestrator.stores import Stores
from orchestrator.study import Study
from orchestrator.workspace import Workspace
from trainers.fit import fit

CELLS = 3
"""Of each experiment."""

FILE = TABLES / f"{SAMPLE}.parquet"


def main() -> None:
    """Train what is missing, experiment by experiment."""
    bring_data()
    here = {**machine(), **torch_state.computing(gpu=False)}
    rows = pq.read_table(FILE).to_pylist() if FILE.exists() else []
    done = {(row["cell_id"], row["instruction_set"], row["torch_version"]) for row in rows}
    for name in sorted(file.stem for file in TABLES.glob("*.parquet") if not file.stem.startswith("machine")):
        for cell in drawn(Kept.read(name)):
            if (cell.id, here["instruction_set"], torch.__version__) in done:
                continue
            rows.append({"experiment": name, "cell_id": cell.id, **trained(cell), **about(here)})
            pq.write_table(pa.Table.from_pylist(rows), FILE, compression="zstd")
            print(f"{name} {cell.name}", flush=True)


def drawn(kept: Kept) -> Sequence[Cell]:
    """The first finished cells of an experiment by id, which is a hash and so says nothing of the result."""
    ids = {row["cell_id"] for row in kept.of("cell") if row["state"] == "finished"}
    nowhere = Stores(Workspace.at(str(ROOT / "build" / "again")))
    contents = Study.of(kept.settled, nowhere, DATA).contents
    cells = sorted((cell for cell in plan(kept.settled, contents).cells if cell.id in ids), key=attrgetter("id"))
    return cells[:CELLS]


def trained(cell: Cell) -> Row:
    """The figures of a cell that is trained here and now, with as many threads as the first time."""
    torch.set_num_threads(cell.resources.cpus)
    began = time.perf_counter()
    data = loaded(cell.recipe.dataset.model_copy(update={"shift": None}), DATA).data
    found = fit(cell.recipe, data, data_dir=DATA)
    return {**{name: found.metrics.get(name) for name in SHOWN}, "seconds": time.perf_counter() - began}


def about(here: Row) -> Row:
    """What trained it."""
    return {
        "protocol": PROTOCOL,
        **{name: str(here[name]) for name in ("processor", "instruction_set", "torch_version")},
    }


if __name__ == "__main__":
    main()
