"""What claims ask: which differences, in which settings, with which factors."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.experiment.model import Experiment
from orchestrator.experiment.questions import parts

CLAIM = {"id": "c", "metric": "uniform_accuracy", "challenger": "bce_unified", "baseline": "softmax"}


def asked(*claims: dict[str, Any], datasets: list[Any] | None = None, **fields: Any) -> Experiment:
    document = {
        "name": "x",
        "losses": ["softmax", "bce_unified", {"name": "softmax", "as": "mixed", "scores": {"scale": 2}}],
        "backbones": ["resnet8", "resnet20"],
        "datasets": datasets or ["digits", "cifar10", "cifar100"],
        "baseline": "softmax",
        "claims": [{**CLAIM, "direction": "higher", **claim} for claim in claims],
    }
    return Experiment.model_validate({**document, **fields})


def terms(experiment: Experiment) -> list[tuple[str, list[tuple[float, str, str, str, str]]]]:
    """The parts of the only claim: names, and factor, dataset, backbone, challenger and measure of each question."""
    (claim,) = experiment.claims
    return [
        (
            part.name,
            [
                (factor, asked.dataset, asked.backbone, asked.claim.challenger, asked.claim.metric)
                for asked, factor in zip(part.questions, part.factors, strict=True)
            ],
        )
        for part in parts(claim, experiment)
    ]


def test_without_a_contrast_every_setting_is_a_part() -> None:
    found = terms(asked({"over": "all", "where": {"backbone": "resnet8"}}))
    assert found == [
        (f"resnet8 on {dataset}", [(1.0, dataset, "resnet8", "bce_unified", "uniform_accuracy")])
        for dataset in ("digits", "cifar10", "cifar100")
    ]


def test_than_another_data_set_pairs_the_settings_of_a_backbone() -> None:
    found = terms(asked({"where": {"dataset": "cifar100"}, "than": {"dataset": "cifar10"}}))
    assert found == [
        (
            f"{backbone} on cifar100",
            [
                (1.0, "cifar100", backbone, "bce_unified", "uniform_accuracy"),
                (-1.0, "cifar10", backbone, "bce_unified", "uniform_accuracy"),
            ],
        )
        for backbone in ("resnet8", "resnet20")
    ]


def test_no_setting_is_compared_with_itself() -> None:
    found = terms(asked({"than": {"dataset": "cifar10"}, "where": {"backbone": "resnet8"}}))
    assert [name for name, _ in found] == ["resnet8 on digits", "resnet8 on cifar100"]


def test_than_other_losses_or_another_measure_stays_in_the_setting() -> None:
    where = {"dataset": "digits", "backbone": "resnet8"}
    ((_, found),) = terms(asked({"than": {"challenger": "mixed"}, "where": where}))
    assert found == [
        (1.0, "digits", "resnet8", "bce_unified", "uniform_accuracy"),
        (-1.0, "digits", "resnet8", "mixed", "uniform_accuracy"),
    ]
    ((_, found),) = terms(asked({"than": {"metric": "shift_uniform_accuracy"}, "where": where}))
    assert [metric for *_, metric in found] == ["uniform_accuracy", "shift_uniform_accuracy"]


def test_a_trend_over_data_sets_is_a_part_for_each_backbone() -> None:
    found = terms(asked({"trend": {"dataset": {"digits": 0, "cifar100": 2}}}))
    assert [name for name, _ in found] == ["resnet8", "resnet20"]
    assert [(factor, dataset) for factor, dataset, *_ in found[0][1]] == [(-0.5, "digits"), (0.5, "cifar100")]


def test_a_trend_over_backbones_is_a_part_for_each_data_set() -> None:
    found = terms(asked({"trend": {"backbone": {"resnet8": 8, "resnet20": 20}}, "where": {"dataset": "digits"}}))
    ((name, questions),) = found
    assert name == "digits"
    assert [(factor, backbone) for factor, _, backbone, *_ in questions] == [
        (pytest.approx(-1 / 12), "resnet8"),
        (pytest.approx(1 / 12), "resnet20"),
    ]


def test_a_trend_is_compared_with_the_same_of_another_effect() -> None:
    ((name, found),) = terms(
        asked(
            {
                "trend": {"dataset": {"digits": 0, "cifar100": 2}},
                "than": {"challenger": "mixed", "backbone": "resnet20"},
                "where": {"backbone": "resnet8"},
            }
        )
    )
    assert name == "resnet8"
    assert found == [
        (-0.5, "digits", "resnet8", "bce_unified", "uniform_accuracy"),
        (0.5, "cifar100", "resnet8", "bce_unified", "uniform_accuracy"),
        (0.5, "digits", "resnet20", "mixed", "uniform_accuracy"),
        (-0.5, "cifar100", "resnet20", "mixed", "uniform_accuracy"),
    ]


def test_no_trend_is_compared_with_itself() -> None:
    found = terms(asked({"trend": {"dataset": {"digits": 0, "cifar100": 2}}, "than": {"backbone": "resnet20"}}))
    assert [name for name, _ in found] == ["resnet8"]


def test_entries_with_the_same_images_are_one_data_set() -> None:
    tails = [{"name": "fashion_mnist", "as": f"if{factor}", "imbalance": factor} for factor in (10, 50)]
    experiment = asked({"where": {"backbone": "resnet8"}}, datasets=[*tails, "digits"])
    (claim,) = experiment.claims
    assert [part.dataset[0] for part in parts(claim, experiment)] == ["fashion_mnist", "fashion_mnist", "digits"]
