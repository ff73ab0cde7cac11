"""A table of names, and what is to be said of each."""

from __future__ import annotations

from rich.table import Table


def facts() -> Table:
    """It is empty; names stand out."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    return table
