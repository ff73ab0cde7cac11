"""The quickstart's grid end to end: `launch` compared with other common ways to run forty cells.

    python -W ignore benchmarks/grid.py [--cells 40] [--sample 8] [--quick]

All ways train the same cells with `trainers.fit` and are timed as whole commands, including the start. The slow ones
run only the first `--sample` cells, in whole seeds, so that every kind of cell is included. Tune's start is measured
separately, so that it does not weigh more in a sample than in the whole grid. The last way uses a typical
hand-written training loop.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.table import Row, arguments, progress, text
from orchestrator.experiment.plan import plan
from orchestrator.experiment.reading import load
from orchestrator.records.files.evaluations import Account, Evaluations
from orchestrator.records.sql.registry import Registry

CORES = os.cpu_count() or 1
HERE = Path(__file__).parent
QUICKSTART = HERE.parent / "experiments" / "quickstart.yaml"
SEED = 8
"""Number of cells with the same seed."""

PYTHON = [sys.executable, "-W", "ignore"]
CELL = [*PYTHON, str(HERE / "grid_cell.py")]

TUNE = """
import sys, time, os
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0"}
import ray
from ray import tune
ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
print("STARTED", time.time())
def cell(config):
    from benchmarks.grid_cell import train
    train(config["number"], sys_folder)
    tune.report({"done": 1})
sys_folder = sys.argv[2]
tune.Tuner(cell, param_space={"number": tune.grid_search(list(range(int(sys.argv[1]))))},
    run_config=tune.RunConfig(verbose=0, storage_path=sys.argv[2] + "/tune")).fit()
print("ENDED", time.time())
"""

JOBLIB = """
import sys
from joblib import Parallel, delayed
from benchmarks.grid_cell import train
Parallel(n_jobs=int(sys.argv[4]))(delayed(train)(number, *sys.argv[2:4]) for number in range(int(sys.argv[1])))
"""

Way = Callable[[int, str], float]
"""Trains this many cells and stores their metrics in a folder; returns the seconds."""


def command(line: Sequence[str], *, fed: str | None = None, **environment: str) -> tuple[float, str]:
    """Seconds of a command, and what it printed."""
    began = time.perf_counter()
    settings = {**os.environ, **environment}
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=settings, input=fed)
    if done.returncode:
        raise RuntimeError(f"{' '.join(line)[:200]}: {done.stderr[-2000:]}")
    return time.perf_counter() - began, done.stdout


def shell_loop(cells: int, folder: str) -> float:
    """One process after another, each with all cores, which is torch's default."""
    return sum(command([*CELL, str(number), folder])[0] for number in range(cells))


def xargs(cells: int, folder: str) -> float:
    """One process with one thread per core, in parallel."""
    numbers = "\n".join(map(str, range(cells)))
    return command(["xargs", f"-P{CORES}", "-I{}", *CELL, "{}", folder], fed=numbers, OMP_NUM_THREADS="1")[0]


def joblib(cells: int, folder: str, training: str = "ours") -> float:
    """The processes of joblib, which it reuses."""
    return command([*PYTHON, "-c", JOBLIB, str(cells), folder, training, str(CORES)], OMP_NUM_THREADS="1")[0]


def plain_joblib(cells: int, folder: str) -> float:
    """The same, with the training loop of PyTorch's tutorials."""
    return joblib(cells, folder, "plain")


def hydra(cells: int, folder: str) -> float:
    """Hydra's multirun with its joblib launcher."""
    options = [
        "--multirun",
        "hydra/launcher=joblib",
        f"hydra.launcher.n_jobs={CORES}",
        "hydra.job_logging.root.level=ERROR",
    ]
    numbers = ",".join(map(str, range(cells)))
    axes = [f"+number={numbers}", f"+folder={folder}", f"hydra.sweep.dir={folder}/hydra"]
    return command([*PYTHON, str(HERE / "grid_hydra.py"), *options, *axes], OMP_NUM_THREADS="1")[0]


def tune(cells: int, folder: str) -> float:
    """Ray Tune with its defaults; its start and end count in proportion to these cells' share of the grid."""
    whole, told = command([*PYTHON, "-c", TUNE, str(cells), folder])
    started, ended = (float(told.partition(word)[2].split()[0]) for word in ("STARTED", "ENDED"))
    return (ended - started) + (whole - (ended - started)) * cells / len(plan(load(QUICKSTART)))


