"""The diagram of ranks over all settings: which losses differ, and which cannot be told apart."""

from __future__ import annotations

import math
from typing import NamedTuple

from orchestrator.analysis.across_settings import Ranking
from orchestrator.report.web.canvas import INK, PAPER, arrange, plain
from orchestrator.report.web.figure import Figure


def critical_difference(ranking: Ranking) -> Figure:
    """Demšar's diagram: the best rank at the left; a bar joins losses that cannot be told apart."""
    figure = Figure()
    places = stems(ranking)
    for place in places:
        _add_stem(figure, place)
    for level, clique in enumerate(ranking.cliques):
        _add_bar(figure, [ranking.ranks[loss] for loss in clique], level)
    bracket = [1.0, 1.0 + ranking.critical_difference] if math.isfinite(ranking.critical_difference) else [1.0, 1.0]
    figure.add(
        "scatter",
        x=bracket,
        y=[1.3, 1.3],
        mode="lines+markers",
        line={"color": INK},
        marker={"symbol": "line-ns-open", "size": 9},
        hoverinfo="skip",
        showlegend=False,
    )
    figure.add_text(told(ranking), x=1, y=1.35, xanchor="left", yanchor="bottom")
    low = min(place.level for place in places) - 0.3
    high = 2.2
    arrange(figure, height=int(40 + 44 * (high - low)))
    figure.change_axes("y", visible=False, range=[low, high])
    last = float(len(places))
    margin = 0.04 * (last - 1.0)
    figure.change_axes(
        "x",
        range=[1.0 - margin, max(last, bracket[1]) + margin],
        dtick=1,
        showgrid=False,
        showline=True,
        side="top",
        anchor="free",
        position=-low / (high - low),
    )
    return figure


def _add_stem(figure: Figure, place: Stem) -> None:
    """Add the line from a loss's rank to its name, and the name."""
    figure.add(
        "scatter",
        x=[place.rank, place.rank, place.end],
        y=[0, place.level, place.level],
        mode="lines",
        line={"color": INK, "width": 1.5},
        text=[f"{plain(place.loss)}: {place.rank:.2f}"] * 3,
        hovertemplate="%{text}<extra></extra>",
        showlegend=False,
    )
    figure.add_text(
        f"{plain(place.loss)} ({place.rank:.2f})",
        x=place.end,
        y=place.level,
        xanchor="left" if place.end == 1.0 else "right",
        yanchor="bottom",
        yshift=1,
        bgcolor=PAPER,
        borderpad=0,
    )


def _add_bar(figure: Figure, ranks: list[float], level: int) -> None:
    """Add the bar that joins losses of these ranks."""
    figure.add(
        "scatter",
        x=[min(ranks) - 0.03, max(ranks) + 0.03],
        y=[-0.2 - 0.25 * level] * 2,
        mode="lines",
        line={"color": "#0072B2", "width": 6},
        hoverinfo="skip",
        showlegend=False,
    )


def told(ranking: Ranking) -> str:
    """The critical difference in words."""
    found = ranking.critical_difference
    return f"CD = {found:.2f}" if math.isfinite(found) else "no difference in ranks is significant at 5 %"


class Stem(NamedTuple):
    """Where a loss stands in a critical-difference diagram, in ranks and lines of text."""

    loss: str
    rank: float
    end: float
    """The side its name is at: the best half at the left."""
    level: float


def stems(ranking: Ranking) -> list[Stem]:
    """The places of all losses, best first; names of the better half stand at the left, of the rest at the right."""
    order = sorted(ranking.ranks.items(), key=lambda entry: entry[1])
    half = math.ceil(len(order) / 2)
    below = -0.9 - 0.25 * max(len(ranking.cliques) - 1, 0)
    left = [Stem(loss, rank, 1.0, below - place) for place, (loss, rank) in enumerate(order[:half])]
    right = [
        Stem(loss, rank, float(len(order)), below - (len(order) - half - 1 - place))
        for place, (loss, rank) in enumerate(order[half:])
    ]
    return left + right
