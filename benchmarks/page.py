"""Tables in documents between two comments, `<!-- NAME: begin -->` and `<!-- NAME: end -->`."""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
STATISTICS = DOCS / "statistics.md"
PERFORMANCE = DOCS / "performance.md"


def filled(text: str, name: str, content: str) -> str:
    """The document with the block of that name replaced.

    Raises:
        ValueError: There is no such block.
    """
    begin = f"<!-- {name}: begin -->"
    end = f"<!-- {name}: end -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"There is no block between '{begin}' and '{end}'.")
    return f"{before}{begin}\n{content}\n{end}{after}"


def fill(name: str, content: str, page: Path = STATISTICS) -> None:
    """Write the content of a page's block."""
    page.write_text(filled(page.read_text(encoding="utf-8"), name, content), encoding="utf-8")
