"""When a cell counts as reproduced, and which cells are chosen to be tried."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from orchestrator.errors import RequestError
from orchestrator.experiment.plan import Plan, plan
from orchestrator.experiment.reading import load
from orchestrator.report.terminal import upkeep
from orchestrator.reproduction.verification import TrainedFiles, choose, compare
from trainers.evaluation import Evaluation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.experiment.plan import Cell
    from orchestrator.records.files.evaluations import Account


@pytest.fixture
def left(a_cell: Callable[..., Cell], an_account: Callable[..., Account], evaluation: Evaluation) -> TrainedFiles:
    """What a cell left."""
    return TrainedFiles(an_account(a_cell()), evaluation)


def with_rows(left: TrainedFiles, **columns: Any) -> TrainedFiles:
    return left._replace(rows=replace(left.rows, **columns))


def with_account(left: TrainedFiles, **fields: Any) -> TrainedFiles:
    return left._replace(account=replace(left.account, **fields))


def test_the_same_bits_are_identical_however_long_they_took_and_wherever(left: TrainedFiles) -> None:
    told = {**left.account.provenance, "git_commit": "def"}
    elsewhere = with_account(left, seconds=9.0, started=1.0, mlflow_run_id=None, provenance=told)
    verdict = compare(left, elsewhere)
    assert verdict.identical
    assert verdict.provenance == {"git_commit": ("abc", "def")}
    assert verdict.sentences() == ["then → now: git_commit abc → def"]


def test_one_bit_of_one_sample_is_told_with_its_size(left: TrainedFiles) -> None:
    positive = left[1].positive.copy()
    positive[7] = np.nextafter(positive[7], np.float32(math.inf))
    verdict = compare(left, with_rows(left, positive=positive))
    assert not verdict.identical
    assert verdict.differences["columns"] == {"positive": float(positive[7]) - float(left[1].positive[7])}
    assert verdict.changed == 0


def test_differences_of_shares_are_told_in_points(left: TrainedFiles) -> None:
    then = with_account(
        left, metrics={"uniform_accuracy": 0.75, "nc1": 0.5}, shifts={"blur@3": {"uniform_accuracy": 0.5}}
    )
    now = with_account(
        left, metrics={"uniform_accuracy": 0.7425, "nc1": 0.25}, shifts={"blur@3": {"uniform_accuracy": 0.6}}
    )
    told = compare(then, now).sentences()[0]
    assert told == (
        "largest |difference| in metrics: uniform_accuracy 0.75 points, nc1 0.25, blur@3.uniform_accuracy 10 points"
    )


def test_accuracy_under_shift_at_the_validation_threshold_counts_where_the_first_training_has_it(
    left: TrainedFiles,
) -> None:
    late = "accuracy_at_validation_threshold"
    before, then, now = (
        with_account(left, shifts={"blur-3": {"uniform_accuracy": 0.5, **more}})
        for more in ({}, {late: 0.5}, {late: 0.25})
    )
    assert compare(before, now).identical
    assert compare(then, now).differences["metrics"] == {f"blur-3.{late}": 0.25}
    assert compare(then, before).differences["metrics"] == {f"blur-3.{late}": math.inf}


def test_rows_that_were_kept_apart_and_lost_are_no_difference(left: TrainedFiles) -> None:
    told = with_account(left, certification_sha256="0" * 64)
    now = told._replace(certification=left.rows)
    assert compare(told, now).identical
    assert compare(now, now._replace(certification=first_rows(left.rows, 3))).differences["columns"]


def test_not_a_number_equals_itself_and_zero_is_not_minus_zero(left: TrainedFiles) -> None:
    strange = np.array([math.nan, 0.0], dtype=np.float32).repeat(25)
    first = with_rows(left, rival=strange)
    assert compare(first, with_rows(left, rival=strange.copy())).identical
    assert compare(first, with_rows(left, rival=-strange)).differences["columns"].keys() == {"rival"}


def test_samples_whose_correctness_changed_are_counted_both_ways(left: TrainedFiles) -> None:
    label = left[1].label
    first = label.copy()
    second = label.copy()
    first[:2] += 1
    second[1:4] += 1
    verdict = compare(with_rows(left, prediction=first), with_rows(left, prediction=second))
    assert verdict.changed == 3
    assert "samples whose correctness changed: 3" in verdict.sentences()


@pytest.mark.parametrize(
    ("fields", "kind", "name"),
    [
        ({"metrics": {"uniform_accuracy": 0.75}}, "metrics", "uniform_accuracy"),
        ({"shifts": {"blur@3": {"uniform_accuracy": 0.5}}}, "metrics", "blur@3.uniform_accuracy"),
        ({"learned_bias": [0.5]}, "metrics", "bias of each class"),
        ({"history": [{"train_loss": 1.5}, {"train_loss": 0.5}]}, "curves", "train_loss"),
    ],
)
def test_metrics_shifts_biases_and_curves_count_too(left: TrainedFiles, fields: Any, kind: Any, name: str) -> None:
    assert name in compare(left, with_account(left, **fields)).differences[kind]


def first_rows(rows: Evaluation, count: int) -> Evaluation:
    columns = {name: None if column is None else column[:count] for name, column in vars(rows).items()}
    return Evaluation(**columns)  # pyright: ignore[reportArgumentType]


def test_validation_rows_and_the_fitted_temperature_count_too(
    left: TrainedFiles, drawn: Callable[..., Evaluation]
) -> None:
    both = left._replace(validation=drawn(20))
    assert compare(both, left._replace(validation=drawn(20))).identical
    assert compare(both, left).differences["columns"]["validation positive"] == math.inf
    other = compare(both, left._replace(validation=drawn(20, seed=1)))
    assert set(other.differences["columns"]) > {"validation positive", "validation scores", "validation log_odds"}
    assert "positive" not in other.differences["columns"]
    assert compare(left, with_account(left, temperature=2.0)).differences["metrics"].keys() == {"fitted temperature"}


def test_one_bit_of_one_score_is_told(left: TrainedFiles) -> None:
    assert left.rows.scores is not None
    scores = left.rows.scores.copy()
    scores[3, 4] = np.nextafter(scores[3, 4], np.float32(math.inf))
    assert compare(left, with_rows(left, scores=scores)).differences["columns"].keys() == {"scores"}


def test_another_number_of_samples_or_epochs_is_an_infinite_difference(left: TrainedFiles) -> None:
    account = replace(left.account, history=left.account.history[:1])
    verdict = compare(left, TrainedFiles(account, first_rows(left.rows, 10)))
    assert set(verdict.differences["columns"].values()) == {math.inf}
    assert verdict.differences["curves"] == {"train_loss": math.inf}
    assert verdict.changed == 50


def test_a_cell_that_diverged_and_now_finishes_is_told_in_one_sentence(left: TrainedFiles) -> None:
    diverged = TrainedFiles(replace(left.account, state="diverged", metrics={}), first_rows(left.rows, 0))
    assert compare(diverged, diverged).identical
    verdict = compare(diverged, left)
    assert not verdict.identical
    assert verdict.sentences()[0] == "it diverged then, and finished now"
    assert not any(verdict.differences.values())


def test_strange_names_are_shown_as_they_are(left: TrainedFiles, a_cell: Callable[..., Cell]) -> None:
    from rich.console import Console

    console = Console(width=200)
    verdict = compare(left, with_account(left, provenance={"node": "[red]x[/red]:smile:"}))
    with console.capture() as shown:
        console.print(upkeep.verdict(a_cell(), verdict))
        console.print(upkeep.verdict(a_cell(), "It failed: OSError: [today]"))
    assert "node None → [red]x[/red]:smile:" in shown.get()
    assert "It failed: OSError: [today]" in shown.get()


# Which cells


@pytest.fixture
def asked(written: Callable[[str], Path], tiny: str) -> Plan:
    return plan(load(written(tiny)))


def test_a_sample_is_always_the_same_and_grows_by_adding(asked: Plan) -> None:
    done = {cell.id for cell in asked.cells[1:]}
    samples = [[cell.id for cell in choose(asked, done, [], size).cells] for size in (None, 1, 3, 100)]
    assert [len(sample) for sample in samples] == [1, 1, 3, 9]
    assert all(sample == samples[-1][: len(sample)] for sample in samples)
    assert set(samples[-1]) == done


def test_of_unverified_cells_nobody_can_foresee_which_are_drawn_and_they_come_first(asked: Plan) -> None:
    ids = sorted(cell.id for cell in asked.cells)
    unverified = set(ids[2:])
    drawn = {choose(asked, ids, [], None, unverified).cells[0].id for _ in range(400)}
    assert drawn == unverified  # each of 8 cells is missed once in 10^22 times
    one = [cell.id for cell in choose(asked, ids, [], 9, unverified).cells]
    assert set(one[:8]) == unverified
    assert one[8:] == ids[:1]
    assert [cell.id for cell in choose(asked, ids, [ids[0]], None, unverified).cells] == [ids[0]]


def test_cells_are_named_by_the_first_digits_of_their_ids(asked: Plan) -> None:
    ids = [cell.id for cell in asked.cells]
    named = choose(asked, ids, [ids[3][:16], ids[1], ids[3]], None)
    assert [cell.id for cell in named.cells] == [ids[3], ids[1]]
    assert len(choose(asked, ids, [ids[3], ids[1]], 1)) == 1


def test_what_names_no_finished_cell_or_several_is_refused(asked: Plan) -> None:
    ids = [cell.id for cell in asked.cells]
    with pytest.raises(RequestError, match=f"begins with '{ids[0]}'"):
        choose(asked, ids[1:], [ids[0]], None)
    with pytest.raises(RequestError, match="10 finished cells have ids that begin with ''"):
        choose(asked, ids, [""], None)
    with pytest.raises(RequestError, match="launch it first"):
        choose(asked, [], [], None)
