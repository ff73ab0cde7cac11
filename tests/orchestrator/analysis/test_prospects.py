"""What a plan says of the grid's chances, against the functions it rests on and against simulated experiments."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

from benchmarks import power
from orchestrator.analysis import prospects, spreads
from orchestrator.experiment.model import Experiment
from orchestrator.report.wording.prospects import advice, caution, cells
from orchestrator.statistics.support import Asked, probability

CLAIM = {"id": "better", "metric": "uniform_accuracy", "challenger": "bce_unified", "baseline": "softmax"}


def asked(*claims: dict[str, Any], seeds: Any = 5, backbones: int = 1, **fields: Any) -> Experiment:
    document = {
        "name": "x",
        "losses": ["softmax", "bce_unified"],
        "backbones": ["resnet8", "resnet20", "resnet18", "resnet50", "vgg11_small", "vit_mini"][:backbones],
        "datasets": ["digits"],
        "seeds": seeds,
        "baseline": "softmax",
        "claims": [{**CLAIM, "id": f"c{k}", "direction": "higher", **claim} for k, claim in enumerate(claims or [{}])],
    }
    return Experiment.model_validate({**document, **fields})


def rows(differences: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Results of which BCE's uniform accuracy lies above SoftMax's by these differences, by backbone and seed."""
    return [
        {
            "dataset": "digits",
            "backbone": backbone,
            "loss": loss,
            "seed": seed,
            "state": "finished",
            "samples": 10_000,
            "uniform_accuracy": 0.5 + (difference if loss == "bce_unified" else 0),
            "sample_wise_accuracy": 0.5,
            "accuracy_at_validation_threshold": 0.5,
        }
        for backbone, found in differences.items()
        for seed, difference in enumerate(found)
        for loss in ("softmax", "bce_unified")
    ]


def expecting(effect: float, **claim: Any) -> dict[str, Any]:
    return {"expect": {"effect": effect, "source": "arXiv 2505.05813"}, **claim}


def only(experiment: Experiment, earlier: list[dict[str, Any]] | None = None) -> prospects.Prospect:
    (found,) = prospects.prospects(experiment, earlier or [])
    return found


EARLIER = rows({"resnet8": [0.1, 0.12, 0.13, 0.09]})
DEVIATION = float(np.std([0.1, 0.12, 0.13, 0.09], ddof=1))


def test_earlier_cells_tell_the_spread_and_the_file_the_effect() -> None:
    found = only(asked(expecting(0.04, margin=0.01)), EARLIER)
    assert found.noise is not None
    assert found.noise.deviations == pytest.approx([DEVIATION])
    assert found.noise.basis == "4 pairs here"
    assert found.power == pytest.approx(probability(0.04, DEVIATION, 5, Asked("higher", 0.01, 0.05)))
    assert cells(found)[2] == "4 points (arXiv 2505.05813)"


def test_equal_pairs_of_a_measure_with_steps_scatter_by_half_a_step() -> None:
    """As the interval will have it, that the power is of."""
    found = only(asked(expecting(0.04, margin=0.01)), rows({"resnet8": [0.1, 0.1, 0.1]}))
    assert found.noise is not None
    assert found.noise.deviations == pytest.approx([1 / 20_000])
    assert found.noise.basis == "3 pairs here"


def test_every_question_of_a_family_takes_its_share_of_alpha() -> None:
    two = prospects.prospects(asked(expecting(0.04), expecting(0.04, over="all"), backbones=2), EARLIER)
    assert two[0].power == pytest.approx(probability(0.04, DEVIATION, 5, Asked("higher", 0, 0.05 / 3)))
    secondary = prospects.prospects(asked(expecting(0.04), expecting(0.04, family="secondary")), EARLIER)
    assert secondary[0].power == pytest.approx(probability(0.04, DEVIATION, 5, Asked("higher", 0, 0.05)))


