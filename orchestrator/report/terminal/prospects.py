"""What is to be expected of claims, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from orchestrator.analysis.prospects import prospects
from orchestrator.experiment.model import Experiment
from orchestrator.report.wording.prospects import HEADS, cells


def table(experiment: Experiment, rows: Sequence[Mapping[str, Any]]) -> Table:
    """The prospects of all claims."""
    shown = Table(box=None, padding=(0, 1, 0, 0))
    for head in HEADS:
        shown.add_column(head, overflow="fold")
    for found in prospects(experiment, rows):
        shown.add_row(*map(Text, cells(found)))
    return shown
