"""How many test images a promise can rest on, known from labels before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from orchestrator.errors import RequestError
from orchestrator.experiment.plan import Cell, Plan
from orchestrator.statistics.promises import units_needed
from orchestrator.thresholds.consequences import Samples, Use, consequences
from trainers.datasets import Dataset, Labels
from trainers.division import tested


class Evidence(NamedTuple):
    """What the test images can show of one rate with a limit."""

    name: str
    limit: float
    units: int
    """Images, or groups of images, in its denominator."""
    needed: int | None
    """How many it takes without an error; None where classes with shares of their own need some each."""
    suffices: bool
    """Whether the limit can be promised if none of them goes wrong."""
    by_class: bool
    """Whether classes are good or defects; otherwise objects state their class."""
    is_apart: bool
    """Whether these images are kept apart for the promise."""


def evidence(plan: Plan, labels_of: Callable[[Dataset], Labels | None]) -> list[Evidence]:
    """What the test images can show of each rate with a limit; empty where labels are not here, or nothing is limited.

    Args:
        plan: The cells of an experiment.
        labels_of: Returns the labels of a data set; None if they are not here.

    Raises:
        RequestError: The operation names a class that there is not.
    """
    operation = plan.experiment.operation
    datasets = {choice.label for choice in plan.experiment.datasets}
    if operation is None or (operation.dataset is None and len(datasets) > 1):
        return []
    mine = (cell for cell in plan.cells if operation.dataset in {None, cell.dataset} and cell.trial is None)
    if (cell := next(mine, None)) is None:
        return []
    labels = labels_of(cell.recipe.dataset.model_copy(update={"shift": None}))
    if labels is None:
        return []
    try:
        use = Use.of(operation, _names(labels, cell))
    except ValueError as error:
        raise RequestError(str(error)) from None
    return list(_evidence(_faultless(labels, cell), use, is_apart=bool(operation.certify)))


def _names(labels: Labels, cell: Cell) -> list[str]:
    """The classes that are not held out, as a cell's file would call them."""
    out = set(cell.recipe.dataset.hold_out)
    if labels.names:
        return [name for number, name in enumerate(labels.names) if number not in out]
    return [str(number) for number in range(labels.classes - len(out))]


def _faultless(labels: Labels, cell: Cell) -> Samples:
    """The test images that a promise is of, scored without an error at a threshold of 0."""
    shown, apart = tested(labels, cell.recipe)
    rows = apart if cell.recipe.certify else shown
    kept = np.setdiff1d(np.arange(labels.classes), cell.recipe.dataset.hold_out)
    own = np.searchsorted(kept, labels.test[rows]).astype(np.int32)
    high = np.ones(own.size)
    unit = None if labels.test_groups is None else labels.test_groups[rows]
    return Samples(own, own, high, -high, high, -high, unit)


def _evidence(samples: Samples, use: Use, *, is_apart: bool) -> Iterator[Evidence]:
    if not samples.label.size:
        return
    seen = consequences(samples, use, np.zeros(1))
    rates = [(name, limit, seen.rate(name, 0)) for name, limit in use.operation.limits.given.items()]
    found = [(name, limit, rate) for name, limit, rate in rates if rate is not None]
    for name, limit, rate in found:
        error = use.operation.error / len(found)
        needed = units_needed(limit, error) if len(rate.strata) == 1 else None
        suffices = rate.bound(error) <= limit
        yield Evidence(name, limit, rate.n, needed, suffices, use.good is not None, is_apart)
