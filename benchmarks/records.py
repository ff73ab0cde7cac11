"""The cost of reading the per-cell files: the results table from footers, and accuracy curves from rows.

    python benchmarks/records.py [--cells 10000] [--rows 10000000]

The files are created in a temporary folder and are in the page cache when they are read. Each figure comes from a
fresh process; memory is its peak, including Python, pyarrow and the plan. The curves count scores between 16 384
thresholds in one scan. For comparison, DuckDB scans the same columns of the same files and sums them by loss, with
the same number of threads.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.table import Row, arguments, progress, ratio, text
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import PROTOCOL, Plan, plan
from orchestrator.records.files import cell_file, compact, results
from orchestrator.records.files.cell_file import Account, encoded
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.scan_curves import accuracy_curves

if TYPE_CHECKING:
    from trainers.evaluation import Evaluation

LOSSES = ["softmax", "bce", "bce_unified", "bce_diverse"]
EPOCHS = 20
SAMPLES = 100
"""Rows per cell in the first part; footers do not depend on their number."""
FILE = 2**22
"""Rows per file in the second part."""


def grid(cells: int) -> Plan:
    """An experiment with this many cells."""
    fields = {"name": "benchmark", "losses": LOSSES, "backbones": ["resnet8", "resnet20"], "datasets": ["digits"]}
    seeds = -(-cells // (2 * len(LOSSES)))
    whole = plan(Experiment.model_validate({**fields, "seeds": seeds, "baseline": "softmax"}))
    return Plan(whole.experiment, whole.cells[:cells])


def sampled(draw: np.random.Generator) -> Evaluation:
    """Scores of a model with ten classes for the samples of one cell."""
    import torch  # not above: what measures memory imports this file

    from trainers.evaluation import Evaluation
    from trainers.inference import ranked, summarise

    scores = torch.from_numpy(draw.normal(size=(SAMPLES, 10)).astype(np.float32))
    label = draw.integers(0, 10, SAMPLES)
    prediction, positive, rival, logsumexp = summarise(scores, torch.from_numpy(label))
    found = {"prediction": prediction, "positive": positive, "rival": rival, "logsumexp": logsumexp}
    columns: dict[str, Any] = {name: column.numpy() for name, column in {**found, **ranked(scores, prediction)}.items()}
    columns |= {name: columns[name].astype(np.int32) for name in ("prediction", "runner_up")}
    sample = np.arange(SAMPLES, dtype=np.int32)
    return Evaluation(sample, label.astype(np.int32), **columns, logsumexp_tuned=columns["logsumexp"])


def make_cells(folder: Path, asked: Plan) -> None:
    """Write realistic files for a plan's cells, without waiting for the disk as `publish` does."""
    from trainers.metrics import MEASURES, from_rows

    draw = np.random.default_rng(0)
    evaluations = Evaluations(folder)
    rows = sampled(draw)
    metrics = {**{name: draw.random() for name in MEASURES}, **from_rows(rows, None, [], 1.0), "temperature": 1.0}
    history = [{f"figure{number}": draw.random() for number in range(5)} for _ in range(EPOCHS)]
    for cell in asked.cells:
        path = evaluations.path(cell.recipe, cell.id)
        account = Account(
            cell_id=cell.id,
            state="finished",
            recipe=cell.recipe.model_dump(mode="json"),
            protocol=PROTOCOL,
            samples=SAMPLES,
            epochs=EPOCHS,
            metrics=metrics,
            shifts={},
            learned_bias=[],
            history=history,
            parameters=1000,
            train_seconds=2.5,
            images_per_second=400.0,
            started=1.7e9,
            seconds=3.0,
            mlflow_run_id="0" * 32,
            provenance={f"provenance{number}": "x" * 20 for number in range(20)},
            classes=10,
            scores="all",
        )
        Path(str(path.parent)).mkdir(parents=True, exist_ok=True)
        Path(str(path)).write_bytes(encoded(account, rows))


