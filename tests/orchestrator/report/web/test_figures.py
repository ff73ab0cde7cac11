"""Figures: what they show."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.analysis import across_settings
from orchestrator.analysis.across_settings import Ranking
from orchestrator.analysis.lines import Line
from orchestrator.analysis.threshold_curves import Curve, gather
from orchestrator.report.styles import COLOURS, look
from orchestrator.report.web import figures, ranks
from orchestrator.statistics.intervals import Interval

HOSTILE = "<img src=x onerror=alert(1)>"
RARE = Ranking({"a": 1.2, "b": 1.8}, math.inf, [("a", "b")], 5)
RANKING = Ranking({"a": 1.2, "b": 1.9, "c": 2.9, HOSTILE: 4.0}, 1.25, [("a", "b"), ("b", "c")], 9)

Finished = Callable[..., Any]


def plain(figure: Any) -> dict[str, Any]:
    """The figure as a page embeds it: JSON without NaN."""
    return json.loads(json.dumps(figure.to_json(), allow_nan=False))


def line(loss: str, *, difference: float | None = None, spread: float = 0.01) -> Line:
    interval = None if difference is None else Interval(difference, difference - spread, difference + spread, 5)
    differences = interval and dict.fromkeys(figures.MEASURES, interval)
    return Line("digits", "resnet8", loss, 5, 5, 0, {}, differences)


@pytest.fixture
def curves(done: Finished, small: dict[str, Any]) -> tuple[Curve, ...]:
    _, rows, evaluations, plan = done(small)
    return gather(plan, rows, evaluations)[0]


def test_a_forest_shows_each_interval_once_in_points_and_not_the_baseline() -> None:
    drawn = plain(figures.forest([line("softmax"), line("bce", difference=0.05)]))
    for trace in drawn["data"]:
        assert trace["x"] == [5.0]
        assert trace["error_x"]["array"] == [1.0]
    assert drawn["layout"]["yaxis"]["ticktext"] == ["bce (n = 5)"]


def test_one_seed_gives_a_forest_without_intervals() -> None:
    (trace, _) = plain(figures.forest([line("softmax"), line("bce", difference=0.05, spread=math.nan)]))["data"]
    assert trace["x"] == [5.0]
    assert trace["error_x"]["array"] == [None]


def test_a_critical_difference_diagram_names_every_loss_and_joins_every_clique() -> None:
    drawn = plain(ranks.critical_difference(RANKING))
    texts = [annotation["text"] for annotation in drawn["layout"]["annotations"]]
    names = ["a (1.20)", "b (1.90)", "c (2.90)", "&lt;img src=x onerror=alert(1)&gt; (4.00)", "CD = 1.25"]
    assert sorted(texts) == sorted(names)
    assert sum(trace["line"].get("width") == 6 for trace in drawn["data"]) == 2


def test_stems_are_at_different_heights_on_each_side() -> None:
    places = ranks.stems(RANKING)
    assert [place.loss for place in places] == ["a", "b", "c", HOSTILE]
    assert len({(place.end, place.level) for place in places}) == len(places)


def test_numbers_of_seeds_that_differ_are_all_told() -> None:
    assert figures.with_n("bce", 5, 5) == "bce (n = 5)"
    assert figures.with_n("bce", 5, 4) == "bce (n = 4, 5)"


def test_curves_mark_each_seeds_threshold_and_bias(curves: tuple[Curve, ...]) -> None:
    drawn = plain(figures.threshold_curves(curves[:2], look(["softmax", "bce_unified"])))
    lines = [trace for trace in drawn["data"] if trace["mode"] == "lines"]
    assert [trace["name"] for trace in lines] == ["softmax (n = 3)", "bce_unified (n = 3)"]
    marks = [trace for trace in drawn["data"] if trace["mode"] == "markers" and trace["x"] != [None]]
    assert [len(trace["x"]) for trace in marks] == [3, 0, 3, 3]
    assert marks[3]["x"] == [3.0] * 3


def test_the_scatter_holds_only_models_with_a_bias(curves: tuple[Curve, ...]) -> None:
    drawn = plain(figures.bias_scatter(curves, look(["softmax", "bce_unified"])))
    assert [trace["name"] for trace in drawn["data"]] == ["bce_unified", "b = t*"]
    assert len(drawn["data"][0]["x"]) == 6


def test_histograms_have_a_panel_for_each_loss(curves: tuple[Curve, ...]) -> None:
    drawn = plain(figures.histograms(curves[:2], look(["softmax", "bce_unified"])))
    assert [trace["type"] for trace in drawn["data"]].count("bar") == 4
    own = drawn["data"][1]
    assert sum(own["y"]) == pytest.approx(1, abs=1e-3)


def test_training_shows_means_over_seeds_and_few_points() -> None:
    runs = [[{"train_loss": 1 / (epoch + 1 + seed)} for epoch in range(500)] for seed in (0, 1)]
    (trace,) = plain(figures.training({"softmax": runs}, look(["softmax"])))["data"]
    assert len(trace["x"]) == 60
    assert (trace["x"][0], trace["x"][-1]) == (1, 500)
    assert trace["y"][0] == 0.75


def test_a_run_that_ended_early_counts_as_far_as_it_went() -> None:
    runs = [[{"train_loss": 1.0}, {"train_loss": 1.0}], [{"train_loss": 3.0}]]
    (trace,) = plain(figures.training({"softmax": runs}, look(["softmax"])))["data"]
    assert trace["y"] == [2.0, 1.0]


def test_names_are_shown_and_not_obeyed(curves: tuple[Curve, ...]) -> None:
    named = [replace(curve, loss=HOSTILE, backbone=HOSTILE, biases=(1.0, 2.0, 3.0)) for curve in curves[:1]]
    styles = look([HOSTILE])
    for drawn in (
        figures.threshold_curves(named, styles),
        figures.histograms(named, styles),
        figures.bias_scatter(named, styles),
        figures.forest([line(HOSTILE, difference=0.1)]),
        figures.training({HOSTILE: [[{"train_loss": 1.0}]]}, styles),
    ):
        texts = json.dumps(_texts(plain(drawn)))
        assert "&lt;img" in texts
        assert "<img" not in texts


def _texts(value: Any) -> Any:
    """All but the keys by which legends are grouped, which nobody sees."""
    if isinstance(value, dict):
        return {key: _texts(entry) for key, entry in value.items() if key != "legendgroup"}
    return [_texts(entry) for entry in value] if isinstance(value, list) else value


def test_colours_stand_out_from_their_ground() -> None:
    for light, dark in COLOURS.items():
        assert _contrast(light, "#fcfcfb") >= 3
        assert _contrast(dark, "#16191e") >= 3


def _contrast(first: str, second: str) -> float:
    """WCAG 2.2's contrast ratio."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_thirty_losses_differ_in_colour_and_dash() -> None:
    assert len({(style.colour, style.dash) for style in look(map(str, range(30))).values()}) == 30


