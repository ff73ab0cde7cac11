"""Whether the cells of a plan can be trained on their data, as far as labels tell: asked before anything starts."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from orchestrator.errors import RequestError
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Cell, Plan
from orchestrator.experiment.questions import Key, parts
from trainers.datasets import Dataset, Labels, MissingDataError, UnusableDataError
from trainers.division import faults, no_validation, rows
from trainers.losses import BiasedLoss, Loss, prior
from trainers.metrics import NEEDED, ON_VALIDATION
from trainers.plugin import Plugin

Counted = Callable[[Dataset], Labels | None]
"""The labels of a dataset; None where they cannot be had here.

Raises:
    UnusableDataError: The files make no dataset.
"""


def labels_here(data_dir: Path) -> Counted:
    """Labels of datasets whose files are here and which tell them without reading an image."""
    known: dict[Plugin, Labels | None] = {}

    def counted(dataset: Dataset) -> Labels | None:
        if dataset not in known:
            known[dataset] = look(dataset)
        return known[dataset]

    def look(dataset: Dataset) -> Labels | None:
        try:
            return dataset.labels(data_dir)
        except UnusableDataError:
            raise
        except (MissingDataError, NotImplementedError):
            return None
        except (OSError, ValueError) as error:
            raise UnusableDataError(f"The data of '{dataset.key}' cannot be used: {error}.") from None

    return counted


def check(plan: Plan, counted: Counted) -> None:
    """Refuse what cannot be trained.

    Args:
        plan: The cells that are left to run.
        counted: Gives the labels of a dataset.

    Raises:
        RequestError: With all problems of all cells.
    """
    if found := problems(plan, counted):
        raise RequestError("\n".join(found))


def problems(plan: Plan, counted: Counted) -> list[str]:
    """Why cells of a plan cannot be trained, a sentence each and each once."""
    found: dict[str, None] = {}
    claimed = _claimed(plan.experiment)
    for cell in _kinds(plan.cells):
        dataset = cell.recipe.dataset.model_copy(update={"shift": None})
        try:
            labels = counted(dataset)  # pyright: ignore[reportArgumentType]  # it hashes
        except UnusableDataError as error:
            found[str(error)] = None
            continue
        sentences = [] if labels is None else list(faults(labels, cell.recipe))
        if not sentences and (need := _need(plan, cell, claimed)):
            sentences = list(no_validation(labels, cell.recipe, need))
        if labels is not None and cell.trial is None and not sentences:
            sentences = list(_too_few(labels, cell, claimed))
        found |= dict.fromkeys(f"{cell.dataset}: {sentence}." for sentence in sentences)
    return list(found)


STEEPEST = 20
"""Classes that may push a score down for each that pushes it up, at a first step that is not worth a warning.

Measured with resnet8 on drawn images, learning rate 0.1: at 30 BCE learns and hinge does not, at 60 BCE learns slowly,
at 300 its features end at 0.
"""


def cautions(plan: Plan, counted: Counted) -> list[str]:
    """Where a loss starts from a bias that does not fit the number of classes, a sentence each and each once."""
    found: dict[str, None] = {}
    for cell in _kinds(plan.cells):
        loss = cell.recipe.loss
        classes = _classes(cell.recipe.dataset, counted)
        if not loss.one_vs_rest or classes < 2:  # noqa: PLR2004 - no start is wrong, or nothing is known
            continue
        start = loss.initial_bias(classes)
        fitting = prior(classes)
        if (ratio := math.exp(fitting - start)) > STEEPEST:
            what = f"{cell.loss} starts from a bias of {start:g}, and {cell.dataset} has {classes} classes"
            harm = f"{ratio:.0f} times as much pushes a score down as up, which can end with all features 0"
            found[f"{what}: at the first step {harm}. {_remedy(loss)}"] = None
    return list(found)


def _classes(dataset: Dataset, counted: Counted) -> int:
    """How many known classes a dataset has; 0 where that is not known."""
    try:
        labels = counted(dataset.model_copy(update={"shift": None}))
    except UnusableDataError:  # which `problems` says
        return 0
    every = dataset.classes if labels is None else labels.classes
    return max(0, every - len(set(dataset.hold_out)))


def _remedy(loss: Loss) -> str:
    if isinstance(loss, BiasedLoss):
        return "'bias_init: prior' is log(K - 1), which fits."
    return "The default bias of bce_fixed and bce_unified is log(K - 1), which fits."


def _kinds(cells: Sequence[Cell]) -> Iterator[Cell]:
    """One cell of each kind for which the answer may differ; seeds and backbones change none."""
    seen: set[tuple[object, ...]] = set()
    for cell in cells:
        training = cell.recipe.training
        loss = cell.recipe.loss
        sizes = training.batch_size, training.validation_fraction
        # By its identity, because a million cells share few datasets, and comparing those takes long.
        kind = id(cell.recipe.dataset), *sizes, cell.recipe.scored_on, loss.decide_by, cell.loss, cell.backbone
        if kind not in seen:
            seen.add(kind)
            yield cell


Claimed = Mapping[Key, Mapping[str, str]]
"""The measures that claims are about, of each dataset, backbone and loss, each with the first claim about it."""


def _claimed(experiment: Experiment) -> Claimed:
    found: defaultdict[Key, dict[str, str]] = defaultdict(dict)
    for claim in experiment.claims:
        for question in (question for part in parts(claim, experiment) for question in part.questions):
            for key, metrics in question.measures.items():
                for metric in metrics:
                    found[key].setdefault(metric, claim.id)
    return found


def _too_few(labels: Labels, cell: Cell, claimed: Claimed) -> Iterator[str]:
    """That claims are about a rate of errors at which so few test images allow none."""
    test = len(rows(labels, cell.recipe).test)
    for metric, claim in claimed.get((cell.dataset, cell.backbone, cell.loss), {}).items():
        if metric.startswith("true_accept_rate") and test < NEEDED[metric]:
            yield (
                f"claim '{claim}' is about {metric}, which needs {NEEDED[metric]:,} test images of known classes; "
                f"there are {test:,}"
            )


def _need(plan: Plan, cell: Cell, claimed: Claimed) -> str | None:
    """What of the experiment needs validation images of a cell, beside its own loss."""
    experiment = plan.experiment
    if cell.trial is not None:
        return None
    for metric, claim in claimed.get((cell.dataset, cell.backbone, cell.loss), {}).items():
        if metric in ON_VALIDATION:
            return f"claim '{claim}' is about {metric}"
    if experiment.threshold == "validation":
        return "the threshold is chosen on it ('threshold: bias' or 'threshold: test' would not be)"
    return None
