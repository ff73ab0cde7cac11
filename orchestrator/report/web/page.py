"""The report: one HTML page that holds all it needs, for a browser without a network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from orchestrator.analysis import sample_noise
from orchestrator.analysis.comparison import Comparison
from orchestrator.analysis.threshold_curves import GRID, gather
from orchestrator.decision.decide import Decision
from orchestrator.errors import DamagedFileError
from orchestrator.experiment.plan import Plan
from orchestrator.pairing.blocks import Row
from orchestrator.records.files.evaluations import Account, Evaluations
from orchestrator.records.files.summaries import Summaries
from orchestrator.report import rows as texts
from orchestrator.report.numbers import percent
from orchestrator.report.styles import COLOURS
from orchestrator.report.web import figures, tables, verdicts
from orchestrator.report.web.drawings import drawn
from orchestrator.report.web.figure import plotly
from orchestrator.report.web.sources import Sources
from orchestrator.report.web.translations import measure, said, say, words
from orchestrator.report.web.view import View
from orchestrator.report.wording import across, claims, comparison, decision, noise
from orchestrator.report.wording.verdicts import MARK, mark
from orchestrator.sentences import setting_name

ASSETS = Path(__file__).with_name("html")

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
    left = of.left_out
    rows, replicas = ([row for row in table if row["cell_id"] not in left] for table in (rows, replicas))
    curves, unreadable = gather(plan, rows, evaluations)
    accounts = tuple(_accounts(plan, rows, evaluations))
    sampled = sample_noise.within(plan, evaluations, left)
    return shown(View(plan, of, rows, replicas, curves, unreadable, accounts, sampled), decided)


def shown(view: View, decided: Decision | None = None) -> str:
    """The text of a page.

    Args:
        view: What the sections share.
        decided: What to deploy, where the experiment describes an operation.
    """
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            view=view,
            judged=verdicts.Verdicts(view.comparison, view.experiment.claims),
            numbers=tables.Numbers(view),
            sources=Sources(view),
            drawn=drawn(view),
            decided=decided,
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
def environment() -> Environment:
    """What renders the templates."""
    environment = Environment(
        loader=PackageLoader("orchestrator.report.web", "html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    filters: dict[str, Any] = environment.filters
    filters |= {"percent": percent, "measure": measure, "said": said}
    known: dict[str, Any] = environment.globals
    known |= {"say": say, "words": words(), **_wording(), **_columns(), **_looks()}
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
    }


def _looks() -> dict[str, Any]:
    """Colours on a light and on a dark ground, the style sheet, and the scripts with their hashes."""
    scripts = (plotly(), *(_asset(name) for name in ("page.js", "explorer.js")))
    dark = {
        figures.INK: figures.INK_ON_DARK,
        figures.PAPER: figures.PAPER_ON_DARK,
        figures.AHEAD: figures.AHEAD_ON_DARK,
        figures.BEHIND: figures.BEHIND_ON_DARK,
    }
    return {
        "palette": COLOURS,
        "colours": COLOURS | dark,
        "style": Markup(_asset("page.css")),  # noqa: S704 - a file of ours
        "scripts": [Markup(script) for script in scripts],  # noqa: S704 - files of ours, and Plotly's
        "hashes": [_hash(script) for script in scripts],
    }


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """A script's name in the page's policy: nothing else may run there."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() + "'"
