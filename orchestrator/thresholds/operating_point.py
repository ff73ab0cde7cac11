"""A model's operating point: the threshold chosen on validation images, and what it does to the test images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orchestrator.experiment.operation import MEASURES, Operation
from orchestrator.thresholds.choice import choose
from orchestrator.thresholds.consequences import Use, consequences
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
    rates = {name: seen.rate(name, 0) for name in ("false_accept_rate", "false_reject_rate", "review_share")}
    values = {name: rate.estimate for name, rate in rates.items() if rate is not None}
    values |= {"operating_threshold": choice.threshold, "expected_cost": float(seen.costs()[0])}
    return nothing | {name: value for name, value in values.items() if np.isfinite(value)}
