"""Whether claims are supported as often as `plan` says: `python -m benchmarks.power [RUNS]`.

`plan` estimates spread and correlation from 50,000 earlier seeds and takes the effect from `expect`, so all three are
correct. Verdicts come from `report.comparison`. Writes the table between two comments in docs/statistics.md; seeded.
"""

from __future__ import annotations

import math
import sys
from typing import Any, NamedTuple

import numpy as np

from benchmarks.looks import Array, Rng, asked, rows
from benchmarks.page import fill
from orchestrator.analysis.findings import findings_of
from orchestrator.analysis.prospects import prospects
from orchestrator.experiment.model import Experiment

RUNS = 2_000
EARLIER = 50_000
SPREAD = 0.01
CORRELATION = 0.7
BACKBONES = ("resnet8", "resnet20", "resnet18")
MEASURE = "uniform_accuracy"


class Case(NamedTuple):
    """A claim and the truth."""

    name: str
    claim: dict[str, Any]
    seeds: int
    settings: int
    effect: float


CASES = (
    Case("difference, one setting", {}, 5, 1, 0.015),
    Case("difference with a margin, one setting", {"margin": 0.005}, 8, 1, 0.015),
    Case("equality, one setting", {"direction": "equal", "margin": 0.015}, 8, 1, 0.0),
    Case("value within bounds, one setting", {"direction": None, "baseline": None, "within": 0.515}, 8, 1, 0.0),
    Case("mean of three settings", {"over": "mean"}, 6, 3, 0.012),
    Case("all of three settings", {"over": "all"}, 6, 3, 0.018),
    Case("some of three settings", {"over": "some"}, 6, 3, 0.008),
)


def drawn(rng: Rng, case: Case, seeds: int) -> dict[tuple[str, str], Array]:
    """Differences by backbone; settings are correlated because they share seeds."""
    shared = rng.normal(size=seeds)
    return {
        (backbone, MEASURE): case.effect
        + SPREAD * (math.sqrt(CORRELATION) * shared + math.sqrt(1 - CORRELATION) * rng.normal(size=seeds))
        for backbone in BACKBONES[: case.settings]
    }


def experiment_of(case: Case) -> Experiment:
    """The experiment; `expect` is the true difference, or the true value for a claim about a value."""
    expected = 0.5 + case.effect if "within" in case.claim else case.effect
    claim = {"metric": MEASURE, **case.claim, "expect": {"effect": expected, "source": "true here"}}
    claim |= {"margin": None} if "within" in case.claim else {}
    return asked([claim], case.seeds, BACKBONES[: case.settings])


def said(rng: Rng, case: Case, earlier: int = EARLIER) -> float:
    """The power that `plan` prints when the cells of `earlier` seeds exist."""
    known = [row for found in rows(drawn(rng, case, earlier), None).values() for row in found]
    (found,) = prospects(experiment_of(case), known)
    assert found.power is not None
    return found.power


def supported(rng: Rng, case: Case, runs: int) -> float:
    """How often the claim is supported."""
    experiment = experiment_of(case)
    verdicts = [
        finding.verdict
        for _ in range(runs)
        for finding in findings_of(experiment, rows(drawn(rng, case, case.seeds), None))
    ]
    return verdicts.count("supported") / len(verdicts)


def table(runs: int) -> str:
    """Markdown, a row per case."""
    lines = ["| claim | seeds | power as `plan` says | supported in simulation | 3 standard errors | runs |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for case in CASES:
        rng = np.random.default_rng(0)
        promised = said(rng, case)
        seen = supported(rng, case, runs)
        error = 3 * math.sqrt(promised * (1 - promised) / runs)
        bold = "**" if abs(seen - promised) > error else ""
        figures = [f"{100 * promised:.1f} %", f"{bold}{100 * seen:.1f} %{bold}", f"{100 * error:.1f} points"]
        lines.append(f"| {case.name} | {case.seeds} | {' | '.join(figures)} | {runs:,} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> None:
    """Simulate everything, and write the table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    fill("power", table(runs))


if __name__ == "__main__":
    main()
