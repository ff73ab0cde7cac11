"""The cost of scheduling a cell: ours, Ray Tune with its defaults, Tune with reused actors, and a plain loop.

`python benchmarks/launch.py` prints the table for trivial cells; `--real` adds the quickstart's digits cells,
`--grow N` runs N trivial cells and plots the driver's memory, `--plan N` times planning. All ways are measured in the
same call, so that their ratios are meaningful on any machine.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import psutil

from benchmarks import grid
from benchmarks.table import Row, arguments, progress, text
from orchestrator.execution.queue import Queue
from orchestrator.execution.ray_tune import RayTune
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Cell, Plan, plan
from orchestrator.launching.notes import Notes
from orchestrator.launching.run_plan import carry_out, take_stock
from orchestrator.outcome import Advanced, Attempt, Event, Finished, Started
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.sql.leases import held
from orchestrator.records.sql.registry import Registry
from orchestrator.records.tracking.runs import Untracked

if TYPE_CHECKING:
    from orchestrator.execution.worker import Worker

CORES = os.cpu_count() or 1


@dataclass(frozen=True)
class Trivial:
    """A worker that trains nothing, but has the imports of a real one and reports the same events."""

    checkpoints: None = None

    def run(self, cell: Cell, tell: Any) -> Finished:
        """Report that the cell started, progressed and finished."""
        import torch  # noqa: F401  # pyright: ignore[reportUnusedImport] - as for real cells; paid once per process

        began = time.time()
        tell(Started(cell, "here", began))
        tell(Advanced(cell, 1, {"train_loss": 1.0}))
        return Finished(cell, Attempt("here", began, time.time() - began), {"uniform_accuracy": 0.5})


def trivial(cells: int) -> Plan:
    """A plan with this many cells."""
    fields = {"losses": ["softmax", "bce_unified"], "backbones": ["resnet8"], "datasets": ["digits"]}
    return plan(Experiment.model_validate({"name": "trivial", "seeds": cells // 2, "baseline": "softmax", **fields}))


def ours(cells: int, watch: Any = None) -> tuple[float, float, float]:
    """Seconds until the first cell, then seconds per cell, and the driver's CPU seconds; including the registry."""
    began = time.perf_counter()
    first = 0.0
    asked = trivial(cells)
    busy = 0.0

    def note(event: Event) -> None:
        nonlocal first, busy
        if not first:
            first = time.perf_counter()
            busy = time.process_time()
        if watch:
            watch(event)

    with (
        tempfile.TemporaryDirectory() as folder,
        Registry.open(f"sqlite:///{folder}/registry.db") as registry,
        held(registry, asked) as lease,
    ):
        queue = Queue(asked.cells, claim=lease.claim)
        notes = Notes(lease, Evaluations(Path(folder) / "evaluations"), Path(folder) / "spool", print)
        runner = RayTune(cast("Worker", Trivial()))
        tally = carry_out(queue, runner, notes, Untracked(experiment="trivial"), note)
    assert tally["finished"] == cells, tally
    busy = time.process_time() - busy
    return first - began, (time.perf_counter() - first) / cells, busy / cells


TUNE = """
import sys, time, os, json
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": sys.argv[3]}
import ray
from ray import tune
ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
def cell(config):
    import torch
    tune.report({"epoch": 1}); tune.report({"uniform_accuracy": 0.5})
began = time.perf_counter()
tune.Tuner(cell, param_space={"cell": tune.grid_search(list(range(int(sys.argv[1]))))},
    tune_config=tune.TuneConfig(reuse_actors=sys.argv[2] == "reuse"),
    run_config=tune.RunConfig(verbose=0, storage_path=sys.argv[4])).fit()
print("SECONDS", time.perf_counter() - began)
"""


def plain_tune(cells: int, *, reuse: bool, quiet: bool = False) -> float:
    """Seconds per cell of plain Ray Tune."""
    options = [str(cells), "reuse" if reuse else "fresh", str(int(quiet))]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-W", "ignore", "-c", TUNE, *options, folder]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(told.rpartition("SECONDS")[2]) / cells


