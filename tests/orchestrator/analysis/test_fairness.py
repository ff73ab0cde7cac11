"""The audit: an equal contest is said to be one, and an unequal one is caught, named, and marked at its verdicts."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from orchestrator.adaptive.trials import Tuned, settle
from orchestrator.analysis.across_settings import overall
from orchestrator.analysis.comparison import Comparison, compare
from orchestrator.analysis.fairness import Audit, audit
from orchestrator.experiment.model import Experiment
from orchestrator.report import paragraphs
from orchestrator.report import rows as texts
from orchestrator.report.document import document
from orchestrator.report.markdown import markdown
from orchestrator.report.paper.latex import latex
from orchestrator.report.terminal import comparison as terminal
from orchestrator.report.wording import verdicts
from orchestrator.report.wording.comparison import PROTOCOLS
from orchestrator.report.wording.names import SHORT

TUNING = {
    "space": {"learning_rate": "loguniform(1e-3, 1)", "weight_decay": "uniform(0, 0.1)", "bias_init": "uniform(-5, 5)"},
    "trials": 20,
}
CLAIM = {"id": "P1", "metric": "uniform_accuracy", "challenger": "bce_unified", "baseline": "softmax"}


Stage = Callable[..., tuple[Tuned, ...]]


def asked(**fields: Any) -> Experiment:
    document = {
        "name": "x",
        "losses": ["softmax", "bce", "bce_unified"],
        "backbones": ["resnet8"],
        "datasets": ["digits"],
        "seeds": 3,
        "recipe": {"epochs": 8, "learning_rate": 0.1},
        "baseline": "softmax",
        "claims": [{**CLAIM, "direction": "higher"}],
    }
    return Experiment.model_validate({**document, **fields})


def rows(experiment: Experiment, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "dataset": dataset.label, "backbone": backbone.label, "loss": loss.label, "seed": seed, "state": "finished",
            "uniform_accuracy": 0.9 + seed / 100, "sample_wise_accuracy": 0.95, "samples": 100, "parameters": 78_000,
            "accuracy_at_validation_threshold": 0.9 + seed / 200, "train_seconds": 3.0,
            "accuracy_at_bias": 0.8 if loss.label == "bce_unified" else None, **more,
        }
        for dataset in experiment.datasets
        for backbone in experiment.backbones
        for loss in experiment.losses
        for seed in experiment.seeds
    ]  # fmt: skip


def audited(experiment: Experiment, tuned: tuple[Tuned, ...] = (), table: list[dict[str, Any]] | None = None) -> Audit:
    found = audit(experiment, rows(experiment) if table is None else table, tuned)
    assert found is not None
    return found


def told(found: Audit) -> list[str]:
    return [str(each) for each in found.unequal]


@pytest.fixture
def whole(tuned_by: Stage) -> Callable[[Experiment], tuple[Tuned, ...]]:
    """A tuning stage in which all losses are best at the same learning rate."""
    return lambda experiment: tuned_by(experiment, lambda _, values: 0.9 - abs(values["learning_rate"] - 0.1))


def test_an_untuned_contest_with_one_recipe_is_equal_and_said_to_be_untuned() -> None:
    assert audited(asked()).told() == [
        "Conditions: equal – one shared recipe, no tuning per loss; 3 seeds, 8 epochs.",
    ]


def test_a_tuned_contest_with_the_same_space_trials_and_seeds_is_equal(whole: Stage) -> None:
    experiment = asked(tuning=TUNING)
    tuned = whole(experiment)
    found = audited(settle(experiment, tuned), tuned)
    assert found.told()[0] == "Conditions: equal – 20 trials per loss in the same space, 3 seeds, 8 epochs."
    softmax, _, unified = found.entrants
    assert softmax.space.keys() == {"learning_rate", "weight_decay"}
    assert unified.space.keys() == {"learning_rate", "weight_decay", "bias_init"}
    assert (softmax.trials, softmax.trial_epochs, softmax.diverged) == (20, 160, 0)


def test_a_recipe_that_one_loss_was_given_by_hand_is_unequal() -> None:
    unified = {"where": {"loss": "bce_unified"}, "recipe": {"learning_rate": 0.3}}
    found = audited(asked(overrides=[unified]))
    assert told(found) == ["learning_rate, by hand: 0.1 (softmax, bce), 0.3 (bce_unified)"]
    assert found.told()[0].startswith("Conditions: UNEQUAL – learning_rate, by hand")
    assert audited(asked(overrides=[{**unified, "where": {"dataset": "digits"}}])).unequal == ()


def test_what_tuning_found_is_not_by_hand_but_what_it_left_is(whole: Stage) -> None:
    longer = {"where": {"loss": "bce"}, "recipe": {"epochs": 16, "label_noise": 0.1}}
    experiment = asked(tuning=TUNING, overrides=[longer])
    tuned = whole(experiment)
    assert len({entry.winner.values["learning_rate"] for entry in tuned if entry.winner}) == 1
    worse = replace(tuned[0], winner=tuned[0].tried[3])
    found = audited(settle(experiment, (worse, *tuned[1:])), (worse, *tuned[1:]))
    assert sorted(told(found)) == [
        "epochs of all trials together: 160 (softmax, bce_unified), 320 (bce)",
        "epochs, by hand: 8 (softmax, bce_unified), 16 (bce)",
        "label_noise, by hand: 0.0 (softmax, bce_unified), 0.1 (bce)",
    ]


def test_another_number_of_trials_or_another_space_is_unequal(whole: Stage) -> None:
    experiment = asked(tuning=TUNING)
    tuned = whole(experiment)
    fewer = replace(tuned[0], tried=tuned[0].tried[:5], winner=tuned[0].tried[0])
    assert told(audited(experiment, (fewer, *tuned[1:]))) == ["trials: 5 (softmax), 20 (bce, bce_unified)"]
    wider = asked(tuning={**TUNING, "space": {**TUNING["space"], "learning_rate": "loguniform(1e-3, 10)"}})
    found = audited(experiment, (whole(wider)[0], *tuned[1:]))
    assert told(found) == [
        "space of learning_rate: loguniform(0.001, 10) (softmax), loguniform(0.001, 1) (bce, bce_unified)"
    ]
    assert told(audited(experiment, tuned[1:]))[0] == "trials: 0 (softmax), 20 (bce, bce_unified)"


def test_a_trial_trained_for_longer_in_the_end_is_one_trial(whole: Stage) -> None:
    experiment = asked(tuning={**TUNING, "searcher": "asha", "trials": 9})
    tuned = whole(experiment)
    halved = tuple(
        replace(each, tried=(*(trial._replace(epochs=1) for trial in each.tried), *each.tried[:3])) for each in tuned
    )
    assert [entrant.trials for entrant in audited(experiment, halved).entrants] == [9, 9, 9]
    assert audited(experiment, halved).unequal == ()


def test_missing_seeds_are_unequal_and_diverged_ones_are_not() -> None:
    experiment = asked()
    table = rows(experiment)
    lost = [row for row in table if (row["loss"], row["seed"]) != ("bce", 1)]
    assert told(audited(experiment, table=lost)) == ["seeds with a result: 0–2 (softmax, bce_unified), 0, 2 (bce)"]
    assert told(audited(experiment, table=lost[3:])) == ["seeds with a result: 0, 2 (bce), 0–2 (bce_unified)"]
    table[0]["state"] = "diverged"
    assert told(audited(experiment, table=table)) == []


def test_a_loss_without_a_result_yet_makes_no_contest_unequal() -> None:
    """A grid that is half finished lacks cells, which is said of them; nobody was given less."""
    experiment = asked()
    table = [row for row in rows(experiment) if row["loss"] != "bce"]
    found = audited(experiment, table=table)
    assert told(found) == []
    assert found.told() == ["Conditions: equal – one shared recipe, no tuning per loss; 0–3 seeds, 8 epochs."]
    assert audited(experiment, table=[]).told() == ["Conditions: no result yet."]


def test_seeds_that_only_some_claims_asked_for_are_not_unequal() -> None:
    experiment = asked(seeds={"min": 2, "max": 9, "until": "decided"})
    table = [row for row in rows(experiment) if row["seed"] < (2 if row["loss"] == "bce" else 6)]
    found = audited(experiment, table=table)
    assert found.told() == ["Conditions: equal – one shared recipe, no tuning per loss; 2–6 of 9 seeds, 8 epochs."]


def test_a_bias_for_each_class_is_no_inequality_of_parameters_but_a_layer_is() -> None:
    experiment = asked()
    table = rows(experiment)
    for row in table:
        row["parameters"] += {"softmax": 0, "bce": 10, "bce_unified": 100}[row["loss"]]
    assert told(audited(experiment, table=table)) == []
    for row in table:
        row["parameters"] += 8_000 * (row["loss"] == "bce")
    assert told(audited(experiment, table=table)) == ["parameters: 78000 (softmax, bce_unified), 86010 (bce)"]


def test_time_is_told_and_no_inequality() -> None:
    experiment = asked()
    table = rows(experiment)
    for row in table:
        row["train_seconds"] *= 5 if row["loss"] == "bce" else 1
    found = audited(experiment, table=table)
    assert found.unequal == ()
    assert [str(each) for each in found.remarks] == ["training seconds per cell: 3 (softmax, bce_unified), 15 (bce)"]


def test_a_winner_at_the_end_of_its_space_is_named(tuned_by: Stage) -> None:
    experiment = asked(tuning=TUNING)
    tuned = tuned_by(experiment, lambda loss, values: values["learning_rate"] * (1 if loss == "bce" else -1))
    edges = [entrant.edges for entrant in audited(experiment, tuned).entrants]
    assert ["learning_rate" in names for names in edges] == [
        tuned[k].space["learning_rate"].is_edge(tuned[k].winner.values["learning_rate"])  # type: ignore[union-attr]
        for k in range(3)
    ]
    assert any(edges)
    assert (
        "At the edge of the search range, so a wider range may have better values: "
        in audited(experiment, tuned).told()[1]
    )


def test_one_loss_alone_is_no_contest() -> None:
    experiment = asked(losses=["softmax"], claims=[])
    assert audit(experiment, rows(experiment)) is None


@pytest.fixture
def unequal() -> Comparison:
    """BCE has another learning rate, by hand; the claim P1 is about the other two, and C1 about it."""
    other = {**CLAIM, "id": "C1", "challenger": "bce", "direction": "equal", "margin": 0.01}
    experiment = asked(
        backbones=["resnet8", "resnet20"],
        overrides=[{"where": {"loss": "bce", "backbone": "resnet20"}, "recipe": {"learning_rate": 0.3}}],
        claims=[{**CLAIM, "direction": "higher"}, other],
    )
    return compare(experiment, rows(experiment))


def test_only_a_verdict_about_losses_that_were_not_given_the_same_is_marked(unequal: Comparison) -> None:
    marked = {(finding.claim.id, finding.backbone): texts.marked(finding)[-1] for finding in unequal.findings}
    assert {where for where, last in marked.items() if last == verdicts.MARK} == {("C1", "resnet20")}
    (doubt,) = [doubt for finding in unequal.findings for doubt in texts.doubts(finding) if verdicts.MARK in doubt]
    assert doubt == "† unequal conditions: learning_rate, by hand: 0.3 (bce), 0.1 (softmax)"


def everywhere(comparison: Comparison, experiment: Experiment | None = None) -> dict[str, str]:
    """The comparison in each form."""
    console = Console(file=io.StringIO(), width=2000)
    console.print(terminal.table(comparison))
    across = overall(experiment or asked(), [])
    return {
        "terminal": console.file.getvalue(),  # type: ignore[attr-defined]
        "markdown": markdown(comparison),
        "latex": latex(comparison),
        "json": json.dumps(document(comparison, across), allow_nan=False, ensure_ascii=False),
    }


def test_every_form_says_whether_the_contest_was_equal_and_how_the_threshold_was_chosen(unequal: Comparison) -> None:
    line = "Conditions: UNEQUAL – learning_rate, by hand: 0.1 (softmax, bce_unified), 0.3 (bce) [resnet20/digits]."
    for form, text in everywhere(unequal).items():
        if form == "json":
            document = json.loads(text)
            assert document["audit"]["equal"] is False
            assert document["audit"]["entrants"][0]["recipe"]["learning_rate"] == 0.1
            assert document["threshold"] == "validation"
            assert [claim["unequal"] for claim in document["claims"]] == [
                [], [], [], ["learning_rate, by hand: 0.3 (bce), 0.1 (softmax)"],
            ]  # fmt: skip
            continue
        plain = text.replace(r"\_", "_").replace("--", "–")
        assert line in plain, form
        assert PROTOCOLS["validation"] in plain, form
        assert {"latex": r"\dag{} unequal conditions"}.get(form, "† unequal conditions") in text


@pytest.mark.parametrize(
    ("protocol", "measures"),
    [
        ("validation", ("sample_wise_accuracy", "uniform_accuracy", "accuracy_at_validation_threshold")),
        ("bias", ("sample_wise_accuracy", "uniform_accuracy", "accuracy_at_bias")),
        ("test", ("sample_wise_accuracy", "uniform_accuracy")),
    ],
)
def test_the_protocol_says_which_accuracy_is_compared_and_tested(protocol: Any, measures: tuple[str, ...]) -> None:
    experiment = asked(threshold=protocol)
    comparison = compare(experiment, rows(experiment))
    assert comparison.measures == measures
    assert all(tuple(line.tests or measures) == measures for line in comparison.lines)
    for form, text in everywhere(comparison, experiment).items():
        if form != "json":
            assert PROTOCOLS[protocol] in text.replace("--", "–"), form
    assert texts.headings(comparison) == [
        *("loss", "n", *(SHORT[name] for name in measures)),
        *("pairs", *(f"Δ {SHORT[name]}" for name in measures)),
    ]


def test_a_loss_without_a_bias_has_no_accuracy_at_it_and_gets_no_other() -> None:
    experiment = asked(threshold="bias", datasets=["digits", "mnist"])
    table = rows(experiment)
    comparison = compare(experiment, table)
    shown = {line.loss: texts.cells(line)[4] for line in comparison.lines}
    assert shown == {"softmax": "–", "bce": "–", "bce_unified": "80.0 ± 1.2"}
    across = overall(experiment, table)
    assert [each.metric for each in across.standings] == ["sample_wise_accuracy", "uniform_accuracy"]
    assert across.lacking == ("accuracy_at_bias",)
    assert "which some loss does not have: at the bias." in paragraphs.across_caption(across)
