"""Claims over several settings, from rows written by hand to the verdict in every medium."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rich.console import Console

from orchestrator.analysis.comparison import Comparison, compare
from orchestrator.experiment.looks import Looked
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.revision import revise
from orchestrator.report import paragraphs
from orchestrator.report import rows as texts
from orchestrator.report.markdown import markdown
from orchestrator.report.paper.latex import latex
from orchestrator.report.terminal import comparison as terminal
from orchestrator.report.web import page
from orchestrator.report.web.translations import said
from orchestrator.report.wording import claims

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DATASETS = ["digits", "cifar10", "cifar100"]
CLAIM = {"metric": "uniform_accuracy", "challenger": "bce_unified", "baseline": "softmax", "direction": "higher"}


def asked(*claims: dict[str, Any], **fields: Any) -> Experiment:
    document = {
        "name": "x",
        "losses": ["softmax", "bce_unified", "bce"],
        "backbones": ["resnet8"],
        "datasets": DATASETS,
        "baseline": "softmax",
        "claims": [{**CLAIM, "id": f"c{number}", **claim} for number, claim in enumerate(claims)],
    }
    return Experiment.model_validate({**document, **fields})


def rows(experiment: Experiment, effects: Mapping[str, float], spread: float = 0.004) -> list[dict[str, Any]]:
    """Results of which BCE's uniform accuracy lies above SoftMax's by the effect of each data set."""
    rng = np.random.default_rng(1)
    found = list[dict[str, Any]]()
    for dataset in experiment.datasets:
        for backbone in experiment.backbones:
            for seed in experiment.seeds:
                base = 0.6 + rng.normal(0, 0.05)
                values = {"softmax": base, "bce": base, "bce_unified": base + effects[dataset.label]}
                found += [
                    {
                        "dataset": dataset.label,
                        "backbone": backbone.label,
                        "loss": loss,
                        "seed": seed,
                        "state": "finished",
                        "samples": 10_000,
                        "uniform_accuracy": value + (rng.normal(0, spread) if loss == "bce_unified" else 0),
                        "sample_wise_accuracy": value,
                        "accuracy_at_validation_threshold": value,
                    }
                    for loss, value in values.items()
                ]
    return found


def verdicts(effects: Mapping[str, float], *claims: dict[str, Any]) -> list[str]:
    experiment = asked(*claims)
    return [finding.verdict for finding in compare(experiment, rows(experiment, effects)).findings]


EVERYWHERE = {"digits": 0.05, "cifar10": 0.06, "cifar100": 0.15}
MIXED = {"digits": 0.05, "cifar10": -0.05, "cifar100": 0.15}


@pytest.mark.parametrize(
    ("over", "everywhere", "mixed"),
    [("all", "supported", "refuted"), ("some", "supported", "supported"), ("mean", "supported", "supported")],
)
def test_a_claim_over_several_settings_has_one_verdict(over: str, everywhere: str, mixed: str) -> None:
    assert verdicts(EVERYWHERE, {"over": over}) == [everywhere]
    assert verdicts(MIXED, {"over": over}) == [mixed]
    lower = {name: -effect for name, effect in EVERYWHERE.items()}
    assert verdicts(lower, {"over": over}) == ["refuted"]


def test_a_single_undecided_setting_leaves_all_undecided() -> None:
    assert verdicts({**EVERYWHERE, "cifar10": 0.0005}, {"over": "all"}) == ["undecided"]


def test_the_cells_of_all_settings_that_collapsed_or_diverged_are_counted() -> None:
    experiment = asked({"over": "mean"})
    found = rows(experiment, EVERYWHERE)
    states = {("digits", "softmax", 0): "diverged", ("cifar100", "bce_unified", 2): "diverged"}
    states |= {("cifar10", "softmax", 1): "collapsed", ("cifar10", "bce", 1): "diverged"}
    for each in found:
        each["state"] = states.get((each["dataset"], each["loss"], each["seed"]), "finished")
    (finding,) = compare(experiment, found).findings
    assert (finding.diverged, finding.collapsed, finding.parts) == (2, 1, 3)
    assert finding.cells == 2 * 3 * len(experiment.seeds)


@pytest.mark.parametrize(("direction", "otherwise"), [("equal", "supported"), ("higher", "equivalent")])
def test_over_settings_what_is_lost_is_no_evidence_of_equality(direction: str, otherwise: str) -> None:
    """All accuracies are about 0, so that one at its worst is no other than the rest."""
    experiment = asked({"over": "mean", "direction": direction, "margin": 0.05})
    found = [{**each, "uniform_accuracy": 0.001 * (1 + each["seed"])} for each in rows(experiment, EVERYWHERE)]
    (whole,) = compare(experiment, found).findings
    assert (whole.verdict, whole.lost) == (otherwise, 0)
    found[-1]["state"] = found[-2]["state"] = "diverged"
    (cut,) = compare(experiment, found).findings
    assert (cut.verdict, cut.withheld, cut.lost) == ("undecided", "lost", 1)


def test_an_effect_is_compared_with_that_of_another_data_set() -> None:
    claim = {"where": {"dataset": "cifar100"}, "than": {"dataset": "cifar10"}}
    experiment = asked(claim, {**claim, "direction": "lower"}, {**claim, "direction": "equal", "margin": 0.2})
    found = compare(experiment, rows(experiment, EVERYWHERE)).findings
    assert [finding.verdict for finding in found] == ["supported", "refuted", "supported"]
    assert found[0].difference.estimate == pytest.approx(0.09, abs=0.006)


def test_an_effect_is_compared_with_that_of_other_losses() -> None:
    claim = {"where": {"dataset": "digits"}, "than": {"challenger": "bce"}}
    assert verdicts(EVERYWHERE, claim) == ["supported"]


def test_a_trend_is_the_slope_of_the_effect() -> None:
    experiment = asked({"trend": {"dataset": {"digits": 1, "cifar10": 1, "cifar100": 2}}})
    (finding,) = compare(experiment, rows(experiment, EVERYWHERE)).findings
    assert (finding.verdict, finding.dataset, finding.backbone) == ("supported", "", "resnet8")
    assert finding.difference.estimate == pytest.approx(0.15 - 0.055, abs=0.006)


def test_a_trend_is_steeper_than_that_of_other_losses() -> None:
    """Of which there is no effect at all, and so no trend."""
    claim = {"trend": {"dataset": {"digits": 1, "cifar10": 1, "cifar100": 2}}, "than": {"challenger": "bce"}}
    experiment = asked(claim, {**claim, "direction": "lower"}, {**claim, "direction": "equal", "margin": 0.2})
    found = compare(experiment, rows(experiment, EVERYWHERE)).findings
    assert [finding.verdict for finding in found] == ["supported", "refuted", "supported"]
    assert found[0].difference.estimate == pytest.approx(0.15 - 0.055, abs=0.01)


def lost(loss: str, dataset: str, state: str) -> list[dict[str, Any]]:
    """Results of which the first seed of a loss diverged, or has no value, on a data set."""
    cut: dict[str, Any] = {"state": "diverged"} if state == "diverged" else {"uniform_accuracy": None}
    return [
        {**row, **cut} if (row["loss"], row["dataset"], row["seed"]) == (loss, dataset, 0) else row
        for row in rows(asked(), EVERYWHERE)
    ]


@pytest.mark.parametrize("state", ["diverged", "without the measure"])
@pytest.mark.parametrize(
    ("over", "verdict"), [("all", "undecided"), ("some", "supported"), ("mean", "undecided"), ("each", "undecided")]
)
def test_a_verdict_stands_with_lost_cells_at_their_worst(over: str, verdict: str, state: str) -> None:
    (finding, *_) = compare(asked({"over": over}), lost("bce_unified", "digits", state)).findings
    assert (finding.verdict, finding.lost) == (verdict, 1)
    assert finding.withheld == ("lost" if verdict == "undecided" else None)


def test_what_a_baseline_lost_speaks_for_its_challenger() -> None:
    (finding,) = compare(asked({"over": "mean"}), lost("softmax", "digits", "diverged")).findings
    assert (finding.verdict, finding.lost) == ("supported", 1)


def test_the_mean_with_lost_cells_takes_each_loss_at_its_own_worst() -> None:
    (finding,) = compare(asked({"over": "mean"}), lost("bce_unified", "digits", "diverged")).findings
    found = rows(asked(), EVERYWHERE)
    complete = [np.mean([_effect(found, dataset, seed) for dataset in DATASETS]) for seed in range(5)]
    (base,) = [row["uniform_accuracy"] for row in found if row["loss"] == "softmax" and row["seed"] == 0][:1]
    worst = (3 * complete[0] - _effect(found, "digits", 0) - base) / 3
    assert finding.difference.estimate == pytest.approx(np.mean(complete[1:]))
    assert finding.at_worst is not None
    assert finding.at_worst.estimate == pytest.approx(np.mean([worst, *complete[1:]]))


def _effect(found: list[dict[str, Any]], dataset: str, seed: int) -> float:
    value = {row["loss"]: row["uniform_accuracy"] for row in found if (row["dataset"], row["seed"]) == (dataset, seed)}
    return value["bce_unified"] - value["softmax"]


def test_a_lost_cell_of_the_other_effect_counts_too() -> None:
    claim = {"where": {"dataset": "cifar100"}, "than": {"dataset": "cifar10"}}
    experiment = asked(claim, {**claim, "direction": "equal", "margin": 0.5})
    contrast, equal = compare(experiment, lost("bce_unified", "cifar10", "diverged")).findings
    assert (contrast.lost, contrast.difference.n) == (1, 4)
    assert (equal.verdict, equal.withheld) == ("undecided", "lost")


def test_there_is_no_verdict_while_planned_cells_are_missing_in_any_setting() -> None:
    found = [row for row in rows(asked(), EVERYWHERE) if (row["dataset"], row["seed"]) != ("cifar10", 3)]
    claims = [{"over": over} for over in ("all", "some", "mean")]
    findings = compare(asked(*claims), found).findings
    assert [(finding.verdict, finding.withheld) for finding in findings] == 3 * [("undecided", "missing")]
    assert all(math.isnan(finding.p) for finding in findings)


def test_coarse_measures_without_spread_have_the_floor_of_half_a_step() -> None:
    """Ten test samples: all differences are one sample, and two of five would do by chance."""
    experiment = asked({"over": "mean"}, {"over": "all"})
    found = [{**row, "samples": 10, "uniform_accuracy": 0.6 if row["loss"] == "bce_unified" else 0.5}
             for row in rows(experiment, EVERYWHERE)]  # fmt: skip
    mean, every = compare(experiment, found).findings
    assert mean.difference.high - mean.difference.estimate == pytest.approx(2.776 * 0.05 / math.sqrt(3 * 5), rel=1e-3)
    assert every.difference.high - every.difference.estimate == pytest.approx(2.776 * 0.05 / math.sqrt(5), rel=1e-3)


@pytest.mark.parametrize("effect", [0.05, -0.05])
def test_a_population_has_one_verdict_of_its_data_sets(effect: float) -> None:
    names = ["digits", "cifar10", "cifar100", "mnist", "fashion_mnist"]
    experiment = asked({"over": "mean", "population": True}, datasets=names)
    effects = {name: effect + place / 1000 for place, name in enumerate(names)}
    (finding,) = compare(experiment, rows(experiment, effects)).findings
    assert finding.verdict == ("supported" if effect > 0 else "refuted")
    assert finding.difference.n == 5
    assert finding.seeds_needed is None


# Families


def test_secondary_claims_wait_for_every_primary_one() -> None:
    primary = {"over": "all"}
    secondary = {"over": "some", "family": "secondary"}
    assert verdicts(EVERYWHERE, primary, secondary) == ["supported", "supported"]
    assert verdicts({**EVERYWHERE, "cifar10": 0.0005}, primary, secondary) == ["undecided", "undecided"]


def test_a_secondary_claim_that_waits_says_so_and_takes_nothing_from_the_primary_ones() -> None:
    effects = {**EVERYWHERE, "cifar10": 0.0005}
    secondary = [{"family": "secondary", "over": "mean", "margin": margin / 1000} for margin in range(20)]
    experiment = asked({"over": "all"}, *secondary)
    found = compare(experiment, rows(experiment, effects)).findings
    alone = compare(asked({"over": "all"}), rows(experiment, effects)).findings
    assert found[0].p == alone[0].p
    assert "secondary: waits until every primary claim has a verdict" in texts.doubts(found[1])
    assert all(finding.waits == (finding.claim.family == "secondary") for finding in found)
    assert not any("seeds" in doubt for finding in found[1:] for doubt in texts.doubts(finding))


def test_the_heading_says_which_verdicts_hold_at_once(every_kind: Comparison) -> None:
    held = "The verdicts hold for all 13 primary claims at once, then for the 1 secondary ones (Holm)"
    assert paragraphs.claims_heading(every_kind).endswith(held)


def test_the_order_of_families_in_the_file_does_not_matter() -> None:
    primary = {"over": "all"}
    secondary = {"over": "some", "family": "secondary"}
    assert verdicts(MIXED, secondary, primary) == ["supported", "refuted"]


# Media


EVERY_KIND = [
    {"over": "all"},
    {"over": "some", "direction": "lower"},
    {"over": "mean"},
    {"over": "mean", "population": True},
    {"where": {"dataset": "cifar100"}, "than": {"dataset": "cifar10"}},
    {"where": {"dataset": "cifar100"}, "than": {"dataset": "cifar10"}, "direction": "equal", "margin": 0.02},
    {"where": {"dataset": "cifar100"}, "than": {"challenger": "bce"}, "direction": "lower"},
    {"trend": {"dataset": {"digits": 1, "cifar100": 2}}, "direction": "lower"},
    {"trend": {"dataset": {"digits": 1, "cifar100": 2}}, "direction": "equal", "margin": 0.1},
    {"trend": {"dataset": {"digits": 1, "cifar100": 2}}, "over": "all"},
    {"trend": {"dataset": {"digits": 1, "cifar100": 2}}, "than": {"challenger": "bce"}},
    {"trend": {"dataset": {"digits": 1, "cifar100": 2}}, "than": {"challenger": "bce"}, "direction": "lower"},
    {"trend": {"dataset": {"digits": 1, "cifar100": 2}}, "than": {"metric": "nc1"}, "direction": "equal", "margin": 1},
    {"over": "some", "family": "secondary"},
]
SAID = [
    ("in all settings", "all 5 settings; shown: the least favourable, resnet8 on "),
    ("in at least one setting", "some of 5 settings; shown: the most favourable, resnet8 on "),
    ("on the mean of these settings", "mean over 5 settings as given"),
    ("on the mean of all data sets like these", "mean over 5 data sets, as a sample"),
    ("larger than with data set cifar10 (margin 0 points)", "resnet8 on cifar100"),
    ("as large as with data set cifar10 (margin 2 points)", "resnet8 on cifar100"),
    ("smaller than with challenger bce (margin 0 points)", "resnet8 on cifar100"),
    ("falls along digits: 1, cifar100: 2", "resnet8"),
    ("does not change along digits: 1, cifar100: 2 (margin 10 points for each step of 1)", "resnet8"),
    ("rises along digits: 1, cifar100: 2", "resnet8"),
    ("rises more along digits: 1, cifar100: 2 than with challenger bce (margin", "resnet8"),
    ("rises less along digits: 1, cifar100: 2 than with challenger bce (margin", "resnet8"),
    ("changes as much along digits: 1, cifar100: 2 as with measure nc1 (margin", "resnet8"),
    ("in at least one setting", "some of 5 settings"),
]


@pytest.fixture
def every_kind() -> Comparison:
    experiment = asked(*EVERY_KIND, datasets=[*DATASETS, "mnist", "fashion_mnist"])
    effects = {**EVERYWHERE, "mnist": 0.01, "fashion_mnist": 0.04}
    return compare(experiment, rows(experiment, effects), looked=Looked("5"))


def test_every_kind_of_claim_is_said_with_what_its_verdict_is_on(every_kind: Comparison) -> None:
    for finding, (statement, place) in zip(every_kind.findings, SAID, strict=True):
        assert statement in texts.statement(finding.claim)
        assert texts.setting(finding).startswith(place)


def test_every_kind_is_in_the_terminal_in_markdown_latex_and_json(every_kind: Comparison) -> None:
    console = Console(file=io.StringIO(), width=200)
    console.print(terminal.table(every_kind))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for text in (shown, markdown(every_kind), latex(every_kind)):
        assert "mean over 5 settings as given" in text
        assert "all 5 settings; shown: the least favourable" in text
    document = every_kind.to_json()["claims"]
    assert [entry["over"] for entry in document[:4]] == ["all", "some", "mean", "mean"]
    assert document[0]["parts"] == 5
    assert document[7]["trend"] == {"dataset": {"digits": 1, "cifar100": 2}, "backbone": None}


def test_the_page_says_every_kind_in_both_languages(every_kind: Comparison) -> None:
    for finding in every_kind.findings:
        for text in (said(claims.statement(finding.claim)), said(claims.scope(finding))):
            assert text.en
            assert text.ja


def test_the_page_shows_the_verdict_of_a_claim_over_all(done: Callable[..., Any]) -> None:
    experiment = {
        "name": "x",
        "losses": ["softmax", "bce_unified"],
        "backbones": ["resnet8", "resnet20"],
        "datasets": ["digits"],
        "seeds": 3,
        "baseline": "softmax",
        "claims": [{**CLAIM, "id": "everywhere", "over": "all"}],
    }
    found = done(experiment)
    html = page.render(found.comparison, found.rows, found.evaluations, found.plan)
    assert "all 2 settings; shown: the least favourable, resnet" in html
    assert "すべての設定で" in html


# Narrowing


def test_narrowing_drops_a_claim_about_settings_that_are_left_out() -> None:
    experiment = asked(
        {"over": "all"}, {"over": "all", "where": {"dataset": "digits"}}, {"where": {"dataset": "digits"}}
    )
    narrowed = revise(experiment, {"dataset": ["digits"]}, only=True)
    assert [claim.id for claim in narrowed.claims] == ["c1", "c2"]
