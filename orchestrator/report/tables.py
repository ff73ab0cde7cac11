"""A comparison as a table: for the terminal, for Markdown, for LaTeX."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby
from typing import Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.report.comparison import Comparison, Finding, Line
from orchestrator.statistics.intervals import Interval

MEANS = {
    "sample_wise_accuracy": "sample-wise",
    "uniform_accuracy": "uniform",
    "accuracy_at_validation_threshold": "deployable",
}
DIFFERENCES = ("sample_wise_accuracy", "uniform_accuracy")

COLOURS = {"supported": "green", "refuted": "red", "equivalent": "cyan", "undecided": "yellow"}


def percent(interval: Interval) -> str:
    """`91.2 ± 0.4`, in percent; a lone value where the spread is unknown."""
    return _with_spread(interval, "")


def points(interval: Interval | None) -> str:
    """`+1.2 ± 0.4`, in percentage points."""
    return "–" if interval is None else _with_spread(interval, "+")


def _with_spread(interval: Interval, sign: Literal["", "+"]) -> str:
    if not interval.n:
        return "–"
    value = f"{100 * interval.estimate:{sign}.1f}"
    return value if math.isnan(interval.low) else f"{value} ± {50 * (interval.high - interval.low):.1f}"


def headings() -> list[str]:
    """The columns after the setting."""
    return ["loss", "n", *MEANS.values(), *(f"Δ {MEANS[name]}" for name in DIFFERENCES)]


def cells(line: Line) -> list[str]:
    """One row under `headings`. `n` shows what is missing or diverged, too."""
    n = str(line.finished) if line.finished == line.planned else f"{line.finished}/{line.planned}"
    if line.diverged:
        n += f" ({line.diverged} diverged)"
    differences = line.differences or {}
    means = (percent(line.means[name]) for name in MEANS)
    return [line.loss, n, *means, *(points(differences.get(name)) for name in DIFFERENCES)]


def caption(comparison: Comparison) -> str:
    """What the numbers are; it belongs under every table."""
    numbers = (
        f"Percent; mean ± half of the 95 % Student t interval over n seeds. Δ to {comparison.baseline}: paired by "
        "seed, in points. Uniform: best single threshold, chosen on the raw test scores. Deployable: threshold "
        "chosen on held-out training images. Not corrected for multiple comparisons."
    )
    parts = [numbers]
    if comparison.missing:
        parts.append(f"{comparison.missing} planned cells have no result.")
    if comparison.diverged:
        parts.append(f"{comparison.diverged} cells diverged and are in no mean.")
    return " ".join(parts)


def terminal(comparison: Comparison) -> RenderableType:
    """The comparison for a terminal of 80 columns."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    for heading in headings():
        stacked = heading.replace("Δ ", "Δ\n")
        table.add_column(stacked, justify="left" if heading == "loss" else "right", no_wrap=heading != "loss")
    for setting, lines in _by_setting(comparison):
        table.add_row(Text(f"\n{setting}", style="bold"))
        for line in lines:
            table.add_row(*(Text(cell) for cell in cells(line)))
    parts: list[RenderableType] = [Text(comparison.question, style="italic")] if comparison.question else []
    parts += [table, Text(), Text(caption(comparison), style="dim")]
    if comparison.published:
        parts += [Text("\nPublished, by other recipes\n", style="italic"), _published(comparison)]
    if comparison.findings:
        parts += [Text("\nClaims, stated before the run\n", style="italic"), _claims(comparison)]
    return Group(*parts)


def published_rows(comparison: Comparison) -> list[list[str]]:
    """Published figures, in percent, with recipe and source."""
    return [
        [
            figure.dataset,
            figure.backbone,
            figure.loss,
            figure.metric,
            f"{100 * figure.value:.1f}",
            figure.recipe,
            figure.source,
        ]
        for figure in comparison.published
    ]


def _published(comparison: Comparison) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for row in published_rows(comparison):
        table.add_row(*(Text(cell) for cell in row))
    return table


def _by_setting(comparison: Comparison) -> Iterator[tuple[str, Iterator[Line]]]:
    return groupby(comparison.lines, key=lambda line: f"{line.backbone} on {line.dataset}")


def _claims(comparison: Comparison) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for claim, findings in groupby(comparison.findings, key=statement):
        table.add_row(Text(claim, style="bold"))
        for finding in findings:
            verdict = Text(finding.verdict, style=COLOURS[finding.verdict])
            table.add_row(Text(f"  {setting(finding)}: {difference(finding.difference)}  ") + verdict)
    return table


def statement(finding: Finding) -> str:
    """A claim in words."""
    claim = finding.claim
    relation = {"higher": "above", "lower": "below", "equal": "equal to"}[claim.direction]
    other = f"{claim.baseline_metric} of " if claim.baseline_metric else ""
    compared = f"{claim.metric} of {claim.challenger} {relation} {other}{claim.baseline}"
    return f"{claim.id}: {compared} (margin {claim.margin:g})"


def setting(finding: Finding) -> str:
    """Where a finding holds."""
    return f"{finding.backbone} on {finding.dataset}"


def difference(interval: Interval) -> str:
    """`+0.0123 [+0.0100, +0.0146] n=5`, in the unit of the measure."""
    if not interval.n:
        return "no pair of seeds"
    spread = "" if math.isnan(interval.low) else f" [{interval.low:+.4f}, {interval.high:+.4f}]"
    return f"{interval.estimate:+.4f}{spread} n={interval.n}"


def text(comparison: Comparison, form: Literal["markdown", "latex"]) -> str:
    """The comparison as Markdown or as a LaTeX table in the style of booktabs."""
    from tabulate import tabulate

    style = {"markdown": "github", "latex": "latex_booktabs"}[form]

    def table(rows: list[list[str]], head: list[str]) -> str:
        if form == "markdown":
            rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
        return tabulate(rows, head, tablefmt=style, disable_numparse=True)

    compared = [[line.dataset, line.backbone, *cells(line)] for line in comparison.lines]
    parts = [table(compared, ["dataset", "backbone", *headings()])]
    if comparison.published:
        head = ["dataset", "backbone", "loss", "measure", "published %", "recipe", "source"]
        parts.append(table(published_rows(comparison), head))
    if comparison.findings:
        judged = [
            [statement(finding), setting(finding), difference(finding.difference), finding.verdict]
            for finding in comparison.findings
        ]
        parts.append(table(judged, ["claim", "setting", "difference", "verdict"]))
    return "\n\n".join([*parts, ("% " if form == "latex" else "") + caption(comparison)])
