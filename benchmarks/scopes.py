"""How often a claim over several settings gets a wrong verdict: `python -m benchmarks.scopes [RUNS]`.

Simulated differences of four settings with unequal spreads and shared seeds. The true differences are those for which
errors are most likely: none, or a large one in all settings except one. Writes the table of docs/statistics.md.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from benchmarks.page import fill
from orchestrator.statistics.intervals import mean_interval
from orchestrator.statistics.scopes import (
    Levels,
    combined,
    in_all,
    in_some,
    levels,
    mean_factors,
    population_interval,
    trend_factors,
)

Array = NDArray[np.float64]
Judge = Callable[[Array, float], Levels]
"""From differences (settings, seeds) and their step size to levels."""

RUNS = 4_000
UNIT = 0.01
ALPHA = 0.05
SPREADS = np.linspace(0.5, 2, 4)[:, None] * UNIT


def by_seed(values: Array) -> list[dict[int, float]]:
    """Differences (settings, seeds) as mappings by seed."""
    return [dict(enumerate(map(float, row))) for row in values]


def each(values: Array, step: float) -> list[Levels]:
    """The levels of every setting."""
    return [levels(mean_interval(list(row), step=step), "higher", 0.0) for row in values]


def weighted(factors: list[float]) -> Judge:
    """A sum over settings, seed by seed."""

    def judge(values: Array, step: float) -> Levels:
        sums = list(combined(by_seed(values), factors).values())
        return levels(mean_interval(sums, step=step * math.hypot(*factors)), "higher", 0.0)

    return judge


def any_of(values: Array, step: float) -> Levels:
    """A verdict per setting, corrected for their number: the smallest level times the number (Holm's first step)."""
    found = each(values, step)
    return Levels(*(min(1.0, len(found) * min(one)) for one in zip(*found, strict=True)))


SCOPES: Mapping[str, tuple[Judge, tuple[float, ...]]] = {
    "each": (any_of, (0, 0, 0, 0)),
    "mean": (weighted(mean_factors(4)), (0, 0, 0, 0)),
    "all": (lambda values, step: in_all(each(values, step)), (0, 9, 9, 9)),
    "all, where none differs": (lambda values, step: in_all(each(values, step)), (0, 0, 0, 0)),
    "some": (lambda values, step: in_some(each(values, step)), (0, -9, -9, -9)),
    "some, where none differs": (lambda values, step: in_some(each(values, step)), (0, 0, 0, 0)),
    "difference of effects": (weighted([1, -1, 0, 0]), (2, 2, 0, 0)),
    "trend": (weighted(trend_factors([1, 2, 3, 4])), (2, 2, 2, 2)),
}
"""How each scope is judged, and the true means in percentage points; if they are 0, any verdict is wrong."""


def drawn(rng: np.random.Generator, truth: tuple[float, ...], seeds: int, correlation: float, samples: int) -> Array:
    """Differences (settings, seeds), rounded like accuracies on `samples` test images if given."""
    noise = math.sqrt(correlation) * rng.normal(size=(1, seeds)) + math.sqrt(1 - correlation) * rng.normal(
        size=(4, seeds)
    )
    values = np.array(truth)[:, None] * UNIT + SPREADS * noise
    return np.round(values * samples) / samples if samples else values


def wrong(name: str, seeds: int, correlation: float, samples: int, runs: int) -> float:
    """The share of simulated experiments with a wrong verdict."""
    judge, truth = SCOPES[name]
    rng = np.random.default_rng(0)
    step = 1 / samples if samples else 0.0
    found = [judge(drawn(rng, truth, seeds, correlation, samples), step).verdict(ALPHA) for _ in range(runs)]
    return float(np.mean([verdict in {"supported", "refuted"} for verdict in found]))


def population(seeds: int, runs: int) -> float:
    """The same for five data sets with three backbones each, whose seeds have correlation 0.8."""
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(runs):
        effects = rng.normal(0, UNIT, 5)
        values = np.concatenate(
            [
                effect
                + UNIT * (math.sqrt(0.8) * rng.normal(size=(1, seeds)) + math.sqrt(0.2) * rng.normal(size=(3, seeds)))
                for effect in effects
            ]
        )
        found = population_interval(by_seed(values), [setting // 3 for setting in range(15)])
        missed += not found.low <= 0 <= found.high
    return missed / runs


def table(runs: int) -> str:
    """Markdown, a row per scope and number of seeds."""
    lines = ["| scope | seeds | independent | correlation 0.8 | N = 797 | N = 100 |", "|---|---|---|---|---|---|"]
    for name in SCOPES:
        for seeds in (3, 5):
            cases = [(0.0, 0), (0.8, 0), (0.8, 797), (0.8, 100)]
            rates = [f"{100 * wrong(name, seeds, *case, runs):.1f} %" for case in cases]
            lines.append(f"| {name} | {seeds} | {' | '.join(rates)} |")
    for seeds in (3, 5):
        rate = f"{100 * population(seeds, runs):.1f} %"
        lines.append(f"| population, 5 data sets × 3 backbones | {seeds} | – | {rate} | – | – |")
    return "\n".join(lines)


def main() -> None:
    """Simulate everything, and write the table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    error = math.sqrt(ALPHA * (1 - ALPHA) / runs)
    print(f"{runs} runs; 5 % and three standard errors are {100 * (ALPHA + 3 * error):.1f} %.")
    fill("scopes", table(runs))


if __name__ == "__main__":
    main()
