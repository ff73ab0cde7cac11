"""How far the tests can be trusted in this very grid: what they find where there is nothing to find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.experiment import Experiment
from orchestrator.outcome import has_figures
from orchestrator.report.comparison import ALPHA, compared
from orchestrator.statistics.null import false_positive_rates

SPLITS = 1_000

NAMES = {"t": "Student t", "sign_flip": "sign flip", "wilcoxon": "Wilcoxon signed-rank", "bca": "BCa bootstrap"}


def rates(experiment: Experiment, rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """How often each test finds a difference between two halves of one configuration's seeds, by measure."""
    return {
        metric: false_positive_rates(_values(experiment, rows, metric), np.random.default_rng(0), SPLITS, ALPHA)
        for metric in compared(experiment)
    }


def _values(experiment: Experiment, rows: Sequence[Mapping[str, Any]], metric: str) -> np.ndarray:
    """The measure, one configuration a row and one seed a column."""
    place = {seed: column for column, seed in enumerate(experiment.seeds)}
    found: dict[tuple[str, str, str], np.ndarray] = {}
    for row in rows:
        if has_figures(row["state"]) and row.get(metric) is not None:
            line = found.setdefault((row["dataset"], row["backbone"], row["loss"]), np.full(len(place), np.nan))
            line[place[row["seed"]]] = row[metric]
    return np.array(list(found.values())).reshape(-1, len(place))


def table(experiment: Experiment, rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The rates for a terminal."""
    found = rates(experiment, rows)
    shown = Table(box=None, padding=(0, 2, 0, 0))
    shown.add_column("false differences found by")
    for metric in found:
        shown.add_column(metric, justify="right")
    for test, name in NAMES.items():
        values = (found[metric][test] for metric in found)
        shown.add_row(name, *("–" if value != value else f"{100 * value:.1f} %" for value in values))  # noqa: PLR0124
    half = len(experiment.seeds) // 2
    explanation = (
        f"The seeds of each configuration were split at random into two halves of {half}, {SPLITS} times, and compared "
        f"as if they were two losses: every difference found is false. A sound test finds {100 * ALPHA:g} % or fewer; "
        "verdicts rest on Student t. Configurations with fewer than 4 seeds are left out."
    )
    return Group(shown, Text(), Text(explanation, style="dim"))
