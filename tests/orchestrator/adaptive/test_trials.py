"""Tuning: the same chances for all, the same winners whatever happens on the way, and no look at the test split."""

from __future__ import annotations

import random
from collections import Counter
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.adaptive.trials import WORST, Recall, Trials, points, recall, settle
from orchestrator.errors import ExperimentError, RequestError
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Cell, plan
from orchestrator.experiment.reading import load
from orchestrator.experiment.revision import revise
from orchestrator.experiment.tuning import FIRST_SEED, Tuning
from orchestrator.outcome import Adopted, Attempt, Diverged, Failed, Finished
from orchestrator.records.files.evaluations import Account, Evaluations
from trainers.evaluation import Evaluation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

HERE = Attempt("here", 0.0, 1.0)
SPACE = {"learning_rate": "loguniform(1e-3, 1)", "momentum": "uniform(0, 0.9)", "bias_init": "uniform(-5, 5)"}
SEARCHERS = ("random", "asha", "optuna")


def asked(searcher: str = "random", **fields: Any) -> Experiment:
    """Two losses, one of which learns a bias, with ten trials each."""
    document = {
        "name": "x",
        "losses": ["softmax", "bce_unified"],
        "backbones": ["resnet8"],
        "datasets": ["digits", {"name": "digits", "as": "tail", "imbalance": 10}],
        "seeds": 3,
        "recipe": {"epochs": 9},
        "tuning": {"space": SPACE, "trials": 10, "searcher": searcher},
        "baseline": "softmax",
    }
    return Experiment.model_validate({**document, **fields})


def kept(files: Mapping[str, float]) -> Recall:
    """Looks up scores among those that were noted."""
    return lambda cells: {cell.id: files[cell.id] for cell in cells if cell.id in files}


nothing = kept({})


def score(cell: Cell) -> float:
    """Better the nearer the learning rate is to a value of each competitor's own, and the longer it is trained."""
    best = {"softmax": 0.3, "bce_unified": 0.01}[cell.loss]
    return 1 / (1 + abs(cell.recipe.training.learning_rate - best)) + 0.001 * cell.recipe.training.epochs


def carried_out(trials: Trials, files: dict[str, float], order: random.Random, most: int = 10_000) -> list[Cell]:
    """Run trials in any order, as far as `most` allow; what is finished is noted in `files`."""
    waiting = [cell for cell in trials.plan.cells if cell.id not in files]
    ran: list[Cell] = []
    while waiting and len(ran) < most:
        cell = waiting.pop(order.randrange(len(waiting)))
        ran.append(cell)
        files[cell.id] = score(cell)
        waiting += trials.heard(Finished(cell, HERE, {"uniform_accuracy": files[cell.id]}))
    return ran


@pytest.mark.parametrize("searcher", SEARCHERS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), cuts=st.lists(st.integers(0, 30), max_size=3))
def test_whatever_the_order_and_however_often_it_is_killed_the_trials_and_winners_are_the_same(
    searcher: str, seed: int, cuts: list[int]
) -> None:
    experiment = asked(searcher)
    undisturbed = Trials(experiment, nothing)
    ran = carried_out(undisturbed, {}, random.Random(0))
    files: dict[str, float] = {}
    number = 0
    for most in [*cuts, 10_000]:
        trials = Trials(experiment, kept(files))
        number += len(carried_out(trials, files, random.Random(seed), most))
    assert trials.over
    assert trials.tuned == undisturbed.tuned
    assert trials.plan == undisturbed.plan
    assert number == len(ran)  # nothing was run twice


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_every_competitor_gets_the_same_number_of_trials_and_epochs(searcher: str) -> None:
    trials = Trials(asked(searcher), nothing)
    spent = Counter[tuple[str, str]]()
    for cell in carried_out(trials, {}, random.Random(0)):
        spent[cell.loss, cell.dataset] += cell.recipe.training.epochs
    assert len(spent) == 4
    assert len(set(spent.values())) == 1
    assert len({len(tuned.tried) for tuned in trials.tuned}) == 1
    assert {len({tried.number for tried in tuned.tried}) for tuned in trials.tuned} == {10}


