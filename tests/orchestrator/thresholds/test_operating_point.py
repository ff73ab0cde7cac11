"""An operation's measures are columns of the results table, and claims may be about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.decision.decide import decide
from orchestrator.errors import ExperimentError, RequestError
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.operation import MEASURES, Operation
from orchestrator.experiment.own_measures import trait
from orchestrator.experiment.plan import Plan, plan
from orchestrator.experiment.reading import load
from orchestrator.experiment.stated import claim_hash
from orchestrator.records.files.class_names import called
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.results import aggregate
from orchestrator.thresholds.operating_point import measures, measures_of_trial
from trainers.evaluation import Evaluation

PRICES = {"false_accept": 20, "false_reject": 2, "review": 0.5}
OPERATION: dict[str, Any] = {"good": [0, 1, 2, 3, 4], "review": 0.5, "prices": PRICES}
CLAIM = {
    "id": "cheaper",
    "metric": "expected_cost",
    "challenger": "bce_unified",
    "baseline": "softmax",
    "direction": "lower",
    "margin": 0.01,
}


@pytest.fixture
def published(
    tmp_path: Path, small: dict[str, Any], an_account: Callable[..., Any], drawn: Callable[..., Evaluation]
) -> tuple[Plan, Evaluations]:
    """Twelve cells of which those of bce_unified are better."""
    asked = Experiment.model_validate({**small, "operation": OPERATION, "claims": [CLAIM]})
    planned = plan(asked)
    files = Evaluations(tmp_path / "evaluations")
    for number, cell in enumerate(planned.cells):
        skill = 5.0 if cell.loss == "bce_unified" else 2.0
        validation = drawn(80, seed=1000 + number, skill=skill)
        test = drawn(200, seed=number, skill=skill)
        provenance = {"git_commit": "abc", "threads": 1, "devices": 1}
        account = an_account(cell, test, validation, samples=200, provenance=provenance)
        files.publish(cell.recipe, account, test, validation)
    return planned, files


def test_each_is_a_column_and_equals_what_decide_says(published: tuple[Plan, Evaluations]) -> None:
    planned, files = published
    rows = {row["cell_id"]: row for row in aggregate(planned, files).rows()}
    found = decide(planned, files, set(rows)).deployed
    row = rows[found.cell.id]
    assert row["expected_cost"] == pytest.approx(found.promise.cost)
    assert row["operating_threshold"] == found.promise.threshold
    for rate in found.promise.rates:
        assert row[rate.name] == pytest.approx(rate.estimate)
    assert all(row[name] is not None for row in rows.values() for name in MEASURES)


def test_without_an_operation_the_table_has_none_of_them(published: tuple[Plan, Evaluations]) -> None:
    planned, files = published
    plain = planned.experiment.model_copy(update={"operation": None, "claims": ()})
    (row, *_) = aggregate(Plan(plain, planned.cells), files).rows()
    assert not set(MEASURES) & set(row)


def test_a_claim_about_the_cost_has_a_verdict(published: tuple[Plan, Evaluations]) -> None:
    from orchestrator.analysis.comparison import compare

    planned, files = published
    findings = compare(planned.experiment, aggregate(planned, files).rows()).findings
    assert {finding.verdict for finding in findings} == {"supported"}
    assert all(finding.difference.estimate < 0 for finding in findings)  # pyright: ignore[reportOptionalMemberAccess]


def test_cells_of_other_data_sets_have_none(published: tuple[Plan, Evaluations]) -> None:
    planned, files = published
    other = planned.experiment.model_copy(update={"operation": Operation(dataset="elsewhere")})
    assert all(row["expected_cost"] is None for row in aggregate(Plan(other, planned.cells), files).rows())


def test_a_class_that_there_is_not_is_said_with_the_cell(published: tuple[Plan, Evaluations]) -> None:
    planned, files = published
    wrong = planned.experiment.model_copy(update={"operation": Operation(good=("bolt",))})
    with pytest.raises(RequestError, match=r"softmax/resnet8/digits/s0: .*no class 'bolt'"):
        aggregate(Plan(wrong, planned.cells), files)


def test_without_validation_rows_nothing_is_defined(drawn: Callable[..., Evaluation]) -> None:
    names = [str(number) for number in range(10)]
    asked = Operation.model_validate(OPERATION)
    assert measures(asked, names, None, drawn()) == dict.fromkeys(MEASURES)
    hidden = replace(drawn(), positive=np.full(50, np.nan, np.float32), rival=np.full(50, np.nan, np.float32))
    blind = replace(hidden, runner_up_score=hidden.rival)
    assert measures(asked, names, blind, drawn()) == dict.fromkeys(MEASURES)


def test_a_claim_about_the_cost_without_an_operation_is_refused_at_its_line(written: Any, tiny: str) -> None:
    claim = "claims: [{id: a, metric: expected_cost, challenger: bce_unified, within: 1}]\n"
    with pytest.raises(ExperimentError, match=r"asked.yaml:6: 'expected_cost' is measured in an operation"):
        load(written(tiny + claim))
    load(written(tiny + claim + "operation: {}\n"))


def test_a_claim_about_the_cost_is_another_claim_in_another_operation(published: tuple[Plan, Evaluations]) -> None:
    asked = published[0].experiment
    dear = asked.model_copy(update={"operation": Operation.model_validate({**OPERATION, "confidence": 0.9})})
    (claim,) = asked.claims
    assert claim_hash(claim, asked) != claim_hash(claim, dear)
    accuracy = claim.model_copy(update={"metric": "uniform_accuracy"})
    assert claim_hash(accuracy, asked) == claim_hash(accuracy, dear)


def test_costs_and_rates_are_better_when_lower() -> None:
    assert {trait(name).better for name in ("expected_cost", "false_accept_rate", "review_share")} == {"lower"}


def test_class_names_are_those_of_the_data_if_there_is_one_per_class() -> None:
    assert called({"classes": 2, "provenance": {"class_names": ["ok", "bad"]}}) == ["ok", "bad"]
    assert called({"classes": 3, "provenance": {"class_names": ["ok", "bad"]}}) == ["0", "1", "2"]
    assert called({"classes": 2, "provenance": {}}) == ["0", "1"]


def test_each_half_of_a_trial_is_decided_at_the_threshold_of_the_other(drawn: Callable[..., Evaluation]) -> None:
    rows = drawn(301, skill=3.0)
    operation = Operation.model_validate(OPERATION)
    names = [str(number) for number in range(10)]
    found = measures_of_trial(operation, names, rows)
    order = np.argsort(rows.label, kind="stable")
    errors = dict.fromkeys(("false_accept_rate", "false_reject_rate", "review_share"), 0.0)
    sizes = dict.fromkeys(errors, 0)
    is_good = rows.label < 5
    for mine, other in ((order[::2], order[1::2]), (order[1::2], order[::2])):
        half = {name: column[other] for name, column in vars(rows).items() if column is not None}
        t = measures(operation, names, Evaluation(**half), rows)["operating_threshold"]
        assert t is not None
        assert rows.runner_up_score is not None
        top = np.maximum(rows.positive, rows.rival)
        decided = (rows.runner_up_score < t) & (top > t)
        says_good = decided & (rows.prediction < 5)
        for name, wrong, of in (
            ("false_accept_rate", says_good & ~is_good, ~is_good),
            ("false_reject_rate", decided & ~says_good & is_good, is_good),
            ("review_share", ~decided, np.ones_like(is_good)),
        ):
            errors[name] += np.count_nonzero(wrong[mine])
            sizes[name] += np.count_nonzero(of[mine])
    assert {name: found[name] for name in errors} == {name: errors[name] / sizes[name] for name in errors}
    cost = sum(PRICES[kind] * errors[name] for kind, name in zip(PRICES, errors, strict=True)) / 301
    assert found["expected_cost"] == pytest.approx(cost)
    assert found["operating_threshold"] is None


def test_a_trial_whose_half_can_choose_no_threshold_has_no_measures(drawn: Callable[..., Evaluation]) -> None:
    found = measures_of_trial(Operation(), [str(number) for number in range(10)], drawn(1))
    assert set(found.values()) == {None}
