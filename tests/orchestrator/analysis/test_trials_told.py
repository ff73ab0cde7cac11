"""What a tuning stage tells besides its winners: how a lead depends on the budget, and where in the space it holds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.adaptive.trials import Tuned
from orchestrator.analysis.budget import budgets, leads, pairs
from orchestrator.analysis.sensitivity import Sensitivity, labels, sensitivities, unknown
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.space import Domain

Stage = Callable[..., tuple[Tuned, ...]]
UNHURRIED = settings(deadline=None)

CLAIM = {"metric": "uniform_accuracy", "challenger": "bce_unified", "baseline": "softmax", "direction": "higher"}
SPACE = {"learning_rate": "loguniform(1e-3, 1)", "momentum": "uniform(0, 0.9)", "bias_init": "uniform(-5, 5)"}


def asked(claims: Any = ({**CLAIM, "id": "P1"},), **tuning: Any) -> Experiment:
    document = {
        "name": "x", "losses": ["softmax", "bce_unified", "bce"], "backbones": ["resnet8"], "datasets": ["digits"],
        "recipe": {"epochs": 8}, "baseline": "softmax", "claims": list(claims),
        "tuning": {"space": SPACE, "trials": 20, **tuning},
    }  # fmt: skip
    return Experiment.model_validate(document)


def only(experiment: Experiment, tuned: tuple[Tuned, ...]) -> Sensitivity:
    (found,) = sensitivities(experiment, tuned)
    return found


def high(values: Any) -> bool:
    return values["learning_rate"] > 0.1


def test_losses_pair_once_a_setting_with_all_claims_about_them() -> None:
    near = {"id": "near", "metric": "bias_gap", "challenger": "bce_unified", "within": 1}
    same = {**CLAIM, "id": "self", "baseline": "bce_unified", "baseline_metric": "accuracy_at_bias"}
    claims = [{**CLAIM, "id": "P1"}, {**CLAIM, "id": "P2", "metric": "sample_wise_accuracy"}, near, same]
    (pair,) = pairs(asked(claims))
    assert pair == (("P1", "P2"), "digits", "resnet8", "bce_unified", "softmax")


def test_a_budget_of_one_trial_is_the_mean_and_that_of_all_is_near_the_best(tuned_by: Stage) -> None:
    experiment = asked()
    tuned = tuned_by(experiment, lambda _, values: values["momentum"])
    scores = [tried.score for tried in tuned[0].tried]
    curve = budgets(experiment, tuned)[0]
    assert curve.trials == tuple(range(1, 21))
    assert curve.best[0] == pytest.approx(np.mean(scores))
    assert curve.best[0] < curve.best[-1] < curve.high[-1] == max(scores)


def test_a_diverged_trial_costs_its_budget_and_counts_as_accuracy_0(tuned_by: Stage) -> None:
    experiment = asked()
    tuned = tuned_by(experiment, lambda loss, values: None if loss == "bce_unified" and high(values) else 0.8)
    share = np.mean([high(tried.values) for tried in tuned[1].tried])
    assert 0 < share < 1
    assert budgets(experiment, tuned)[1].best[0] == pytest.approx(0.8 * (1 - share))


def test_where_lower_is_better_a_diverged_trial_is_as_bad_as_the_worst_of_any_loss(tuned_by: Stage) -> None:
    experiment = asked(metric="nc1", direction="lower", seeds=3)
    tuned = tuned_by(experiment, lambda loss, _: None if loss == "bce" else -2.0 if loss == "softmax" else -5.0)
    softmax, unified, lost = budgets(experiment, tuned)
    assert (softmax.best[0], unified.best[0], lost.best[0]) == (2.0, 5.0, 5.0)
    (lead,) = leads(experiment, tuned)
    assert lead.by[1].estimate == -3.0
    assert lead.sentence[0].startswith("{challenger} is behind")


def test_a_stage_in_which_everything_diverged_has_curves_only_for_accuracies(tuned_by: Stage) -> None:
    for metric, count in (("uniform_accuracy", 3), ("nc1", 0)):
        experiment = asked(metric=metric)
        assert len(budgets(experiment, tuned_by(experiment, lambda *_: None))) == count
        assert len(leads(experiment, tuned_by(experiment, lambda *_: None))) == bool(count)


def test_a_lead_that_turns_with_the_budget_is_said_to_depend_on_it(tuned_by: Stage) -> None:
    experiment = asked(trials=200, seeds=3)
    # Rarely very good, against always good.
    tuned = tuned_by(experiment, lambda loss, values: 0.7 if loss == "softmax" else 0.9 if high(values) else 0.3)
    (lead,) = leads(experiment, tuned)
    assert list(lead.by) == [1, 2, 5, 10, 20, 50, 100, 200]
    assert lead.by[1].high < 0 < lead.by[200].low
    assert "depends on the number of trials" in lead.sentence[0]


@pytest.mark.parametrize(
    ("ahead", "said"),
    [(0.1, "is ahead of"), (-0.1, "is behind"), (0.0, "is not known")],
    ids=["ahead", "behind", "level"],
)
def test_a_lead_that_does_not_turn_is_said_not_to(tuned_by: Stage, ahead: float, said: str) -> None:
    experiment = asked(seeds=3)
    (lead,) = leads(experiment, tuned_by(experiment, lambda loss, _: 0.5 + ahead * (loss == "bce_unified")))
    assert said in lead.sentence[0]


@pytest.mark.parametrize("asking", [{"seeds": 1}, {"seeds": 2}, {"seeds": 3, "searcher": "optuna"}])
def test_trials_under_few_seeds_or_chosen_by_their_scores_tell_of_no_others(
    tuned_by: Stage, asking: dict[str, Any]
) -> None:
    """One seed may favour a loss in every trial."""
    experiment = asked(**asking)
    tuned = tuned_by(experiment, lambda loss, _: 0.5 + 0.1 * (loss == "bce_unified"))
    (lead,) = leads(experiment, tuned)
    assert lead.by[20].estimate == pytest.approx(0.1)
    text, values = lead.sentence
    assert "is not known" in text
    assert (values["trials"], values["seeds"]) == (20, asking["seeds"])
    if asking.get("searcher") != "optuna":
        assert only(experiment, tuned).where == "open"


def test_losses_are_compared_up_to_the_trials_that_both_had(tuned_by: Stage) -> None:
    experiment = asked()
    softmax, unified, other = tuned_by(experiment, lambda *_: 0.5)
    (lead,) = leads(experiment, (softmax, replace(unified, tried=unified.tried[:7]), other))
    assert list(lead.by) == [1, 2, 5, 7]


def test_a_searcher_that_learns_has_no_draws_but_what_it_had_found(tuned_by: Stage) -> None:
    experiment = asked(searcher="optuna")
    tuned = tuned_by(experiment, lambda _, values: values["momentum"])
    curve = budgets(experiment, tuned)[0]
    scores = [tried.score for tried in tuned[0].tried]
    assert curve.best == curve.low == curve.high == tuple(itertools.accumulate(scores, max))
    assert sensitivities(experiment, tuned) == ()
    assert unknown(experiment) == (
        "{searcher} chooses trials by each loss's own scores: how much of the space a loss wins is not known.",
        {"searcher": "optuna"},
    )


def test_ten_thousand_trials_make_a_curve_of_few_points(tuned_by: Stage) -> None:
    experiment = asked(trials=10_000)
    curve = budgets(experiment, tuned_by(experiment, lambda _, values: values["momentum"])[:1])[0]
    assert len(curve.trials) <= 50
    assert (curve.trials[0], curve.trials[-1]) == (1, 10_000)


def test_a_loss_that_wins_everywhere_is_told_from_one_that_wins_at_high_learning_rates(tuned_by: Stage) -> None:
    experiment = asked(seeds=6)
    always = only(experiment, tuned_by(experiment, lambda loss, _: 0.5 + 0.1 * (loss == "bce_unified")))
    some = only(experiment, tuned_by(experiment, lambda loss, values: 0.5 + 0.1 * ((loss == "softmax") ^ high(values))))
    assert (always.where, always.wins, always.fraction.n) == ("most", 20, 20)
    assert always.fraction.low > 0.5
    assert some.where in {"open", "little"}
    assert next(iter(some.fields)) == "learning_rate"
    assert "beats softmax in most of the space, 20 of 20 trials" in always.told()
    shares = [each.wins / each.n for each in some.along("learning_rate") if each.n]
    assert (shares[0], shares[-1]) == (0, 1)
    assert "P1 (resnet8 on digits, validation uniform_accuracy): bce_unified beats softmax in" in some.told()
    assert "seeds of each: 6" in some.told()
    assert "learning_rate 0.001–0.00562: 0/" in some.told()


def test_who_diverges_is_beaten_and_who_ties_has_half(tuned_by: Stage) -> None:
    experiment = asked()
    lost = only(
        experiment, tuned_by(experiment, lambda loss, values: None if loss == "softmax" and high(values) else 0.0)
    )
    count = sum(high(trial.values) for trial in lost.trials)
    assert lost.wins == count + (20 - count) / 2
    assert only(experiment, tuned_by(experiment, lambda *_: None)).wins == 10


@pytest.mark.parametrize("searcher", ["random", "asha"])
def test_trials_pair_as_they_were_drawn_also_where_few_are_trained_on(tuned_by: Stage, searcher: str) -> None:
    experiment = asked(searcher=searcher)
    tuned = tuned_by(experiment, lambda loss, _: 0.5 + 0.1 * (loss == "bce_unified"))
    longer = tuple(
        replace(each, tried=(*each.tried, each.tried[k]._replace(epochs=24))) for k, each in enumerate(tuned)
    )
    found = only(experiment, longer)
    assert (found.fraction.n, found.epochs) == (20, 8)


def test_trials_that_one_loss_has_not_finished_do_not_count(tuned_by: Stage) -> None:
    experiment = asked()
    softmax, unified, _ = tuned_by(experiment, lambda loss, _: 0.5 + 0.1 * (loss == "bce_unified"))
    assert only(experiment, (softmax, replace(unified, tried=unified.tried[3:9]))).fraction.n == 6
    assert sensitivities(experiment, (softmax, replace(unified, tried=()))) == ()
    assert sensitivities(experiment, (softmax,)) == ()


def test_losses_that_share_no_field_have_no_fraction_and_it_is_said_why(tuned_by: Stage) -> None:
    experiment = asked(space={"bias_init": "uniform(-5, 5)"})
    assert sensitivities(experiment, tuned_by(experiment, lambda *_: 0.5)) == ()
    reason = unknown(experiment)
    assert reason is not None
    assert reason[0].startswith("Losses share no field")
    assert unknown(experiment.model_copy(update={"tuning": None})) is None


@UNHURRIED
@given(
    st.integers(2, 60),
    st.sampled_from(["uniform(0, 0.9)", "loguniform(1e-4, 0.9)", "choice(0.0, 0.5, 0.9)"]),
    st.data(),
)
def test_every_trial_lies_in_one_bin(trials: int, momentum: str, data: st.DataObject) -> None:
    experiment = asked(space={"learning_rate": "loguniform(1e-3, 1)", "momentum": momentum}, trials=trials)
    scores = st.lists(st.floats(0, 1), min_size=3 * trials, max_size=3 * trials)
    score = iter(data.draw(scores))
    from orchestrator.adaptive.trials import Competitor, Tried, points

    assert experiment.tuning is not None
    shared = experiment.tuning.shared
    found = only(
        experiment,
        tuple(
            Tuned(
                Competitor(loss, "resnet8", "digits"),
                shared,
                tuple(
                    Tried(k, values, 8, one := next(score), (one,))
                    for k, values in enumerate(points(shared, experiment.tuning))
                ),
                None,
            )
            for loss in ("softmax", "bce_unified")
        ),
    )
    grid = found.grid("learning_rate", "momentum")
    bins = [each for row in grid for each in row]
    for parts in (bins, found.along("momentum"), found.along("learning_rate")):
        assert sum(each.n for each in parts) == trials
        assert math.fsum(each.wins for each in parts) == found.wins
        told = math.fsum(each.n * each.mean for each in parts if each.n)
        assert told == pytest.approx(math.fsum(trial.difference for trial in found.trials), abs=1e-9)
    assert len(labels(shared["momentum"], len(grid))) == len(grid)


@pytest.mark.parametrize(
    ("written", "count", "expected"),
    [
        ("loguniform(1e-3, 1)", 3, ["0.001–0.01", "0.01–0.1", "0.1–1"]),
        ("uniform(-5, 5)", 2, ["-5–0", "0–5"]),
        ("choice(sgd, adamw)", 2, ["sgd", "adamw"]),
        ("randint(0, 3)", 3, ["0", "1", "2"]),
        ("randint(0, 5)", 2, ["0–1", "2–4"]),
        ("randint(2, 7)", 4, ["2", "3", "4–5", "6"]),
    ],
)
def test_bins_are_labelled_with_what_lies_in_them(written: str, count: int, expected: list[str]) -> None:
    assert labels(Domain.model_validate(written), count) == expected
