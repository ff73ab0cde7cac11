"""What `list` and `show` show of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.report.terminal.facts import facts

if TYPE_CHECKING:
    from orchestrator.experiment.field_texts import PluginText


def catalogue(known: Mapping[str, str]) -> RenderableType:
    """Names with one line each."""
    table = facts()
    for name, summary in known.items():
        table.add_row(Text(name), Text(summary))
    return table


def plugin(found: PluginText) -> RenderableType:
    """A plug-in: what it is, its parameters, and where its code is."""
    parts: list[RenderableType] = [Text.assemble((found.name, "bold"), f"  {found.text}"), Text()]
    if found.parameters:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for head in ("parameter", "default", "type", "meaning"):
            table.add_column(head, overflow="fold")
        for each in found.parameters:
            table.add_row(Text(each.name, style="bold"), Text(each.default), Text(each.type), Text(each.meaning))
        parts.append(table)
    else:
        parts.append(Text("It has no parameters."))
    return Group(*parts, Text(f"\nSource: {found.module} ({found.file})", style="dim"))
