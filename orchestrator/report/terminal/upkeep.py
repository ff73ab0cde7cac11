"""What `verify` and `gc` show: whether cells reproduce, and what is safe to delete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.experiment.plan import SHOWN, Cell
from orchestrator.report.terminal.facts import facts
from orchestrator.reproduction.verification import Verdict
from orchestrator.sentences import counted

if TYPE_CHECKING:
    from orchestrator.records.files.garbage import Item


def verdict(cell: Cell, found: Verdict | str) -> RenderableType:
    """Whether a cell reproduced, and where it did not; or why that is not known."""
    name = f"{cell.name} ({cell.id[:SHOWN]})"
    if isinstance(found, str):
        return Text(f"not verified  {name}\n  {found}", style="red")
    heading = Text(f"identical  {name}") if found.identical else Text(f"different  {name}", style="red")
    return Text("\n  ").join([heading, *map(Text, found.sentences())])


def garbage(items: Sequence[Item], *, removed: bool) -> RenderableType:
    """Files that are safe to delete."""
    if not items:
        return Text("Nothing to remove.")
    table = facts()
    for item in items:
        table.add_row(Text(item.name), Text(f"{item.size:,} bytes"), Text(item.reason))
    total = f"{sum(item.size for item in items):,} bytes in {counted(len(items), 'item')}"
    return Group(table, Text(f"{total} {'removed' if removed else 'can be deleted: --remove deletes them'}."))
