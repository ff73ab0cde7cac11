"""How often tuning trials of two equal losses are reported to favour one: `python -m benchmarks.searches [RUNS]`.

Both losses are trained with the same random recipes and the same seeds. A score is the recipe's quality, which both
losses share, plus noise of three kinds: per loss and recipe, per loss and seed (the same in all trials), and per
training run. Neither loss is better, so every statement that names one is wrong. Writes the table of
docs/statistics.md.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.page import fill
from orchestrator.statistics.budget import mean_best
from orchestrator.statistics.proportions import wilson
from orchestrator.statistics.searches import leads, share_won, standing

Array = NDArray[np.float64]

RUNS = 2_000
ALPHA = 0.05
COUNTS = (1, 2, 5, 10, 20)


class Noise(NamedTuple):
    """Standard deviations; that of a recipe's quality is 1."""

    of_recipe: float
    """Per loss and recipe, the same for all seeds."""
    of_seed: float
    """Per loss and seed, the same for all recipes."""
    of_cell: float


NOISES: Mapping[str, Noise] = {
    "each training by itself": Noise(0, 0, 0.3),
    "seeds favour a loss in every trial": Noise(0, 0.3, 0.1),
    "recipes suit one loss or the other": Noise(0.3, 0, 0.1),
    "all of these": Noise(0.2, 0.2, 0.2),
}


class Rates(NamedTuple):
    """How often a statement is wrong."""

    ahead_before: float
    ahead: float
    most_before: float
    most: float


def drawn(rng: np.random.Generator, noise: Noise, trials: int, seeds: int) -> Array:
    """Scores of two equal losses, (2, trials, seeds)."""
    return (
        rng.normal(size=(1, trials, 1))
        + noise.of_recipe * rng.normal(size=(2, trials, 1))
        + noise.of_seed * rng.normal(size=(2, 1, seeds))
        + noise.of_cell * rng.normal(size=(2, trials, seeds))
    )


def rates(noise: Noise, seeds: int, runs: int, trials: int = 20) -> Rates:
    """How often one of two equal losses is named, by the old rule (trials only) and the new one (trials and seeds)."""
    rng = np.random.default_rng(0)
    found: list[tuple[bool, bool, bool, bool]] = []
    for _ in range(runs):
        mine, theirs = drawn(rng, noise, trials, seeds)
        best = mean_best(np.stack([mine.mean(axis=1), theirs.mean(axis=1)]), COUNTS)
        ahead = best[0] - best[1]
        low, high = wilson(float((mine.mean(axis=1) > theirs.mean(axis=1)).sum()), trials)
        share = share_won(mine > theirs)
        found.append(
            (
                bool((ahead > 0).all() or (ahead < 0).all()),
                standing(leads(mine, theirs, COUNTS)) in {"ahead", "behind"},
                bool(low > 1 / 2 or high < 1 / 2),
                share.low > 1 / 2 or share.high < 1 / 2,
            )
        )
    return Rates(*np.mean(found, axis=0).tolist())


def table(runs: int) -> str:
    """Markdown, a row per kind of noise and number of seeds."""
    lines = [
        "| noise | seeds a trial | ahead or behind: before | now | most or little of the space: before | now |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, noise in NOISES.items():
        for seeds in (1, 3, 6, 10):
            cells = " | ".join(f"{100 * rate:.1f} %" for rate in rates(noise, seeds, runs))
            lines.append(f"| {name} | {seeds} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    """Simulate everything, and write the table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    error = math.sqrt(ALPHA * (1 - ALPHA) / runs)
    print(f"{runs} runs; 5 % and three standard errors are {100 * (ALPHA + 3 * error):.1f} %.")
    fill("searches", table(runs))


if __name__ == "__main__":
    main()