WAYS: dict[str, Way] = {
    "joblib": joblib,
    "Hydra, joblib launcher": hydra,
    "xargs, a process a cell": xargs,
    "shell loop, a process a cell": shell_loop,
    "Ray Tune with its defaults": tune,
    "joblib, plain PyTorch loop": plain_joblib,
}
WHOLE = ("joblib", "Hydra, joblib launcher")
"""Ways that reuse processes: in a sample, the whole start would be charged to few cells."""


def launch(workspace: str, seeds: int) -> tuple[float, dict[str, Any]]:
    """Seconds of `launch`, and its own output."""
    line = [sys.executable, "-m", "orchestrator", "launch", str(QUICKSTART), "--seeds", str(seeds), "--json"]
    seconds, told = command([*line, "--workspace", workspace])
    counts = json.loads(told.splitlines()[-1])
    assert counts["done"] == counts["total"] == seeds * SEED, counts
    return seconds, counts


def accounts(workspace: str) -> list[Account]:
    """The provenance in the cells' files, in order of start."""
    found = [account for _, account in Evaluations(Path(workspace) / "evaluations").accounts()]
    return sorted((account for account in found if isinstance(account, Account)), key=lambda account: account.started)


def efficiency(workspace: str, wall: float) -> list[Row]:
    """The share of the cores' time spent in cells: of the whole command, and while cells were running."""
    done = accounts(workspace)
    busy = sum(account.seconds for account in done)
    training = sum(account.train_seconds or 0.0 for account in done)
    span = max(account.started + account.seconds for account in done) - done[0].started
    part = "grid: use of the cores"
    note = f"{len(done)} cells on {CORES} cores, wall {wall:.1f} s"
    return [
        Row(part, "cells' seconds, between the first cell's start and the last one's end", (percent(busy, span),), "%"),
        Row(part, "cells' seconds, over the whole command", (percent(busy, wall),), "%", note=note),
        Row(part, "training alone, over the whole command", (percent(training, wall),), "%"),
    ]


def percent(seconds: float, wall: float) -> float:
    """A share of the cores' time."""
    return 100 * seconds / CORES / wall


def prediction(seeds: int) -> list[Row]:
    """The time of the rest of a grid, relative to the prediction from the cells of its first seed."""
    with TemporaryDirectory() as workspace:
        first, _ = launch(workspace, 1)
        asked = plan(load(QUICKSTART))
        with Registry.open(f"sqlite:///{workspace}/registry.db") as registry:
            durations = registry.durations(asked.experiment.name)
        means = {kind: sum(seconds) / len(seconds) for kind, seconds in durations.items()}
        # The prediction of `plan`: for each waiting cell, the mean time of earlier cells of its kind.
        waiting = [cell for cell in asked.cells if 0 < cell.seed < seeds]
        expected = sum(means[cell.kind] for cell in waiting) / CORES
        ran = accounts(workspace)
        around = first - (max(one.started + one.seconds for one in ran) - ran[0].started)
        wall, _ = launch(workspace, seeds)
    part = "grid: predicted"
    note = f"{len(waiting)} cells after {SEED}"
    return [
        Row(part, "wall time, over plan's worker time / cores", (100 * (wall / expected - 1),), "% off", note=note),
        Row(part, "… and the first launch's start and end", (100 * (wall / (expected + around) - 1),), "% off"),
    ]


def rows(*, quick: bool = False, cells: int = 5 * SEED, sample: int = SEED, tell: Callable[[str], None]) -> list[Row]:
    """Cells per hour of all ways; with `quick`, one seed, and joblib only."""
    cells = SEED if quick else cells
    with TemporaryDirectory() as workspace:
        wall, _ = launch(workspace, cells // SEED)
        used = efficiency(workspace, wall)
    tell(f"launch: {cells} cells in {wall:.1f} s")
    ours = 3600 * cells / wall
    found = [Row("grid", "ours: launch", (ours,), "cells/h", note=f"{cells} cells, {wall:.1f} s")]
    for name, way in WAYS.items():
        if quick and name not in WHOLE[:1]:
            continue
        n = cells if name in WHOLE else sample
        with TemporaryDirectory() as folder:
            seconds = way(n, folder)
            assert len(list(Path(folder).glob("*.json"))) == n, name
        tell(f"{name}: {n} cells in {seconds:.1f} s")
        each = 3600 * n / seconds
        found.append(Row("grid", name, (each,), "cells/h", ours / each, f"{n} cells, {seconds:.1f} s"))
    return found + used + ([] if quick else prediction(3))


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cells", type=int, default=5 * SEED, help="a multiple of 8")
    parser.add_argument("--sample", type=int, default=SEED, help="for the ways that take a process a cell")
    asked = parser.parse_args()
    print(text(rows(quick=asked.quick, cells=asked.cells, sample=asked.sample, tell=progress)))
