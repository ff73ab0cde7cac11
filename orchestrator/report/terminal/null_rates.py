"""How often each test finds a difference where there is none, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.adaptive.seeds import ALPHA
from orchestrator.analysis.null_check import SPLITS, counts, rates, scatter
from orchestrator.experiment.model import Experiment
from orchestrator.statistics.intervals import ENOUGH

NAMES = {"t": "Student t", "sign_flip": "sign flip", "wilcoxon": "Wilcoxon signed-rank", "bca": "BCa bootstrap"}


def table(experiment: Experiment, rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The rates, a column per measure."""
    found = rates(experiment, rows)
    scattered = scatter(experiment, rows)
    sizes = {metric: counts(experiment, rows, metric) for metric in found}
    shown = Table(box=None, padding=(0, 2, 0, 0))
    shown.add_column("false differences found by")
    for metric in found:
        shown.add_column(metric, justify="right")
    for test, name in NAMES.items():
        values = (found[metric][test] for metric in found)
        shown.add_row(name, *("–" if math.isnan(value) else f"{100 * value:.1f} %" for value in values))
    about = ("–" if math.isnan(value) else f"{100 * ALPHA:g} ± {200 * value:.1f} %" for value in scattered.values())
    shown.add_row("a sound test, in 95 of 100 grids", *about)
    shown.add_row("comparisons", *(f"{len(size) * SPLITS:,}" for size in sizes.values()))
    halves = sorted({seeds // 2 for size in sizes.values() for seeds in size})
    return Group(shown, Text(), Text(_explanation(halves), style="dim"))


def _explanation(halves: Sequence[int]) -> str:
    of = f" of {' or '.join(map(str, halves))}" if halves else ""
    return (
        f"The seeds of each configuration in one environment were split at random into two halves{of}, {SPLITS:,} "
        "times, and compared as if they were two losses: every difference found is false. Verdicts rest on Student t. "
        "All splits of a grid use the same seeds, so the rates of one grid scatter about the true rates of the tests; "
        f"the line 'a sound test' shows by how much. Configurations with fewer than {2 * ENOUGH} seeds are left out."
    )
