"""Whether the cells of a plan can be trained on their data, judged from the labels before anything starts."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from orchestrator.errors import RequestError
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Cell, Plan
from orchestrator.experiment.questions import Key, parts
from orchestrator.provenance.scripts import faults as faults_of
from trainers.datasets import Dataset, Labels, MissingDataError, UnusableDataError
from trainers.division import faults, misfits, no_validation, rows
from trainers.losses import BiasedLoss, Loss, prior
from trainers.metrics import NEEDED, ON_VALIDATION
from trainers.plugin import Plugin

LabelSource = Callable[[Dataset], Labels | None]
"""Returns the labels of a dataset; None if they are not available here.

Raises:
    UnusableDataError: The files are not a valid dataset.
"""


def labels_here(data_dir: Path) -> LabelSource:
    """A function for the labels of datasets whose files are here, and which know them without loading all images."""
    known: dict[Plugin, Labels | None] = {}

    def labels_of(dataset: Dataset) -> Labels | None:
        if dataset not in known:
            known[dataset] = look(dataset)
        return known[dataset]

    def look(dataset: Dataset) -> Labels | None:
        try:
            return dataset.labels(data_dir)
        except UnusableDataError:
            raise
        except (MissingDataError, NotImplementedError, ModuleNotFoundError):  # the last in a light install
            return None
        except (OSError, ValueError) as error:
            raise UnusableDataError(f"The data of '{dataset.key}' cannot be used: {error}.") from None

    return labels_of


def check(plan: Plan, labels_of: LabelSource) -> None:
    """Refuse what cannot be trained.

    Args:
        plan: The cells that remain to be trained.
        labels_of: Returns the labels of a dataset.

    Raises:
        RequestError: Some cells cannot be trained; the message has every problem.
    """
    if found := problems(plan, labels_of):
        raise RequestError("\n".join(found))


def problems(plan: Plan, labels_of: LabelSource) -> list[str]:
    """Why cells of a plan cannot be trained: one sentence per problem, without repetitions."""
    trainer = plan.experiment.trainer
    wrong = faults_of(trainer) if trainer and plan.cells else ()
    found = {f"{trainer.line(place)}{sentence}" if trainer else sentence: None for place, sentence in wrong}
    claimed = _claimed(plan.experiment)
    for cell in _kinds(plan.cells):
        dataset = cell.recipe.dataset.model_copy(update={"shift": None})
        try:
            labels = labels_of(dataset)  # pyright: ignore[reportArgumentType]  # it hashes
            misfitting = list(_misfits(dataset, labels, labels_of))
        except UnusableDataError as error:
            found[str(error)] = None
            continue
        found |= dict.fromkeys(f"{cell.dataset}: {sentence}." for sentence in misfitting)
        sentences = [] if labels is None else list(faults(labels, cell.recipe))
        if not sentences and (need := _need(plan, cell, claimed)):
            sentences = list(no_validation(labels, cell.recipe, need))
        if labels is not None and cell.trial is None and not sentences:
            sentences = list(_too_few(labels, cell, claimed))
        found |= dict.fromkeys(f"{cell.dataset}: {sentence}." for sentence in sentences)
    return list(found)


def _misfits(dataset: Dataset, labels: Labels | None, labels_of: LabelSource) -> Iterator[str]:
    if dataset.unknowns is not None:
        yield from misfits(dataset, labels, labels_of(dataset.unknowns))


def unsuitable(dataset: Dataset, data_dir: Path) -> list[str]:
    """Why the samples of `unknowns` cannot count as unknown, in sentences, as far as labels that are here tell.

    Raises:
        UnusableDataError: Files are no valid dataset.
    """
    labels_of = labels_here(data_dir)
    return list(_misfits(dataset, labels_of(dataset), labels_of))


STEEPEST = 20
"""The largest ratio of downward to upward gradient on a score at the first step that causes no warning.

Measured with resnet8 on drawn images and a learning rate of 0.1: at 30, BCE learns and hinge does not; at 60, BCE
learns slowly; at 300, its features end at 0.
"""


def cautions(plan: Plan, labels_of: LabelSource) -> list[str]:
    """What may be wrong with images, and with losses whose initial bias does not fit the number of classes.

    One sentence each, without repetitions.
    """
    found = dict.fromkeys(
        f"{label}: {sentence}" for label, labels in _known(plan, labels_of) for sentence in labels.cautions
    )
    for cell in _kinds(plan.cells):
        loss = cell.recipe.loss
        classes = _classes(cell.recipe.dataset, labels_of)
        if not loss.one_vs_rest or classes < 2:  # noqa: PLR2004 - every bias fits, or the number of classes is unknown
            continue
        start = loss.initial_bias(classes)
        fitting = prior(classes)
        if (ratio := math.exp(fitting - start)) > STEEPEST:
            what = f"{cell.loss} starts from a bias of {start:g}, but {cell.dataset} has {classes} classes"
            harm = f"the gradient down is {ratio:.0f} times the gradient up, which can drive all features to 0"
            found[f"{what}: at the first step {harm}. {_remedy(loss)}"] = None
    return list(found)


def facts(plan: Plan, labels_of: LabelSource) -> list[str]:
    """What the images of the user's own data sets are like, a sentence per data set."""
    return [f"{label}: {'; '.join(labels.facts)}." for label, labels in _known(plan, labels_of) if labels.facts]


