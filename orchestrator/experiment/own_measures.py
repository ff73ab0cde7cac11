"""User-defined measures: `metric: my_package.module:function` in a claim, computed from the rows of a cell.

The function receives the cell's columns by name, each an array with one entry per test sample
(docs/records.md), and returns one number; None, NaN and infinity mean that the measure is undefined.

Attributes of the function may describe its values: `better` ("higher" or "lower"), `low` and `high`
(the bounds), `counted` ("samples" if it is a mean of integers over test samples, "classes" if it is a mean of such
means over classes), `weight` (the largest value of one sample; for a cost, the highest price).
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import RequestError
from orchestrator.experiment import operation
from trainers.catalogue import nearest
from trainers.metrics.traits import PLACE, TRAITS, Trait

BALANCED = "balanced_samples"
"""The column of the results table that holds `balanced`, if claims are about user-defined measures."""

OF_SCORE_FILES = {"value": "mean of the number that a score file has for each sample, in its own unit"}
"""Built-in measures that only score files have."""

Columns = Mapping[str, NDArray[Any]]
Measure = Callable[[Columns], float | None]


def is_own(metric: str) -> bool:
    """Whether a measure is user-defined: its name then says where the function is."""
    return ":" in metric


def is_derived(metric: str) -> bool:
    """Whether a measure is computed when the results table is made: user-defined ones, and those of an operation."""
    return is_own(metric) or metric in operation.TRAITS


def function(metric: str) -> Measure:
    """The function that `MODULE:FUNCTION` names.

    Raises:
        RequestError: It cannot be found; the message says why.
    """
    module, _, name = metric.partition(":")
    try:
        found = importlib.import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - user code may raise anything, and call `sys.exit`
        told = str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
        raise RequestError(f"The measure '{metric}' cannot be imported: {told}.") from None
    measure = getattr(found, name, None)
    if not callable(measure):
        known = [word for word in vars(found) if not word.startswith("_")]
        raise RequestError(f"The module '{module}' has no function '{name}'.{nearest(name, known)}")
    return cast("Measure", measure)


def trait(metric: str) -> Trait:
    """The possible values of a measure: from `TRAITS` if it is built in, else as its function declares.

    Raises:
        RequestError: A user-defined measure cannot be imported or declares an invalid value.
    """
    if metric in OF_SCORE_FILES:
        return PLACE
    if not is_own(metric):
        return TRAITS.get(metric) or operation.TRAITS[metric]
    found = {name: getattr(function(metric), name) for name in Trait._fields if hasattr(function(metric), name)}
    numbers = [found.get("low", 0.0), found.get("high", 0.0), found.get("weight", 1.0)]
    is_number = all(isinstance(number, (int, float)) and not isinstance(number, bool) for number in numbers)
    is_known = found.get("better") in {None, "higher", "lower"} and found.get("counted") in {None, "samples", "classes"}
    if not (is_number and is_known and 0 < numbers[-1] < math.inf):
        raise RequestError(
            f"The measure '{metric}' declares {found}: 'better' is \"higher\" or \"lower\", 'low' and 'high' are "
            "numbers, 'counted' is \"samples\" or \"classes\", 'weight' is a number above 0."
        )
    return Trait(**found)


def value(metric: str, columns: Columns, cell: str) -> float | None:
    """The value of a user-defined measure for one cell; None if it is undefined.

    Args:
        metric: `MODULE:FUNCTION`.
        columns: The columns of the cell's file by name, each with one entry per test sample (n,).
        cell: The cell's name for messages.

    Raises:
        RequestError: It cannot be imported, fails, or does not return a number.
    """
    measure = function(metric)
    try:
        found = measure(columns)
        number = math.nan if found is None else float(found)
    except Exception as error:  # noqa: BLE001 - user code may raise anything
        raise RequestError(f"The measure '{metric}' failed on {cell}: {type(error).__name__}: {error}.") from None
    return number if math.isfinite(number) else None


def balanced(columns: Columns) -> int:
    """How many samples a cell would have if every class had as few as the rarest one."""
    _, counts = np.unique(columns["label"], return_counts=True)
    return int(len(counts) * counts.min(initial=len(columns["label"])))
