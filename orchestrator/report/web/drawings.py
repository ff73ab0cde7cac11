"""What the page's scripts read: figures by name, and the curves of the threshold explorer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.analysis import across_settings
from orchestrator.analysis.lines import Line
from orchestrator.report.web import figures, ranks, searches
from orchestrator.report.web.view import View


def drawn(view: View) -> dict[str, Any]:
    """What the scripts read: figures by name, one for each setting or one alone, and the explorer's curves."""
    styles = view.styles
    by_setting = [
        [curve for curve in view.curves if (curve.dataset, curve.backbone) == setting] for setting in view.settings
    ]
    histories = _histories(view)
    several = {
        "forest": [
            _figure(figures.forest, _compared(view.lines(setting)) if view.has_accuracies else ())
            for setting in view.settings
        ],
        "threshold-curves": [_figure(figures.threshold_curves, own, styles) for own in by_setting],
        "histograms": [_figure(figures.histograms, own, styles) for own in by_setting],
        "training": [_figure(figures.training, histories[setting], styles) for setting in view.settings],
    }
    if contest := view.contest:
        several["budget"] = [_figure(searches.budget, own, contest.metric, styles) for own in contest.budgets()]
        several["sensitivity"] = [_figure(searches.sensitivity, own) for own in contest.sensitivity()]
    ranking = across_settings.ranking(view.experiment, (*view.rows, *view.replicas), "uniform_accuracy")
    scores, profiles = across_settings.profiles(view.experiment, view.rows, "uniform_accuracy")
    biased = [curve for curve in view.curves if any(bias is not None for bias in curve.biases)]
    single = {
        "critical-difference": [_figure(ranks.critical_difference, ranking)],
        "performance-profile": [_figure(figures.performance_profile, profiles, scores, styles)],
        "bias-scatter": [_figure(figures.bias_scatter, biased, styles)],
    }
    return {
        "ranking": ranking,
        "figures": {name: parts for name, parts in (several | single).items() if any(parts)},
        "curves": [[curve.to_json() for curve in own] for own in by_setting],
    }


def _figure(draw: Callable[..., Any], subject: Any, *rest: Any) -> dict[str, Any] | None:
    """A figure as plain data; None where there is nothing to draw."""
    if not subject:
        return None
    return draw(subject, *rest).to_json()


def _compared(lines: Sequence[Line]) -> Sequence[Line]:
    """The lines, if any of them has a difference."""
    known = any(interval.n for line in lines for interval in (line.differences or {}).values())
    return lines if known else ()


def _histories(view: View) -> dict[tuple[str, str], dict[str, list[list[dict[str, float]]]]]:
    """The epochs of all runs, by setting and by loss in the order of the file."""
    cells = {cell.id: cell for cell in view.plan.cells}
    found = {
        (setting.dataset, setting.backbone): {loss: list[list[dict[str, float]]]() for loss in view.losses}
        for setting in view.settings
    }
    for account in view.accounts:
        cell = cells.get(account.cell_id)
        if cell and account.history and (cell.dataset, cell.backbone) in found:
            found[cell.dataset, cell.backbone][cell.loss].append(account.history)
    return {key: {loss: runs for loss, runs in losses.items() if runs} for key, losses in found.items()}