def make_rows(folder: Path, rows: int) -> None:
    """Write a dataset of samples in the layout of `compact`."""
    draw = np.random.default_rng(0)
    for loss in LOSSES:
        partition = folder / "dataset=digits" / "backbone=resnet8" / f"loss={loss}"
        partition.mkdir(parents=True)
        for start in range(0, rows // len(LOSSES), FILE):
            count = min(FILE, rows // len(LOSSES) - start)
            columns = {
                "cell_id": pa.array(["0" * 64]).take(pa.array(np.zeros(count, np.int32))),
                "seed": np.full(count, start // FILE),
                "sample": np.arange(count, dtype=np.int32),
                **{name: draw.integers(0, 10, count, dtype=np.int32) for name in ("label", "prediction")},
                **{name: draw.standard_normal(count, np.float32) for name in cell_file.SCHEMA.names[3:7]},
            }
            columns |= {
                field.name: pa.nulls(count, field.type) for field in compact.SAMPLES if field.name not in columns
            }
            table = pa.table(columns, schema=compact.SAMPLES)
            pq.write_table(table, partition / f"{start}.parquet", compression="zstd", store_schema=False)


def aggregate(folder: Path, size: int) -> Callable[[], object]:
    """The results table of the first part's files."""
    asked = grid(size)

    def table() -> None:
        found = results.aggregate(asked, Evaluations(folder))
        if found.table.num_rows != size:
            raise RuntimeError(found.damaged)

    return table


def curves(folder: Path, size: int) -> Callable[[], object]:  # noqa: ARG001 - the size follows from the files
    """The curve of each loss over the second part's rows."""
    return lambda: accuracy_curves(folder)


def scan(folder: Path, size: int) -> Callable[[], object]:  # noqa: ARG001 - the size follows from the files
    """Scan the columns that the curves need with DuckDB."""
    source = f"read_parquet('{folder}/**/*.parquet', hive_partitioning=true)"
    query = f"SELECT loss, count(*), sum(positive), sum(rival) FROM {source} GROUP BY loss"  # noqa: S608 - our folder
    connection = duckdb.connect(config={"threads": pa.cpu_count()})
    return lambda: connection.execute(query).fetchall()


TASKS = {"aggregate": aggregate, "curves": curves, "scan": scan}


def measured(task: str, folder: Path, size: int) -> tuple[float, float]:
    """Seconds and MiB of a task in a separate process."""
    command = [sys.executable, __file__, "--task", task, "--folder", str(folder), "--size", str(size)]
    seconds, mebibytes = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(seconds), float(mebibytes)


def perform(task: str, folder: Path, size: int) -> None:
    """Do a task and print what it took."""
    work = TASKS[task](folder, size)
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    # Not `ru_maxrss`: on Linux it includes the memory of the parent.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    print(seconds, int(status.partition("VmHWM:")[2].split()[0]) / 1024)


def rows(
    *, quick: bool = False, cells: int = 10_000, samples: int = 10_000_000, tell: Callable[[str], None]
) -> list[Row]:
    """Both parts; with `quick`, a tenth of each."""
    cells, samples = (cells // 10, samples // 10) if quick else (cells, samples)
    with TemporaryDirectory() as folder:
        place = Path(folder)
        make_cells(place / "cells", grid(cells))
        (looked, most), (aggregated, memory) = (measured("aggregate", place / "cells", cells) for _ in range(2))
        tell(f"results table of {cells} cells: {looked:.1f} s, and {aggregated:.1f} s once their rows are known")
        make_rows(place / "rows", samples)
        for task in ("curves", "scan"):
            measured(task, place / "rows", samples)  # warm the cache, so that the order does not matter
        repeats = [[measured(task, place / "rows", samples) for task in ("curves", "scan")] for _ in range(3)]
    (took, held), (scanned, _) = (zip(*each, strict=True) for each in zip(*repeats, strict=True))
    part = "records"
    rest = ratio(took, scanned, more_is_better=False)
    return [
        Row(part, f"results table of {cells:,} cells, rows not yet looked at", (looked,), "s", note=f"{most:.0f} MiB"),
        Row(part, f"results table of {cells:,} cells", (aggregated,), "s", note=f"{memory:.0f} MiB"),
        Row(part, f"accuracy curves over {samples:,} rows", took, "s", note=f"{max(held):.0f} MiB"),
        Row(part, "DuckDB's scan of the same columns", scanned, "s", rest),
    ]


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.task:
        perform(wanted.task, wanted.folder, wanted.size)
    else:
        print(text(rows(cells=wanted.cells, samples=wanted.rows, tell=progress)))
