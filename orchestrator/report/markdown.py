"""A comparison in Markdown of GitHub's flavour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.analysis.across_settings import Overall
from orchestrator.analysis.comparison import Comparison
from orchestrator.report import paragraphs, rows


def markdown(comparison: Comparison, overall: Overall | None = None) -> str:
    """The comparison, and how the losses stand over all settings."""
    return "\n\n".join(_parts(comparison, overall))


def _parts(comparison: Comparison, overall: Overall | None) -> Iterator[str]:
    compared = [[line.dataset, line.backbone, *rows.cells(line)] for line in comparison.lines]
    yield _table(compared, ["dataset", "backbone", *rows.headings(comparison)])
    yield from paragraphs.conditions(comparison)
    if overall:
        yield from _across(overall)
    if comparison.published:
        yield _table(rows.published(comparison), rows.PUBLISHED)
    if comparison.findings:
        yield paragraphs.claims_heading(comparison)
        yield _table(rows.judged(comparison), rows.JUDGED)
        yield from paragraphs.assumptions(comparison)
    if robust := paragraphs.robust(comparison):
        yield f"{paragraphs.ROBUST}:"
        yield from robust
    yield paragraphs.caption(comparison)


def _across(overall: Overall) -> Iterator[str]:
    for heading, standings in zip(paragraphs.across_headings(overall), overall.standings, strict=True):
        yield f"Across settings, {heading}"
        yield _table([rows.across(standing, overall) for standing in standings.losses], rows.across_heads(overall))
    if caption := paragraphs.across_caption(overall):
        yield caption


def _table(body: Sequence[Sequence[str]], head: Sequence[str]) -> str:
    """The table, with columns as wide as their longest cell and two more than their heading, to be read as text too."""
    escaped = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in body]
    widths = [max([len(heading) + 2, *map(len, column)]) for heading, *column in zip(head, *escaped, strict=True)]
    rule = "|".join("-" * (width + 2) for width in widths)
    lines = (" | ".join(map(str.ljust, row, widths)) for row in escaped)
    first = " | ".join(map(str.ljust, head, widths))
    return "\n".join([f"| {first} |", f"|{rule}|", *(f"| {line} |" for line in lines)])
