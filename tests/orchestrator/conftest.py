"""Small experiments and cells, written down rather than trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from orchestrator.adaptive.trials import WORST, Competitor, Tried, Tuned, points
from orchestrator.analysis.comparison import Comparison, compare
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import PROTOCOL, Cell, Plan, identity, plan
from orchestrator.experiment.resources import Resources
from orchestrator.experiment.tuning import own_space
from orchestrator.records.files.evaluations import Account, Evaluations
from orchestrator.records.files.results import aggregate
from trainers.evaluation import ALL, TOP, Evaluation
from trainers.metrics import STATED, Observed, from_rows, measure
from trainers.recipe import Recipe

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TINY = """\
name: tiny
losses: [softmax, bce_unified]
backbones: [resnet8]
datasets: [digits]
baseline: softmax
"""


@pytest.fixture
def tiny() -> str:
    """A right experiment of five lines; what a test appends stands on line 6."""
    return TINY


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str | bytes], Path]:
    """Write an experiment file."""

    def write(content: str | bytes) -> Path:
        path = tmp_path / "asked.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def a_cell() -> Callable[..., Cell]:
    """A cell by its axis values and training fields."""

    def make(
        loss: Any = "softmax", backbone: str = "resnet8", dataset: str = "digits", seed: int = 0, **training: Any
    ) -> Cell:
        fields = {"loss": loss, "backbone": backbone, "dataset": dataset, "seed": seed, "training": training}
        recipe = Recipe.model_validate(fields)
        name = loss if isinstance(loss, str) else loss["name"]
        return Cell(identity(recipe), name, backbone, dataset, seed, recipe, Resources())

    return make


@pytest.fixture
def an_account(drawn: Callable[..., Evaluation]) -> Callable[..., Account]:
    """The account of a cell that is said to be finished; its measures are those of its rows."""

    def make(
        cell: Cell, test: Evaluation | None = None, validation: Evaluation | None = None, **changes: Any
    ) -> Account:
        measures = from_rows(test or drawn(), validation, [], 0.5, decide_by=cell.recipe.loss.decide_by)
        fields: dict[str, Any] = {
            "cell_id": cell.id,
            "state": "finished",
            "recipe": cell.recipe.model_dump(mode="json"),
            "protocol": PROTOCOL,
            "samples": 50,
            "epochs": 3,
            "metrics": {**dict.fromkeys(STATED, 0.5), **measures, "learned_bias": None},
            "shifts": {},
            "learned_bias": [],
            "history": [{"train_loss": 1.5}, {"train_loss": 0.25}],
            "parameters": 1000,
            "train_seconds": 2.5,
            "images_per_second": 400.0,
            "started": 1_700_000_000.0,
            "seconds": 3.0,
            "mlflow_run_id": "run",
            "provenance": {"git_commit": "abc", "threads": 1, "devices": 1},
            "classes": 10,
            "scores": "all",
        }
        return Account(**{**fields, **changes})

    return make


def rows(scores: NDArray[np.float32], label: NDArray[np.int32]) -> Evaluation:
    """What an evaluation keeps of scores (n, K) and labels (n,), found by sorting."""
    each = np.arange(len(label))
    exact = scores.astype(np.float64)
    others = exact.copy()
    others[each, label] = -np.inf
    order = np.argsort(-exact, axis=1, kind="stable")
    rest = np.stack([np.delete(row, best) for row, best in zip(exact, order[:, 0], strict=True)])
    many = scores.shape[1] > ALL
    return Evaluation(
        sample=each.astype(np.int32),
        label=label.astype(np.int32),
        prediction=order[:, 0].astype(np.int32),
        positive=scores[each, label],
        rival=others.max(axis=1).astype(np.float32),
        logsumexp=np.logaddexp.reduce(exact, axis=1).astype(np.float32),
        logsumexp_tuned=np.logaddexp.reduce(exact / 2, axis=1).astype(np.float32),
        runner_up=order[:, 1].astype(np.int32),
        runner_up_score=scores[each, order[:, 1]],
        log_odds=exact[each, order[:, 0]] - np.logaddexp.reduce(rest, axis=1),
        scores=np.take_along_axis(scores, order[:, :TOP], axis=1) if many else scores,
        classes=order[:, :TOP].astype(np.int32) if many else None,
    )


@pytest.fixture
def drawn() -> Callable[..., Evaluation]:
    """What a model might say of some samples of some classes."""

    def draw(samples: int = 50, classes: int = 10, seed: int = 0, skill: float = 0.0) -> Evaluation:
        random = np.random.default_rng(seed)
        # Labels are those of the data, whatever the seed of the model.
        label = np.random.default_rng(0).integers(0, classes, samples).astype(np.int32)
        scores = random.normal(size=(samples, classes)).astype(np.float32)
        scores[np.arange(samples), label] += skill
        return rows(scores, label)

    return draw


@pytest.fixture
def evaluation(drawn: Callable[..., Evaluation]) -> Evaluation:
    """What a model might say of fifty samples."""
    return drawn()


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
