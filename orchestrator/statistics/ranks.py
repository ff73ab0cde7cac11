"""Several methods over several settings by their ranks (Demšar 2006).

`scores` are arrays (settings, methods), higher is better. A method that diverged in a
setting can enter as -inf: it ranks last there. NaN is no score: it makes mean ranks NaN.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.statistics.multiplicity import holm
from orchestrator.statistics.paired import wilcoxon_test


class Friedman(NamedTuple):
    """Friedman's chi-squared, and the F of Iman & Davenport, less conservative; with p-values."""

    statistic: float
    p: float
    iman_davenport: float
    iman_davenport_p: float


def average_ranks(scores: ArrayLike) -> NDArray[np.float64]:
    """The mean rank (methods,) over settings; the highest score has rank 1, ties their mean rank."""
    from scipy.stats import rankdata

    return rankdata(-np.asarray(scores, float), axis=1).mean(axis=0)


def friedman(scores: ArrayLike) -> Friedman:
    """Whether the methods differ at all, from their ranks in every setting.

    Demšar's formulas, without the correction for ties that scipy makes; with ties they are
    conservative.
    """
    from scipy.special import chdtrc, fdtrc

    settings, methods = np.shape(scores)
    ranks = average_ranks(scores)
    statistic = 12 * settings / (methods * (methods + 1)) * float(((ranks - (methods + 1) / 2) ** 2).sum())
    freedom, room = methods - 1, settings * (methods - 1) - statistic
    f = math.inf if room <= 0 else (settings - 1) * statistic / room
    return Friedman(
        statistic,
        float(chdtrc(freedom, statistic)),
        f,
        float(fdtrc(freedom, freedom * (settings - 1), f)),
    )


def nemenyi_difference(methods: int, settings: int, alpha: float = 0.05) -> float:
    """How far two average ranks must lie apart for the methods to differ (Nemenyi 1963)."""
    from scipy.stats import studentized_range

    range_ = float(studentized_range.ppf(1 - alpha, methods, math.inf))
    return range_ / math.sqrt(2) * math.sqrt(methods * (methods + 1) / (6 * settings))


def cliques(ranks: ArrayLike, critical_difference: float) -> list[tuple[int, ...]]:
    """The largest groups of methods whose ranks lie less than the critical difference apart.

    Positions in `ranks`, best first; only groups of two or more: the bars of the diagram.
    """
    values = np.asarray(ranks, float)
    order = np.argsort(values, kind="stable")
    groups: list[tuple[int, ...]] = []
    reached = 0
    for first in range(len(order)):
        end = first + int((values[order[first:]] - values[order[first]] < critical_difference).sum())
        if end > max(reached, first + 1):
            groups.append(tuple(map(int, order[first:end])))
            reached = end
    return groups


def holm_wilcoxon(scores: ArrayLike, baseline: int) -> NDArray[np.float64]:
    """Holm's adjusted p-values (methods,) of each method against the baseline; NaN at itself.

    Wilcoxon's signed-rank test over settings (Benavoli, Corani & Mangili 2016 prefer it to
    mean ranks, which depend on the other methods). A setting counts for a method if both it
    and the baseline have a score there, and not both diverged.

    Args:
        scores: Scores (settings, methods).
        baseline: Its column.
    """
    columns = np.asarray(scores, float)
    with np.errstate(invalid="ignore"):  # -inf - -inf: no difference to be seen
        p = wilcoxon_test((columns - columns[:, [baseline]]).T)
    p[baseline] = np.nan
    return holm(p)
