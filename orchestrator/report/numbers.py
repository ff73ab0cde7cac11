"""Numbers as text, with their spread and their n."""

from __future__ import annotations

import math
from typing import Literal

from orchestrator.statistics.intervals import Interval


def percent(interval: Interval, n: int | None = None) -> str:
    """`91.2 ± 0.4`, in percent; a lone value where the spread is unknown, and with its own n where that is not `n`."""
    return with_spread(interval, "", n)


def points(interval: Interval | None, n: int | None = None) -> str:
    """`+1.2 ± 0.4`, in percentage points; with its own n where that is not `n`."""
    return "–" if interval is None else with_spread(interval, "+", n)


def with_spread(interval: Interval, sign: Literal["", "+"], n: int | None, *, in_percent: bool = True) -> str:
    """A mean or a difference in percent, or in its own unit, as `percent` and `points` say."""
    if not interval.n:
        return "–"
    factor, digits = (100, 1) if in_percent else (1, 4)
    value = f"{factor * interval.estimate:{sign}.{digits}f}"
    spread = "" if math.isnan(interval.low) else f" ± {factor * (interval.high - interval.low) / 2:.{digits}f}"
    return f"{value}{spread}" if n in (None, interval.n) else f"{value}{spread} (n={interval.n})"


def own_unit(interval: Interval) -> str:
    """`1.234 ± 0.056 (n=5)`, in the unit of the measure."""
    if not interval.n:
        return "–"
    half = "" if math.isnan(interval.low) else f" ± {(interval.high - interval.low) / 2:.3f}"
    return f"{interval.estimate:.3f}{half} (n={interval.n})"


def p_value(p: float) -> str:
    """To three decimals; below, that it is below."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"  # noqa: PLR2004 - what three decimals show
