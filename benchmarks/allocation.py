"""Seeds where they decide, against equally many in all settings: `python -m benchmarks.allocation [RUNS]`.

How often a verdict on a mean is wrong where nothing differs, by simulation, and what seeds cost until a verdict, by
replaying the committed tables with the very rule of a launch. Writes the tables of docs/statistics.md.
"""

from __future__ import annotations

import math
import sys
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.page import fill
from orchestrator.adaptive.allocation import Allocation
from orchestrator.experiment.files import filed
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Cell, plan
from orchestrator.experiment.seed_rule import Allocation as Allocated
from orchestrator.experiment.seed_rule import Reserve, Sequential
from orchestrator.outcome import Adopted
from orchestrator.statistics import staged
from orchestrator.statistics.spread import spread

Array = NDArray[np.float64]

RUNS = 1_000
ALPHA = 0.05
LEAST = 5
MOST = 30
ROOT = Path(__file__).parent.parent


class Grid(NamedTuple):
    """Settings of which none differs."""

    name: str
    deviations: tuple[float, ...]
    costs: tuple[float, ...]


GRIDS = (
    Grid("equal spreads and costs", (1, 1, 1, 1), (1, 1, 1, 1)),
    Grid("spreads 0.5 to 2", (0.5, 1, 1.5, 2), (1, 1, 1, 1)),
    Grid("spreads 0.5 to 2, costs 8 to 1", (0.5, 1, 1.5, 2), (8, 4, 2, 1)),
    Grid("one spread 15 times as large", (0.2, 0.2, 0.2, 3), (1, 1, 1, 1)),
)

SHAPES = ("Gaussian", "exponential", "log-normal")
"""Of which the last two have a skewness of 2 and of 6."""


def drawn(rng: np.random.Generator, grid: Grid, shape: str, correlation: float) -> Array:
    """Differences without a true effect (settings, seeds), correlated through shared seeds."""

    def standard(size: tuple[int, int]) -> Array:
        match shape:
            case "exponential":
                return rng.exponential(size=size) - 1
            case "log-normal":
                return (rng.lognormal(size=size) - math.exp(0.5)) / math.sqrt(math.e * (math.e - 1))
            case _:
                return rng.normal(size=size)

    own = standard((len(grid.deviations), MOST))
    shared = standard((1, MOST))
    return np.array(grid.deviations)[:, None] * (math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * own)


class End(NamedTuple):
    """How the looks at one simulated experiment ended."""

    found: bool
    """Whether the mean was said to differ."""
    cost: float


def looked(values: Array, grid: Grid, *, is_shared_out: bool) -> End:
    """Look at a mean until it is said to differ from 0, or to the last look."""
    factors = [1 / len(values)] * len(values)
    deviations = [float(spread(row[:LEAST])) * factor for row, factor in zip(values, factors, strict=True)]
    numbers = staged.looks(LEAST, MOST)
    sizes = [0] * len(values)
    for look, each in enumerate(numbers):
        sizes = staged.shares(deviations, grid.costs, each, LEAST, MOST) if is_shared_out else [each] * len(values)
        seen = np.where(np.arange(MOST) < np.array(sizes)[:, None], values, np.nan)[:, : max(sizes)]
        first = np.broadcast_to(np.arange(max(sizes)) < LEAST, seen.shape)
        found = staged.weighted(seen, factors, first, LEAST / each)
        if staged.level(found.estimate / found.error, found.freedom, look, len(numbers)) <= ALPHA:
            return End(True, math.fsum(np.multiply(sizes, grid.costs)))
    return End(False, math.fsum(np.multiply(sizes, grid.costs)))


class Rates(NamedTuple):
    """How often a mean without a difference was said to differ."""

    shared_out: float
    equal: float

    def within(self, shape: str, runs: int) -> bool:
        """Whether it errs no more than it may: in 5 %, or where differences are skewed as equal allocation does."""
        allowed = ALPHA if shape == "Gaussian" else max(ALPHA, self.equal)
        return self.shared_out <= allowed + 3 * math.sqrt(allowed * (1 - allowed) / runs)


def rates(grid: Grid, shape: str, correlation: float, runs: int) -> Rates:
    """The error of both ways to allocate, on the same draws."""
    rng = np.random.default_rng(zlib.crc32(f"{grid.name}, {shape}, {correlation}".encode()))
    ends = []
    for _ in range(runs):
        values = drawn(rng, grid, shape, correlation)
        ends.append([looked(values, grid, is_shared_out=way).found for way in (True, False)])
    return Rates(*np.mean(ends, axis=0).tolist())