def absent(plan: Plan, data_dir: Path) -> Iterator[str]:
    """Where the user's own files were looked for that are not here, a sentence per data set; workers may have them."""
    datasets = {cell.dataset: cell.recipe.dataset for cell in plan.cells}
    for label, dataset in ((label, source) for label, each in datasets.items() for source in each.sources):
        if dataset.relative_to is None:
            continue
        try:
            dataset.find(data_dir)
        except UnusableDataError:  # `problems` reports it
            continue
        except MissingDataError as error:
            yield f"{label}: {error}"


def _known(plan: Plan, labels_of: LabelSource) -> Iterator[tuple[str, Labels]]:
    """The labels of each data set whose cells remain, by its label in the experiment."""
    waiting = {cell.dataset: cell.recipe.dataset for cell in plan.cells}
    for label, dataset in waiting.items():
        with suppress(UnusableDataError):  # `problems` reports it
            if labels := labels_of(dataset.model_copy(update={"shift": None})):
                yield label, labels


def _classes(dataset: Dataset, labels_of: LabelSource) -> int:
    """The number of known classes of a dataset; 0 if it cannot be determined."""
    try:
        labels = labels_of(dataset.model_copy(update={"shift": None}))
    except UnusableDataError:  # `problems` reports it
        return 0
    every = dataset.classes if labels is None else labels.classes
    return max(0, every - len(set(dataset.hold_out)))


def _remedy(loss: Loss) -> str:
    if isinstance(loss, BiasedLoss):
        return "Use 'bias_init: prior', which is log(K - 1)."
    return "Use the default bias of bce_fixed and bce_unified, which is log(K - 1)."


def _kinds(cells: Sequence[Cell]) -> Iterator[Cell]:
    """One cell of each kind for which the answer may differ; seeds make no difference."""
    seen: set[tuple[object, ...]] = set()
    for cell in cells:
        training = cell.recipe.training
        loss = cell.recipe.loss
        sizes = training.batch_size, training.validation_fraction
        # By object identity: a million cells share a few dataset objects, and comparing their values is slow.
        kind = id(cell.recipe.dataset), *sizes, cell.recipe.scored_on, loss.decide_by, cell.loss, cell.backbone
        if kind not in seen:
            seen.add(kind)
            yield cell


Claimed = Mapping[Key, Mapping[str, str]]
"""The measures that claims are about, by dataset, backbone and loss, each with the first claim about it."""


def _claimed(experiment: Experiment) -> Claimed:
    found: defaultdict[Key, dict[str, str]] = defaultdict(dict)
    for claim in experiment.claims:
        for question in (question for part in parts(claim, experiment) for question in part.questions):
            for key, metrics in question.measures.items():
                for metric in metrics:
                    found[key].setdefault(metric, claim.id)
    return found


def _too_few(labels: Labels, cell: Cell, claimed: Claimed) -> Iterator[str]:
    """Claims about an error rate so low that there are too few test images to measure it."""
    test = len(rows(labels, cell.recipe).test)
    for metric, claim in claimed.get((cell.dataset, cell.backbone, cell.loss), {}).items():
        if metric.startswith("true_accept_rate") and test < NEEDED[metric]:
            yield (
                f"claim '{claim}' is about {metric}, which needs {NEEDED[metric]:,} test images of known classes; "
                f"there are {test:,}"
            )


def _need(plan: Plan, cell: Cell, claimed: Claimed) -> str | None:
    """Why a cell needs validation images apart from its loss; None if it does not."""
    experiment = plan.experiment
    if cell.trial is not None:
        return None
    for metric, claim in claimed.get((cell.dataset, cell.backbone, cell.loss), {}).items():
        if metric in ON_VALIDATION:
            return f"claim '{claim}' is about {metric}"
    if experiment.threshold == "validation":
        return "the threshold is chosen on it (unlike with 'threshold: bias' or 'threshold: test')"
    return None