def test_all_losses_try_the_same_values_of_what_they_share() -> None:
    experiment = asked()
    tuning = experiment.tuning
    assert tuning is not None
    plain, biased = (list(points({name: tuning.space[name] for name in names}, tuning)) for names in (
        ("learning_rate", "momentum"), tuple(SPACE),
    ))  # fmt: skip
    for one, other in zip(plain, biased, strict=True):
        assert {**one, "bias_init": other["bias_init"]} == other
    assert len({tuple(point.values()) for point in plain}) == 10


def test_a_parameter_that_only_one_loss_has_is_tuned_for_it_alone() -> None:
    spaces = {tuned.competitor.loss: set(tuned.space) for tuned in Trials(asked(), nothing).tuned}
    assert spaces == {"softmax": {"learning_rate", "momentum"}, "bce_unified": set(SPACE)}


def test_asha_trains_only_the_better_third_on_and_the_best_for_as_long_as_the_final_cells() -> None:
    trials = Trials(asked("asha"), nothing)
    carried_out(trials, {}, random.Random(0))
    for tuned in trials.tuned:
        rungs = {epochs: [tried for tried in tuned.tried if tried.epochs == epochs] for epochs in (1, 3, 9)}
        assert [len(rung) for rung in rungs.values()] == [10, 3, 1]
        for shorter, longer in combinations(rungs.values(), 2):
            kept = {tried.number for tried in longer}
            best = sorted((tried.score for tried in shorter), reverse=True)[: len(kept)]
            assert sorted((tried.score for tried in shorter if tried.number in kept), reverse=True) == best
        assert tuned.winner in rungs[9]


def test_the_best_mean_over_seeds_wins() -> None:
    experiment = asked(tuning={"space": SPACE, "trials": 10, "seeds": 3})
    scores: dict[str, float] = {}
    trials = Trials(experiment, nothing)
    draws = random.Random(1)
    for cell in trials.plan.cells:
        scores[cell.id] = draws.random()
        trials.heard(Finished(cell, HERE, {"uniform_accuracy": scores[cell.id]}))
    for tuned in trials.tuned:
        means = [0.0] * 10
        for cell in trials.plan.cells:
            if (cell.loss, cell.backbone, cell.dataset) == tuned.competitor and cell.trial is not None:
                means[cell.trial] += scores[cell.id] / 3
        assert tuned.winner is not None
        assert means[tuned.winner.number] == pytest.approx(max(means))


def test_where_lower_is_better_the_lowest_wins() -> None:
    space = {"learning_rate": "loguniform(1e-3, 1)"}
    tuning = {"space": space, "trials": 10, "metric": "calibration_error", "direction": "lower"}
    trials = Trials(asked(tuning=tuning), nothing)
    for cell in trials.plan.cells:
        trials.heard(Finished(cell, HERE, {"calibration_error": cell.recipe.training.learning_rate}))
    for tuned in trials.tuned:
        assert tuned.winner is not None
        assert tuned.winner.values["learning_rate"] == min(tried.values["learning_rate"] for tried in tuned.tried)


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_a_recipe_that_diverged_counts_as_tried_and_does_not_win(searcher: str) -> None:
    trials = Trials(asked(searcher), nothing)
    waiting = list(trials.plan.cells)
    while waiting:
        cell = waiting.pop()
        hot = cell.recipe.training.learning_rate > 0.02
        ending = Diverged(cell, HERE, 1) if hot else Finished(cell, HERE, {"uniform_accuracy": 0.5})
        waiting += trials.heard(ending)
    assert trials.over
    for tuned in trials.tuned:
        assert tuned.winner is not None
        assert tuned.winner.score > WORST or all(tried.score == WORST for tried in tuned.whole)


def test_a_failed_trial_leaves_its_competitor_without_a_recipe_and_the_others_with_one() -> None:
    experiment = asked()
    trials = Trials(experiment, nothing)
    first, *others = trials.plan.cells
    for cell in others:
        trials.heard(Finished(cell, HERE, {"uniform_accuracy": 0.5}))
    assert trials.heard(Failed(first, HERE, "it broke", "")) == []
    assert sum(tuned.winner is None for tuned in trials.tuned) == 1
    with pytest.raises(RequestError, match=f"3 of 4 recipes are found, and the recipe of {first.loss}"):
        settle(experiment, trials.tuned)


def test_what_another_launch_has_finished_counts() -> None:
    files: dict[str, float] = {}
    trials = Trials(asked(), kept(files))
    for cell in trials.plan.cells:
        files[cell.id] = score(cell)
        trials.heard(Adopted(cell, "finished"))
    assert trials.over


