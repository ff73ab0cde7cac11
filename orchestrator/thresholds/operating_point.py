"""A model's operating point: the threshold chosen on validation images, and what it does to the test images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orchestrator.experiment.operation import MEASURES, Operation
from orchestrator.thresholds.choice import choose
from orchestrator.thresholds.consequences import Consequences, Samples, Use, consequences
from orchestrator.thresholds.reading import samples_of
from trainers.evaluation import Evaluation


def measures(
    operation: Operation, classes: Sequence[str], validation: Evaluation | None, test: Evaluation
) -> dict[str, float | None]:
    """The measures of an operation for one model; None if one is undefined.

    Args:
        operation: How the model would be used.
        classes: The names of the classes.
        validation: The rows of the validation split; without them there is no threshold, and nothing is defined.
        test: The rows of the test split.

    Raises:
        ValueError: The operation names a class that there is not, or rows do not hold what it takes.
    """
    nothing: dict[str, float | None] = dict.fromkeys(MEASURES)
    use = Use.of(operation, classes)
    choice = None if validation is None else choose(samples_of(validation), use)
    if choice is None:
        return nothing
    seen = consequences(samples_of(test), use, np.array([choice.threshold]))
    return nothing | _values(seen) | {"operating_threshold": choice.threshold}


def measures_of_trial(operation: Operation, classes: Sequence[str], rows: Evaluation) -> dict[str, float | None]:
    """The same for a trial, which has no images but those that it is scored on: half of them choose for the other half.

    There is no threshold of the whole, and nothing is defined where a half cannot choose one.

    Args:
        operation: How the model would be used.
        classes: The names of the classes.
        rows: Of the validation split.

    Raises:
        ValueError: As `measures`.
    """
    nothing: dict[str, float | None] = dict.fromkeys(MEASURES)
    use = Use.of(operation, classes)
    halves = _halves(samples_of(rows))
    choices = [choose(half, use) for half in halves[::-1]]
    seen = [
        consequences(half, use, np.array([choice.threshold]))
        for half, choice in zip(halves, choices, strict=True)
        if choice is not None
    ]
    return nothing | _values(seen[0] + seen[1]) if len(seen) == len(halves) else nothing


def _values(seen: Consequences) -> dict[str, float | None]:
    """What the measures are at one threshold, as far as they are defined."""
    rates = {name: seen.rate(name, 0) for name in ("false_accept_rate", "false_reject_rate", "review_share")}
    values = {name: rate.estimate for name, rate in rates.items() if rate is not None}
    values["expected_cost"] = float(seen.costs()[0])
    return {name: value for name, value in values.items() if np.isfinite(value)}


def _halves(samples: Samples) -> tuple[Samples, Samples]:
    """Every second unit of each class, and the others."""
    unit = np.arange(samples.label.size) if samples.unit is None else samples.unit
    names, first, place = np.unique(unit, return_index=True, return_inverse=True)
    is_first = np.zeros(names.size, np.bool_)
    is_first[np.argsort(samples.label[first], kind="stable")[::2]] = True
    chosen = is_first[place]
    return samples.of(chosen), samples.of(~chosen)
