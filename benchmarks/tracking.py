"""The cost of writing cells' runs to MLflow, by the number of processes that write at the same time.

    python -m benchmarks.tracking [--runs 20] [--epochs 10] [--tracking URI]
    python -m benchmarks.tracking --many 10000 [--write]

Each process writes its runs one after the other, as a worker does with short cells: parameters, ten metrics per epoch,
final metrics. Nothing is trained, so writing cannot overlap with training. Two figures in seconds per run: the time a
cell waits for the store, from opening its run to its end; and the time of the store, from the start of the first
process to the end of the last, divided by the number of runs.

With --many N, one process writes N runs of one epoch to a new SQLite file, and the table says whether the store gets
slower as it fills; --write puts it into docs/performance.md.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier as Together
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.page import PERFORMANCE, fill
from benchmarks.table import Row, arguments, machine, progress, text
from orchestrator.experiment.plan import Cell, identity
from orchestrator.experiment.resources import Resources
from orchestrator.records.tracking.mlflow_store import connect
from orchestrator.records.tracking.runs import Tracking
from trainers.recipe import Recipe, Training

FIGURES = 10


@dataclass(frozen=True)
class Written:
    """One run: wall seconds, CPU seconds, and whether the store had everything in time."""

    waiting: float
    cpu: float
    in_time: bool


def a_cell(seed: int, epochs: int) -> Cell:
    """A cell to write about."""
    fields = {"loss": "bce_unified", "backbone": "resnet8", "dataset": "digits", "seed": seed}
    recipe = Recipe.model_validate({**fields, "training": Training(epochs=epochs)})
    return Cell(identity(recipe), "unified", "resnet8", "digits", seed, recipe, Resources())


def write(tracking: Tracking, cell: Cell, epochs: int) -> Written:
    """Write one run."""
    started = time.perf_counter()
    busy = time.process_time()
    with tracking.run(cell, commit="c0ffee") as run:
        for epoch in range(1, epochs + 1):
            run.epoch(epoch, {f"figure{number}": epoch + number / FIGURES for number in range(FIGURES)})
        run.finish({f"final{number}": number / FIGURES for number in range(FIGURES)})
    return Written(time.perf_counter() - started, time.process_time() - busy, run.trouble is None)


def work(
    tracking: Tracking, seeds: range, epochs: int, together: Together, told: multiprocessing.Queue[list[Written]]
) -> None:
    """One process: import and connect, wait for the others, then write."""
    connect(tracking.uri)
    write(tracking, a_cell(seeds.start, epochs), epochs)
    together.wait()
    told.put([write(tracking, a_cell(seed, epochs), epochs) for seed in seeds[1:]])


def measure(tracking: Tracking, processes: int, runs: int, epochs: int, first_seed: int) -> tuple[list[Written], float]:
    """All runs, and the total seconds."""
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(processes + 1)
    told = context.Queue()
    starts = [first_seed + number * (runs + 1) for number in range(processes)]
    workers = [
        context.Process(target=work, args=(tracking, range(start, start + runs + 1), epochs, together, told))
        for start in starts
    ]
    for worker in workers:
        worker.start()
    together.wait(timeout=300)  # a timeout, because a process that died at its start never arrives
    started = time.perf_counter()
    written = [run for _ in workers for run in told.get()]
    whole = time.perf_counter() - started
    for worker in workers:
        worker.join()
    return written, whole


def described(processes: int, written: Iterable[Written], whole: float) -> list[Row]:
    """The time that cells wait with this many concurrent processes, and the store's time per run."""
    runs = list(written)
    cpu = statistics.fmean(run.cpu for run in runs)
    late = sum(not run.in_time for run in runs)
    name = f"{processes} process{'es' * (processes > 1)}"
    note = f"{cpu:.2f} s of it computing; {late} of {len(runs)} runs not whole in time"
    return [
        Row("tracking a run in MLflow", f"{name}: the cell waits", tuple(run.waiting for run in runs), "s", note=note),
        Row("tracking a run in MLflow", f"{name}: the store takes a run", (whole / len(runs),), "s"),
    ]


