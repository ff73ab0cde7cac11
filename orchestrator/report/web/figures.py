"""The figures of a report: numbers in, pictures out.

Texts that are not data are keys of `words`, so that a page can show them in another
language. Colours are those of `styles`, so that a page can change them with its theme.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from orchestrator.analysis.across_settings import Profile
from orchestrator.analysis.lines import Line
from orchestrator.analysis.threshold_curves import Curve
from orchestrator.report.styles import Look
from orchestrator.report.web.canvas import INK, add_heading, arrange, line_style, plain, rounded, significant
from orchestrator.report.web.figure import Figure

MEASURES = {
    "uniform_accuracy": ("Uniform", "#0072B2", "circle"),
    "sample_wise_accuracy": ("Sample-wise", "#C75000", "diamond-open"),
}
"""What forest plots compare: name, colour, marker."""

RIVAL = "#8A8F98"
"""The colour of the best wrong class."""

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
            x=rounded(100 * interval.estimate for _, _, interval in shown),
            y=[y for y, _, _ in shown],
            error_x={
                "array": rounded(100 * (interval.high - interval.estimate) for _, _, interval in shown),
                "arrayminus": rounded(100 * (interval.estimate - interval.low) for _, _, interval in shown),
                "thickness": 2,
                "width": 5,
            },
            marker={"color": colour, "symbol": marker, "size": 10, "line": {"width": 2, "color": colour}},
            text=[f"{plain(loss)} · n = {interval.n}" for _, loss, interval in shown],
            hovertemplate="%{text}<br>%{x:+.2f}<extra></extra>",
        )
    figure.add_vertical(0, color=INK, width=1)
    arrange(figure, x="Difference to the baseline, in points", height=110 + 56 * max(len(compared), 1))
    figure.change_axes(
        "y",
        tickvals=list(range(len(compared))),
        ticktext=[with_n(plain(line.loss), *pairs(line)) for line in compared],
        range=[len(compared) - 0.5, -0.5],
        automargin=True,
    )
    return figure


def pairs(line: Line) -> list[int]:
    """Of seeds, for each measure."""
    return [(line.differences or {})[metric].n for metric in MEASURES]


def performance_profile(profiles: Mapping[str, Profile], scores: Sequence[float], look: Look) -> Figure:
    """For each loss, the share of runs above each score."""
    figure = Figure()
    for loss, profile in profiles.items():
        style = look[loss]
        figure.add(
            "scatter",
            x=[*scores, *reversed(scores)],
            y=rounded([*profile.high, *reversed(profile.low)]),
            mode="lines",
            line={"width": 0},
            fill="toself",
            fillcolor=style.colour,
            opacity=0.15,
            hoverinfo="skip",
            showlegend=False,
        )
    for loss, profile in profiles.items():
        name = with_n(plain(loss), profile.runs)
        figure.add("scatter", x=scores, y=rounded(profile.share), name=name, mode="lines", line=line_style(look, loss))
    arrange(figure, x="Uniform accuracy τ", y="Share of runs above τ", height=380)
    figure.change_axes("x", tickformat=".0%")
    figure.change_axes("y", range=[-0.02, 1.02], tickformat=".0%")
    return figure


def threshold_curves(curves: Sequence[Curve], look: Look) -> Figure:
    """Uniform accuracy against the threshold; below, each seed's t* and the bias it learnt."""
    figure = Figure()
    for row, curve in enumerate(curves):
        _add_curve(figure, curve, look, marks_at=-0.05 * (row + 1))
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
    arrange(figure, x="Threshold t", y="Uniform accuracy", height=420)
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1]
    figure.change_axes(
        "y", range=[-0.05 * (len(curves) + 1), 1.02], tickvals=ticks, ticktext=[f"{tick:.0%}" for tick in ticks]
    )
    return figure


