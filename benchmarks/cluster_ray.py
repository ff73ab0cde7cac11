"""Waiting cells on a real Ray: four machines of four pretended GPUs, one of which is removed.

`python -W ignore -m benchmarks.cluster_ray --cells 2000` prints a table for docs/performance.md. All machines are
processes of this one, and cells train nothing: this shows that nothing is lost, and what the driver takes.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ray.cluster_utils import Cluster

from benchmarks.table import arguments, machine
from orchestrator.execution.queue import Queue
from orchestrator.execution.ray_tune import RayTune
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Cell, plan
from orchestrator.launching.notes import Notes
from orchestrator.launching.run_plan import carry_out
from orchestrator.outcome import Attempt, Event, Finished, Lost, Started
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.sql.leases import held
from orchestrator.records.sql.registry import Registry
from orchestrator.records.tracking.runs import Untracked

if TYPE_CHECKING:
    from orchestrator.execution.worker import Worker

NODES = 4
GPUS = 4
TAKES = 0.2
"""Seconds of a cell."""

REMOVED_AFTER = 0.25
"""The share of cells after which a machine goes."""


@dataclass(frozen=True)
class Sleeper:
    """A worker that trains nothing."""

    checkpoints: None = None

    def run(self, cell: Cell, tell: Any) -> Finished:
        """Report that the cell started and, a little later, that it finished."""
        began = time.time()
        tell(Started(cell, "", began))
        time.sleep(TAKES)
        return Finished(cell, Attempt("", began, time.time() - began), {"uniform_accuracy": 0.5})


def launch(cells: int) -> str:
    """Run cells while a machine is removed; return a row of the table."""
    asked = plan(
        Experiment.model_validate(
            {
                "name": "ray", "losses": ["softmax", "bce"], "backbones": ["resnet8"], "datasets": ["digits"],
                "seeds": cells // 2, "baseline": "softmax", "resources": {"cpus": 1, "gpus": 1},
            }
        )
    )  # fmt: skip
    ends = Counter[str]()
    first = list[float]()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=GPUS, num_gpus=GPUS) for _ in range(NODES)]
    cluster.wait_for_nodes()

    def watch(event: Event) -> None:
        first.append(time.perf_counter()) if not first and isinstance(event, Started) else None
        if isinstance(event, (Finished, Lost)):
            ends[type(event).__name__] += 1
            if not ends.total() % 100:
                print(f"{ends}, {time.perf_counter() - first[0]:.0f} s", file=sys.stderr, flush=True)
        if ends["Finished"] == round(REMOVED_AFTER * cells) and nodes:
            gone = nodes.pop()
            nodes.clear()
            threading.Thread(target=cluster.remove_node, args=(gone,)).start()

    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            Registry.open(f"sqlite:///{folder}/registry.db") as registry,
            held(registry, asked) as lease,
        ):
            queue = Queue(asked.cells, claim=lease.claim)
            notes = Notes(lease, Evaluations(Path(folder) / "evaluations"), Path(folder) / "spool", print)
            busy = time.process_time()
            tally = carry_out(
                queue, RayTune(cast("Worker", Sleeper()), cluster.address), notes, Untracked(experiment="ray"), watch
            )
            busy = time.process_time() - busy
            seconds = time.perf_counter() - first[0]
            states = Counter(registry.states_of([cell.id for cell in asked.cells]).values())
    finally:
        cluster.shutdown()
    assert tally["finished"] == len(asked) == states["finished"], (tally, states)
    each = seconds / len(asked)
    return (
        f"| {NODES} × {GPUS} | {len(asked):,} | 1 | {ends['Lost']} | {seconds:.0f} s | {1000 * each:.0f} ms "
        f"| {1000 * busy / len(asked):.0f} ms | {states['finished']:,} |"
    )


HEAD = (
    "| machines × GPUs | cells | machines removed | attempts lost | from the first cell's start to the end "
    "| wall time, per cell | driver's CPU time, per cell | finished cells in the registry |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)


def main() -> None:
    """Launch, and print the table."""
    parser = arguments(__doc__)
    parser.add_argument("--cells", type=int, default=2_000, help="how many wait")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    row = launch(options.cells)
    load = os.getloadavg()[0]
    print(f"Measured on {machine()} Load {load:.0f} at the end.\n\n{HEAD}\n{row}")


if __name__ == "__main__":
    main()