def test_the_final_cells_have_the_winners_recipes_and_seeds_of_their_own() -> None:
    experiment = asked()
    trials = Trials(experiment, nothing)
    carried_out(trials, {}, random.Random(0))
    winners = {tuned.competitor: tuned.winner for tuned in trials.tuned}
    settled = settle(experiment, trials.tuned)
    for cell in plan(settled).cells:
        winner = winners[cell.loss, cell.backbone, cell.dataset]
        assert winner is not None
        assert cell.recipe.training.learning_rate == winner.values["learning_rate"]
        assert cell.recipe.training.epochs == 9
        assert getattr(cell.recipe.loss, "bias_init", None) == winner.values.get("bias_init")
        assert cell.recipe.scored_on == "test"
    assert {cell.seed for cell in plan(settled).cells} == {0, 1, 2}
    assert {cell.seed for cell in trials.plan.cells} == {FIRST_SEED}
    # Asked again with the winners filled in, the stage is the same.
    files = {cell.id: score(cell) for cell in trials.plan.cells}
    assert Trials(settled, kept(files)).tuned == trials.tuned


def test_trials_are_cells_apart_that_no_final_cell_is_pooled_with() -> None:
    experiment = asked()
    trials = Trials(experiment, nothing)
    assert all(cell.recipe.scored_on == "validation" and cell.trial is not None for cell in trials.plan.cells)
    assert trials.plan.experiment.name == "x.tuning"
    assert not {cell.id for cell in trials.plan.cells} & {cell.id for cell in plan(experiment).cells}
    assert len({cell.name for cell in trials.plan.cells}) == len(trials.plan)