def bare_loop(cells: int) -> float:
    """Seconds per cell of a loop that does what the trivial worker does."""
    asked = trivial(cells)
    worker = Trivial()
    worker.run(asked.cells[0], lambda event: None)  # imports torch
    began = time.perf_counter()
    for cell in asked.cells:
        worker.run(cell, lambda event: None)
    return (time.perf_counter() - began) / cells


def rows(*, quick: bool = False, cells: int = 200, tell: Callable[[str], None]) -> list[Row]:
    """Milliseconds per trivial cell, for all ways."""
    cells = 40 if quick else cells
    few = max(CORES * 2, cells // 25)  # at 4 s per cell, more would tell nothing new
    start, each, busy = ours(cells)
    tell(f"ours: {1000 * each:.1f} ms a cell")
    peers = {
        "bare Python loop": (bare_loop(cells), cells),
        "Tune, reused actors, no loggers": (plain_tune(cells, reuse=True, quiet=True), cells),
        "Tune, reused actors": (plain_tune(cells, reuse=True), cells),
        "Tune with its defaults": (plain_tune(few, reuse=False), few),
    }
    part = "scheduling a trivial cell"
    return [
        Row(part, "ours: Tune, reused actors, waves, registry", (1000 * each,), "ms", note=f"{cells} cells"),
        Row(part, "ours: the driver's own computing", (1000 * busy,), "ms"),
        Row(part, "ours: until the first cell", (start,), "s"),
        *(Row(part, name, (1000 * took,), "ms", took / each, f"{n} cells") for name, (took, n) in peers.items()),
    ]


def real() -> None:
    """The quickstart's cells: the share of two cores' time spent in training."""
    with tempfile.TemporaryDirectory() as folder:
        wall, _ = grid.launch(folder, seeds=5)
        print(text(grid.efficiency(folder, wall)))


def grow(cells: int, picture: Path | None) -> None:
    """Run many trivial cells and plot the driver's memory over time."""
    process = psutil.Process()
    points = list[tuple[int, float]]()
    done = 0

    def watch(event: Event) -> None:
        nonlocal done
        if isinstance(event, Finished):
            done += 1
            if done % max(1, cells // 100) == 0:
                points.append((done, process.memory_info().rss / 2**20))

    start, each, busy = ours(cells, watch)
    low = statistics.median(memory for _, memory in points[10:30])
    high = statistics.median(memory for _, memory in points[-20:])
    print(
        f"{cells} trivial cells: {1000 * each:.1f} ms each ({1000 * busy:.1f} of the driver), "
        f"first after {start:.1f} s; driver's memory "
        f"{low:.0f} MiB after a fifth, {high:.0f} MiB in the end ({1024 * (high - low) / (0.8 * cells):.2f} KiB a cell)"
    )
    if picture:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot as plt

        figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
        axes.plot(*zip(*points, strict=True))
        axes.set(xlabel="cells finished", ylabel="driver's memory (MiB)", ylim=(0, None), title="Flat while it runs")
        figure.savefig(picture)


def planning(cells: int) -> None:
    """Plan many cells, and subtract them from a registry in which all are finished."""
    began = time.perf_counter()
    asked = trivial(cells)
    planned = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder, Registry.open(f"sqlite:///{folder}/registry.db") as registry:
        began = time.perf_counter()
        registry.plan(asked)
        recorded = time.perf_counter() - began
        registry.adopt({cell.id: "finished" for cell in asked.cells})
        evaluations = Evaluations(Path(folder) / "evaluations")
        for cell in asked.cells:
            path = Path(folder) / "evaluations" / evaluations.name(cell)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        began = time.perf_counter()
        states = take_stock(asked, evaluations, registry)
        left = asked.pending({cell for cell, state in states.items() if state == "finished"})
        subtracted = time.perf_counter() - began
    assert not left.cells
    print(
        f"{cells} cells: planned in {planned:.1f} s, recorded in {recorded:.1f} s, subtracted in {subtracted:.1f} s\n"
    )


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--grow", type=int, metavar="N")
    parser.add_argument("--plan", type=int, metavar="N")
    parser.add_argument("--picture", type=Path)
    asked = parser.parse_args()
    if asked.plan:
        planning(asked.plan)
    if asked.grow:
        grow(asked.grow, asked.picture)
    if not (asked.plan or asked.grow):
        print(text(rows(cells=asked.cells, tell=progress)))
    if asked.real:
        real()
