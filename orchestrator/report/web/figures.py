"""The figures of a report: numbers in, pictures out.

Texts that are not data are keys of `words`, so that a page can show them in another
language. Colours are those of `styles`, so that a page can change them with its theme.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from orchestrator.analysis.across_settings import Profile, Ranking
from orchestrator.analysis.budget import Budget
from orchestrator.analysis.lines import Line
from orchestrator.analysis.sensitivity import Bin, Sensitivity, labels
from orchestrator.analysis.threshold_curves import Curve
from orchestrator.experiment.space import Domain
from orchestrator.experiment.units import in_points
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

MEASURES = {
    "uniform_accuracy": ("Uniform", "#0072B2", "circle"),
    "sample_wise_accuracy": ("Sample-wise", "#C75000", "diamond-open"),
}
"""What forest plots compare: name, colour, marker."""

EPOCHS = 60
"""Points of a training curve at most."""

HISTORY = {
    "train_loss": "Training loss",
    "validation_uniform_accuracy": "Uniform accuracy (validation)",
    "validation_sample_wise_accuracy": "Sample-wise accuracy (validation)",
}
"""What training curves show of an epoch, where it was recorded."""


def with_n(loss: str, *numbers: int) -> str:
    """`bce (n = 5)`, or `bce (n = 4, 5)` where numbers differ."""
    return f"{loss} (n = {', '.join(map(str, sorted({*numbers})))})"


def forest(lines: Sequence[Line]) -> Figure:
    """Paired differences to the baseline in one setting, in points, with their intervals."""
    compared = [line for line in lines if line.differences]
    figure = Figure()
    for offset, (metric, (name, colour, marker)) in zip((-0.13, 0.13), MEASURES.items(), strict=True):
        shown = [(row + offset, line.loss, (line.differences or {})[metric]) for row, line in enumerate(compared)]
        shown = [entry for entry in shown if entry[2].n]
        figure.add(
            "scatter",
            name=name,
            mode="markers",
            x=_rounded(100 * interval.estimate for _, _, interval in shown),
            y=[y for y, _, _ in shown],
            error_x={
                "array": _rounded(100 * (interval.high - interval.estimate) for _, _, interval in shown),
                "arrayminus": _rounded(100 * (interval.estimate - interval.low) for _, _, interval in shown),
                "thickness": 2,
                "width": 5,
            },
            marker={"color": colour, "symbol": marker, "size": 10, "line": {"width": 2, "color": colour}},
            text=[f"{_plain(loss)} · n = {interval.n}" for _, loss, interval in shown],
            hovertemplate="%{text}<br>%{x:+.2f}<extra></extra>",
        )
    figure.add_vertical(0, color=INK, width=1)
    _arrange(figure, x="Difference to the baseline, in points", height=110 + 56 * max(len(compared), 1))
    figure.change_axes(
        "y",
        tickvals=list(range(len(compared))),
        ticktext=[with_n(_plain(line.loss), *pairs(line)) for line in compared],
        range=[len(compared) - 0.5, -0.5],
        automargin=True,
    )
    return figure


def pairs(line: Line) -> list[int]:
    """Of seeds, for each measure."""
    return [(line.differences or {})[metric].n for metric in MEASURES]


def critical_difference(ranking: Ranking) -> Figure:
    """Demšar's diagram: the best rank at the left; a bar joins losses that cannot be told apart."""
    figure = Figure()
    places = stems(ranking)
    edges = (1.0, float(len(places)))
    for place in places:
        figure.add(
            "scatter",
            x=[place.rank, place.rank, place.end],
            y=[0, place.level, place.level],
            mode="lines",
            line={"color": INK, "width": 1.5},
            text=[f"{_plain(place.loss)}: {place.rank:.2f}"] * 3,
            hovertemplate="%{text}<extra></extra>",
            showlegend=False,
        )
        figure.add_text(
            f"{_plain(place.loss)} ({place.rank:.2f})",
            x=place.end,
            y=place.level,
            xanchor="left" if place.end == edges[0] else "right",
            yanchor="bottom",
            yshift=1,
            bgcolor=PAPER,
            borderpad=0,
        )
    for level, clique in enumerate(ranking.cliques):
        ranks = [ranking.ranks[loss] for loss in clique]
        figure.add(
            "scatter",
            x=[min(ranks) - 0.03, max(ranks) + 0.03],
            y=[-0.2 - 0.25 * level] * 2,
            mode="lines",
            line={"color": "#0072B2", "width": 6},
            hoverinfo="skip",
            showlegend=False,
        )
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
    _arrange(figure, height=int(40 + 44 * (high - low)))
    figure.change_axes("y", visible=False, range=[low, high])
    margin = 0.04 * (edges[1] - edges[0])
    figure.change_axes(
        "x",
        range=[edges[0] - margin, max(edges[1], bracket[1]) + margin],
        dtick=1,
        showgrid=False,
        showline=True,
        side="top",
        anchor="free",
        position=-low / (high - low),
    )
    return figure


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


