"""The model to deploy is chosen from the files of the cells, on validation images alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.analysis.comparison import compare
from orchestrator.decision.decide import Decision, decide
from orchestrator.errors import RequestError
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.operation import Operation
from orchestrator.experiment.plan import Cell, Plan, plan
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.results import aggregate
from orchestrator.report.document import decision as document
from orchestrator.report.web import page
from orchestrator.report.wording.decision import costs, grounds, guideline, headline, rates
from orchestrator.sentences import filled
from orchestrator.thresholds.reading import samples_of
from trainers.evaluation import Evaluation

Skill = Callable[[Cell], tuple[float, float]]
"""Of the model of a cell: on validation images, and on test images."""


@pytest.fixture
def published(
    tmp_path: Path, small: dict[str, Any], an_account: Callable[..., Any], drawn: Callable[..., Evaluation]
) -> Callable[..., tuple[Plan, Evaluations]]:
    def publish(skill: Skill, operation: dict[str, Any] | None = None, **fields: Any) -> tuple[Plan, Evaluations]:
        asked = Experiment.model_validate({**small, "operation": operation or {}, **fields})
        planned = plan(asked)
        files = Evaluations(tmp_path / "evaluations")
        for number, cell in enumerate(planned.cells):
            on_validation, on_test = skill(cell)
            validation = drawn(80, seed=1000 + number, skill=on_validation)
            test = drawn(200, seed=number, skill=on_test)
            apart = drawn(100, seed=500 + number, skill=on_test) if cell.recipe.certify else None
            files.publish(cell.recipe, an_account(cell, test, validation, samples=200), test, validation, apart)
        return planned, files

    return publish


def decided(planned: Plan, files: Evaluations, **more: Any) -> Decision:
    return decide(planned, files, {cell.id for cell in planned.cells}, **more)


def best_on_validation(cell: Cell) -> tuple[float, float]:
    """The fifth is best on validation images, the first on test images."""
    is_best = (cell.loss, cell.backbone, cell.seed) == ("bce_unified", "resnet20", 1)
    return (9.0, 3.0) if is_best else (4.0, 12.0)


def test_the_model_that_is_best_on_validation_images_is_taken_whatever_test_images_say(
    published: Callable[..., tuple[Plan, Evaluations]],
) -> None:
    found = decided(*published(best_on_validation))
    cell = found.deployed.cell
    assert (cell.loss, cell.backbone, cell.seed) == ("bce_unified", "resnet20", 1)
    assert found.candidates == 12
    assert found.looked == 1
    assert found.deployed.promise.units == 200


def test_the_baseline_stands_beside_it_at_its_own_best(published: Callable[..., tuple[Plan, Evaluations]]) -> None:
    found = decided(*published(best_on_validation))
    assert found.baseline is not None
    assert found.baseline.cell.loss == "softmax"
    assert found.baseline.promise.cost < found.deployed.promise.cost
    assert found.baseline.promise.threshold != found.deployed.promise.threshold


def test_a_person_who_chooses_is_charged_for_all_models(published: Callable[..., tuple[Plan, Evaluations]]) -> None:
    planned, files = published(best_on_validation)
    mine = Plan(planned.experiment, tuple(cell for cell in planned.cells if cell.loss == "softmax"))
    free = decided(mine, files)
    by_hand = decided(planned, files, by_hand=mine)
    assert by_hand.deployed.cell == free.deployed.cell
    assert (by_hand.candidates, by_hand.looked) == (6, 12)
    assert by_hand.deployed.promise.cost_bound > free.deployed.promise.cost_bound
    assert by_hand.baseline is None
    assert any("12 models" in filled(sentence) for sentence in grounds(by_hand))


def test_a_model_without_validation_rows_is_left_out_and_named(
    published: Callable[..., tuple[Plan, Evaluations]],
) -> None:
    planned, files = published(best_on_validation)
    lost = next(cell for cell in planned.cells if best_on_validation(cell) == (9.0, 3.0))
    files.validations.delete(files.name(lost))
    found = decided(planned, files)
    assert found.deployed.cell != lost
    (sentence,) = found.left_out
    assert lost.name in sentence
    assert found.candidates == 11


def test_a_promise_is_of_the_images_that_are_kept_apart_whoever_chose(
    published: Callable[..., tuple[Plan, Evaluations]],
) -> None:
    planned, files = published(best_on_validation, {"certify": 0.5})
    found = decided(planned, files)
    cell = found.deployed.cell
    assert best_on_validation(cell) == (9.0, 3.0)
    apart = files.certification(cell)
    assert apart is not None
    threshold = found.deployed.promise.threshold
    rejected = {rate.name: rate for rate in found.deployed.promise.rates}["false_reject_rate"]
    assert (rejected.errors, rejected.n) == ((apart.positive <= threshold).sum(), 100)
    mine = Plan(planned.experiment, tuple(cell for cell in planned.cells if cell.loss == "bce_unified"))
    by_hand = decided(planned, files, by_hand=mine)
    assert by_hand.looked == 1
    assert by_hand.deployed.promise == found.deployed.promise
    told = " ".join(map(filled, grounds(found)))
    assert "of 100 test images that were kept apart" in told
    assert "no choice and no other figure used them" in told


def test_where_images_belong_together_the_promise_is_of_groups(
    published: Callable[..., tuple[Plan, Evaluations]], an_account: Callable[..., Any]
) -> None:
    planned, files = published(best_on_validation)
    for cell in planned.cells:
        validation, test = files.validation(cell), files.evaluation(cell)
        assert validation is not None
        order = np.argsort(test.label, kind="stable")
        groups = np.empty(200, np.int32)
        groups[order] = np.arange(200) // 4  # four images of each part; a few parts are of two classes
        account = an_account(cell, test, validation, samples=200)
        files.publish(cell.recipe, account, replace(test, group=groups), validation)
    found = decided(planned, files)
    promise = found.deployed.promise
    assert promise.units == 50
    rows = files.evaluation(found.deployed.cell)
    assert rows.group is not None
    wrong = {int(group) for group in rows.group[rows.positive <= promise.threshold]}
    rate = {each.name: each for each in promise.rates}["false_reject_rate"]
    assert (rate.errors, rate.n) == (len(wrong), 50)
    assert "which is an error if one of its images is" in " ".join(map(filled, grounds(found)))


def test_images_kept_apart_are_opened_once_after_the_last_cell(
    published: Callable[..., tuple[Plan, Evaluations]],
) -> None:
    planned, files = published(best_on_validation, {"certify": 0.5})
    files.storage.delete(files.name(planned.cells[0]))
    with pytest.raises(
        RequestError, match=r"^1 cell of 'small' on digits is not done\. .* opened once, after the last"
    ):
        decide(planned, files, {cell.id for cell in planned.cells[1:]})


def test_models_whose_figures_are_of_the_images_kept_apart_are_charged(
    published: Callable[..., tuple[Plan, Evaluations]],
) -> None:
    published(best_on_validation)
    other = published(best_on_validation, {"certify": 0.25}, seeds=1)
    planned, files = published(best_on_validation, {"certify": 0.5})
    found = decided(planned, files)
    assert found.looked == len(planned.cells) + len(other[0].cells)
    assert any(f"{found.looked} models have figures of some" in filled(sentence) for sentence in grounds(found))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"operation": None}, "does not say how a model would be used"),
        ({"operation": {"good": ["bolt"]}}, "no class 'bolt'. Known: 0, 1, 2"),
    ],
)
def test_what_cannot_be_decided_is_said(
    published: Callable[..., tuple[Plan, Evaluations]], fields: dict[str, Any], told: str
) -> None:
    planned, files = published(best_on_validation, fields["operation"] or {})
    asked = planned.experiment.model_copy(update={} if fields["operation"] else fields)
    with pytest.raises(RequestError, match=told):
        decided(Plan(asked, planned.cells), files)


def test_with_several_data_sets_the_operation_names_one(published: Callable[..., tuple[Plan, Evaluations]]) -> None:
    two = ["digits", {"name": "digits", "hold_out": [9], "as": "nine digits"}]
    planned, files = published(best_on_validation, {}, datasets=two)
    with pytest.raises(RequestError, match=r"which data set stands for production: .* digits, nine digits"):
        decided(planned, files)
    named = planned.experiment.model_copy(update={"operation": Operation(dataset="digits")})
    assert decided(Plan(named, planned.cells), files).dataset == "digits"


def test_nothing_finished_decides_nothing(published: Callable[..., tuple[Plan, Evaluations]]) -> None:
    planned, files = published(best_on_validation)
    with pytest.raises(RequestError, match="launch it first"):
        decide(planned, files, set())


def test_thresholds_of_other_seeds_of_the_same_loss_and_backbone_are_compared(
    published: Callable[..., tuple[Plan, Evaluations]],
) -> None:
    found = decided(*published(best_on_validation))
    seeds = found.guideline.seeds
    assert seeds is not None
    assert seeds.seeds == 2
    assert seeds.own == found.deployed.validation_cost
    told = [filled(sentence) for sentence in guideline(found)]
    assert len(told) == 1
    assert ("needs its own threshold" in told[0]) == seeds.matters
    assert "of 3 seeds lie from" in told[0]
    assert document(found)["guideline"]["seeds"]["worst"] == seeds.worst


def test_the_order_of_the_cells_does_not_matter(published: Callable[..., tuple[Plan, Evaluations]]) -> None:
    planned, files = published(lambda cell: (50.0, 3.0))
    turned = Plan(planned.experiment, planned.cells[::-1])
    assert decided(planned, files).deployed.cell == decided(turned, files).deployed.cell


def test_rows_give_the_highest_two_scores(drawn: Callable[..., Evaluation]) -> None:
    rows = drawn(60, skill=1.0)
    seen = samples_of(rows)
    assert rows.scores is not None
    ordered = sorted(map(sorted, rows.scores.tolist()))
    assert sorted(seen.top.tolist()) == sorted(row[-1] for row in ordered)
    assert sorted(seen.second.tolist()) == sorted(row[-2] for row in ordered)
    with pytest.raises(ValueError, match="second highest"):
        samples_of(replace(rows, runner_up_score=None))


def test_the_sentences_say_what_the_numbers_are(published: Callable[..., tuple[Plan, Evaluations]]) -> None:
    operation = {
        "good": [0, 1, 2, 3, 4],
        "review": 0.5,
        "prices": {"false_accept": 50, "false_reject": 2, "review": 0.5},
        "limits": {"false_accept_rate": 0.001},
    }
    found = decided(*published(best_on_validation, operation))
    promised = found.deployed.promise
    assert filled(headline(found)) == f"Deploy bce_unified on resnet20, seed 1, at threshold {promised.threshold:.4g}."
    said = " ".join(map(filled, costs(found)))
    assert (
        f"Expected cost per unit: {promised.cost:.3g}, at most {promised.cost_bound:.3g} with 95 % confidence." in said
    )
    assert "The baseline at its best, softmax on " in said
    accepts, rejects, reviews = (f"{filled(seen)} {filled(promise)}" for seen, promise in rates(found))
    limited = promised.rates[0]
    assert accepts.startswith(
        f"False accepts: {limited.errors} of {limited.n} defects ({100 * limited.estimate:.3g} %)"
    )
    assert "The limit of 0.1 % cannot be promised" in accepts
    assert rejects.startswith("False rejects: ")
    assert " good parts " in rejects
    assert reviews.startswith("To review: ")
    assert reviews.endswith(f"At most {100 * promised.rates[2].bound:.3g} %.")
    if limited.needed:
        assert f"takes about {limited.needed:,} defects" in accepts
    told = document(found)
    assert told["deployed"]["threshold"] == promised.threshold
    assert told["deployed"]["rates"][0]["is_kept"] is False
    assert told["baseline"]["loss"] == "softmax"


def test_the_page_begins_with_the_decision_in_both_languages(
    published: Callable[..., tuple[Plan, Evaluations]],
) -> None:
    planned, files = published(best_on_validation, {"good": [0, 1, 2, 3, 4], "review": 0.5})
    found = decided(planned, files)
    rows = aggregate(planned, files).rows()
    content = page.render(compare(planned.experiment, rows), rows, files, planned, decided=found)
    body = content.partition('<main id="main"')[2]
    english = filled(headline(found))
    assert english in body
    assert "をしきい値" in body
    assert body.index(english) < body.index("Losses: 2")
    assert 'class="decision"' not in page.render(compare(planned.experiment, rows), rows, files, planned)
