"""A cluster of any size, which is not there: `python -W ignore -m benchmarks.cluster`, or with `--write` into the page.

The queue, the lease and the registry are those of a launch; what is injected is the clock, the machines and how long a
cell takes. Spot machines are taken away at random, some for good. A second part, `--ray`, runs trivial cells on a real
Ray with pretended GPUs, of which one machine is removed.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from benchmarks.page import DOCS, PERFORMANCE, fill
from benchmarks.table import arguments, machine
from orchestrator.execution.queue import Queue
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Cell, Plan, plan
from orchestrator.outcome import Ending
from orchestrator.pricing.simulation import Absence, Clock, Machine, Simulation, SimulationReport
from orchestrator.records.sql.leases import Claim, Lease, held
from orchestrator.records.sql.registry import Registry

Item = TypeVar("Item")

PICTURE = DOCS / "images" / "cluster.svg"

MEMORY = Path("/dev/shm")  # noqa: S108 - of this benchmark alone, and removed at its end

LOSSES = ("softmax", "bce", "bce_unified", "bce_diverse")
BACKBONES = ("resnet8", "resnet20", "resnet18", "resnet50", "densenet121")
DATASETS = ("mnist", "fashion_mnist", "cifar10", "cifar100", "svhn")
KINDS = len(LOSSES) * len(BACKBONES) * len(DATASETS)

SLOWNESS: Mapping[str, float] = dict(zip(BACKBONES, (1.0, 2.0, 5.0, 12.0, 15.0), strict=True))
"""How long a cell of each backbone takes, relative to the quickest."""

QUICKEST = 600.0
"""Seconds of that, on average."""

NOISE = 0.1
"""Standard deviation of the logarithm of a cell's time, within its kind."""

LIFE = 6 * 3600.0
"""Seconds for which a spot machine lives on average."""

AWAY = 1200.0
"""Seconds until another takes its place, on average."""

FOR_GOOD = 0.1
"""How often none does."""


@dataclass(frozen=True)
class Size:
    """A cluster and what it has to run."""

    machines: int
    gpus: int
    cells: int
    spot: float = 0.5
    """The share of machines that may be taken away."""


SIZES = (Size(1, 8, 1_000), Size(8, 8, 10_000), Size(64, 8, 100_000))


@dataclass(frozen=True)
class Found:
    """What came of one size."""

    size: Size
    report: SimulationReport
    bound: float
    """Seconds below which no schedule can end: all work over all GPUs while they are there, and the longest cell."""
    outages: int
    driver: float
    """Real seconds that the queue took, per cell."""
    registry: float
    """Real seconds of lease and registry, per cell."""
    database: int
    """Bytes of the registry."""
    states: Counter[str]
    busy: list[tuple[float, float, int]]
    """Time, GPUs at work and GPUs there, at each change."""