def test_equality_and_within_have_their_own_power() -> None:
    equal = only(asked({"direction": "equal", "margin": 0.03}), EARLIER)
    assert equal.power == pytest.approx(probability(0, DEVIATION, 5, Asked("equal", 0.03, 0.05)))
    within = {"id": "a", "metric": "uniform_accuracy", "challenger": "bce_unified", "within": 0.62}
    found = only(asked(claims=[{**within, "expect": {"effect": 0.6, "source": "a trial"}}]), EARLIER)
    assert found.power == pytest.approx(probability(0.6, DEVIATION, 5, Asked("equal", 0.62, 0.05)))


def test_what_number_of_seeds_is_enough() -> None:
    found = only(asked(expecting(0.02)), EARLIER)
    assert found.power is not None
    assert found.power < 0.8
    needed = int(advice(found).partition(" seeds")[0])
    sign = Asked("higher", 0, 0.05)
    assert probability(0.02, DEVIATION, needed, sign) >= 0.8 > probability(0.02, DEVIATION, needed - 1, sign)
    assert advice(only(asked(expecting(0.2)), EARLIER)) == "enough (3 seeds would do)"


def test_beyond_100_seeds_the_difference_that_they_show_is_named() -> None:
    found = only(asked(expecting(0.002)), EARLIER)
    assert advice(found).startswith(
        "no practical number of seeds decides it: 100 have 80 % power to detect 0.52 points"
    )
    smallest = float(advice(found).removesuffix(" points").rpartition(" ")[2]) / 100
    assert probability(smallest, DEVIATION, 100, Asked("higher", 0, 0.05)) == pytest.approx(0.8, abs=0.05)
    equal = only(asked({"direction": "equal", "margin": 0.001}), EARLIER)
    assert advice(equal) == "no practical number of seeds decides it: the spread is too large for ±0.1 points"


def test_without_an_expectation_the_difference_that_could_be_seen_is_said() -> None:
    found = only(asked({"margin": 0.01}), EARLIER)
    assert found.power is None
    smallest = float(advice(found).removesuffix(" points").rpartition(" ")[2]) / 100
    assert probability(smallest, DEVIATION, 5, Asked("higher", 0.01, 0.05)) == pytest.approx(0.8, abs=0.05)
    assert advice(only(asked({"direction": "lower"}, seeds=1), EARLIER)) == (
        "no power: there is no verdict from fewer than 3 seeds"
    )


def test_no_spread_is_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spreads, "measured", lambda: ())
    found = only(asked(expecting(0.04)))
    assert (found.noise, found.power) == (None, None)
    assert advice(found) == "no power: the spread of this measure is not known; a first run of a few seeds measures it"
    assert cells(found)[3:5] == ["unknown", "–"]


def test_a_spread_from_elsewhere_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = spreads.SpreadRow("digits", "resnet8", "bce_unified", "softmax", "uniform_accuracy", "", 0.01, 5, "x")
    monkeypatch.setattr(spreads, "measured", lambda: (measured, measured._replace(backbone="resnet20", deviation=0.03)))
    here = only(asked())
    elsewhere = only(asked(datasets=["cifar10"]))
    assert here.noise is not None
    assert elsewhere.noise is not None
    assert here.noise[::2] == ((0.01,), "measured in such a setting")
    assert elsewhere.noise[::2] == ((0.02,), "measured in 2 other settings, assumed")
    contrast = only(asked({"than": {"backbone": "resnet20"}, "where": {"backbone": "resnet8"}}, backbones=2))
    assert contrast.noise is not None
    assert contrast.noise.deviations == pytest.approx([math.hypot(0.01, 0.03)])
    value = {"id": "a", "metric": "uniform_accuracy", "challenger": "bce_unified", "within": 1}
    assert only(asked(claims=[value])).noise is None


@pytest.mark.parametrize("case", power.CASES, ids=lambda case: case.name)
def test_a_claim_is_supported_as_often_as_plan_says_if_what_it_was_told_is_true(case: power.Case) -> None:
    rng = np.random.default_rng(1)
    runs = 200
    promised = power.said(rng, case, earlier=3_000)
    assert 0.2 < promised < 0.98  # a claim that is always or never supported would show nothing
    error = math.sqrt(promised * (1 - promised) / runs)
    assert power.supported(rng, case, runs) == pytest.approx(promised, abs=3 * error + 0.02)


