"""How differences are written: those of shares in percentage points, others in the unit of their measure."""

from __future__ import annotations

import math
from collections.abc import Collection

from orchestrator.experiment.own_measures import trait
from orchestrator.sentences import Sentence
from orchestrator.statistics.intervals import Interval


def in_points(metrics: Collection[str]) -> bool:
    """Whether a difference of these measures is one of shares: all lie between 0 and 1."""
    return all((trait(metric).low, trait(metric).high) == (0, 1) for metric in metrics)


def amount(size: float, metrics: Collection[str], digits: int = 6) -> Sentence:
    """The size of a difference, such as `0.2 points`.

    Args:
        size: As the experiment file has it, 0.002.
        metrics: The measures that it is a difference of.
        digits: That count.
    """
    is_share = in_points(metrics)
    count = f"{float(f'{100 * size if is_share else size:.{digits}g}'):g}"
    if not is_share:
        return "{count}", {"count": count}
    return "{count} point" if count == "1" else "{count} points", {"count": count}


def size(value: float, metrics: Collection[str]) -> Sentence:
    """`1.23 points`, or in the measure's own unit with four digits: as `shown`, without a sign."""
    is_share = in_points(metrics)
    return "{count} points" if is_share else "{count}", {"count": f"{100 * value:.2f}" if is_share else f"{value:.4f}"}


def shown(interval: Interval, metrics: Collection[str]) -> Sentence:
    """`+1.23 [+1.00, +1.46] points`, or in the measure's own unit with four digits; its n stands elsewhere."""
    is_share = in_points(metrics)
    factor, form = (100, "+.2f") if is_share else (1, "+.4f")
    estimate, low, high = (f"{factor * value:{form}}" for value in interval[:3])
    count = estimate if math.isnan(interval.low) else f"{estimate} [{low}, {high}]"
    return "{count} points" if is_share else "{count}", {"count": count}
