"""A diagnosis, a line a check."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.diagnosis.finding import CheckResult

COLOURS = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def findings(found: Sequence[CheckResult]) -> RenderableType:
    """State, subject, what was found and what to do; then the sum."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in found:
        remedy = Text.assemble(" → ", (finding.remedy, "bold")) if finding.remedy else Text()
        table.add_row(
            Text(finding.state, style=COLOURS[finding.state]), Text(finding.subject), Text(finding.found) + remedy
        )
    return Group(table, Text(f"\n{_sum(found)}"))


def _sum(found: Sequence[CheckResult]) -> str:
    counts = [(sum(finding.state == state for finding in found), state) for state in ("problem", "warning")]
    told = [f"{count} {state}{'' if count == 1 else 's'}" for count, state in counts if count]
    return f"{', '.join(told)}." if told else "Nothing is wrong."
