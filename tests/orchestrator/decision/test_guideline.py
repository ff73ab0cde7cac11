"""When a threshold does not hold: each rule tells what is too much from what is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from orchestrator.decision.guideline import Broken, broken, other_seeds, tail
from orchestrator.experiment.operation import Operation
from orchestrator.thresholds.consequences import Samples, Use

CLEAN = {"accuracy_at_validation_threshold": 0.9}


def under(**accuracies: float) -> dict[str, Any]:
    shifts = {
        name.replace("_at_", "-"): {"accuracy_at_validation_threshold": value} for name, value in accuracies.items()
    }
    return {"metrics": CLEAN, "shifts": shifts}


def test_the_corruption_that_breaks_at_the_lowest_severity_is_first_whatever_others_cost_later() -> None:
    seen = under(fog_at_1=0.86, fog_at_3=0.1, gaussian_noise_at_1=0.88, gaussian_noise_at_2=0.84, snow_at_2=0.849)
    assert broken(seen) == Broken("gaussian_noise", 2, 0.84, 0.9, 5)


def test_of_corruptions_of_one_severity_the_worst_is_named() -> None:
    found = broken(under(fog_at_1=0.7, snow_at_1=0.6, frost_at_1=0.89))
    assert found is not None
    assert (found.corruption, found.accuracy) == ("snow", 0.6)


def test_five_points_are_not_too_much() -> None:
    assert broken(under(fog_at_1=0.86, fog_at_5=0.8501)) == Broken(None, 0, 0.8501, 0.9, 2)


@pytest.mark.parametrize(
    "content",
    [
        {"metrics": CLEAN, "shifts": {}},
        {"metrics": CLEAN, "shifts": {"fog-1": {"accuracy_at_clean_threshold": 0.1}}},
        {"metrics": {"accuracy_at_validation_threshold": None}, "shifts": under(fog_at_1=0.2)["shifts"]},
    ],
)
def test_without_figures_at_the_threshold_of_validation_images_nothing_is_said(content: dict[str, Any]) -> None:
    assert broken(content) is None


def samples(label: list[int], right: list[bool]) -> Samples:
    """Right ones have their own class alone above 0, others have none."""
    own = np.array(label, np.int32)
    top = np.where(right, 1.0, -1.0)
    return Samples(own, own, top, top - 5, top, top - 5)


def validation(*counts: int) -> Samples:
    label = np.repeat(np.arange(len(counts)), counts).tolist()
    return samples(label, [True] * len(label))


def test_rare_classes_are_those_with_a_tenth_of_the_images_of_the_most_frequent() -> None:
    test = samples([0] * 50 + [1] * 50 + [2] * 50, [True] * 100 + [True] * 10 + [False] * 40)
    found = tail(validation(100, 11, 10), test, 0.0, 3)
    assert found is not None
    assert (found.classes, found.n) == ((2,), 50)
    assert (found.rare[0], found.rest[0]) == (0.2, 1.0)
    assert found.is_worse
    assert tail(validation(100, 11, 11), test, 0.0, 3) is None


def test_few_images_of_rare_classes_show_nothing() -> None:
    test = samples([0] * 50 + [2] * 3, [True] * 45 + [False] * 5 + [True, True, False])
    found = tail(validation(100, 50, 5), test, 0.0, 3)
    assert found is not None
    assert found.rare[0] < found.rest[0]
    assert not found.is_worse


def test_the_threshold_of_another_seed_matters_if_it_costs_more() -> None:
    scores = np.linspace(0.0, 1.0, 101)
    own = np.zeros(101, np.int32)
    seen = Samples(own, own, scores, scores - 5, scores, scores - 5)
    use = Use.of(Operation(), ["a", "b"])
    near = other_seeds(seen, use, 0.205, [0.195])
    assert near is not None
    assert (near.low, near.high, near.seeds) == (0.195, 0.205, 1)
    assert (near.own, near.worst) == (21 / 101, 21 / 101)  # each object whose own class is below is a false reject
    assert not near.matters
    far = other_seeds(seen, use, 0.205, [0.195, 0.235])
    assert far is not None
    assert far.worst == 24 / 101
    assert far.matters
    assert other_seeds(seen, use, 0.205, []) is None