def null(runs: int) -> Iterator[str]:
    """One row per grid, shape and correlation."""
    yield "| four settings | differences | correlation | shared out by spread and cost | equally many | runs |"
    yield "|---|---|---:|---:|---:|---:|"
    for grid in GRIDS:
        for shape in SHAPES:
            for correlation in (0.0, 0.8):
                found = rates(grid, shape, correlation, runs)
                told = f"{100 * found.shared_out:.1f} %"
                told = told if found.within(shape, runs) else f"**{told}**"
                yield f"| {grid.name} | {shape} | {correlation:g} | {told} | {100 * found.equal:.1f} % | {runs:,} |"


# Replays

TABLES = {"frozen": 20, "classes": 20, "scratch": 10}
"""Committed tables, and the seeds that each has."""

WAYS: tuple[Allocated, ...] = ("equal", "decisive")

SCOPES = ("each", "all", "some", "mean")

Cells = Mapping[tuple[str, str, str, int], dict[str, Any]]


def replayed(experiment: Experiment, cells: Cells) -> tuple[float, int]:
    """Core seconds until every claim is decided or no seed is left, and the number of decided questions."""

    def recall(cell: Cell) -> dict[str, Any]:
        return cells[cell.dataset, cell.backbone, cell.loss, cell.seed]

    rule = Allocation(plan(experiment), [], 1, recall)
    waiting = deque(rule.first())
    seconds = 0.0
    while waiting:
        cell = waiting.popleft()
        row = recall(cell)
        seconds += row["train_seconds"] * row["threads"]
        waiting += rule.heard(Adopted(cell, row["state"]))
    told = [*rule.sentences()]
    return seconds, sum("undecided" not in sentence for sentence in told)


def asked(name: str, scope: str, allocation: Allocated) -> Iterator[Experiment]:
    """An experiment with one of a file's claims at a time, over some scope, whose seeds the claim decides."""
    whole = filed(ROOT / "experiments" / f"{name}.yaml")
    for claim in whole.claims:
        alone = claim.model_copy(update={"over": scope, "than": None, "trend": None, "population": False})
        if not (alone.is_followed or alone.is_followed_together) or claim.baseline is None:
            continue
        labels = {claim.challenger, claim.baseline}
        rule = Sequential(min=LEAST, max=TABLES[name], until="decided", allocation=allocation)
        losses = tuple(choice for choice in whole.losses if choice.label in labels)
        yield whole.model_copy(update={"losses": losses, "claims": (alone,), "seeds": Reserve.by(rule)})


class Replay(NamedTuple):
    """What claims cost one way until their verdicts."""

    hours: float
    decided: int

    @classmethod
    def of(cls, experiments: Iterable[Experiment], cells: Cells) -> Replay:
        """All of some experiments, one after the other."""
        found = [replayed(each, cells) for each in experiments]
        return cls(math.fsum(seconds for seconds, _ in found) / 3600, sum(number for _, number in found))


def row(name: str, scope: str, claims: int, equal: Replay, decisive: Replay) -> str:
    """One row; what is saved is negative where equally many seeds are cheaper."""
    less = 1 - decisive.hours / equal.hours
    return (
        f"| {name} | {scope} | {claims} | {equal.hours:.2f} h | {decisive.hours:.2f} h "
        f"| {100 * less:.1f} % | {equal.decided} | {decisive.decided} |"
    )


def saved() -> Iterator[str]:
    """One row per table and scope."""
    yield "| cells of | scope | claims | equally many | where they decide | saved | decided, equally | decided |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|"
    for name in TABLES:
        rows = pq.read_table(ROOT / "docs" / "results" / "tables" / f"{name}.parquet").to_pylist()
        cells = {(row["dataset"], row["backbone"], row["loss"], row["seed"]): row for row in rows}
        for scope in SCOPES:
            replays = [Replay.of(asked(name, scope, way), cells) for way in WAYS]
            yield row(name, scope, sum(1 for _ in asked(name, scope, "equal")), *replays)


def main() -> None:
    """Simulate and replay everything, and write the tables."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    replays = "\n".join(saved())
    print(replays)
    fill("replayed seeds", replays)
    simulated = "\n".join(null(runs))
    print(simulated)
    fill("shared seeds", simulated)
    if "**" in simulated:
        raise SystemExit("More errors than allowed: see what is in bold.")


if __name__ == "__main__":
    main()
