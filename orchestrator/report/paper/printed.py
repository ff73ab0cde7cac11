"""Figures for papers, by matplotlib: the same numbers and styles as on the page."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from orchestrator.analysis.across_settings import Ranking
from orchestrator.analysis.comparison import Line
from orchestrator.analysis.threshold_curves import Curve
from orchestrator.report.styles import Look
from orchestrator.report.web.figures import MEASURES, pairs, stems, told, with_n

LINES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-.", "longdash": (0, (8, 3))}
"""Matplotlib's words for Plotly's."""

MARKERS = {"circle": "o", "diamond-open": "D"}

WIDTH = 5.5
"""Inches: the text width of the usual conference styles."""


def forest(lines: Sequence[Line], look: Look) -> Figure:  # noqa: ARG001 - measures have colours here, losses have rows
    """Paired differences to the baseline in one setting, in points, with their intervals."""
    compared = [line for line in lines if line.differences]
    figure = Figure((WIDTH, 0.9 + 0.36 * len(compared)), layout="constrained")
    axes = figure.subplots()
    for offset, (metric, (name, colour, marker)) in zip((-0.13, 0.13), MEASURES.items(), strict=True):
        intervals = [(line.differences or {})[metric] for line in compared]
        middle, low, high = (100 * np.array([interval[part] for interval in intervals]) for part in range(3))
        axes.errorbar(
            middle, np.arange(len(compared)) + offset, xerr=np.abs([middle - low, high - middle]),
            fmt=MARKERS[marker], color=colour, capsize=2, markersize=4, label=name,
        )  # fmt: skip
    axes.axvline(0, color="0.3", linewidth=0.8)
    axes.set_yticks(range(len(compared)), [with_n(_verbatim(line.loss), *pairs(line)) for line in compared])
    axes.set_ylim(len(compared) - 0.5, -0.5)
    axes.set_xlabel("Difference to the baseline, in points")
    _finish(figure)
    return figure


def threshold_curves(curves: Sequence[Curve], look: Look) -> Figure:
    """Uniform accuracy against the threshold; marked: each seed's t* and the bias it learnt."""
    figure = Figure((WIDTH, 3.0), layout="constrained")
    axes = figure.subplots()
    for row, curve in enumerate(curves):
        style = look[curve.loss]
        axes.plot(
            curve.thresholds, curve.right / curve.samples, color=style.colour, linestyle=LINES[style.dash],
            label=with_n(_verbatim(curve.loss), len(curve.seeds)),
        )  # fmt: skip
        y = -0.05 * (row + 1)
        axes.plot(
            [best.threshold for best in curve.optima], [y] * len(curve.seeds), "^", color=style.colour, markersize=3
        )
        biases = [bias for bias in curve.biases if bias is not None]
        axes.plot(biases, [y] * len(biases), "x", color=style.colour, markersize=4)
    axes.set(
        xlabel="Threshold $t$ (▲ $t^*$ of a seed, × learnt bias)",
        ylabel="Uniform accuracy",
        ylim=(-0.05 * (len(curves) + 1), 1.02),
        yticks=np.linspace(0, 1, 6),
    )
    _finish(figure)
    return figure


def critical_difference(ranking: Ranking, look: Look) -> Figure:  # noqa: ARG001 - names stand at the stems
    """Demšar's diagram: the best rank at the left; a bar joins losses that cannot be told apart."""
    places = stems(ranking)
    lowest = min(place.level for place in places)
    figure = Figure((WIDTH, 0.7 - 0.3 * lowest), layout="constrained")
    axes = figure.subplots()
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
    for place in places:
        axes.plot([place.rank, place.rank, place.end], [0, place.level, place.level], color="0.2", linewidth=0.8)
        name = f"{_verbatim(place.loss)} ({place.rank:.2f})"
        axes.text(
            place.end,
            place.level,
            name,
            ha="left" if place.end == 1 else "right",
            va="bottom",
            fontsize="small",
            bbox=ground,
        )
    for level, clique in enumerate(ranking.cliques):
        ranks = [ranking.ranks[loss] for loss in clique]
        axes.plot([min(ranks) - 0.03, max(ranks) + 0.03], [-0.2 - 0.25 * level] * 2, color="#0072B2", linewidth=3)
    if math.isfinite(ranking.critical_difference):
        axes.plot([1, 1 + ranking.critical_difference], [1.3, 1.3], "|-", color="0.2", linewidth=0.8)
    axes.text(1, 1.4, told(ranking), va="bottom", fontsize="small")
    axes.set(ylim=(lowest - 0.3, 2.2), yticks=[], xticks=range(1, len(places) + 1))
    axes.spines[["left", "right", "bottom"]].set_visible(False)
    axes.xaxis.tick_top()
    axes.spines["top"].set_position(("data", 0))
    return figure


def write(figure: Figure, path: Path) -> Path:
    """Write a figure in the format of the path's ending, whole or not at all; the same picture gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{os.getpid()}.{path.name}")
    dated = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    try:
        with mpl.rc_context({"svg.hashsalt": "orchestrator", "pdf.fonttype": 42, "svg.fonttype": "none"}):
            figure.savefig(beside, metadata=dated.get(path.suffix), dpi=200)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def _finish(figure: Figure) -> None:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize="small")


def _verbatim(name: str) -> str:
    """A data name as text: a pair of dollars would be read as a formula."""
    return name.replace("$", r"\$")