FIVE = {"datasets": ["digits", "mnist", "fashion_mnist", "cifar10", "svhn"], "backbones": ["resnet8"]}


def test_ranks_leave_out_settings_with_a_missing_cell(done: Finished, small: dict[str, Any]) -> None:
    _, rows, _, plan = done(small | FIVE)
    ranking = across_settings.ranking(plan.experiment, rows, "uniform_accuracy")
    assert ranking is not None
    assert ranking.settings == 5
    assert sum(ranking.ranks.values()) == 3
    assert across_settings.ranking(plan.experiment, rows[1:], "uniform_accuracy") is None


def test_a_loss_that_diverged_throughout_is_last(done: Finished, small: dict[str, Any]) -> None:
    _, rows, _, plan = done(small | FIVE, diverged=lambda cell: cell.loss == "softmax")
    ranking = across_settings.ranking(plan.experiment, rows, "uniform_accuracy")
    assert ranking is not None
    assert ranking.ranks == {"softmax": 2.0, "bce_unified": 1.0}
    _, profiles = across_settings.profiles(plan.experiment, rows, "uniform_accuracy")
    assert list(profiles) == ["bce_unified"]


def test_missing_runs_are_above_no_threshold(done: Finished, small: dict[str, Any]) -> None:
    _, rows, _, plan = done(small, missing=lambda cell: cell.seed == 2)
    thresholds, profiles = across_settings.profiles(plan.experiment, rows, "uniform_accuracy")
    assert thresholds == sorted(thresholds)
    for profile in profiles.values():
        assert profile.share[0] == pytest.approx(2 / 3)
        assert profile.share[-1] == 0


def test_where_no_difference_of_ranks_is_rare_enough_the_diagram_says_so() -> None:
    text = "no difference in ranks is significant at 5 %"
    assert text in json.dumps(plain(ranks.critical_difference(RARE)))
