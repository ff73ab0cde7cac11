"""Finished experiments, written down rather than trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from orchestrator.experiment import Experiment, own_space
from orchestrator.plan import Cell, Plan, plan
from orchestrator.records.evaluations import Evaluations
from orchestrator.records.results import aggregate
from orchestrator.report.comparison import Comparison, compare
from orchestrator.trials import WORST, Competitor, Tried, Tuned, points
from trainers.evaluation import Evaluation
from trainers.metrics import Observed, measure

if TYPE_CHECKING:
    from pathlib import Path

SAMPLES = 120

Score = Callable[[str, Mapping[str, Any]], float | None]
"""Of a trial, by its loss and its values; None where it diverged."""


class Done(NamedTuple):
    """What a report is made from."""

    comparison: Comparison
    rows: list[dict[str, Any]]
    evaluations: Evaluations
    plan: Plan


def scored(seed: int, shift: float, classes: int = 10, samples: int = SAMPLES) -> Evaluation:
    """Scores of a fair model: own classes score 4 more than rivals, more or less."""
    draw = np.random.default_rng(seed)
    rival = draw.normal(shift, 1.5, samples).astype(np.float32)
    positive = (rival + draw.normal(4, 2, samples)).astype(np.float32)
    label = np.random.default_rng(0).integers(0, classes, samples).astype(np.int32)  # those of the data
    top = np.maximum(positive, rival)
    prediction = np.where(positive > rival, label, (label + 1) % classes).astype(np.int32)
    return Evaluation(np.arange(samples, dtype=np.int32), label, prediction, positive, rival, top, top)


@pytest.fixture
def done(tmp_path: Path, an_account: Callable[..., Any]) -> Callable[..., Done]:
    """Carry out an experiment in a moment; cells may be left out, diverge or collapse."""

    def carry_out(
        experiment: dict[str, Any] | Experiment,
        missing: Callable[[Cell], bool] = lambda cell: False,
        diverged: Callable[[Cell], bool] = lambda cell: False,
        collapsed: Callable[[Cell], bool] = lambda cell: False,
        **provenance: Any,
    ) -> Done:
        asked = experiment if isinstance(experiment, Experiment) else Experiment.model_validate(experiment)
        planned = plan(asked)
        evaluations = Evaluations(tmp_path / "evaluations")
        losses = [choice.label for choice in asked.losses]
        for cell in planned.cells:
            if missing(cell):
                continue
            if diverged(cell):
                lost = an_account(cell, state="diverged", samples=0, metrics={}, provenance=provenance)
                evaluations.publish(cell.recipe, lost, None)
                continue
            evaluation = scored(cell.seed, losses.index(cell.loss))
            bias = [losses.index(cell.loss) + 2.0] if cell.recipe.loss.key == "bce_unified" else []
            account = an_account(
                cell,
                state="collapsed" if collapsed(cell) else "finished",
                collapse="all the same" if collapsed(cell) else None,
                samples=SAMPLES,
                metrics=measure(Observed(evaluation, bias, bias)),
                learned_bias=bias,
                bias=bias,
                provenance=provenance,
            )
            evaluations.publish(cell.recipe, account, evaluation)
        rows = aggregate(planned, evaluations).rows()
        return Done(compare(asked, rows), rows, evaluations, planned)

    return carry_out


@pytest.fixture
def small() -> dict[str, Any]:
    """Two losses in two settings, three seeds, one claim."""
    return {
        "name": "small",
        "question": "Is one better?",
        "losses": ["softmax", "bce_unified"],
        "backbones": ["resnet8", "resnet20"],
        "datasets": ["digits"],
        "seeds": 3,
        "baseline": "softmax",
        "claims": [
            {
                "id": "better",
                "metric": "uniform_accuracy",
                "challenger": "bce_unified",
                "baseline": "softmax",
                "direction": "higher",
                "margin": 0.002,
            }
        ],
    }


@pytest.fixture
def tuned_by() -> Callable[[Experiment, Score], tuple[Tuned, ...]]:
    """The tuning stage of an experiment, of trials drawn at random, were these its scores."""
    return _tuned_by


def _alike(value: float | None, seeds: int) -> tuple[float, ...]:
    return (WORST if value is None else value,) * seeds


def _tuned_by(experiment: Experiment, score: Score) -> tuple[Tuned, ...]:
    tuning = experiment.tuning
    assert tuning is not None

    def one(*labels: str) -> Tuned:
        space = own_space(experiment.loss(labels[0]), tuning)
        epochs = experiment.settled(*labels).training.epochs
        found = [(values, score(labels[0], values)) for values in points(space, tuning)]
        tried = tuple(
            Tried(number, values, epochs, WORST if value is None else value, _alike(value, len(tuning.seeds)))
            for number, (values, value) in enumerate(found)
        )
        return Tuned(Competitor(*labels), space, tried, max(tried, key=lambda each: each.score))

    return tuple(
        one(loss.label, backbone.label, dataset.label)
        for dataset in experiment.datasets
        for backbone in experiment.backbones
        for loss in experiment.losses
    )
