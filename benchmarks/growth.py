"""The cost of the work around training for 10², 10³, 10⁴ and 10⁵ cells: seconds, memory, and how they grow.

    python -W ignore benchmarks/growth.py [--cap 250] [--largest 100000] [--picture docs/images/growth.svg]

The grid has four losses and five seeds in a growing number of settings. Each step runs in a separate process. A step
that is predicted from the previous size to exceed the cap is left out and reported as such. The slope is that of
log(seconds) over log(cells) between the last two sizes; 1 is linear.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.records import LOSSES, make_cells
from benchmarks.table import Row, arguments, progress, text
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Plan, plan
from orchestrator.launching.run_plan import take_stock
from orchestrator.records.files import results
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.sql.registry import Registry

SEEDS = 5
SIZES = (100, 1_000, 10_000, 100_000)
STEEP = 1.1
"""A slope above this is worse than linear, allowing for measurement error."""


@dataclass(frozen=True)
class Cost:
    """The cost of a step at one size: CPU seconds of its process, and its peak memory.

    Not wall time, because other work on the machine would distort the curves.
    """

    cells: int
    seconds: float
    mebibytes: float


def asked(cells: int) -> Experiment:
    """An experiment of this many cells; its settings are fractions of the digits, so that each cell has its own id."""
    settings = cells // (len(LOSSES) * SEEDS)
    shares = [
        {"name": "digits", "as": f"d{place}", "train_fraction": 1 - place / settings / 2} for place in range(settings)
    ]
    axes = {"losses": LOSSES, "backbones": ["resnet8"], "datasets": shares, "seeds": SEEDS, "baseline": "softmax"}
    claim = {"id": "C", "metric": "uniform_accuracy", "challenger": "bce_unified", "baseline": "softmax"}
    claims = [{**claim, "direction": "higher", "margin": 0.005}]
    return Experiment.model_validate({"name": "growth", **axes, "claims": claims})


def planning(cells: int, folder: Path) -> Callable[[], object]:
    """Expand an experiment, compute the ids of its cells, and look for finished ones: there are none."""
    experiment = asked(cells)
    return lambda: take_stock(plan(experiment), Evaluations(folder / "none"), None)


def subtracting(cells: int, folder: Path) -> Callable[[], object]:
    """The same if all cells are finished, according to files and registry."""
    experiment = asked(cells)

    def subtract() -> None:
        with Registry.open(f"sqlite:///{folder}/registry.db") as registry:
            states = take_stock(plan(experiment), Evaluations(folder / "evaluations"), registry)
        assert set(states.values()) == {"finished"}

    return subtract


def launching(cells: int, folder: Path) -> Callable[[], object]:  # noqa: ARG001 - it uses another folder
    """Run trivial cells through Ray Tune and the registry: wall seconds from the start of the first one."""
    from benchmarks.launch import ours

    return lambda: ours(cells)[1] * cells


def aggregating(cells: int, folder: Path) -> Callable[[], object]:
    """The results table, from the footers of the files."""
    whole = plan(asked(cells))

    def aggregate() -> None:
        found = results.aggregate(whole, Evaluations(folder / "evaluations"))
        assert not found.missing
        results.write(found, folder / "results.parquet")

    return aggregate


def comparing(cells: int, folder: Path) -> Callable[[], object]:
    """All differences, tests, claims and analyses across settings, from the results table."""
    from orchestrator.analysis import across_settings
    from orchestrator.analysis.comparison import compare

    experiment = asked(cells)

    def comparison() -> None:
        rows = results.read(folder / "results.parquet")
        compare(experiment, rows)
        across_settings.overall(experiment, rows)

    return comparison


def reporting(cells: int, folder: Path) -> Callable[[], object]:
    """The report page, given the comparison."""
    from orchestrator.analysis.comparison import compare
    from orchestrator.report.web import page

    whole = plan(asked(cells))
    rows = results.read(folder / "results.parquet")
    comparison = compare(whole.experiment, rows)
    return lambda: page.render(comparison, rows, Evaluations(folder / "evaluations"), whole)


STEPS: dict[str, Callable[[int, Path], Callable[[], object]]] = {
    "plan": planning,
    "plan, all done": subtracting,
    "launch (trivial cells)": launching,
    "aggregate": aggregating,
    "compare": comparing,
    "report": reporting,
}


def prepare(folder: Path, whole: Plan) -> None:
    """The files and the registry of a finished grid."""
    make_cells(folder / "evaluations", whole)
    with Registry.open(f"sqlite:///{folder}/registry.db") as registry:
        registry.plan(whole)
        registry.adopt({cell.id: "finished" for cell in whole.cells})


def perform(step: str, cells: int, folder: Path) -> None:
    """Do a step in this process and print what it took."""
    work = STEPS[step](cells, folder)
    began = time.process_time()
    told = work()
    seconds = told if isinstance(told, float) else time.process_time() - began
    # Not `ru_maxrss`: on Linux it includes the memory of the parent.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    print(json.dumps(asdict(Cost(cells, seconds, int(status.partition("VmHWM:")[2].split()[0]) / 1024))))


def measured(step: str, cells: int, folder: Path, limit: float) -> Cost | None:
    """The cost of a step in a separate process; None if it hit the time limit."""
    command = [sys.executable, "-W", "ignore", __file__, "--step", json.dumps([step, cells, str(folder)])]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        raise RuntimeError(f"{step}: {done.stderr[-2000:]}")
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def grow(steps: Sequence[str], sizes: Sequence[int], cap: float, tell: Callable[[str], None]) -> dict[str, list[Cost]]:
    """The cost of each step at each size, as far as the cap allows; `compare` and `report` need `aggregate`."""
    found: dict[str, list[Cost]] = {step: [] for step in steps}
    for place, cells in enumerate(sizes):
        left = [step for step in steps if len(found[step]) == place and affordable(found[step], cells, cap)]
        if not left:
            break
        with TemporaryDirectory() as folder:
            prepare(Path(folder), plan(asked(cells)))
            for step in left:
                # Preparation counts too. A single step rarely exceeds its prediction by this much.
                cost = measured(step, cells, Path(folder), 60 + 2 * cap)
                tell(
                    f"{step}, {cells} cells: "
                    + (f"{cost.seconds:.2f} s, {cost.mebibytes:.0f} MiB" if cost else "stopped")
                )
                if cost:
                    found[step].append(cost)
    return found


def affordable(costs: Sequence[Cost], cells: int, cap: float) -> bool:
    """Whether a step is within the cap at this size, if it grows linearly."""
    return not costs or costs[-1].seconds * cells / costs[-1].cells <= cap


def slope(costs: Sequence[Cost]) -> float:
    """Slope of log(seconds) over log(cells) between the last two sizes."""
    before, last = costs[-2:]
    return math.log(last.seconds / before.seconds) / math.log(last.cells / before.cells)


def draw(found: Mapping[str, Sequence[Cost]], target: Path) -> None:
    """Plot seconds and memory over cells."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "orchestrator"  # the same figures give the same bytes
    figure, (seconds, memory) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    for step, costs in found.items():
        cells = [cost.cells for cost in costs]
        seconds.plot(cells, [cost.seconds for cost in costs], marker="o", label=step)
        memory.plot(cells, [cost.mebibytes for cost in costs], marker="o", label=step)
    ends = [min(cost.cells for costs in found.values() for cost in costs), max(SIZES)]
    seconds.plot(ends, [0.1, 0.1 * ends[1] / ends[0]], color="0.7", linestyle=":", label="linear")
    for axes, unit in ((seconds, "seconds"), (memory, "most memory (MiB)")):
        axes.set(xlabel="cells", ylabel=unit, xscale="log", yscale="log")
    seconds.legend(frameon=False, fontsize="small")
    figure.savefig(target, metadata={"Date": None})


