"""Wrong verdicts of claims over all settings, or over some: `python -m benchmarks.allocation_over [RUNS]`.

The claims have no true verdict, so each verdict is wrong. Seeds go where results say, or to all settings equally. Each
setting is simulated by itself, which is quick; a test compares that with the rule of a launch, seed by seed. Writes a
table of docs/statistics.md.
"""

from __future__ import annotations

import math
import sys
import zlib
from collections.abc import Iterator, Sequence
from functools import cache, partial
from typing import Literal, NamedTuple

import numpy as np

from benchmarks.allocation import ALPHA, GRIDS, LEAST, MOST, RUNS, SHAPES, Array, Grid, Rates, drawn
from benchmarks.page import fill
from orchestrator.experiment.seed_rule import Allocation
from orchestrator.statistics import sequential
from orchestrator.statistics.scopes import Levels, in_all, in_some, levels_of
from orchestrator.statistics.verdicts import Verdict

Scope = Literal["all", "some"]

CLEAR = 9.0
"""A difference that six seeds show, in standard deviations."""

TRUTHS: dict[str, tuple[float, ...]] = {"none differs": (0, 0, 0, 0), "all but one differ": (CLEAR, CLEAR, CLEAR, 0)}
"""True differences towards the verdict that needs every setting: in all of them supported, or in none."""

ANY: dict[Scope, Verdict] = {"all": "refuted", "some": "supported"}
"""The verdict for which one setting suffices."""

EITHER: tuple[Verdict, ...] = ("supported", "refuted")


class Setting:
    """The differences of one setting; methods look at the first n of them."""

    def __init__(self, values: Array, cost: float, most: int = MOST) -> None:
        self.cost = cost
        self.most = most
        numbers = np.arange(1, most + 1)
        self._means = np.cumsum(values[:most]) / numbers
        squares = np.cumsum(values[:most] ** 2) - numbers * self._means**2
        self._deviations = np.sqrt(squares / np.maximum(numbers - 1, 1))
        self.levels = cache(self._levels)
        self.seconds = cache(self._seconds)

    def _levels(self, n: int) -> Levels:
        """The levels of each verdict after n seeds."""
        error = float(self._deviations[n - 1]) / math.sqrt(n)
        level = partial(sequential.level, n=n, least=LEAST, most=self.most)
        return levels_of(float(self._means[n - 1]), error, "higher", 0.0, level)

    def _seconds(self, n: int, verdict: Verdict, alpha: float) -> float:
        """What a verdict still costs after n seeds if mean and spread stay; infinite if it is out of sight."""
        mean = float(self._means[n - 1])
        reach = mean if verdict == "supported" else -mean
        deviation = float(self._deviations[n - 1])
        found = sequential.needed(reach, deviation, n, least=LEAST, most=self.most, alpha=alpha)
        return math.inf if found is None else (found - n) * self.cost


class End(NamedTuple):
    """How a simulated experiment ended."""

    verdict: Verdict
    sizes: list[int]
    """Seeds of each setting."""


def followed(settings: Sequence[Setting], scope: Scope, way: Allocation) -> End:
    """Add seeds one by one until there is a verdict, or none can bring one."""
    sizes = [LEAST] * len(settings)
    while True:
        own = [setting.levels(n) for setting, n in zip(settings, sizes, strict=True)]
        verdict = (in_all if scope == "all" else in_some)(own).verdict(ALPHA)
        order = _alike(sizes) if way == "equal" else _decisive(settings, sizes, own, scope)
        place = next((place for place in order if sizes[place] < settings[place].most), None)
        if verdict != "undecided" or place is None:
            return End(verdict, sizes)
        sizes[place] += 1


def _alike(sizes: Sequence[int]) -> list[int]:
    return sorted(range(len(sizes)), key=sizes.__getitem__)


def _decisive(settings: Sequence[Setting], sizes: Sequence[int], own: Sequence[Levels], scope: Scope) -> list[int]:
    """The settings that may get the next seed, the best first."""

    def left(verdict: Verdict) -> list[float]:
        alpha = ALPHA / len(settings) if verdict == ANY[scope] else ALPHA
        return [setting.seconds(n, verdict, alpha) for setting, n in zip(settings, sizes, strict=True)]

    roads = {verdict: left(verdict) for verdict in EITHER}
    costs = {verdict: (min if verdict == ANY[scope] else math.fsum)(each) for verdict, each in roads.items()}
    nearest = min(EITHER, key=costs.__getitem__)
    if math.isinf(costs[nearest]):
        return [place for place in _alike(sizes) if own[place].verdict(ALPHA) == "undecided"]
    sign = 1 if nearest == ANY[scope] else -1
    return sorted(range(len(settings)), key=lambda place: sign * roads[nearest][place])


class Null(NamedTuple):
    """A claim that has no true verdict."""

    grid: Grid
    scope: Scope
    truth: str
    correlation: float

    def means(self) -> Array:
        """The true difference of each setting (settings, 1)."""
        towards = 1 if self.scope == "all" else -1
        return towards * np.multiply(TRUTHS[self.truth], self.grid.deviations)[:, None]


def rates(null: Null, shape: str, runs: int) -> Rates:
    """How often each way ends with a verdict, on the same draws."""
    grid, scope, truth, correlation = null
    rng = np.random.default_rng(zlib.crc32(f"{grid.name}, {scope}, {truth}, {shape}, {correlation}".encode()))
    means = null.means()
    wrong = np.zeros(2)
    for _ in range(runs):
        values = means + drawn(rng, grid, shape, correlation)
        settings = [Setting(row, cost) for row, cost in zip(values, grid.costs, strict=True)]
        wrong += [followed(settings, scope, way).verdict != "undecided" for way in ("decisive", "equal")]
    return Rates(*(wrong / runs).tolist())


def rows(runs: int) -> Iterator[str]:
    """One row per grid, scope, truth and correlation; in each place the two rates."""
    yield f"| four settings | scope | true differences | correlation | {' | '.join(SHAPES)} |"
    yield "|---|---|---|---:|---:|---:|---:|"
    for grid in (GRIDS[0], *GRIDS[2:]):
        for scope in ANY:
            for truth in TRUTHS:
                for correlation in (0.0, 0.8):
                    null = Null(grid, scope, truth, correlation)
                    found = {shape: rates(null, shape, runs) for shape in SHAPES}
                    told = [_told(each, shape, runs) for shape, each in found.items()]
                    yield f"| {grid.name} | {scope} | {truth} | {correlation:g} | {' | '.join(told)} |"


def _told(found: Rates, shape: str, runs: int) -> str:
    decisive = f"{100 * found.shared_out:.1f} %"
    return f"{decisive if found.within(shape, runs) else f'**{decisive}**'} ({100 * found.equal:.1f} %)"


def main() -> None:
    """Simulate everything, and write the table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    found = list[str]()
    for row in rows(runs):
        print(row, flush=True)
        found.append(row)
    fill("seeds by results", "\n".join([*found, "", f"Runs of each: {runs:,}."]))
    if any("**" in row for row in found):
        raise SystemExit("More errors than allowed: see what is in bold.")


if __name__ == "__main__":
    main()