def performance_profile(profiles: Mapping[str, Profile], scores: Sequence[float], look: Look) -> Figure:
    """For each loss, the share of runs above each score."""
    figure = Figure()
    for loss, profile in profiles.items():
        style = look[loss]
        figure.add(
            "scatter",
            x=[*scores, *reversed(scores)],
            y=_rounded([*profile.high, *reversed(profile.low)]),
            mode="lines",
            line={"width": 0},
            fill="toself",
            fillcolor=style.colour,
            opacity=0.15,
            hoverinfo="skip",
            showlegend=False,
        )
    for loss, profile in profiles.items():
        name = with_n(_plain(loss), profile.runs)
        figure.add("scatter", x=scores, y=_rounded(profile.share), name=name, mode="lines", line=_line(look, loss))
    _arrange(figure, x="Uniform accuracy τ", y="Share of runs above τ", height=380)
    figure.change_axes("x", tickformat=".0%")
    figure.change_axes("y", range=[-0.02, 1.02], tickformat=".0%")
    return figure


def threshold_curves(curves: Sequence[Curve], look: Look) -> Figure:
    """Uniform accuracy against the threshold; below, each seed's t* and the bias it learnt."""
    figure = Figure()
    for row, curve in enumerate(curves):
        colour = look[curve.loss].colour
        y = -0.05 * (row + 1)
        name = with_n(_plain(curve.loss), len(curve.seeds))
        figure.add(
            "scatter",
            x=curve.thresholds.tolist(),
            y=_rounded(curve.right / curve.samples),
            name=name,
            mode="lines",
            line=_line(look, curve.loss),
            hovertemplate=f"{name}: %{{y:.1%}} · t = %{{x:.3g}}<extra></extra>",
        )
        for values, symbol, word in _marks(curve):
            figure.add(
                "scatter",
                x=_rounded(values),
                y=[y] * len(values),
                mode="markers",
                marker={"symbol": symbol, "color": colour, "size": 9, "line": {"width": 1.5, "color": colour}},
                hovertemplate=f"{name}: {word} %{{x:.3g}}<extra></extra>",
                showlegend=False,
            )
    for symbol, word in (("triangle-up", "t* of a seed"), ("x-thin-open", "Learnt bias")):
        if any(found and kind == symbol for curve in curves for found, kind, _ in _marks(curve)):
            figure.add(
                "scatter",
                x=[None],
                y=[None],
                name=word,
                mode="markers",
                marker={"symbol": symbol, "color": INK, "size": 9},
            )
    _arrange(figure, x="Threshold t", y="Uniform accuracy", height=420)
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1]
    figure.change_axes(
        "y", range=[-0.05 * (len(curves) + 1), 1.02], tickvals=ticks, ticktext=[f"{tick:.0%}" for tick in ticks]
    )
    return figure


def _marks(curve: Curve) -> Iterable[tuple[list[float], str, str]]:
    yield [best.threshold for best in curve.optima if math.isfinite(best.threshold)], "triangle-up", "t*"
    yield [bias for bias in curve.biases if bias is not None], "x-thin-open", "b"


