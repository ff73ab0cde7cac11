"""What `plan` shows: the grid, what of it is done, and what the rest costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.experiment.choices import Choice
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Cell, Plan
from orchestrator.experiment.tuning import Tuning
from orchestrator.outcome import is_done
from orchestrator.report.terminal import price as prices
from orchestrator.report.terminal import prospects
from orchestrator.report.terminal.facts import facts
from orchestrator.report.terminal.launch import again, so_far
from orchestrator.report.wording.prospects import caution
from orchestrator.sentences import counted

if TYPE_CHECKING:  # it imports what a plan does without
    from orchestrator.pricing.price import Price

FEW = 10
"""At most as many seeds are named one by one."""


def as_json(
    experiment: Experiment, plan: Plan, states: Mapping[str, str], replicas: Sequence[Cell] = ()
) -> dict[str, Any]:
    """The plan for machines; while recipes are sought, the trials are a plan apart, and cells have no ids yet."""
    if plan.experiment.name != experiment.name:
        total = len(experiment.losses) * len(experiment.backbones) * len(experiment.datasets) * len(experiment.seeds)
        later = {
            "experiment": experiment.name,
            "cells": [],
            "total": total,
            "done": 0,
            "pending": total,
            "replicas": [],
        }
        return {**later, "tuning": as_json(plan.experiment, plan, states)}
    axes = ("loss", "backbone", "dataset", "seed")
    cells = [
        {
            "id": cell.id if cell.data_known else None,
            **{axis: getattr(cell, axis) for axis in axes},
            "state": states[cell.id],
        }
        for cell in plan.cells
    ]
    done = sum(map(is_done, states.values()))
    counts = {"total": len(plan), "done": done, "pending": len(plan) - done}
    again = [{axis: getattr(cell, axis) for axis in ("id", *axes, "environment")} for cell in replicas]
    return {"experiment": plan.experiment.name, "cells": cells, **counts, "replicas": again}


def grid(
    plan: Plan,
    states: Mapping[str, str],
    price: Price,
    rows: Sequence[Mapping[str, Any]],
    data: Sequence[str] = (),
    *,
    promises: Sequence[str] = (),
    added: Sequence[str] = (),
    cautions: Sequence[str] = (),
    older: Sequence[str] = (),
    replicas: Sequence[Cell] = (),
    why: str = "",
    per_gpu_hour: float | None = None,
) -> RenderableType:
    """Axes, additions, counts, replicas, what is known of data, starts and older cells, cost, possible conclusions."""
    experiment = plan.experiment
    table = facts()
    table.add_row("experiment", Text(experiment.name, style="bold"))
    if experiment.question:
        table.add_row("question", Text(experiment.question))
    for axis in ("losses", "backbones", "datasets"):
        table.add_row(axis, Text(", ".join(_described(choice) for choice in getattr(experiment, axis))))
    table.add_row("seeds", Text(_seeds(experiment.seeds)))
    _told(table, "additions", added)
    if tuning := experiment.tuning:
        table.add_row("tuning", Text(_tuning(tuning)))
    is_trial = any(cell.trial is not None for cell in plan.cells)
    table.add_row("trials" if is_trial else "cells", Text(so_far(plan, states)))
    if replicas:
        table.add_row("replicas", again(replicas, why))
    _told(table, "cost", prices.lines(price, per_gpu_hour))
    _told(table, "data", data)
    _told(table, "promises", promises)
    _told(table, "caution", cautions, style="yellow")
    _told(table, "older cells", older)
    if is_trial or not experiment.claims:
        return table
    notes = [Text(f"Note: {sentence}.", style="dim") for sentence in caution(experiment)]
    costs = prices.claims(price)
    return Group(table, Text(), prospects.table(experiment, rows), *notes, *([Text(), costs] if costs else []))


def _told(table: Table, name: str, sentences: Iterable[str], style: str = "") -> None:
    """A row for each sentence, the first with the name."""
    for number, sentence in enumerate(sentences):
        table.add_row("" if number else name, Text(sentence, style=style))


def _tuning(tuning: Tuning) -> str:
    space = ", ".join(f"{name} {domain}" for name, domain in tuning.space.items())
    size = f"{counted(tuning.trials, 'trial')} of {counted(len(tuning.seeds), 'seed')} each"
    return f"{size} by {tuning.metric} on {tuning.on}, {tuning.searcher}: {space}"


def _described(choice: Choice) -> str:
    return choice.label if choice.label == choice.plugin.key else f"{choice.label} ({choice.plugin.key})"


def _seeds(seeds: Sequence[int]) -> str:
    """Each seed, or the first and the last of many in a row."""
    first, last = seeds[0], seeds[-1]
    if len(seeds) > FEW and last - first + 1 == len(seeds):
        return f"{first} to {last} ({len(seeds)} seeds)"
    return ", ".join(map(str, seeds))
