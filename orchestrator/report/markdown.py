"""A comparison in Markdown of GitHub's flavour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from orchestrator.analysis.across_settings import Overall
from orchestrator.analysis.comparison import Comparison
from orchestrator.report import paragraphs, rows
from trainers.metrics.names import MEASURES


def markdown(comparison: Comparison, overall: Overall | None = None) -> str:
    """The comparison, and how the losses stand over all settings."""
    return "\n\n".join(_parts(comparison, overall))


COLUMNS = ("sample_wise_accuracy", "uniform_accuracy", "validation_threshold", "accuracy_at_validation_threshold")
"""The measures that MLflow's table of runs begins with."""


def description(comparison: Comparison, run: str) -> str:
    """What stands above the runs of an experiment in MLflow: question, verdicts, columns, and where the report is.

    Args:
        comparison: What was found.
        run: The link to the run that has comparison and report.
    """
    asked = comparison.question or comparison.experiment
    page = f"[report]({run}/artifacts/report.html?workflowType=machine_learning)"
    numbers = f"[comparison]({run}?workflowType=machine_learning)"
    verdicts = [
        f"**{claim}**: {_counted([finding.marked for finding in findings])}"
        for claim, findings in groupby(comparison.findings, key=lambda finding: rows.statement(finding.claim))
    ]
    columns = [f"`{name}`: {MEASURES[name]}" for name in COLUMNS]
    parts = [f"**{asked}** → {page}"]
    if verdicts:
        parts += ["Verdicts, and in how many settings:", _list(verdicts)]
    cells = "Each run is a cell: one model, by its loss, backbone, data set and seed."
    parts += [f"{cells} The run {numbers} has all numbers of the comparison, and the {page}. Columns:", _list(columns)]
    means = "A group of runs shows the mean of its runs, over seeds and settings."
    return "\n\n".join([*parts, " ".join([means, *paragraphs.conditions(comparison)[:1]])])


def _counted(verdicts: Sequence[str]) -> str:
    return ", ".join(f"{verdict} ({number})" for verdict, number in Counter(verdicts).items())


def _list(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


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
