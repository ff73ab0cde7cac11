"""A comparison for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.analysis.across_settings import Overall
from orchestrator.analysis.comparison import Comparison
from orchestrator.analysis.findings import Finding
from orchestrator.analysis.threshold_curves import Curve
from orchestrator.report import paragraphs, rows
from orchestrator.report.wording import claims, verdicts
from orchestrator.report.wording.names import SHORT
from orchestrator.sentences import filled, worded

COLOURS = {"supported": "green", "refuted": "red", "equivalent": "cyan", "undecided": "yellow"}


def table(comparison: Comparison, overall: Overall | None = None, curves: Sequence[Curve] = ()) -> RenderableType:
    """The comparison, how the losses stand over all settings, and how each class fares where classes have names."""
    parts: list[RenderableType] = [Text(comparison.question, style="italic")] if comparison.question else []
    parts += [_lines(comparison), Text(), *map(Text, paragraphs.conditions(comparison))]
    parts.append(Text(paragraphs.caption(comparison), style="dim"))
    if overall:
        parts += _across(overall)
    parts += _by_class([curve for curve in curves if curve.has_names])
    if comparison.published:
        parts += [Text("\nPublished figures, and how ours differ\n", style="italic"), _published(comparison)]
    if comparison.findings:
        parts += [Text(f"\n{paragraphs.claims_heading(comparison)}\n", style="italic"), _claims(comparison)]
        parts += [Text(f"\n{sentence}", style="dim") for sentence in paragraphs.assumptions(comparison)]
    if robust := paragraphs.robust(comparison):
        parts += [Text(f"\n{paragraphs.ROBUST}\n", style="italic"), *map(Text, robust)]
    return Group(*parts)


def _lines(comparison: Comparison) -> Table:
    """Means in one row and differences in the next, for a narrow terminal."""
    shown = Table(box=None, padding=(0, 1, 0, 0))
    shown.add_column(worded("loss"))
    for heading in ("n", *(SHORT[name] for name in comparison.measures)):
        shown.add_column(heading, justify="right", no_wrap=True)
    for setting, lines in rows.by_setting(comparison):
        shown.add_row(Text(f"\n{setting}", style="bold"))
        for line in lines:
            shown.add_row(*map(Text, (line.loss, rows.seeds(line), *rows.means(line))))
            if line.differences is not None:
                shown.add_row("  Δ, pairs:", rows.pairs(line), *rows.differences(line))
    return shown


def _across(overall: Overall) -> Iterator[RenderableType]:
    if overall.standings:
        yield Text(f"\nAcross {overall.settings} settings\n", style="italic")
    for heading, standings in zip(paragraphs.across_headings(overall), overall.standings, strict=True):
        shown = Table(box=None, padding=(0, 1, 0, 0))
        first, *others = rows.across_heads(overall)
        shown.add_column(first)
        for head in others:
            shown.add_column(head.replace("/same", "/\nsame"), justify="right")
        for standing in standings.losses:
            shown.add_row(*map(Text, rows.across(standing, overall)))
        yield from (Text(heading, style="bold"), shown, Text())
    if caption := paragraphs.across_caption(overall):
        yield Text(caption, style="dim")


def _by_class(curves: Sequence[Curve]) -> Iterator[RenderableType]:
    """The accuracy of each class, one column per loss."""
    if curves:
        yield Text("\nEach class at the threshold that is best for all test images, in percent right\n", style="italic")
    for (dataset, backbone), group in groupby(curves, key=lambda curve: (curve.dataset, curve.backbone)):
        mine = list(group)
        shown = Table(box=None, padding=(0, 1, 0, 0))
        for heading in ("class", "images", *(curve.loss for curve in mine)):
            shown.add_column(heading, justify="left" if heading == "class" else "right")
        found = [curve.classes_at(curve.best) for curve in mine]
        for name, size in zip(mine[0].classes, mine[0].class_samples, strict=True):
            shares = [Text(f"{100 * each[name]:.1f}" if name in each else "–") for each in found]
            shown.add_row(Text(name), Text(str(size)), *shares)
        seeds = ", ".join(f"{curve.loss} {len(curve.seeds)}" for curve in mine)
        yield from (Text(f"{backbone} on {dataset}, mean over seeds ({seeds})", style="bold"), shown, Text())


def _published(comparison: Comparison) -> Table:
    shown = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for row in rows.published(comparison):
        shown.add_row(*map(Text, row))
    return shown


def _claims(comparison: Comparison) -> Table:
    shown = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for claim, findings in groupby(comparison.findings, key=lambda finding: finding.claim):
        stated = filled(claims.stated(comparison.when(claim)))
        shown.add_row(Text(f"{rows.statement(claim)}.", style="bold") + Text(f" {stated}", style="dim"))
        for finding in findings:
            shown.add_row(_finding(finding))
    return shown


def _finding(finding: Finding) -> Text:
    colour = COLOURS[finding.verdict if finding.looks.standing == "planned" else "undecided"]
    found = Text(f"  {rows.setting(finding)}: {filled(verdicts.difference(finding))}  ")
    doubts = Text("".join(f"; {doubt}" for doubt in rows.doubts(finding)), style="dim")
    return found + Text(rows.marked(finding), style=colour) + doubts
