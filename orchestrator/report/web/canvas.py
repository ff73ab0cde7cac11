"""What all figures of a report share: colours, layout, and texts and numbers as Plotly takes them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from orchestrator.report.styles import Look
from orchestrator.report.web.figure import Figure

INK = "#30343B"
INK_ON_DARK = "#D3D7DE"
"""Of what belongs to no loss, on a light ground and on a dark one."""

PAPER = "#FCFCFB"
PAPER_ON_DARK = "#16191E"
"""Behind names that would be crossed by lines."""

AHEAD = "#8FC1E3"
AHEAD_ON_DARK = "#1F5F8F"
BEHIND = "#F0B98D"
BEHIND_ON_DARK = "#8A4A1C"
"""Of differences above and below 0, in a map."""


def arrange(figure: Figure, height: int, x: str | None = None, y: str | None = None) -> None:
    """What all figures share: no ground of their own, the legend below, room for long names."""
    figure.layout.update(
        height=height,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 48, "r": 12, "t": 24, "b": 44},
        legend={"orientation": "h", "x": 0, "y": 1, "yref": "container", "yanchor": "top", "xanchor": "left"},
        hovermode="closest",
    )
    figure.change_axes("x", automargin=True, zeroline=False)
    figure.change_axes("y", automargin=True, zeroline=False)
    if x:
        figure.change_axes("x", title={"text": x})
    if y:
        figure.change_axes("y", title={"text": y})


def add_heading(figure: Figure, row: int, text: str) -> None:
    """A heading above a panel, at the left."""
    y = f"y{row if row > 1 else ''} domain"
    figure.add_text(text, x=0, xref="paper", xanchor="left", y=1, yref=y, yanchor="bottom")


def line_style(look: Look, loss: str) -> dict[str, Any]:
    """The colour and the dashes of a loss."""
    return {"color": look[loss].colour, "dash": look[loss].dash, "width": 2.2}


def plain(name: str) -> str:
    """A data name as text: Plotly reads some HTML in texts."""
    return name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def rounded(values: Iterable[float]) -> list[float | None]:
    """Numbers as a page embeds them: few digits, and None for what is not finite."""
    return [significant(value) if math.isfinite(value) else None for value in map(float, values)]


def significant(value: float) -> float:
    """A number of few digits."""
    return float(f"{value:.5g}")