def bias_scatter(curves: Sequence[Curve], look: Look) -> Figure:
    """Learnt bias against t*, a marker for each model; the bar is the interval of best thresholds."""
    figure = Figure()
    shown: dict[str, list[tuple[float, float, float, float, str]]] = {}
    for curve in curves:
        for seed, best, bias in zip(curve.seeds, curve.optima, curve.biases, strict=True):
            if bias is not None and math.isfinite(best.threshold):
                where = f"{_plain(curve.loss)} · {_plain(curve.backbone)} · {_plain(curve.dataset)} · s{seed}"
                shown.setdefault(curve.loss, []).append((best.threshold, bias, best.low, best.high, where))
    for loss, points in shown.items():
        x, y, low, high, text = (list(column) for column in zip(*points, strict=True))
        style = look[loss]
        figure.add(
            "scatter",
            x=_rounded(x),
            y=_rounded(y),
            error_x={
                "array": _rounded(np.subtract(high, x)),
                "arrayminus": _rounded(np.subtract(x, low)),
                "thickness": 1,
                "width": 0,
            },
            name=_plain(loss),
            mode="markers",
            marker={"color": style.colour, "symbol": style.marker, "size": 9},
            text=text,
            hovertemplate="%{text}<br>t* = %{x:.3g}, b = %{y:.3g}<extra></extra>",
        )
    values = [value for points in shown.values() for point in points for value in point[:2]]
    ends = [min(values), max(values)] if values else [0, 1]
    figure.add(
        "scatter",
        x=_rounded(ends),
        y=_rounded(ends),
        name="b = t*",
        mode="lines",
        line={"color": INK, "width": 1, "dash": "dash"},
    )
    _arrange(figure, x="Best threshold t*", y="Learnt bias b", height=420)
    return figure


def histograms(curves: Sequence[Curve], look: Look) -> Figure:
    """Scores of the own class and of the best rival, a panel for each loss; lines are mean t* and mean bias."""
    figure = Figure(max(len(curves), 1), gap=0.2 / max(len(curves), 1), shares_x=True)
    for row, curve in enumerate(curves, start=1):
        style = look[curve.loss]
        fills = (
            (
                "Best wrong class",
                curve.rival_scores,
                {"color": "#8A8F98", "pattern": {"shape": "/", "size": 5, "solidity": 0.4}},
            ),
            ("True class", curve.own_scores, {"color": style.colour}),
        )
        for word, counts, marker in fills:
            figure.add(
                "bar",
                x=_rounded((curve.edges[1:] + curve.edges[:-1]) / 2),
                width=float(f"{curve.edges[1] - curve.edges[0]:.4g}"),
                y=_rounded(counts / curve.samples),
                name=word,
                showlegend=False,
                marker={**marker, "line": {"width": 0}},
                opacity=0.7,
                hovertemplate="%{x:.3g}: %{y:.1%}<extra></extra>",
                row=row,
            )
        for (values, _, _), dash in zip(_marks(curve), ("solid", "dot"), strict=True):
            if values:
                mean = _significant(math.fsum(values) / len(values))
                figure.add_vertical(mean, row=row, color=INK, width=1.5, dash=dash)
        _head(figure, row, f"<b>{with_n(_plain(curve.loss), len(curve.seeds))}</b>")
    for word, marker in (
        ("True class", {"color": "#0072B2", "symbol": "square"}),
        ("Best wrong class", {"color": "#8A8F98", "symbol": "square"}),
    ):
        figure.add("scatter", x=[None], y=[None], mode="markers", name=word, marker={**marker, "size": 12})
    for word, dash in (("Mean t*", "solid"), ("Mean learnt bias", "dot")):
        figure.add(
            "scatter", x=[None], y=[None], mode="lines", name=word, line={"color": INK, "width": 1.5, "dash": dash}
        )
    _arrange(figure, height=90 + 140 * max(len(curves), 1))
    figure.layout.update(barmode="overlay", bargap=0)
    figure.change_axes("y", tickformat=".0%", nticks=4)
    figure.change_axes("x", title={"text": "Score"}, row=max(len(curves), 1))
    return figure


def training(histories: Mapping[str, Sequence[Sequence[Mapping[str, float]]]], look: Look) -> Figure:
    """What each epoch told, the mean over seeds, a panel for each figure that was recorded.

    Args:
        histories: For each loss, one history a seed, one mapping an epoch.
        look: Styles by loss.
    """
    told = [key for key in HISTORY if any(key in epoch for runs in histories.values() for run in runs for epoch in run)]
    rows = max(len(told), 1)
    figure = Figure(rows, gap=0.16 / rows, shares_x=True)
    for row, key in enumerate(told, start=1):
        for loss, runs in histories.items():
            epochs, means = _mean_by_epoch(runs, key)
            figure.add(
                "scatter",
                x=epochs,
                y=means,
                name=with_n(_plain(loss), len(runs)),
                legendgroup=loss,
                showlegend=row == 1,
                mode="lines" if len(epochs) > 1 else "markers",
                line=_line(look, loss),
                row=row,
            )
        _head(figure, row, HISTORY[key])
        if key != "train_loss":
            figure.change_axes("y", tickformat=".0%", row=row)
    _arrange(figure, height=90 + 190 * rows)
    figure.change_axes("x", title={"text": "Epoch"}, row=rows)
    return figure


