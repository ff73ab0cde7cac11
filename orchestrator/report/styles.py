"""How losses look, in every figure alike: told apart by colour, by dash and by marker, each alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Style(NamedTuple):
    """Of one loss."""

    place: int
    """Of the loss in the experiment."""
    colour: str
    """On a light ground."""
    dash: str
    """Plotly's name."""
    marker: str
    """Plotly's name."""


Look = Mapping[str, Style]
"""By loss."""

COLOURS = {
    "#0072B2": "#4BA3E3",
    "#C75000": "#F08A3C",
    "#00805C": "#2EBF91",
    "#B0508A": "#E08CBB",
    "#8F6A00": "#E6B422",
    "#5B5F66": "#B9BEC6",
}
"""After Okabe and Ito, and the same on a dark ground; each has a contrast of at least 3 to its ground."""

DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "star", "triangle-down", "hexagon")


def look(losses: Iterable[str]) -> dict[str, Style]:
    """A style for each loss by its place in the experiment; 120 losses differ."""
    colours = list(COLOURS)
    return {
        loss: Style(index, colours[index % len(colours)], DASHES[index % len(DASHES)], MARKERS[index % len(MARKERS)])
        for index, loss in enumerate(losses)
    }
