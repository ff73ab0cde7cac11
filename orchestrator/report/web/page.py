"""The report: one HTML page that holds all it needs, for a browser without a network."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from orchestrator.analysis import sample_noise
from orchestrator.analysis.comparison import Comparison
from orchestrator.analysis.threshold_curves import GRID, MOST_CLASSES, gather
from orchestrator.decision.decide import Decision
from orchestrator.errors import DamagedFileError
from orchestrator.experiment.plan import Plan
from orchestrator.pairing.blocks import Row
from orchestrator.records.files.evaluations import Account, Evaluations
from orchestrator.records.files.summaries import Summaries
from orchestrator.report import rows as texts
from orchestrator.report.numbers import percent
from orchestrator.report.styles import COLOURS
from orchestrator.report.web import canvas, flat, tables, verdicts
from orchestrator.report.web.drawings import drawn
from orchestrator.report.web.figure import packed, plotly, unpack
from orchestrator.report.web.sources import Sources
from orchestrator.report.web.templates import own, policy, templates
from orchestrator.report.web.translations import measure, tied, words
from orchestrator.report.web.view import SHOWN, View, settings_shown
from orchestrator.report.wording import across, claims, comparison, decision, noise
from orchestrator.report.wording.verdicts import MARK, mark
from orchestrator.sentences import setting_name

ACROSS = (
    "Rank",
    "These settings",
    "p value",
    "Others like these",
    "Worse / same / better",
    "Interquartile mean",
    "Gap",
)
"""The columns of the table across settings; the third to fifth are of other data sets."""


def render(
    of: Comparison,
    rows: Sequence[Row],
    evaluations: Evaluations,
    plan: Plan,
    replicas: Sequence[Row] = (),
    *,
    decided: Decision | None = None,
) -> str:
    """The report of an experiment, as the text of one page.

    Args:
        of: What the experiment's results say.
        rows: The results table, one mapping per cell.
        evaluations: The cells' files.
        plan: The experiment and its cells.
        replicas: The table of cells that were trained again.
        decided: What to deploy, where the experiment describes an operation.
    """
    return shown(viewed(of, rows, evaluations, plan, replicas), decided)


def viewed(
    of: Comparison, rows: Sequence[Row], evaluations: Evaluations, plan: Plan, replicas: Sequence[Row] = ()
) -> View:
    """What the sections share; the cells' files are asked about the settings that are shown in detail alone."""
    left = of.left_out
    rows, replicas = ([row for row in table if row["cell_id"] not in left] for table in (rows, replicas))
    shown = {*settings_shown(plan.experiment)}
    detailed = replace(plan, cells=tuple(cell for cell in plan.cells if (cell.dataset, cell.backbone) in shown))
    curves, unreadable = gather(detailed, rows, evaluations)
    accounts = tuple(_accounts(detailed, rows, evaluations))
    sampled = sample_noise.within(detailed, evaluations, left)
    return View(plan, of, rows, replicas, curves, unreadable, accounts, sampled)


MOST_CELLS = 20_000
"""Rows of `results.csv` at most; of more cells, the results table in the workspace is the only one."""


def written(view: View, decided: Decision | None, document: Mapping[str, Any]) -> dict[str, str]:
    """The page, and beside it every number of it as data: the content of each file by its name.

    Args:
        view: What the sections share.
        decided: What to deploy, where the experiment describes an operation.
        document: The comparison as JSON has it.
    """
    pictures = drawn(view)
    figures = {"figures": pictures["figures"], "threshold_curves": pictures["curves"]}
    data = {
        "comparison.csv": flat.as_csv(view.flat),
        "comparison.json": json.dumps(document, allow_nan=False),
        "figures.json": json.dumps(figures, allow_nan=False),
    }
    if len(view.rows) <= MOST_CELLS:
        data["results.csv"] = flat.as_csv(view.rows)
    return {**data, "index.html": shown(view, decided, list(data), pictures)}


def shown(
    view: View, decided: Decision | None = None, beside: Collection[str] = (), pictures: Mapping[str, Any] | None = None
) -> str:
    """The text of a page.

    Args:
        view: What the sections share.
        decided: What to deploy, where the experiment describes an operation.
        beside: The names of files that lie beside the page.
        pictures: What `drawn` makes of the view.
    """
    numbers = tables.Numbers(view)
    return (
        _templates()
        .get_template("page.html.j2")
        .render(
            view=view,
            judged=verdicts.Verdicts(view.comparison, view.experiment.claims),
            numbers=numbers,
            sources=Sources(view),
            drawn=pictures or drawn(view),
            decided=decided,
            flat={**flat.columns(view.flat), "heads": numbers.result_heads()},
            beside=beside,
        )
    )


def _accounts(plan: Plan, rows: Sequence[Row], evaluations: Evaluations) -> Iterator[Account]:
    done = {row["cell_id"] for row in rows}
    summaries = Summaries.of_cells(evaluations, plan.cells)
    for cell in plan.cells:
        if cell.id in done:
            try:
                yield summaries.account(cell)
            except (FileNotFoundError, DamagedFileError):  # `gather` says so
                continue


@cache
def _templates() -> Environment:
    """What renders the page."""
    environment = templates(words=words(), **_wording(), **_columns(), **_looks())
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    filters: dict[str, Any] = environment.filters
    filters |= {"percent": percent, "measure": measure, "tied": tied, "plain": "{:g}".format}
    return environment


def _wording() -> dict[str, Any]:
    """The sentences that the template asks for, and what renders them."""
    return {
        "across": across,
        "claims": claims,
        "comparison": comparison,
        "decision": decision,
        "noise": noise,
        "setting_name": setting_name,
        "difference": verdicts.difference,
        "doubts": verdicts.doubts,
        "place": verdicts.place,
        "icons": verdicts.VERDICTS,
        "mark_of": mark,
        "mark": MARK,
    }


def _columns() -> dict[str, Any]:
    """The columns of tables, and the measures in them."""
    return {
        "sampled_heads": texts.SAMPLED,
        "sampled_cells": texts.sampled,
        "across_cells": texts.across,
        "across_heads": ACROSS,
        "heat_metrics": tables.HEAT,
        "feature_metrics": tables.FEATURES,
        "threshold_metrics": tables.THRESHOLDS,
        "kind_metrics": tables.KINDS,
        "more_metrics": tables.MORE,
        "grid": GRID,
        "most": SHOWN,
        "most_classes": MOST_CLASSES,
    }


def _looks() -> dict[str, Any]:
    """Colours on a light and on a dark ground, and the scripts with the page's policy."""
    scripts = (unpack(), *map(own, ("page.js", "explorer.js", "tables.js", "results.js")))
    dark = {
        canvas.INK: canvas.INK_ON_DARK,
        canvas.PAPER: canvas.PAPER_ON_DARK,
        canvas.AHEAD: canvas.AHEAD_ON_DARK,
        canvas.BEHIND: canvas.BEHIND_ON_DARK,
    }
    return {
        "palette": COLOURS,
        "colours": COLOURS | dark,
        "scripts": [Markup(script) for script in scripts],  # noqa: S704 - files of ours, and Plotly's
        "plotly": packed(),
        "allowed": policy(plotly(), *scripts),
    }
