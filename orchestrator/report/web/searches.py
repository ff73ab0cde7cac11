"""The figures of a tuning stage: what more trials find, and where in the space a loss is ahead."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from orchestrator.analysis.budget import Budget
from orchestrator.analysis.sensitivity import Bin, Sensitivity, labels
from orchestrator.experiment.space import Domain
from orchestrator.experiment.units import in_points
from orchestrator.report.styles import Look
from orchestrator.report.web.canvas import AHEAD, BEHIND, INK, PAPER, add_heading, arrange, line_style, plain, rounded
from orchestrator.report.web.figure import Figure


def budget(budgets: Sequence[Budget], metric: str, look: Look) -> Figure:
    """The measure of the best trial, with its band, against the number of trials, a line for each loss."""
    figure = Figure()
    for each in budgets:
        figure.add(
            "scatter",
            x=[*each.trials, *reversed(each.trials)],
            y=rounded([*each.high, *reversed(each.low)]),
            mode="lines",
            line={"width": 0},
            fill="toself",
            fillcolor=look[each.loss].colour,
            opacity=0.12,
            hoverinfo="skip",
            showlegend=False,
        )
    for each in budgets:
        name = plain(each.loss)
        figure.add(
            "scatter",
            x=list(each.trials),
            y=rounded(each.best),
            name=name,
            mode="lines" if len(each.trials) > 1 else "markers",
            line=line_style(look, each.loss),
            hovertemplate=f"{name}: %{{y:.4g}} · k = %{{x}}<extra></extra>",
        )
    arrange(figure, x="Trials k", y="Best of k trials, on validation images", height=380)
    if in_points([metric]):
        figure.change_axes("y", tickformat=".1%")
    return figure


def sensitivity(found: Sequence[Sensitivity]) -> Figure:
    """Where in the tuning space the challenger is ahead, a map for each two losses over the two fields that matter.

    Fields are on their own scales. With one field it is a strip.
    """
    rows = max(len(found), 1)
    figure = Figure(rows, gap=0.32 / rows)
    for row, each in enumerate(found, start=1):
        x, *rest = list(each.fields)[:2]
        grid = each.grid(x, rest[0]) if rest else [each.along(x)]
        domains = [each.fields[name] for name in (x, *rest)]
        _add_map(figure, row, grid, 100 if in_points([each.metric]) else 1)
        figure.change_axes("x", title={"text": plain(x)}, **_parts(domains[0], len(grid[0])), row=row)
        if rest:
            figure.change_axes(
                "y", title={"text": plain(rest[0]), "standoff": 12}, **_parts(domains[1], len(grid)), row=row
            )
        else:
            figure.change_axes("y", visible=False, row=row)
        add_heading(figure, row, f"<b>{plain(each.pair.challenger)} − {plain(each.pair.baseline)}</b>")
    heights = [5 if len(each.fields) > 1 else 2 for each in found]
    arrange(figure, height=60 + 60 * max(heights, default=1) * rows)
    return figure


def _add_map(figure: Figure, row: int, grid: Sequence[Sequence[Bin]], unit: float) -> None:
    """Add the colours and the texts of a map whose parts are of equal width."""
    up = len(grid)
    across = len(grid[0])
    means = [[unit * each.mean for each in line] for line in grid]
    most = max((abs(mean) for line in means for mean in line if math.isfinite(mean)), default=0) or 1
    figure.add(
        "heatmap",
        row,
        x=rounded(np.linspace(0, 1, across + 1)),
        y=rounded(np.linspace(0, 1, up + 1)),
        z=[rounded(line) for line in means],
        zmin=-most,
        zmax=most,
        colorscale=[[0, BEHIND], [0.5, PAPER], [1, AHEAD]],
        showscale=False,
        hoverinfo="skip",
    )
    places = [(i, j) for j in range(up) for i in range(across)]
    figure.add(
        "scatter",
        row,
        x=rounded((i + 0.5) / across for i, _ in places),
        y=rounded((j + 0.5) / up for _, j in places),
        mode="text",
        text=[f"{means[j][i]:+.3g}<br>n = {grid[j][i].n}" if grid[j][i].n else "n = 0" for i, j in places],
        textfont={"color": INK},
        hoverinfo="skip",
        showlegend=False,
    )


def _parts(domain: Domain, count: int) -> dict[str, Any]:
    """An axis from 0 to 1 that names the parts of a field."""
    return {
        "range": [0, 1],
        "tickvals": rounded((place + 0.5) / count for place in range(count)),
        "ticktext": [plain(label) for label in labels(domain, count)],
        "showgrid": False,
    }
