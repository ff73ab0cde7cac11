"""A figure as Plotly.js reads it: plain data, checked by nobody here, and a page of its own."""

from __future__ import annotations

import base64
import gzip
from collections import Counter
from functools import cache
from html import escape
from pathlib import Path
from typing import Any, Literal

from jinja2.utils import htmlsafe_json_dumps

from orchestrator.sentences import counted

BUNDLE = Path(__file__).with_name("html") / "plotly"
"""The folder of Plotly.js, its licence and its version; `.ci/plotly` renews it."""

PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Figure</title>
<div id="figure"></div>
<script type="text/plain" id="plotly">{plotly}</script>
<script>{unpack}
unpacked.then(() => Plotly.newPlot("figure", {data}, {layout}, {{"displayModeBar": false, "responsive": true}}));
</script>
</html>
"""


@cache
def plotly() -> str:
    """The script that draws figures: the part of Plotly.js that has scatter, bar and heat map."""
    return (BUNDLE / "plotly-cartesian.min.js").read_text(encoding="utf-8")


@cache
def packed() -> str:
    """The same, packed by gzip and written in base64, as `unpack` expects it in a page."""
    return base64.b64encode(gzip.compress(plotly().encode(), mtime=0)).decode()


@cache
def unpack() -> str:
    """The script that unpacks Plotly.js in a page; its promise is `unpacked`."""
    return BUNDLE.with_name("unpack.js").read_text(encoding="utf-8")


class Figure:
    """Traces and a layout in Plotly's words; in Jupyter it shows itself.

    Plotly's Python package makes the same of it: `plotly.graph_objects.Figure(figure.to_json())`.

    Attributes:
        data: The traces.
        layout: Axes, annotations, shapes and what holds for the whole figure.
    """

    def __init__(self, rows: int = 1, gap: float = 0.0, *, shares_x: bool = False) -> None:
        """A figure without traces.

        Args:
            rows: Panels, one below the other.
            gap: Between two panels, as a share of the figure's height.
            shares_x: Whether all panels have one x axis, whose labels are below the last.
        """
        self.data: list[dict[str, Any]] = []
        self.layout: dict[str, Any] = {}
        height = (1 - gap * (rows - 1)) / rows
        for row in range(1, rows + 1):
            bottom = (rows - row) * (height + gap)
            self._axis("x", row).update(anchor=_name("y", row), domain=[0, 1])
            self._axis("y", row).update(anchor=_name("x", row), domain=[bottom, bottom + height])
            if shares_x and row < rows:
                self._axis("x", row).update(matches=_name("x", rows), showticklabels=False)

    def _axis(self, letter: str, row: int) -> dict[str, Any]:
        return self.layout.setdefault(f"{letter}axis{_number(row)}", {})

    def add(self, kind: Literal["scatter", "bar", "heatmap"], row: int = 1, **trace: Any) -> None:
        """Add a trace to a panel; the first is row 1."""
        axes = {} if row == 1 else {"xaxis": _name("x", row), "yaxis": _name("y", row)}
        self.data.append({**trace, "type": kind, **axes})

    def add_vertical(self, x: float, row: int = 1, **line: Any) -> None:
        """Add a line from the bottom of a panel to its top."""
        ends = {"x0": x, "x1": x, "xref": _name("x", row), "y0": 0, "y1": 1, "yref": f"{_name('y', row)} domain"}
        self.layout.setdefault("shapes", []).append({"type": "line", **ends, "line": line})

    def add_text(self, text: str, **place: Any) -> None:
        """Add a text without an arrow."""
        self.layout.setdefault("annotations", []).append({"text": text, "showarrow": False, **place})

    def change_axes(self, letter: Literal["x", "y"], row: int | None = None, **changes: Any) -> None:
        """Change the axes of one panel or of all."""
        for name, axis in self.layout.items():
            if name == f"{letter}axis{_number(row)}" if row else name.startswith(f"{letter}axis"):
                axis.update(changes)

    def to_json(self) -> dict[str, Any]:
        """The figure as plain data."""
        return {"data": self.data, "layout": self.layout}

    def write_html(self, file: str | Path) -> None:
        """Write a page that shows the figure and needs no network."""
        Path(file).write_text(self._page(), encoding="utf-8")

    def _page(self) -> str:
        data = htmlsafe_json_dumps(self.data, allow_nan=False)
        layout = htmlsafe_json_dumps(self.layout, allow_nan=False)
        return PAGE.format(plotly=packed(), unpack=unpack(), data=data, layout=layout)

    def __repr__(self) -> str:
        kinds = Counter(trace["type"] for trace in self.data)
        return f"<Figure: {', '.join(counted(number, f'{kind} trace') for kind, number in kinds.items()) or 'empty'}>"

    def _repr_html_(self) -> str:
        height = self.layout.get("height", 450) + 20
        return f'<iframe srcdoc="{escape(self._page())}" style="border: 0; width: 100%; height: {height}px"></iframe>'


def _number(row: int) -> str:
    return str(row) if row > 1 else ""


def _name(letter: str, row: int) -> str:
    return f"{letter}{_number(row)}"