def rows(
    *,
    quick: bool = False,
    cap: float = 250.0,
    largest: int = SIZES[-1],
    picture: Path | None = None,
    steps: Sequence[str] = tuple(STEPS),
    tell: Callable[[str], None],
) -> list[Row]:
    """Seconds and memory at each size, and slopes; with `quick`, the two smallest sizes without launching."""
    sizes = SIZES[:2] if quick else [size for size in SIZES if size <= largest]
    found = grow(steps, sizes, cap, tell)
    if picture:
        draw(found, picture)
    return [row for step, costs in found.items() for row in _rows(step, costs, sizes)]


def _rows(step: str, costs: Sequence[Cost], sizes: Sequence[int]) -> list[Row]:
    part = f"growth: {step}"
    left = [f"{size:,}" for size in sizes[len(costs) :]]
    told = [
        Row(part, f"{cost.cells:,} cells", (cost.seconds,), "s", note=f"{cost.mebibytes:,.0f} MiB") for cost in costs
    ]
    steep: list[Any] = []
    if len(costs) > 1:
        found = slope(costs)
        steep = [Row(part, "slope", (found,), "", note="worse than linear" if found > STEEP else "")]
    skipped = f"not run within the cap: {', '.join(left)} cells" if left else ""
    last = told[-1]
    told[-1] = Row(last.part, last.name, last.samples, last.unit, note="; ".join(filter(None, [last.note, skipped])))
    return [*told, *steep]


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cap", type=float, default=250.0, help="seconds of a step at a size, at most")
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="cells")
    parser.add_argument("--picture", type=Path, help="an SVG to draw")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--step", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.step:
        step, cells, folder = json.loads(wanted.step)
        perform(step, cells, Path(folder))
    else:
        options = {"cap": wanted.cap, "largest": wanted.largest, "picture": wanted.picture, "steps": wanted.steps}
        print(text(rows(quick=wanted.quick, **options, tell=progress)))
