"""What a plan says of the grid's chances, against the functions it rests on and against published limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from orchestrator.experiment import Experiment
from orchestrator.report.prospects import ASSUMED, sentences
from orchestrator.statistics import power


def asked(seeds: int = 5, backbones: int = 1, **fields: Any) -> Experiment:
    claim = {"id": "better", "metric": "uniform_accuracy", "challenger": "bce_unified", "baseline": "softmax"}
    document = {
        "name": "x",
        "losses": ["softmax", "bce_unified"],
        "backbones": ["resnet8", "resnet20", "resnet18", "resnet50", "vgg11_small", "vit_mini"][:backbones],
        "datasets": ["digits"],
        "seeds": seeds,
        "baseline": "softmax",
        "claims": [{**claim, "direction": "higher"}],
    }
    return Experiment.model_validate({**document, **fields})


def rows(values: dict[str, list[float]]) -> list[dict[str, Any]]:
    return [
        {
            "dataset": "digits",
            "backbone": "resnet8",
            "loss": loss,
            "seed": seed,
            "state": "finished",
            "uniform_accuracy": value,
        }
        for loss, found in values.items()
        for seed, value in enumerate(found)
    ]


def test_before_any_cell_the_assumption_is_said() -> None:
    (sentence, *_) = sentences(asked(), [])
    smallest = power.minimum_detectable_difference(ASSUMED, 5)
    basis = f"assuming a spread of {ASSUMED:g} between seeds"
    assert sentence == f"better: 5 seeds find a difference of {smallest:.4f} 4 times in 5 ({basis})"


def test_earlier_cells_tell_the_spread() -> None:
    earlier = rows({"softmax": [0.5, 0.6, 0.7], "bce_unified": [0.6, 0.8, 0.75]})
    deviation = float(np.std([0.1, 0.2, 0.05], ddof=1))
    (sentence, *_) = sentences(asked(), earlier)
    assert f"a difference of {power.minimum_detectable_difference(deviation, 5):.4f} " in sentence
    assert sentence.endswith("(from 3 earlier pairs)")


def test_one_seed_shows_nothing() -> None:
    (sentence,) = sentences(asked(seeds=1), [])
    assert sentence == "better: one seed shows no difference at all, whatever its size"


@pytest.mark.parametrize(("seeds", "said"), [(5, True), (6, False)])
def test_a_sign_flip_test_that_cannot_succeed_is_named(seeds: int, said: bool) -> None:
    assert any("cannot go under p = 0.0625" in sentence for sentence in sentences(asked(seeds=seeds), [])) == said


def test_six_settings_cannot_show_one_of_five_losses_better_by_ranks() -> None:
    losses = ["softmax", "bce_unified", "bce", "focal", "hinge", "poly1"]
    found = list(sentences(asked(seeds=20, backbones=6, losses=losses), []))
    assert any("a signed-rank test cannot go under p = 0.0312" in sentence for sentence in found)