def rows(
    *, quick: bool = False, runs: int = 20, epochs: int = 10, uri: str | None = None, tell: Callable[[str], None]
) -> list[Row]:
    """One, two and eight processes; with `quick`, one. Uses the given store, or a fresh SQLite file."""
    found = list[Row]()
    with TemporaryDirectory() as folder:
        store = uri or f"sqlite:///{Path(folder) / 'mlflow.db'}"
        tracking = Tracking(store, "benchmark", None if uri else str(Path(folder) / "mlartifacts"))
        tracking.prepare()
        for number, processes in enumerate((1,) if quick else (1, 2, 8)):
            written, whole = measure(tracking, processes, runs, epochs, first_seed=number * 100_000)
            tell(f"{processes} processes: {whole / processes / runs:.2f} s a run")
            found += described(processes, written, whole)
    return found


FEW = 100
"""Runs over which the first and the last are averaged."""


@dataclass(frozen=True)
class Filled:
    """A store to which many runs were written, one after the other."""

    seconds: list[float]
    """Of each run."""
    in_time: int
    """Runs of which the store had everything in time."""
    size: int
    """Bytes of the store's file."""

    def row(self) -> str:
        """One row of the table."""
        first, last, every = (
            f"{1000 * statistics.fmean(part):.0f} ms"
            for part in (self.seconds[:FEW], self.seconds[-FEW:], self.seconds)
        )
        runs = len(self.seconds)
        megabytes = f"{self.size / 10**6:,.0f} MB | {self.size / runs / 1000:.1f} kB"
        return f"| {runs:,} | {first} | {last} | {every} | {megabytes} | {self.in_time:,} |"


def fill_store(runs: int, folder: Path, tell: Callable[[str], None]) -> Filled:
    """Tell a fresh SQLite file of runs, as one worker does, and see what becomes of it."""
    file = folder / "mlflow.db"
    tracking = Tracking(f"sqlite:///{file}", "benchmark", str(folder / "mlartifacts"))
    tracking.prepare()
    connect(tracking.uri)
    write(tracking, a_cell(0, 1), 1)  # imports, and connects
    written = list[Written]()
    for seed in range(1, runs + 1):
        written.append(write(tracking, a_cell(seed, 1), 1))
        if seed % 1000 == 0:
            tell(f"{seed} runs, {1000 * statistics.fmean(run.waiting for run in written[-FEW:]):.0f} ms each")
    size = sum(each.stat().st_size for each in folder.glob("mlflow.db*"))
    return Filled([run.waiting for run in written], sum(run.in_time for run in written), size)


HEAD = f"""\
| runs | the store takes a run: the first {FEW} | the last {FEW} | all | its file | per run | whole in time |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""


def show_filled(runs: int, *, is_written: bool) -> None:
    """Fill a store, and print the table or write it into the page."""
    load = os.getloadavg()[0]
    with TemporaryDirectory() as folder:
        found = fill_store(runs, Path(folder), progress)
    told = f"Measured on {machine()} Load {load:.0f} before.\n\n{HEAD}{found.row()}"
    print(told)
    if is_written:
        fill("filling MLflow", told, PERFORMANCE)


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--many", type=int, help="instead: fill a store with N runs", metavar="N")
    parser.add_argument("--write", action="store_true", help="and write the table into docs/performance.md")
    parser.add_argument("--runs", type=int, default=20, help="runs a process")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--tracking", help="a store of your own; default: a fresh SQLite file")
    wanted = parser.parse_args()
    if wanted.many:
        show_filled(wanted.many, is_written=wanted.write)
        sys.exit()
    asked = {"runs": wanted.runs, "epochs": wanted.epochs, "uri": wanted.tracking}
    print(f"{wanted.runs} runs a process, {wanted.epochs} epochs of {FIGURES} figures; seconds a run")
    print(text(rows(**asked, tell=progress)))
