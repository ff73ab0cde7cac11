"""What a number of seeds can show, before any is run.

`deviation` is the standard deviation of the paired differences, `n` the number of seeds.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import Literal

from orchestrator.statistics.paired import EXACT_UP_TO

Test = Literal["sign_flip", "wilcoxon"]


def achieved_power(difference: float, deviation: float, n: int, alpha: float = 0.05) -> float:
    """How probable it is that a two-sided paired t test sees a true mean difference.

    NaN with fewer than two seeds, which make no test.
    """
    if n < 2:  # noqa: PLR2004 - one value has no spread
        return math.nan
    if deviation == 0:
        return 1.0 if difference else alpha
    return _power(abs(difference) / deviation * math.sqrt(n), n, alpha)


def minimum_detectable_difference(deviation: float, n: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true difference that a two-sided paired t test sees with the given power.

    NaN with fewer than two seeds.
    """
    if n < 2:  # noqa: PLR2004 - one value has no spread
        return math.nan
    low, high = 0.0, 1.0
    while _power(high, n, alpha) < power:
        low, high = high, 2 * high
    while low < (centre := (low + high) / 2) < high:  # scipy.optimize would take most of a second to import
        low, high = (centre, high) if _power(centre, n, alpha) < power else (low, centre)
    return deviation * high / math.sqrt(n)


def seeds_needed(
    effect: float, deviation: float, alpha: float = 0.05, power: float = 0.8, most: int = 10_000
) -> int | None:
    """How many seeds in all a two-sided paired t test needs to see a true difference with the given power.

    None where `most` are not enough, as for a difference of 0.
    """
    seeds = range(2, most + 1)
    found = bisect_left(seeds, power, key=lambda n: achieved_power(effect, deviation, n, alpha))
    return seeds[found] if found < len(seeds) else None


def smallest_p(n: int, test: Test, draws: int = 10_000) -> float:
    """The smallest two-sided p-value the test can give, whatever the n differences are.

    That all have one sign happens in 2 of 2**n patterns. Beyond `EXACT_UP_TO` seeds the
    sign-flip test draws patterns, and can only tell as small a p as it has `draws`.
    """
    p = 2.0 ** (1 - n) if n > 0 else 1.0
    return max(p, 1 / (1 + draws)) if test == "sign_flip" and n > EXACT_UP_TO else p


def is_impossible(n: int, comparisons: int, alpha: float, test: Test, draws: int = 10_000) -> bool:
    """Whether no data can be significant: Holm's first step asks for `alpha / comparisons`."""
    return smallest_p(n, test, draws) > alpha / comparisons


def _power(centre: float, n: int, alpha: float) -> float:
    """Of a t test whose statistic has the noncentrality `centre` >= 0."""
    from scipy.special import nctdtr, stdtrit

    critical = float(stdtrit(n - 1, 1 - alpha / 2))
    upper = 1 - float(nctdtr(n - 1, centre, critical))
    lower = 1 - float(nctdtr(n - 1, -centre, critical))
    return upper if math.isnan(lower) else upper + lower  # scipy gives NaN where the far tail vanishes