def test_trials_leave_out_shifts_which_are_made_from_the_test_split() -> None:
    shifted = {"name": "digits", "shift": {"corruption": ["gaussian_noise"], "severity": [1]}}
    for cell in Trials(asked(datasets=[shifted]), nothing).plan.cells:
        assert cell.recipe.dataset.shift is None


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"space": {"learning_rat": "uniform(0.1, 1)"}, "trials": 5}, "Did you mean 'learning_rate'"),
        ({"space": {"momentum": "uniform(0, 2)"}, "trials": 5}, "'momentum' should be less than 1"),
        ({"space": {"smoothing": "uniform(0, 2)"}, "trials": 5}, "'smoothing' should be less than 1"),
        ({"space": {"epochs": [1, 2]}, "trials": 5}, "'epochs' is not tuned: every loss must have the same compute"),
        ({"space": SPACE, "trials": 1}, "greater than or equal to 2"),
        ({"space": {}, "trials": 5}, "at least 1 item"),
        ({"space": SPACE, "trials": 5, "seeds": [0]}, "Seed 0 is also a seed of the final cells"),
        ({"space": SPACE, "trials": 5, "seeds": 0}, "between 1 and 1000 seeds"),
        ({"space": SPACE, "trials": 5, "metric": "unifrom_accuracy"}, "Did you mean 'uniform_accuracy'"),
        ({"space": SPACE, "trials": 5, "on": "test"}, "should be 'validation'"),
        ({"space": SPACE, "trials": 5, "metric": "expected_cost"}, "say in 'operation' how a model would be used"),
    ],
)
def test_what_cannot_be_tuned_is_told(fields: Mapping[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        asked(tuning=fields)


@pytest.mark.parametrize(
    ("tuning", "fields", "complaint"),
    [
        ({"metric": "expected_cost"}, {}, "A lower 'expected_cost' is better: add 'direction: lower'"),
        ({"metric": "operating_threshold", "direction": "lower"}, {}, "no threshold is better than another"),
        (
            {"metric": "review_share", "direction": "lower"},
            {"datasets": ["digits", "cifar10"], "operation": {"dataset": "digits"}},
            "measured on digits alone, and recipes are sought for every data set",
        ),
    ],
)
def test_a_measure_that_ranks_no_recipes_is_told(
    tuning: dict[str, Any], fields: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        asked(tuning={"space": SPACE, "trials": 5, **tuning}, **{"operation": {}, **fields})


def test_the_recipe_with_the_lowest_expected_cost_wins_by_the_rows_of_trials(
    tmp_path: Path, an_account: Callable[..., Account], drawn: Callable[..., Evaluation]
) -> None:
    tuning = {"space": {"learning_rate": [0.1, 0.2]}, "trials": 8, "metric": "expected_cost", "direction": "lower"}
    fields = {"losses": ["softmax"], "datasets": ["digits"], "operation": {"good": [0, 1, 2, 3, 4]}}
    experiment = asked(tuning=tuning, **fields)
    files = Evaluations(tmp_path / "evaluations")
    trials = Trials(experiment, recall(experiment, files))
    for cell in trials.plan.cells:
        rows = drawn(200, skill=6.0 if cell.recipe.training.learning_rate > 0.15 else 1.0)
        files.publish(cell.recipe, an_account(cell, rows, samples=200), rows)
        trials.heard(Finished(cell, HERE, {"uniform_accuracy": 0.5}))
    assert trials.over
    (tuned,) = trials.tuned
    assert tuned.winner is not None
    assert tuned.winner.values["learning_rate"] == 0.2
    assert 0 < -tuned.winner.score < min(-tried.score for tried in tuned.tried if tried.values["learning_rate"] == 0.1)
    assert Trials(experiment, recall(experiment, files)).tuned == trials.tuned


def test_without_a_validation_split_nothing_can_be_tuned(tiny: str, written: Callable[[str], Path]) -> None:
    text = "recipe: {validation_fraction: 0}\ntuning: {space: {learning_rate: [0.1, 0.2]}, trials: 2, on: validation}\n"
    with pytest.raises(ExperimentError, match="'validation_fraction' must be above 0 for all cells"):
        load(written(tiny + text))


def test_a_number_of_seeds_stands_for_seeds_that_no_number_of_final_seeds_reaches() -> None:
    assert Tuning.model_validate({"space": SPACE, "trials": 2, "seeds": 2}).seeds == (FIRST_SEED, FIRST_SEED + 1)


def test_narrowed_to_losses_without_a_tuned_parameter_the_others_are_tuned_as_before() -> None:
    narrowed = revise(asked(), {"loss": ["softmax"]}, only=True)
    assert narrowed.tuning is not None
    assert set(narrowed.tuning.space) == {"learning_rate", "momentum"}
    whole = {cell.id for cell in Trials(asked(), nothing).plan.cells if cell.loss == "softmax"}
    assert {cell.id for cell in Trials(narrowed, nothing).plan.cells} == whole


@pytest.mark.parametrize(("direction", "told"), [("higher", "-0.2500"), ("lower", "-0.5000")])
def test_the_best_value_is_told_as_it_was_measured(direction: str, told: str) -> None:
    tuning = {"space": {"learning_rate": [0.1, 0.2]}, "trials": 10, "metric": "bias_gap", "direction": direction}
    trials = Trials(asked(tuning=tuning), nothing)
    for cell in trials.plan.cells:
        gap = -0.25 if cell.recipe.training.learning_rate > 0.15 else -0.5
        trials.heard(Finished(cell, HERE, {"bias_gap": gap}))
    assert all(f"{told} with learning_rate" in sentence for sentence in trials.sentences())


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_a_recipe_that_is_drawn_again_is_not_trained_again(searcher: str) -> None:
    tuning = {"space": {"learning_rate": [0.1, 0.2]}, "trials": 10, "searcher": searcher}
    trials = Trials(asked(tuning=tuning), nothing)
    ran = carried_out(trials, {}, random.Random(0))
    assert trials.over
    assert len({cell.id for cell in ran}) == len(ran)
    assert all(len({tried.number for tried in tuned.tried}) == 10 for tuned in trials.tuned)


def test_narrowed_to_losses_that_have_nothing_to_tune_nothing_is_tuned() -> None:
    only_bias = asked(tuning={"space": {"bias_init": "uniform(-5, 5)"}, "trials": 10})
    assert revise(only_bias, {"loss": ["softmax"]}, only=True).tuning is None


def test_two_entries_that_would_be_tuned_to_the_same_recipe_are_told() -> None:
    twice = ["softmax", "bce_unified", {"name": "bce_unified", "as": "started-at-1", "bias_init": 1.0}]
    with pytest.raises(ValueError, match=r"bce_unified/.* and started-at-1/.* are the same recipe: leave out one"):
        asked(losses=twice)
    shared_only = {"space": {"learning_rate": "loguniform(1e-3, 1)"}, "trials": 10}
    assert len(asked(losses=twice, tuning=shared_only).losses) == 3