def asked(size: Size) -> Plan:
    """The cells."""
    return plan(
        Experiment.model_validate(
            {
                "name": "cluster", "losses": list(LOSSES), "backbones": list(BACKBONES), "datasets": list(DATASETS),
                "seeds": max(1, size.cells // KINDS), "recipe": {"epochs": 10}, "baseline": "softmax",
                "resources": {"cpus": 4, "gpus": 1},
            }
        )
    )  # fmt: skip


def outages(size: Size, until: float, draw: random.Random) -> Iterator[Absence]:
    """When spot machines go and come back; some stay away."""
    for number in range(round(size.machines * size.spot)):
        now = draw.expovariate(1 / LIFE)
        while now < until:
            back = None if draw.random() < FOR_GOOD else now + draw.expovariate(1 / AWAY)
            yield Absence(f"node{number}", now, back)
            if back is None:
                break
            now = back + draw.expovariate(1 / LIFE)


def bound(work: float, longest: float, size: Size, gone: Sequence[Absence]) -> float:
    """The time by which all GPUs that are there, all at work, have done all; at least that of the longest cell."""
    changes = [(0.0, size.machines * size.gpus)]
    for outage in gone:
        changes.append((outage.gone, -size.gpus))
        if outage.back is not None:
            changes.append((outage.back, size.gpus))
    changes.sort()
    left = work
    there = 0
    for (now, more), (then, _) in zip(changes, [*changes[1:], (float("inf"), 0)], strict=True):
        there += more
        if left <= there * (then - now):
            return max(now + left / there, longest)
        left -= there * (then - now)
    return max(float("inf"), longest)


class Books:
    """The registry and lease of a launch, and the time that they take."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self.seconds = 0.0

    def claim(self, cell: Cell) -> Claim:
        """As a launch claims a cell."""
        return self._timed(lambda lease: lease.claim(cell))

    def begun(self, cell: Cell, node: str) -> None:
        """As a launch notes that a cell has begun."""
        started = time.time()
        self._timed(
            lambda lease: lease.registry.start_attempt(
                cell, lease.experiment, node=node, started=started, owner=lease.owner
            )
        )

    def ended(self, ending: Ending) -> None:
        """As a launch notes the end of an attempt."""
        self._timed(lambda lease: lease.registry.record(ending, lease.experiment))

    def states(self, cells: Collection[str]) -> Counter[str]:
        """How many cells are in which state."""
        return Counter(self._lease.registry.states_of(cells).values())

    def _timed(self, work: Callable[[Lease], Item]) -> Item:
        began = time.perf_counter()
        done = work(self._lease)
        self.seconds += time.perf_counter() - began
        return done


def simulated(size: Size, folder: Path, seed: int = 0) -> Found:
    """One size, with registry and lease in a folder."""
    draw = random.Random(seed)  # noqa: S311 - draws of a simulation
    whole = asked(size)
    times = {cell.id: _seconds(cell, draw) for cell in whole.cells}
    work = sum(times.values())
    alone = work / (size.machines * size.gpus)
    gone = sorted(outages(size, 2 * alone + LIFE, draw), key=lambda outage: outage.gone)
    clock = Clock()
    machines = [Machine(f"node{number}", 4.0 * size.gpus, size.gpus, "gpu") for number in range(size.machines)]
    at_work = list[tuple[float, float, int]]()

    def note() -> None:
        up = [each for each in machines if each.is_up]
        there = len(up) * size.gpus
        at_work.append((clock.now, there - sum(each.gpus for each in up), there))

    with Registry.open(f"sqlite:///{folder}/registry.db") as registry, held(registry, whole) as lease:
        books = Books(lease)

        def begun(cell: Cell, node: str) -> None:
            books.begun(cell, node)
            note()

        def ended(ending: Ending) -> None:
            books.ended(ending)
            note()

        queue = Queue(whole.cells, claim=books.claim, clock=clock)
        simulation = Simulation(
            machines, lambda cell, _: times[cell.id], clock, begun=begun, heard=ended, changed=lambda _: note()
        )
        began = time.perf_counter()
        report = simulation.run(queue, gone)
        took = time.perf_counter() - began - books.seconds
        states = books.states(times)
    return Found(
        size=replace(size, cells=len(whole)),
        report=report,
        bound=bound(work, max(times.values()), size, gone),
        outages=sum(outage.gone < report.seconds for outage in gone),
        driver=took / len(whole),
        registry=books.seconds / len(whole),
        database=sum(file.stat().st_size for file in folder.glob("registry.db")),
        states=states,
        busy=at_work,
    )


def _seconds(cell: Cell, draw: random.Random) -> float:
    return QUICKEST * SLOWNESS[cell.backbone] * draw.lognormvariate(-(NOISE**2) / 2, NOISE)


def table(found: Sequence[Found]) -> str:
    """The sizes, a row each."""
    head = (
        "machines × GPUs | cells | machines lost | attempts lost | lost work | makespan | lower bound | ratio "
        "| queue, per cell | lease and registry, per cell | registry | finished"
    )
    rows = [f"| {head} |", "| --- |" + " ---: |" * head.count("|")]
    for each in found:
        report = each.report
        busy = sum(report.busy.values())
        books = f"{1000 * each.registry:.2f} ms | {each.database / 10**6:.0f} MB"
        rows.append(
            f"| {each.size.machines} × {each.size.gpus} | {each.size.cells:,} | {each.outages:,} | {report.lost:,} "
            f"| {report.wasted / busy:.2%} | {report.seconds / 3600:.1f} h | {each.bound / 3600:.1f} h "
            f"| {report.seconds / each.bound:.3f} | {1000 * each.driver:.2f} ms | {books} "
            f"| {each.states['finished']:,} |"
        )
    return "\n".join(rows)


def draw_picture(found: Found, file: Path) -> None:
    """GPUs at work and GPUs there, over time."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams["svg.hashsalt"] = "cluster"
    hours = [now / 3600 for now, _, _ in found.busy][:: max(1, len(found.busy) // 2000)]
    busy = [each for _, each, _ in found.busy][:: max(1, len(found.busy) // 2000)]
    there = [each for _, _, each in found.busy][:: max(1, len(found.busy) // 2000)]
    figure, axes = plt.subplots(figsize=(8, 3))
    axes.fill_between(hours, busy, step="post", color="#0072b2", alpha=0.35, label="GPUs at work")
    axes.step(hours, there, where="post", color="#d55e00", linewidth=1, label="GPUs that are there")
    axes.axvline(found.bound / 3600, color="#333333", linestyle="--", linewidth=1, label="lower bound of the end")
    axes.set_xlabel("simulated hours")
    axes.set_ylabel("GPUs")
    axes.set_ylim(0)
    axes.legend(loc="lower center", ncol=3, frameon=False)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def told(found: Sequence[Found]) -> str:
    """The part of the page."""
    about = "The queue, the lease and the registry (SQLite, in memory) are a launch's own"
    return f"Simulated on {machine()} {about}; clock, machines and the times of cells are made up.\n\n{table(found)}"


def main() -> None:
    """Simulate, and print the table or write it into the page."""
    parser = arguments(__doc__)
    parser.add_argument("--write", action="store_true", help=f"rewrite the table of {PERFORMANCE.name} and the picture")
    parser.add_argument("--sizes", type=int, nargs="+", default=range(len(SIZES)), help="only these of the sizes")
    options = parser.parse_args()
    found = list[Found]()
    for size in (SIZES[number] for number in options.sizes):
        # In memory, because a disk waits for each commit, which says more of the disk than of the program.
        with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
            found.append(simulated(size, Path(folder)))
        print(table(found[-1:]), file=sys.stderr, flush=True)
    print(told(found))
    if options.write:
        draw_picture(found[-1], PICTURE)
        fill("cluster", told(found), PERFORMANCE)


if __name__ == "__main__":
    main()
