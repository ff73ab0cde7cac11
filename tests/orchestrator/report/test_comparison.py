"""Comparisons from rows written by hand, and the tables that show them."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import pytest
from rich.console import Console

from orchestrator.experiment import Experiment
from orchestrator.report import tables
from orchestrator.report.comparison import Comparison, compare

HOSTILE = ["[bold]x", "[@click=x]", "<script>", "a&b", "50%", "under_score", "#1", "$x^2$", "~{}", ":smile:"]


def asked(*losses: str, seeds: int = 3, **fields: Any) -> Experiment:
    """An experiment with losses of these labels; the first is the baseline."""
    entries = [{"name": "bce_unified", "as": label, "bias_init": number} for number, label in enumerate(losses)]
    document = {
        "name": "x",
        "losses": entries,
        "backbones": ["resnet8"],
        "datasets": ["digits"],
        "seeds": seeds,
        "baseline": losses[0],
    }
    return Experiment.model_validate({**document, **fields})


def row(loss: str, seed: int, uniform: float | None, state: str = "finished", **more: Any) -> dict[str, Any]:
    measures = {"uniform_accuracy": uniform, "sample_wise_accuracy": 0.9, "accuracy_at_validation_threshold": None}
    return {"dataset": "digits", "backbone": "resnet8", "loss": loss, "seed": seed, "state": state, **measures, **more}


CLAIM = {
    "id": "better",
    "metric": "uniform_accuracy",
    "challenger": "b",
    "baseline": "a",
    "direction": "higher",
    "margin": 0.01,
}


@pytest.fixture
def comparison() -> Comparison:
    rows = [row("a", seed, 0.50 + seed / 100) for seed in range(3)]
    rows += [row("b", 0, 0.60), row("b", 1, 0.61), row("b", 2, None, "diverged")]
    return compare(asked("a", "b", "c", claims=[CLAIM]), rows)


def test_each_loss_has_a_line_in_the_order_asked(comparison: Comparison) -> None:
    assert [line.loss for line in comparison.lines] == ["a", "b", "c"]
    assert comparison.lines[0].differences is None


def test_missing_and_diverged_cells_are_counted(comparison: Comparison) -> None:
    assert [(line.planned, line.finished, line.diverged) for line in comparison.lines] == [
        (3, 3, 0),
        (3, 2, 1),
        (3, 0, 0),
    ]
    assert (comparison.missing, comparison.diverged) == (3, 1)


def test_collapsed_cells_are_named_everywhere_and_count_as_they_are() -> None:
    rows = [row("a", seed, 0.50 + seed / 100) for seed in range(3)]
    rows += [row("b", 0, 0.60), row("b", 1, 0.61), row("b", 2, 0.10, "collapsed")]
    experiment = asked("a", "b", claims=[CLAIM])
    found, sound = (compare(experiment, each) for each in (rows, [{**each, "state": "finished"} for each in rows]))
    assert [(line.finished, line.collapsed, line.diverged) for line in found.lines] == [(3, 0, 0), (3, 1, 0)]
    assert (found.missing, found.collapsed) == (0, 1)
    assert repr([line.means for line in found.lines]) == repr([line.means for line in sound.lines])
    assert repr([line.tests for line in found.lines]) == repr([line.tests for line in sound.lines])  # some are NaN
    (finding,), (same,) = found.findings, sound.findings
    assert (finding.difference, finding.verdict, finding.p) == (same.difference, same.verdict, same.p)
    assert tables.cells(found.lines[1])[1] == "3 (1 collapsed)"
    assert "1 of 6 cells collapsed" in tables.doubts(finding)
    for text in (shown(found), tables.text(found, "markdown"), tables.text(found, "latex")):
        flat = " ".join(text.split())
        assert "3 (1 collapsed)" in flat
        assert "1 of 6 cells collapsed" in flat
        assert "1 cell collapsed (no better than a guess on their own training images)" in flat
    told = found.to_json()
    assert (told["collapsed"], told["lines"][1]["collapsed"], told["claims"][0]["collapsed"]) == (1, 1, 1)


def test_differences_pair_the_seeds_that_both_finished(comparison: Comparison) -> None:
    differences = comparison.lines[1].differences or {}
    interval = differences["uniform_accuracy"]
    assert interval.n == 2
    assert interval.estimate == pytest.approx(0.1)
    assert comparison.lines[1].means["uniform_accuracy"].estimate == pytest.approx(0.605)


def test_a_claim_is_judged_in_each_setting(comparison: Comparison) -> None:
    (finding,) = comparison.findings
    assert (finding.dataset, finding.backbone, finding.verdict) == ("digits", "resnet8", "supported")


def test_a_claim_is_judged_only_where_it_speaks_of() -> None:
    claims = [{**CLAIM, "where": {"backbone": "resnet20"}}]
    experiment = asked("a", "b", claims=claims, backbones=["resnet8", "resnet20"])
    assert [finding.backbone for finding in compare(experiment, []).findings] == ["resnet20"]


def test_json_has_no_nan_and_names_everything(comparison: Comparison) -> None:
    document = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    assert document["missing"] == 3
    assert document["lines"][2]["means"]["uniform_accuracy"] == {"estimate": None, "low": None, "high": None, "n": 0}
    assert document["lines"][0]["differences"] is None
    assert document["claims"][0]["verdict"] == "supported"
    assert document["claims"][0]["difference"]["n"] == 2


def shown(comparison: Comparison) -> str:
    console = Console(file=io.StringIO(), width=200, force_terminal=False, highlight=False)
    console.print(tables.terminal(comparison))
    return console.file.getvalue()


@pytest.mark.parametrize("form", ["markdown", "latex"])
def test_every_line_claim_and_count_is_in_the_text(comparison: Comparison, form: Any) -> None:
    text = tables.text(comparison, form)
    for part in ("60.5", "2/3 (1 diverged)", "+10.0", "better: uniform", "supported", "3 planned cells have no result"):
        assert part in text


def test_the_terminal_shows_them_too(comparison: Comparison) -> None:
    text = shown(comparison)
    for part in ("60.5", "2/3 (1 diverged)", "+10.0", "better: uniform_accuracy of b above a", "supported"):
        assert part in text
    assert "1 cells diverged and are in no mean." in text


def test_the_terminal_table_fits_80_columns(comparison: Comparison) -> None:
    console = Console(file=io.StringIO(), width=80, highlight=False)
    console.print(tables.terminal(comparison))
    assert max(map(len, console.file.getvalue().splitlines())) <= 80


@pytest.mark.parametrize("label", HOSTILE)
def test_a_hostile_label_is_shown_as_it_is(label: str) -> None:
    experiment = asked("a", label, question=f"Is {label} better?", claims=[{**CLAIM, "challenger": label}])
    text = shown(compare(experiment, [row(label, 0, 0.5)]))
    assert f"Is {label} better?" in text
    assert f"of {label} above a" in text
    assert any(line.startswith(label) for line in text.splitlines())


@pytest.mark.parametrize(
    ("label", "escaped"),
    [("a&b", r"a\&b"), ("50%", r"50\%"), ("under_score", r"under\_score"), ("#1", r"\#1"), ("$x$", r"\$x\$")],
)
def test_latex_escapes_what_it_would_execute(label: str, escaped: str) -> None:
    text = tables.text(compare(asked("a", label, claims=[{**CLAIM, "challenger": label}]), []), "latex")
    assert escaped in text
    assert label not in text.replace(escaped, "")


@pytest.mark.parametrize("label", ["a|b", *HOSTILE])
def test_a_markdown_row_has_as_many_columns_as_its_head(label: str) -> None:
    lines = tables.text(compare(asked("a", label), []), "markdown").splitlines()
    counts = {line.replace(r"\|", "").count("|") for line in lines if line.startswith("|")}
    assert len(counts) == 1


def test_numbers_are_rounded_alike_everywhere() -> None:
    from orchestrator.statistics.intervals import Interval

    assert tables.percent(Interval(0.9125, 0.9085, 0.9165, 5)) == "91.2 ± 0.4"
    assert tables.percent(Interval(0.9125, math.nan, math.nan, 1)) == "91.2"
    assert tables.percent(Interval(math.nan, math.nan, math.nan, 0)) == "–"
    assert tables.points(Interval(0.012, 0.008, 0.016, 5)) == "+1.2 ± 0.4"
    assert tables.points(None) == "–"


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_an_accuracy_at_the_border_has_the_test_sets_interval_and_never_none_at_all(accuracy: float) -> None:
    rows = [row("a", seed, accuracy, samples=100) for seed in range(3)]
    (line, *_) = compare(asked("a", "b"), rows).lines
    interval = line.means["uniform_accuracy"]
    assert (interval.estimate, interval.n) == (accuracy, 3)
    # Wilson's interval of 0 of 100 ends at z² / (100 + z²).
    width = 1.959964**2 / (100 + 1.959964**2)
    assert interval.high - interval.low == pytest.approx(width, rel=1e-5)