def _add_curve(figure: Figure, curve: Curve, look: Look, marks_at: float) -> None:
    colour = look[curve.loss].colour
    name = with_n(plain(curve.loss), len(curve.seeds))
    figure.add(
        "scatter",
        x=curve.thresholds.tolist(),
        y=rounded(curve.right / curve.samples),
        name=name,
        mode="lines",
        line=line_style(look, curve.loss),
        hovertemplate=f"{name}: %{{y:.1%}} · t = %{{x:.3g}}<extra></extra>",
    )
    for values, symbol, word in _marks(curve):
        figure.add(
            "scatter",
            x=rounded(values),
            y=[marks_at] * len(values),
            mode="markers",
            marker={"symbol": symbol, "color": colour, "size": 9, "line": {"width": 1.5, "color": colour}},
            hovertemplate=f"{name}: {word} %{{x:.3g}}<extra></extra>",
            showlegend=False,
        )


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
                where = f"{plain(curve.loss)} · {plain(curve.backbone)} · {plain(curve.dataset)} · s{seed}"
                shown.setdefault(curve.loss, []).append((best.threshold, bias, best.low, best.high, where))
    for loss, points in shown.items():
        x, y, low, high, text = (list(column) for column in zip(*points, strict=True))
        style = look[loss]
        figure.add(
            "scatter",
            x=rounded(x),
            y=rounded(y),
            error_x={
                "array": rounded(np.subtract(high, x)),
                "arrayminus": rounded(np.subtract(x, low)),
                "thickness": 1,
                "width": 0,
            },
            name=plain(loss),
            mode="markers",
            marker={"color": style.colour, "symbol": style.marker, "size": 9},
            text=text,
            hovertemplate="%{text}<br>t* = %{x:.3g}, b = %{y:.3g}<extra></extra>",
        )
    values = [value for points in shown.values() for point in points for value in point[:2]]
    ends = [min(values), max(values)] if values else [0, 1]
    figure.add(
        "scatter",
        x=rounded(ends),
        y=rounded(ends),
        name="b = t*",
        mode="lines",
        line={"color": INK, "width": 1, "dash": "dash"},
    )
    arrange(figure, x="Best threshold t*", y="Learnt bias b", height=420)
    return figure


def histograms(curves: Sequence[Curve], look: Look) -> Figure:
    """Scores of the own class and of the best rival, a panel for each loss; lines are mean t* and mean bias."""
    rows = max(len(curves), 1)
    figure = Figure(rows, gap=0.2 / rows, shares_x=True)
    for row, curve in enumerate(curves, start=1):
        _add_histograms(figure, row, curve, look[curve.loss].colour)
    # What the legend shows is of no loss, so it is drawn apart from the panels.
    for word, colour in (("True class", "#0072B2"), ("Best wrong class", RIVAL)):
        marker = {"color": colour, "symbol": "square", "size": 12}
        figure.add("scatter", x=[None], y=[None], mode="markers", name=word, marker=marker)
    for word, dash in (("Mean t*", "solid"), ("Mean learnt bias", "dot")):
        line = {"color": INK, "width": 1.5, "dash": dash}
        figure.add("scatter", x=[None], y=[None], mode="lines", name=word, line=line)
    arrange(figure, height=90 + 140 * rows)
    figure.layout.update(barmode="overlay", bargap=0)
    figure.change_axes("y", tickformat=".0%", nticks=4)
    figure.change_axes("x", title={"text": "Score"}, row=rows)
    return figure


def _add_histograms(figure: Figure, row: int, curve: Curve, colour: str) -> None:
    hatched = {"color": RIVAL, "pattern": {"shape": "/", "size": 5, "solidity": 0.4}}
    fills = (("Best wrong class", curve.rival_scores, hatched), ("True class", curve.own_scores, {"color": colour}))
    for word, counts, marker in fills:
        figure.add(
            "bar",
            x=rounded((curve.edges[1:] + curve.edges[:-1]) / 2),
            width=float(f"{curve.edges[1] - curve.edges[0]:.4g}"),
            y=rounded(counts / curve.samples),
            name=word,
            showlegend=False,
            marker={**marker, "line": {"width": 0}},
            opacity=0.7,
            hovertemplate="%{x:.3g}: %{y:.1%}<extra></extra>",
            row=row,
        )
    for (values, _, _), dash in zip(_marks(curve), ("solid", "dot"), strict=True):
        if values:
            mean = significant(math.fsum(values) / len(values))
            figure.add_vertical(mean, row=row, color=INK, width=1.5, dash=dash)
    add_heading(figure, row, f"<b>{with_n(plain(curve.loss), len(curve.seeds))}</b>")


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
                name=with_n(plain(loss), len(runs)),
                legendgroup=loss,
                showlegend=row == 1,
                mode="lines" if len(epochs) > 1 else "markers",
                line=line_style(look, loss),
                row=row,
            )
        add_heading(figure, row, HISTORY[key])
        if key != "train_loss":
            figure.change_axes("y", tickformat=".0%", row=row)
    arrange(figure, height=90 + 190 * rows)
    figure.change_axes("x", title={"text": "Epoch"}, row=rows)
    return figure


def _mean_by_epoch(runs: Sequence[Sequence[Mapping[str, float]]], key: str) -> tuple[list[int], list[float | None]]:
    longest = max((len(run) for run in runs), default=0)
    kept = np.unique(np.linspace(0, longest - 1, min(longest, EPOCHS)).round().astype(int)).tolist() if longest else []
    epochs = list[int]()
    means = list[float | None]()
    for epoch in kept:
        values = [run[epoch][key] for run in runs if epoch < len(run) and key in run[epoch]]
        if values:
            epochs.append(epoch + 1)
            means += rounded([math.fsum(values) / len(values)])
    return epochs, means
