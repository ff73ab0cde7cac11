"""Comparisons from rows written by hand, and the tables that show them."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import ttest_1samp

from orchestrator.analysis.comparison import Comparison, compare
from orchestrator.experiment.looks import Looked
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.stated import When
from orchestrator.records.files.earlier import Data
from orchestrator.report import paragraphs
from orchestrator.report import rows as texts
from orchestrator.report.markdown import markdown
from orchestrator.report.numbers import percent, points
from orchestrator.report.paper.latex import latex
from orchestrator.report.terminal import comparison as terminal
from orchestrator.report.wording import verdicts
from orchestrator.statistics.power import seeds_to_decide

FORMS = {"markdown": markdown, "latex": latex}

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


def of_two(challenger: list[float | None], baseline: list[float | None], **fields: Any) -> Comparison:
    """Loss b against a by uniform accuracy, on 100 samples; None where a cell diverged, NaN where it is missing."""
    rows = [
        row(loss, seed, value, "diverged" if value is None else "finished", samples=100)
        for loss, values in (("a", baseline), ("b", challenger))
        for seed, value in enumerate(values)
        if value is None or not math.isnan(value)
    ]
    experiment = asked("a", "b", seeds=len(baseline), **{"claims": [CLAIM], **fields})
    return compare(experiment, rows, looked=Looked(str(len(baseline))))


@pytest.fixture
def comparison() -> Comparison:
    rows = [row("a", seed, 0.50 + seed / 100) for seed in range(3)]
    rows += [row("b", 0, 0.60), row("b", 1, 0.61), row("b", 2, None, "diverged")]
    return compare(asked("a", "b", "c", claims=[CLAIM]), rows)


BASE = [0.50, 0.51, 0.52, 0.50, 0.51]
BETTER = [0.60, 0.61, 0.61, 0.60, 0.62]
NONE = math.nan


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


@pytest.mark.parametrize(
    ("when", "said", "word"),
    [
        (When(6, 0, 0), "Stated before these cells ran (6 of 6 cells record it).", "before"),
        (When(4, 2, 0), "Stated after results (4 of 6 cells record it).", "after"),
        (When(4, 0, 2), "Not known when it was stated (4 of 6 cells record it).", "unknown"),
        (When(0, 1, 0), "Stated after results (0 of 1 cells record it).", "after"),
        (None, "Not known when it was stated.", "unknown"),
    ],
)
def test_when_a_claim_was_stated_is_said_beside_it(when: When | None, said: str, word: str) -> None:
    rows = [row(loss, seed, 0.5 + seed / 100) for loss in "ab" for seed in range(3)]
    found = compare(asked("a", "b", claims=[CLAIM]), rows, stated=None if when is None else {"better": when})
    for text in (shown(found), markdown(found), latex(found)):
        flat = " ".join(text.split())
        assert said in flat
        assert ("is no proof" in flat) == (word == "before")
        assert flat.lower().count("stated before these cells ran") == 2 * (word == "before")
    told = found.to_json()
    carried, cells = (when.carried, when.cells) if when else (0, 0)
    assert (told["stated"], told["claims"][0]["stated"]) == (word, {"when": word, "carried": carried, "cells": cells})


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (When(6, 0, 0), When(6, 0, 0), "Claims, stated before these cells ran;"),
        (When(0, 6, 0), When(0, 6, 0), "Claims, STATED AFTER RESULTS;"),
        (When(6, 0, 0), When(0, 6, 0), "Claims, SOME STATED AFTER RESULTS;"),
        (When(0, 0, 6), When(0, 6, 0), "Claims, SOME STATED AFTER RESULTS;"),
    ],
)
def test_the_heading_says_whether_all_claims_or_some_were_stated_after_results(
    first: When, second: When, said: str
) -> None:
    rows = [row(loss, seed, 0.5 + seed / 100) for loss in "ab" for seed in range(3)]
    experiment = asked("a", "b", claims=[CLAIM, {**CLAIM, "id": "again"}])
    assert paragraphs.claims_heading(compare(experiment, rows, stated={"better": first, "again": second})).startswith(
        said
    )


def test_collapsed_cells_are_named_everywhere_and_count_as_they_are() -> None:
    rows = [row("a", seed, 0.50 + seed / 100) for seed in range(3)]
    rows += [row("b", 0, 0.60), row("b", 1, 0.61), row("b", 2, 0.10, "collapsed")]
    experiment = asked("a", "b", claims=[CLAIM])
    found, sound = (compare(experiment, each) for each in (rows, [{**each, "state": "finished"} for each in rows]))
    assert [(line.finished, line.collapsed, line.diverged) for line in found.lines] == [(3, 0, 0), (3, 1, 0)]
    assert (found.missing, found.collapsed) == (0, 1)
    assert repr([line.means for line in found.lines]) == repr([line.means for line in sound.lines])
    assert repr([line.tests for line in found.lines]) == repr([line.tests for line in sound.lines])  # some are NaN
    (finding,) = found.findings
    (same,) = sound.findings
    assert (finding.difference, finding.verdict, finding.p) == (same.difference, same.verdict, same.p)
    assert texts.cells(found.lines[1])[1] == "3 (1 collapsed)"
    assert "1 of 6 cells collapsed" in texts.doubts(finding)
    for text in (shown(found), markdown(found), latex(found)):
        flat = " ".join(text.split())
        assert "3 (1 collapsed)" in flat
        assert "1 of 6 cells collapsed" in flat
        assert "Collapsed cells: 1; no better than a guess on their own training images." in flat
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
    assert (finding.dataset, finding.backbone, finding.verdict) == ("digits", "resnet8", "undecided")
    (finding,) = of_two(BETTER, BASE).findings
    assert (finding.dataset, finding.backbone, finding.verdict) == ("digits", "resnet8", "supported")


@pytest.mark.parametrize(("direction", "found"), [("higher", "supported"), ("lower", "refuted"), ("equal", "refuted")])
def test_a_verdict_is_on_the_claims_own_direction(direction: str, found: str) -> None:
    claim = {**CLAIM, "direction": direction}
    (finding,) = of_two(BETTER, BASE, claims=[claim]).findings
    assert finding.verdict == finding.alone == found


def test_two_seeds_have_an_interval_and_no_verdict() -> None:
    (finding,) = of_two(BETTER[:2], BASE[:2]).findings
    assert (finding.verdict, finding.alone, finding.withheld) == ("undecided", "undecided", "few")
    assert finding.difference.low > 0
    (line,) = (line for line in of_two(BETTER[:2], BASE[:2]).lines if line.loss == "b")
    assert not any("*" in cell for cell in texts.cells(line))
    assert math.isnan((line.tests or {})["uniform_accuracy"].t)


def test_equal_seeds_have_the_spread_of_half_a_sample_in_all_figures() -> None:
    comparison = of_two([0.61] * 5, [0.60] * 5, claims=[{**CLAIM, "margin": 0.01}])
    (finding,) = comparison.findings
    half = 2.7764451 * 0.005 / math.sqrt(5)
    assert (finding.difference.low, finding.difference.high) == pytest.approx((0.01 - half, 0.01 + half), abs=1e-6)
    assert (finding.verdict, finding.alone) == ("undecided", "undecided")
    line = comparison.lines[1]
    assert texts.cells(line)[3] == "61.0 ± 0.6"
    assert "+1.0 ± 0.6 *" in texts.cells(line)
    assert (line.tests or {})["uniform_accuracy"].t == pytest.approx(0.0111, abs=1e-3)


def test_without_a_margin_and_without_a_difference_nothing_is_decided_alone_either() -> None:
    (finding,) = of_two([0.6] * 5, [0.6] * 5, claims=[{**CLAIM, "margin": 0.0}]).findings
    assert (finding.verdict, finding.alone, finding.p) == ("undecided", "undecided", pytest.approx(1))
    assert "before correction" not in markdown(of_two([0.6] * 5, [0.6] * 5))


def test_questions_that_have_no_answer_yet_count_in_the_family() -> None:
    """One of two settings is done: its p is adjusted for both."""
    close = [0.53, 0.52, 0.55, 0.51, 0.54]
    alone = of_two(close, BASE, claims=[{**CLAIM, "margin": 0.0}]).findings[0]
    rows = [
        row(loss, seed, value, samples=100)
        for loss, values in (("a", BASE), ("b", close))
        for seed, value in enumerate(values)
    ]
    experiment = asked("a", "b", seeds=5, backbones=["resnet8", "resnet20"], claims=[{**CLAIM, "margin": 0.0}])
    here, there = compare(experiment, rows).findings
    assert here.p == pytest.approx(2 * alone.p)
    assert math.isnan(there.p)
    assert there.withheld == "missing"


@pytest.mark.parametrize("missing", [0, 4])
@pytest.mark.parametrize("side", ["a", "b"])
def test_there_is_no_verdict_while_planned_cells_are_missing(missing: int, side: str) -> None:
    gap = [NONE if seed == missing else value for seed, value in enumerate(BETTER if side == "b" else BASE)]
    comparison = of_two(gap, BASE) if side == "b" else of_two(BETTER, gap)
    (finding,) = comparison.findings
    assert (finding.verdict, finding.withheld, finding.difference.n) == ("undecided", "missing", 4)
    assert finding.seeds_needed is None
    assert "no verdict while planned cells are missing" in markdown(comparison)


@pytest.mark.parametrize("lost", [None, NONE])
def test_there_is_no_star_where_a_planned_pair_is_missing_or_lost(lost: float | None) -> None:
    whole = of_two(BETTER, BASE)
    cut = of_two([lost, *BETTER[1:]], BASE)
    assert any("*" in cell for cell in texts.cells(whole.lines[1]))
    assert not any("*" in cell for cell in texts.cells(cut.lines[1]))
    assert texts.cells(cut.lines[1])[5] == "4"


@pytest.mark.parametrize("side", ["b", "a"])
def test_a_verdict_has_to_stand_with_diverged_cells_at_their_worst(side: str) -> None:
    cut = [None if seed < 2 else value for seed, value in enumerate(BETTER if side == "b" else BASE)]
    comparison = of_two(cut, BASE) if side == "b" else of_two(BETTER, cut)
    (finding,) = comparison.findings
    assert (finding.verdict, finding.withheld, finding.lost) == ("undecided", "lost", 2)
    assert finding.at_worst is not None
    assert finding.at_worst.estimate == pytest.approx(
        (sum(value or 0 for value in cut) - sum(BASE)) / 5
        if side == "b"
        else (sum(BETTER) - sum(v or 0 for v in cut)) / 5
    )
    assert "2 of 5 pairs lost; at their worst" in markdown(comparison)
    document = json.loads(json.dumps(comparison.to_json(), allow_nan=False))["claims"][0]
    assert (document["lost"], document["withheld"], document["at_worst"]["n"]) == (2, "lost", 5)


@pytest.mark.parametrize(("a", "b"), [(0, 1), (1, 2), (2, 1)])
def test_at_a_look_the_lost_cells_of_both_losses_are_counted_and_withhold_the_verdict(a: int, b: int) -> None:
    rows = [row("a", seed, *lose(value, seed < a), samples=100) for seed, value in enumerate(BASE * 2)]
    rows += [row("b", seed, *lose(value, seed >= 10 - b), samples=100) for seed, value in enumerate(BETTER * 2)]
    experiment = asked("a", "b", seeds={"min": 5, "max": 20, "until": "decided"}, claims=[CLAIM])
    (finding,) = compare(experiment, rows).findings
    assert (finding.cells, finding.diverged, finding.lost) == (20, a + b, a + b)
    assert (finding.verdict, finding.withheld) == ("undecided", "lost")


def lose(value: float | None, is_lost: bool) -> tuple[float | None, str]:
    """A value and state of a cell."""
    return (None, "diverged") if is_lost else (value, "finished")


def test_a_loss_that_always_diverged_is_worse_than_one_that_did_not() -> None:
    (finding,) = of_two([None] * 5, BASE).findings
    assert (finding.verdict, finding.lost, finding.difference.n) == ("refuted", 5, 0)


def test_diverged_runs_do_not_make_an_error_rate_better() -> None:
    claim = {**CLAIM, "metric": "calibration_error", "direction": "lower"}
    rows = [row("a", seed, 0.9, calibration_error=0.2 + seed / 1000) for seed in range(6)]
    rows += [row("b", seed, None, "diverged") for seed in range(5)] + [row("b", 5, 0.9, calibration_error=0.3)]
    (finding,) = compare(asked("a", "b", seeds=6, claims=[claim]), rows).findings
    assert finding.verdict == "refuted"


def test_a_measure_that_some_cells_lack_counts_as_lost_there_and_n_says_so() -> None:
    rows = [row("a", seed, value, samples=100) for seed, value in enumerate(BASE)]
    rows += [row("b", seed, value if seed > 1 else None, samples=100) for seed, value in enumerate(BETTER)]
    comparison = compare(asked("a", "b", seeds=5, claims=[CLAIM]), rows)
    (finding,) = comparison.findings
    assert (finding.lost, finding.withheld) == (2, "lost")
    assert "60.9 ± 2.4 (n=3)" not in texts.cells(comparison.lines[0])
    assert any(cell.endswith("(n=3)") for cell in texts.cells(comparison.lines[1]))
    assert texts.cells(comparison.lines[1])[1] == "5"


def test_a_measure_that_a_loss_never_has_is_not_lost() -> None:
    claim = {**CLAIM, "metric": "accuracy_at_bias"}
    rows = [row("a", seed, 0.5) for seed in range(5)]
    rows += [row("b", seed, 0.5, accuracy_at_bias=0.9 + seed / 100) for seed in range(5)]
    (finding,) = compare(asked("a", "b", seeds=5, claims=[claim]), rows).findings
    assert (finding.verdict, finding.lost, finding.difference.n) == ("undecided", 0, 0)


def test_a_measure_without_bounds_needs_a_sign_test_that_counts_the_lost() -> None:
    claim = {**CLAIM, "metric": "nc1", "direction": "lower"}
    rows = [row("a", seed, 0.5, nc1=2.0 + seed / 100) for seed in range(12)]
    rows += [row("b", seed, 0.5, nc1=1.0 - seed / 90) for seed in range(11)] + [row("b", 11, None, "diverged")]
    experiment = asked("a", "b", seeds=12, claims=[claim])
    (finding,) = compare(experiment, rows).findings
    assert (finding.verdict, finding.lost, finding.at_worst) == ("supported", 1, None)
    assert finding.p == pytest.approx(2 * 13 / 2**12)
    assert "a sign test counts them against" in markdown(compare(experiment, rows))
    rows[-5:] = [row("b", seed, None, "diverged") for seed in range(7, 12)]
    (finding,) = compare(experiment, rows).findings
    assert (finding.verdict, finding.withheld) == ("undecided", "lost")


def test_equal_values_of_a_measure_without_steps_show_no_spread_and_no_verdict() -> None:
    claim = {**CLAIM, "metric": "nc1", "direction": "lower"}
    rows = [row(loss, seed, 0.5, nc1=value) for loss, value in (("a", 2.0), ("b", 1.0)) for seed in range(5)]
    comparison = compare(asked("a", "b", seeds=5, claims=[claim]), rows)
    assert comparison.findings[0].withheld == "no spread"
    assert "so its spread is unknown" in markdown(comparison)


@pytest.mark.parametrize("count", [1, 3])
def test_the_advice_is_the_seeds_for_a_verdict_at_the_corrected_level(count: int) -> None:
    values = [0.012, 0.028, -0.006, 0.020, 0.011]
    claims = [{**CLAIM, "id": f"claim-{number}", "margin": 0.0} for number in range(count)]
    (finding, *_) = of_two([0.5 + each for each in values], [0.5] * 5, claims=claims).findings
    found = [seeds_to_decide(float(np.mean(values)), float(np.std(values, ddof=1)), alpha=0.05 / k) for k in (1, 3)]
    assert finding.verdict == "undecided"
    assert finding.seeds_needed == dict(zip((1, 3), found, strict=True))[count]
    assert found[0] != found[1]


def test_where_no_practical_number_of_seeds_would_decide_the_bound_is_told() -> None:
    hopeless = of_two([0.50, 0.52, 0.48, 0.5001, 0.4999], [0.5] * 5, claims=[{**CLAIM, "margin": 0.0}]).findings[0]
    assert hopeless.seeds_needed is None
    assert hopeless.bound == pytest.approx(max(-hopeless.difference.low, hopeless.difference.high))


def test_a_verdict_against_which_most_pairs_speak_is_doubted() -> None:
    rows = [row("a", seed, 0.5) for seed in range(12)]
    rows += [row("b", seed, 0.5 + (0.4 + seed / 1000 if seed < 6 else -0.001 * seed)) for seed in range(12)]
    comparison = compare(asked("a", "b", seeds=12, claims=[{**CLAIM, "margin": 0.0}]), rows)
    (finding,) = comparison.findings
    assert finding.verdict == "supported"
    assert finding.doubted
    assert "a sign test disagrees (p = 1.00)" in markdown(comparison)


@pytest.mark.parametrize("form", ["markdown", "latex"])
def test_the_assumption_of_a_verdict_is_named_with_the_rate_at_which_it_is_wrong_without(form: Any) -> None:
    text = FORMS[form](of_two(BETTER, BASE)).replace("\\%", "%")
    assert "with 5 seeds, 12 % of experiments with one claim get a wrong verdict if differences are exponential" in text
    assert "58 % if one" in text
    assert "5 seeds without a collapse do not exclude collapses in up to 45 % of seeds" in text
    assert "are approximately normal" in shown(of_two(BETTER, BASE))
    assert "are approximately normal" not in FORMS[form](of_two(BASE, BASE, claims=[{**CLAIM, "margin": 0.0}]))


def test_data_sets_of_a_population_are_not_counted_as_seeds() -> None:
    found = of_two(BETTER, BASE)
    (finding,) = found.findings
    claim = finding.claim.model_copy(update={"population": True})
    difference = finding.difference._replace(n=3)
    population = replace(finding, claim=claim, difference=difference)
    ((_, values),) = verdicts.assumed(replace(found, findings=(finding, population)))
    assert values["n"] == 5
    assert not verdicts.assumed(replace(found, findings=(population,)))


@pytest.mark.parametrize("seeds", [19, 20])
def test_a_bootstrap_interval_is_given_where_it_holds(seeds: int) -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, (2, seeds))
    comparison = of_two(list(0.6 + noise[0]), list(0.5 + noise[1]))
    tested = (comparison.lines[1].tests or {})["uniform_accuracy"]
    assert math.isfinite(tested.bca_low) == math.isfinite(tested.bca_high) == (seeds == 20)


def test_a_claim_is_judged_only_where_it_speaks_of() -> None:
    claims = [{**CLAIM, "where": {"backbone": "resnet20"}}]
    experiment = asked("a", "b", claims=claims, backbones=["resnet8", "resnet20"])
    assert [finding.backbone for finding in compare(experiment, []).findings] == ["resnet20"]


def test_json_has_no_nan_and_names_everything(comparison: Comparison) -> None:
    document = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    assert document["missing"] == 3
    assert document["lines"][2]["means"]["uniform_accuracy"] == {"estimate": None, "low": None, "high": None, "n": 0}
    assert document["lines"][0]["differences"] is None
    assert document["claims"][0]["verdict"] == "undecided"
    assert document["claims"][0]["difference"]["n"] == 2


def test_json_has_these_names(comparison: Comparison) -> None:
    document = comparison.to_json()
    assert set(document) == {
        "experiment", "question", "baseline", "missing", "diverged", "collapsed", "threshold", "decide_by", "unpaired",
        "owed", "stated", "looks", "sequence", "pool", "audit", "data", "machines", "imported", "lines", "published",
        "claims", "additions", "narrowed",
    }  # fmt: skip
    assert set(document["lines"][0]) == {
        "dataset", "backbone", "loss", "planned", "finished", "diverged", "means", "differences", "tests", "collapsed",
        "unpaired", "is_fixed",
    }  # fmt: skip
    assert set(document["claims"][0]) >= {
        "id", "metric", "challenger", "baseline", "direction", "margin", "dataset", "backbone", "difference", "verdict",
        "alone", "p", "seeds_needed", "cells", "collapsed", "diverged", "lost", "at_worst", "withheld", "signs",
        "doubted", "bound", "unequal", "parts", "decisive", "is_last", "calibrated", "too_few", "waits", "looks",
        "stated",
    }  # fmt: skip
    assert document["looks"].keys() == document["claims"][0]["looks"].keys()


def test_what_there_is_to_know_of_the_data_is_told() -> None:
    data = Data(absent=(("{name} is not here", {"name": "digits"}),))
    experiment = asked("a", "b")
    assert compare(experiment, [], data=data).to_json()["data"]["absent"] == ["digits is not here"]
    assert compare(experiment, []).to_json()["data"] == {"absent": [], "earlier": []}


def test_json_holds_every_test_of_every_difference() -> None:
    document = json.loads(json.dumps(of_two(BETTER, BASE).to_json(), allow_nan=False))
    told = document["lines"][1]["tests"]["uniform_accuracy"]
    differences = np.subtract(BETTER, BASE)
    p = ttest_1samp(differences, 0).pvalue
    assert [told[name] for name in ("t", "holm", "fdr")] == pytest.approx([p, 3 * p, 3 * p])  # of three measures
    assert (told["sign_flip"], told["win"], told["tie"], told["loss"]) == (2 / 32, 5, 0, 0)
    bias_free = math.gamma(2) / math.gamma(1.5) / math.sqrt(2)
    assert told["effect"] == pytest.approx(bias_free * differences.mean() / differences.std(ddof=1))


def shown(comparison: Comparison) -> str:
    console = Console(file=io.StringIO(), width=200, force_terminal=False, highlight=False)
    console.print(terminal.table(comparison))
    return console.file.getvalue()


@pytest.mark.parametrize("form", ["markdown", "latex"])
def test_every_line_claim_and_count_is_in_the_text(comparison: Comparison, form: Any) -> None:
    text = FORMS[form](comparison)
    for part in (
        "60.5",
        "2/3 (1 diverged)",
        "+10.0",
        "better: uniform",
        "undecided",
        "Planned cells without a result: 3",
    ):
        assert part in text


def test_the_terminal_shows_them_too(comparison: Comparison) -> None:
    text = shown(comparison)
    for part in ("60.5", "2/3 (1 diverged)", "+10.0", "better: uniform_accuracy of b is above that of a", "undecided"):
        assert part in text
    assert "Diverged cells: 1; their loss became NaN or infinite." in text


def test_the_terminal_table_fits_80_columns(comparison: Comparison) -> None:
    console = Console(file=io.StringIO(), width=80, highlight=False)
    console.print(terminal.table(comparison))
    assert max(map(len, console.file.getvalue().splitlines())) <= 80


@pytest.mark.parametrize("label", HOSTILE)
def test_a_hostile_label_is_shown_as_it_is(label: str) -> None:
    experiment = asked("a", label, question=f"Is {label} better?", claims=[{**CLAIM, "challenger": label}])
    text = shown(compare(experiment, [row(label, 0, 0.5)]))
    assert f"Is {label} better?" in text
    assert f"of {label} is above that of a" in text
    assert any(line.startswith(label) for line in text.splitlines())


@pytest.mark.parametrize(
    ("label", "escaped"),
    [("a&b", r"a\&b"), ("50%", r"50\%"), ("under_score", r"under\_score"), ("#1", r"\#1"), ("$x$", r"\$x\$")],
)
def test_latex_escapes_what_it_would_execute(label: str, escaped: str) -> None:
    text = latex(compare(asked("a", label, claims=[{**CLAIM, "challenger": label}]), []))
    assert escaped in text
    assert label not in text.replace(escaped, "")


@pytest.mark.parametrize("label", ["a|b", *HOSTILE])
def test_a_markdown_row_has_as_many_columns_as_its_head(label: str) -> None:
    lines = markdown(compare(asked("a", label), [])).splitlines()
    counts = {line.replace(r"\|", "").count("|") for line in lines if line.startswith("|")}
    assert len(counts) == 1


def test_numbers_are_rounded_alike_everywhere() -> None:
    from orchestrator.statistics.intervals import Interval

    assert percent(Interval(0.9125, 0.9085, 0.9165, 5)) == "91.2 ± 0.4"
    assert percent(Interval(0.9125, math.nan, math.nan, 1)) == "91.2"
    assert percent(Interval(math.nan, math.nan, math.nan, 0)) == "–"
    assert points(Interval(0.012, 0.008, 0.016, 5)) == "+1.2 ± 0.4"
    assert points(None) == "–"


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_an_accuracy_at_the_border_has_the_test_sets_interval_and_never_none_at_all(accuracy: float) -> None:
    rows = [row("a", seed, accuracy, samples=100) for seed in range(3)]
    (line, *_) = compare(asked("a", "b"), rows).lines
    interval = line.means["uniform_accuracy"]
    assert (interval.estimate, interval.n) == (accuracy, 3)
    # Wilson's interval of 0 of 100 ends at z² / (100 + z²).
    width = 1.959964**2 / (100 + 1.959964**2)
    ends = (0, width) if accuracy == 0 else (1 - width, 1)
    assert (interval.low, interval.high) == pytest.approx(ends, rel=1e-5)
