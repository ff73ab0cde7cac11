"""How differences are written: between proportions in percentage points, otherwise in the unit of the measure."""

from __future__ import annotations

import math
from collections.abc import Collection

from orchestrator.experiment.own_measures import trait
from orchestrator.sentences import Sentence
from orchestrator.statistics.intervals import Interval


def in_points(metrics: Collection[str]) -> bool:
    """Whether these measures are proportions, between 0 and 1, so that differences are given in percentage points."""
    return all((trait(metric).low, trait(metric).high) == (0, 1) for metric in metrics)


def amount(size: float, metrics: Collection[str], digits: int = 6) -> Sentence:
    """The size of a difference, such as `0.2 points`.

    Args:
        size: In the unit of the experiment file, such as 0.002.
        metrics: The measures whose difference it is.
        digits: Significant digits.
    """
    is_share = in_points(metrics)
    count = f"{float(f'{100 * size if is_share else size:.{digits}g}'):g}"
    if not is_share:
        return "{count}", {"count": count}
    return "{count} point" if count == "1" else "{count} points", {"count": count}


def size(value: float, metrics: Collection[str]) -> Sentence:
    """`1.23 points`, or four decimals in the measure's own unit: like `shown`, but without a sign."""
    is_share = in_points(metrics)
    return "{count} points" if is_share else "{count}", {"count": f"{100 * value:.2f}" if is_share else f"{value:.4f}"}


def shown(interval: Interval, metrics: Collection[str]) -> Sentence:
    """`+1.23 [+1.00, +1.46] points`, or four decimals in the measure's own unit. The caller adds n."""
    is_share = in_points(metrics)
    factor = 100 if is_share else 1
    form = "+.2f" if is_share else "+.4f"
    estimate, low, high = (f"{factor * value:{form}}" for value in interval[:3])
    count = estimate if math.isnan(interval.low) else f"{estimate} [{low}, {high}]"
    return "{count} points" if is_share else "{count}", {"count": count}
