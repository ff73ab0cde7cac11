"""The noise of seeds and of the test set for a terminal, claim by claim."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.analysis.sample_noise import Sampled
from orchestrator.report import rows
from orchestrator.report.wording.noise import EXPLANATION, NOTHING, advice
from orchestrator.sentences import filled, setting_name


def table(found: Sequence[Sampled]) -> RenderableType:
    """All of it, with what the columns are."""
    if not found:
        return Text(NOTHING)
    parts: list[RenderableType] = []
    for claim, group in groupby(found, key=lambda each: each.claim):
        parts += [Text(rows.statement(claim), style="bold"), *_settings(list(group))]
    return Group(*parts, Text(EXPLANATION, style="dim"))


def _settings(group: Sequence[Sampled]) -> tuple[Table, Text]:
    """A row per setting, and below what each says."""
    shown = Table(box=None, padding=(0, 1, 0, 0))
    remarks = Text(style="dim")
    for head in ("setting", *rows.SAMPLED):
        is_name = head == "setting"
        shown.add_column(head, justify="left" if is_name else "right", no_wrap=not is_name)
    for each in group:
        name = filled(setting_name(each.dataset, each.backbone))
        sentences = "; ".join(map(filled, advice(each)))
        shown.add_row(*map(Text, (name, *rows.sampled(each))))
        remarks.append(f"{name}: {sentences}\n" if sentences else "")
    return shown, remarks