def budget(budgets: Sequence[Budget], metric: str, look: Look) -> Figure:
    """The measure of the best trial, with its band, against the number of trials, a line for each loss."""
    figure = Figure()
    for each in budgets:
        figure.add(
            "scatter",
            x=[*each.trials, *reversed(each.trials)],
            y=_rounded([*each.high, *reversed(each.low)]),
            mode="lines",
            line={"width": 0},
            fill="toself",
            fillcolor=look[each.loss].colour,
            opacity=0.12,
            hoverinfo="skip",
            showlegend=False,
        )
    for each in budgets:
        name = _plain(each.loss)
        figure.add(
            "scatter",
            x=list(each.trials),
            y=_rounded(each.best),
            name=name,
            mode="lines" if len(each.trials) > 1 else "markers",
            line=_line(look, each.loss),
            hovertemplate=f"{name}: %{{y:.4g}} · k = %{{x}}<extra></extra>",
        )
    _arrange(figure, x="Trials k", y="Best of k trials, on validation images", height=380)
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
        figure.change_axes("x", title={"text": _plain(x)}, **_parts(domains[0], len(grid[0])), row=row)
        if rest:
            figure.change_axes(
                "y", title={"text": _plain(rest[0]), "standoff": 12}, **_parts(domains[1], len(grid)), row=row
            )
        else:
            figure.change_axes("y", visible=False, row=row)
        _head(figure, row, f"<b>{_plain(each.pair.challenger)} − {_plain(each.pair.baseline)}</b>")
    heights = [5 if len(each.fields) > 1 else 2 for each in found]
    _arrange(figure, height=60 + 60 * max(heights, default=1) * rows)
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
        x=_rounded(np.linspace(0, 1, across + 1)),
        y=_rounded(np.linspace(0, 1, up + 1)),
        z=[_rounded(line) for line in means],
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
        x=_rounded((i + 0.5) / across for i, _ in places),
        y=_rounded((j + 0.5) / up for _, j in places),
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
        "tickvals": _rounded((place + 0.5) / count for place in range(count)),
        "ticktext": [_plain(label) for label in labels(domain, count)],
        "showgrid": False,
    }


def _mean_by_epoch(runs: Sequence[Sequence[Mapping[str, float]]], key: str) -> tuple[list[int], list[float | None]]:
    longest = max((len(run) for run in runs), default=0)
    kept = np.unique(np.linspace(0, longest - 1, min(longest, EPOCHS)).round().astype(int)).tolist() if longest else []
    epochs = list[int]()
    means = list[float | None]()
    for epoch in kept:
        values = [run[epoch][key] for run in runs if epoch < len(run) and key in run[epoch]]
        if values:
            epochs.append(epoch + 1)
            means += _rounded([math.fsum(values) / len(values)])
    return epochs, means


def _arrange(figure: Figure, height: int, x: str | None = None, y: str | None = None) -> None:
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


def _head(figure: Figure, row: int, text: str) -> None:
    """A heading above a panel, at the left."""
    y = f"y{row if row > 1 else ''} domain"
    figure.add_text(text, x=0, xref="paper", xanchor="left", y=1, yref=y, yanchor="bottom")


def _line(look: Look, loss: str) -> dict[str, Any]:
    return {"color": look[loss].colour, "dash": look[loss].dash, "width": 2.2}


def _plain(name: str) -> str:
    """A data name as text: Plotly reads some HTML in texts."""
    return name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _rounded(values: Iterable[float]) -> list[float | None]:
    """Numbers as a page embeds them: few digits, and None for what is not finite."""
    return [_significant(value) if math.isfinite(value) else None for value in map(float, values)]


def _significant(value: float) -> float:
    return float(f"{value:.5g}")
