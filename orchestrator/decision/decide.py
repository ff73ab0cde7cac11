"""The model and threshold to deploy, from the files of an experiment's cells."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from orchestrator.decision.guideline import Guideline, broken, other_seeds, tail
from orchestrator.decision.per_class import OneOrEach, calibrated, calibration_gain, one_or_each
from orchestrator.decision.promise import Promise, promise
from orchestrator.errors import DamagedFileError, RequestError
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.operation import Operation
from orchestrator.experiment.plan import Cell, Plan
from orchestrator.outcome import has_figures
from orchestrator.records.files.cell_file import partition
from orchestrator.records.files.class_names import called
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.splits import shared
from orchestrator.sentences import counted
from orchestrator.statistics.intervals import Interval
from orchestrator.thresholds.choice import ChosenThreshold, choose
from orchestrator.thresholds.consequences import Use
from orchestrator.thresholds.reading import samples_of
from trainers.evaluation import Evaluation


class Candidate(NamedTuple):
    """A trained model, and what its validation images advise."""

    cell: Cell
    choice: ChosenThreshold


class Deployable(NamedTuple):
    """A model at a threshold, and what is promised about it."""

    cell: Cell
    validation_cost: float
    """The expected cost per unit on validation images, by which it was chosen."""
    promise: Promise


class Decision(NamedTuple):
    """What to deploy."""

    operation: Operation
    dataset: str
    deployed: Deployable
    baseline: Deployable | None
    """The best model of the baseline loss at its own threshold; None if it is the one to deploy, or there is none."""
    candidates: int
    """Models among which validation images chose."""
    looked: int
    """Models whose results on the promised images may have guided a choice; 1 if there were none. The error is divided
    by it."""
    classes: tuple[str, ...]
    """Their names."""
    one_or_each: OneOrEach | None
    """Whether one threshold is enough for the deployed model; None if that cannot be asked."""
    calibration: Interval | None
    """What one threshold on calibrated probabilities would gain in accuracy; None if there are none."""
    guideline: Guideline
    """What may move the threshold."""
    is_grouped: bool
    """Whether several test images may be one unit, such as those of one part."""
    left_out: tuple[str, ...]
    """Why some finished models could not be considered."""


def decide(plan: Plan, evaluations: Evaluations, finished: Collection[str], *, by_hand: Plan | None = None) -> Decision:
    """Choose on validation images, then open the test images of that model once.

    Args:
        plan: The cells of the experiment.
        evaluations: Their files.
        finished: The ids of cells with results.
        by_hand: The part of the plan among which a person chose; that person may have seen test results.

    Raises:
        RequestError: The experiment describes no operation, or nothing can be decided.
    """
    asked = plan.experiment
    operation = _operation(asked)
    dataset = _dataset(asked, operation)
    here = [cell for cell in plan.cells if cell.dataset == dataset and cell.id in finished]
    if not here:
        raise RequestError(f"No cell of '{asked.name}' on {dataset} is done: launch it first.")
    classes = called(evaluations.content(here[0]))
    use = _use(operation, classes)
    found, left_out = _candidates(here, evaluations, use)
    chosen_from = {cell.id for cell in (by_hand or plan).cells}
    mine = [candidate for candidate in found if candidate.cell.id in chosen_from]
    if not mine:
        nothing = (
            f"No model of '{asked.name}' can be deployed on {dataset}: none is finished and has validation images."
        )
        raise RequestError("\n".join([nothing, *left_out]))
    best = min(mine, key=_rank)
    looked = len(here) if by_hand else 1
    if best.cell.recipe.certify:
        looked = _opened(best.cell, plan, evaluations)
    is_baseline = best.cell.loss == asked.baseline
    rivals = [] if is_baseline else [candidate for candidate in found if candidate.cell.loss == asked.baseline]
    one_or_each, calibration = _compared(best.cell, evaluations, len(classes))
    return Decision(
        operation=operation,
        dataset=dataset,
        deployed=_deployable(best, evaluations, use, looked),
        baseline=_deployable(min(rivals, key=_rank), evaluations, use, 1) if rivals else None,
        candidates=len(mine),
        looked=looked,
        classes=tuple(classes),
        one_or_each=one_or_each,
        calibration=calibration,
        guideline=_guideline(best, found, evaluations, use),
        is_grouped=promised_rows(best.cell, evaluations).group is not None,
        left_out=tuple(left_out),
    )


def _operation(asked: Experiment) -> Operation:
    if asked.operation is None:
        raise RequestError(
            f"Experiment '{asked.name}' does not say how a model would be used. Add 'operation:' to its file; "
            "docs/howto/decide.md explains what belongs there."
        )
    return asked.operation


def _deployable(candidate: Candidate, evaluations: Evaluations, use: Use, looked: int) -> Deployable:
    """A model at its threshold, with what is promised after a look at the test results of `looked` models."""
    kept = promise(samples_of(promised_rows(candidate.cell, evaluations)), use, candidate.choice, looked)
    return Deployable(candidate.cell, candidate.choice.cost, kept)


def _guideline(best: Candidate, found: Sequence[Candidate], evaluations: Evaluations, use: Use) -> Guideline:
    """What may move the threshold of the best model: shift, rare classes, another seed."""
    validation = evaluations.validation(best.cell)
    test = samples_of(evaluations.evaluation(best.cell, scores=False))
    own = best.choice.threshold
    others = [
        other.choice.threshold
        for other in found
        if (other.cell.loss, other.cell.backbone) == (best.cell.loss, best.cell.backbone) and other is not best
    ]
    shift = broken(evaluations.content(best.cell))
    if validation is None:
        return Guideline(shift, None, None)
    seen = samples_of(validation)
    return Guideline(shift, tail(seen, test, own, use.classes), other_seeds(seen, use, own, others))


def promised_rows(cell: Cell, evaluations: Evaluations) -> Evaluation:
    """The rows of the test images that a promise is about: those kept apart, or all of them where none are."""
    apart = evaluations.certification(cell)
    return evaluations.evaluation(cell, scores=False) if apart is None else apart


def _use(operation: Operation, classes: Sequence[str]) -> Use:
    try:
        return Use.of(operation, classes)
    except ValueError as error:
        raise RequestError(str(error)) from None


def _opened(cell: Cell, plan: Plan, evaluations: Evaluations) -> int:
    """How many models were looked at on the images that are kept apart, now that they are opened; at least this one."""
    _refuse_unfinished(plan, cell.dataset, evaluations)
    return max(1, _shown_elsewhere(cell, evaluations))


def _refuse_unfinished(plan: Plan, dataset: str, evaluations: Evaluations) -> None:
    """What is kept apart is opened once, after the last cell: whoever trains more afterwards has seen it."""
    ended = evaluations.ids()
    if left := sum(cell.dataset == dataset and cell.id not in ended for cell in plan.cells):
        waiting = f"{counted(left, 'cell')} of '{plan.experiment.name}' on {dataset} {'is' if left == 1 else 'are'}"
        raise RequestError(
            f"{waiting} not done. The test images that are kept apart ('certify') are opened once, after the last "
            "cell: launch the rest, or take it out of the file."
        )


def _shown_elsewhere(cell: Cell, evaluations: Evaluations) -> int:
    """How many models have figures of images that are kept apart here: those with another share kept apart, or none."""
    recipe = cell.recipe.model_dump(mode="json")
    share = recipe.pop("certify")
    same = shared(recipe)
    folder = f"{partition(cell.recipe.dataset.key)}/"
    names = [name for name in evaluations.names() if name.startswith(folder)]
    found = (footer.content for _, footer in evaluations.footers(names))
    others = (dict(content["recipe"]) for content in found if has_figures(content["state"]))
    return sum(other.pop("certify", 0.0) != share and shared(other) == same for other in others)


def _compared(cell: Cell, evaluations: Evaluations, classes: int) -> tuple[OneOrEach | None, Interval | None]:
    """Whether one threshold is enough for a model, and what calibration gains."""
    splits = evaluations.validation(cell), evaluations.evaluation(cell, scores=False)
    validation, test = (samples_of(rows) for rows in splits if rows is not None)
    temperature = evaluations.content(cell)["metrics"].get("temperature")
    gain = None
    if cell.recipe.loss.decide_by == "raw" and temperature:
        both = [calibrated(rows, temperature) for rows in splits if rows is not None]
        if both[0] is not None and both[1] is not None:
            gain = calibration_gain((validation, test), (both[0], both[1]))
    return one_or_each(validation, test, classes), gain


def _dataset(asked: Experiment, operation: Operation) -> str:
    labels = [choice.label for choice in asked.datasets]
    if operation.dataset is not None:
        return operation.dataset
    if len(labels) > 1:
        raise RequestError(
            f"'operation' of '{asked.name}' has to say which data set stands for production: add "
            f"'dataset:' with one of {', '.join(labels)}."
        )
    return labels[0]


def _candidates(cells: Sequence[Cell], evaluations: Evaluations, use: Use) -> tuple[list[Candidate], list[str]]:
    """The models that can be deployed, and why others are left out."""
    found: list[Candidate] = []
    left_out: list[str] = []
    for cell in cells:
        try:
            validation = evaluations.validation(cell)
        except (FileNotFoundError, DamagedFileError) as error:
            left_out.append(f"{cell.name} is left out: {error}")
            continue
        if validation is None:
            left_out.append(f"{cell.name} is left out: it has no validation images to choose a threshold on.")
        elif validation.runner_up_score is None:
            left_out.append(f"{cell.name} is left out: an earlier version did not keep the second highest scores.")
        elif (choice := choose(samples_of(validation), use)) is None:
            left_out.append(f"{cell.name} is left out: its validation scores are not finite.")
        else:
            found.append(Candidate(cell, choice))
    return found, left_out


def _rank(candidate: Candidate) -> tuple[bool, float, float, str]:
    """Models of equal rank are ordered by their ids, so that the choice does not depend on their order."""
    return (*candidate.choice.rank, candidate.cell.id)