def test_the_correlation_of_settings_is_measured() -> None:
    (case,) = [case for case in power.CASES if case.name == "all of three settings"]
    earlier = [
        row for found in power.rows(power.drawn(np.random.default_rng(0), case, 2_000), None).values() for row in found
    ]
    noise = only(power.experiment_of(case), earlier).noise
    assert noise is not None
    assert noise.correlation == pytest.approx(power.CORRELATION, abs=0.05)


def test_a_population_needs_more_data_sets_and_not_more_seeds() -> None:
    datasets = ["digits", "mnist", "fashion_mnist", "cifar10", "cifar100"]
    found = only(asked(expecting(0.05, over="mean", population=True), datasets=datasets), EARLIER)
    assert found.power is None
    assert "more of them, not more seeds, would help" in advice(found)


def test_the_power_for_a_population_is_that_of_its_data_sets() -> None:
    datasets = ["digits", "mnist", "fashion_mnist", "cifar10", "cifar100"]
    effects = [0.01, 0.08, 0.05, 0.06, 0.02]
    earlier = [
        {**row, "dataset": dataset}
        for dataset, effect in zip(datasets, effects, strict=True)
        for row in rows({"resnet8": [effect - 0.01, effect + 0.01]})
    ]
    found = only(asked(expecting(0.05, over="mean", population=True), datasets=datasets), earlier)
    deviation = float(np.std(effects, ddof=1))
    assert found.noise is not None
    assert found.noise.deviations == pytest.approx([deviation])
    assert found.power == pytest.approx(probability(0.05, deviation, 5, Asked("higher", 0, 0.05)))
    assert advice(found).endswith(" data sets would do)") or advice(found).endswith(" data sets")


def test_sequential_seeds_have_half_of_alpha_at_the_last_look() -> None:
    found = only(asked(expecting(0.02), seeds={"min": 5, "max": 12, "until": "decided"}), EARLIER)
    assert found.power == pytest.approx(probability(0.02, DEVIATION, 12, Asked("higher", 0, 0.025)))


@pytest.mark.parametrize(("seeds", "said"), [(5, True), (6, False)])
def test_a_sign_flip_test_that_cannot_succeed_is_named(seeds: int, said: bool) -> None:
    assert any("cannot reach a p below 0.0625" in sentence for sentence in caution(asked(seeds=seeds))) == said


LOSSES = ["softmax", "bce_unified", "bce", "focal", "hinge", "poly1"]
SIX = ["digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "svhn"]


def test_six_data_sets_cannot_show_one_of_five_losses_better_by_ranks() -> None:
    found = list(caution(asked(seeds=20, datasets=SIX, losses=LOSSES)))
    assert any("across 6 data sets a signed-rank test cannot reach a p below 0.0312" in sentence for sentence in found)


def test_nothing_can_be_said_of_other_data_sets_below_five_however_many_settings_there_are() -> None:
    """Or backbones, and entries with the same images, would count as data sets."""
    tail = {"name": "cifar10", "as": "tail", "imbalance": 10}
    for datasets, k in ((SIX[:4], 4), (["digits"], 1), ([*SIX[:4], tail], 4)):
        found = list(caution(asked(seeds=20, backbones=6, datasets=datasets, losses=LOSSES)))
        assert f"nothing can be said of other data sets: that takes 5, and this grid has {k}" in found
        assert not any("signed-rank" in sentence for sentence in found)


def test_secondary_claims_are_no_part_of_what_primary_ones_need() -> None:
    claims = [{"family": "secondary"}] * 9
    assert list(caution(asked({}, *claims, seeds=6))) == list(caution(asked(seeds=6)))


def test_the_committed_spreads_are_read_and_say_where_they_are_from() -> None:
    found = spreads.measured()
    assert found
    assert all(row.deviation > 0 and row.pairs > 1 and row.source for row in found)


def test_more_seeds_than_planned_are_a_new_look_once_results_are_there() -> None:
    fresh = advice(only(asked(expecting(0.01), seeds=3)))
    assert re.fullmatch(r"\d+ seeds", fresh)
    begun = advice(only(asked(expecting(0.02)), EARLIER))
    assert re.fullmatch(r"\d+ seeds \(more than planned: a new look, exploratory\)", begun)
