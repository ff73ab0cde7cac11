"""How far the tests can be trusted in this very grid: what they find where there is nothing to find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.analysis.comparison import ALPHA, compared
from orchestrator.experiment.model import Experiment
from orchestrator.outcome import has_figures
from orchestrator.pairing.evidence import step
from orchestrator.statistics.intervals import ENOUGH
from orchestrator.statistics.null import false_positive_rates, rate_deviation

SPLITS = 1_000

NAMES = {"t": "Student t", "sign_flip": "sign flip", "wilcoxon": "Wilcoxon signed-rank", "bca": "BCa bootstrap"}


def rates(experiment: Experiment, rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """How often each test finds a difference between two halves of one configuration's seeds, by measure."""
    found: dict[str, dict[str, float]] = {}
    for metric in compared(experiment):
        values = _values(experiment, rows, metric)
        rng = np.random.default_rng(0)
        found[metric] = false_positive_rates(values, rng, SPLITS, ALPHA, step(metric, rows))
    return found


def scatter(experiment: Experiment, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The standard deviation, over grids of this size, of the rate of a test that errs as often as it should."""
    return {
        metric: rate_deviation(_values(experiment, rows, metric), np.random.default_rng(0), SPLITS, ALPHA)
        for metric in compared(experiment)
    }


def _values(experiment: Experiment, rows: Sequence[Mapping[str, Any]], metric: str) -> np.ndarray:
    """The measure, one configuration in one environment a row and one seed a column."""
    place = {seed: column for column, seed in enumerate(experiment.seeds)}
    found: dict[tuple[str, ...], np.ndarray] = {}
    for row in rows:
        if has_figures(row["state"]) and row.get(metric) is not None:
            key = row["dataset"], row["backbone"], row["loss"], row.get("environment") or ""
            line = found.setdefault(key, np.full(len(place), np.nan))
            line[place[row["seed"]]] = row[metric]
    return np.array(list(found.values())).reshape(-1, len(place))


def counts(experiment: Experiment, rows: Sequence[Mapping[str, Any]], metric: str) -> list[int]:
    """The seeds of each configuration in one environment that has enough of them."""
    seeds = (~np.isnan(_values(experiment, rows, metric))).sum(axis=1)
    return [int(each) for each in seeds if each >= 2 * ENOUGH]


def table(experiment: Experiment, rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The rates for a terminal."""
    found = rates(experiment, rows)
    scattered = scatter(experiment, rows)
    shown = Table(box=None, padding=(0, 2, 0, 0))
    shown.add_column("false differences found by")
    for metric in found:
        shown.add_column(metric, justify="right")
    for test, name in NAMES.items():
        values = (found[metric][test] for metric in found)
        shown.add_row(name, *("–" if value != value else f"{100 * value:.1f} %" for value in values))  # noqa: PLR0124
    about = (f"{100 * ALPHA:g} ± {200 * value:.1f} %" if value == value else "–" for value in scattered.values())  # noqa: PLR0124
    shown.add_row("a sound test, in 95 of 100 grids", *about)
    sizes = {metric: counts(experiment, rows, metric) for metric in found}
    shown.add_row("comparisons", *(f"{len(size) * SPLITS:,}" for size in sizes.values()))
    halves = sorted({seeds // 2 for size in sizes.values() for seeds in size})
    of = f" of {' or '.join(map(str, halves))}" if halves else ""
    explanation = (
        f"The seeds of each configuration in one environment were split at random into two halves{of}, {SPLITS:,} "
        f"times, and compared as if they were two losses: every difference found is false. Verdicts rest on Student t. "
        f"The splits of a grid reuse its seeds, so that its rates scatter about those of the tests: the line "
        f"'a sound test' says by how much at most. Configurations with fewer than {2 * ENOUGH} seeds are left out."
    )
    return Group(shown, Text(), Text(explanation, style="dim"))
