"""Several methods over several settings by their ranks (Demšar 2006).

`scores` are arrays (settings, methods), higher is better. A method that diverged in a
setting can be entered as -inf and then ranks last there. NaN means a missing score and makes
mean ranks NaN.

The chi-squared, F and studentised range approximations fail with few settings: if two settings
agree on the order of two losses, the F of Iman & Davenport gives p < 0.001, although they agree
by chance in one case of two. So the null distribution of ranks is enumerated, ties included:
every order of the methods in every setting, or random orders if there are too many.
"""

from __future__ import annotations

import math
from itertools import permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.statistics.multiplicity import holm
from orchestrator.statistics.paired import AT_ONCE, sign_flip_test, wilcoxon_test
from orchestrator.statistics.spread import SAME

ORDERS = 20_000
"""Number of random orders if there are too many to enumerate."""

METHODS_COUNTED = 7
"""Up to this many methods, every order is tried in every setting, if AT_ONCE allows."""

SETTINGS_COUNTED = 200
"""Up to this many settings, the distribution of Wilcoxon's rank sum is built; beyond, signs are drawn."""

Whole = NDArray[np.int64]


class Chance(NamedTuple):
    """The null distribution of the methods' rank sums: in every setting, all orders are equally likely."""

    sums: Whole
    """Twice the sum of each method's ranks, (outcomes, methods)."""
    probability: NDArray[np.float64]
    """Probability of each outcome."""
    exact: bool
    """Whether it enumerates all orders; otherwise it has random ones and the observed one."""

    def tail(self, statistic: NDArray[np.int64], observed: int) -> float:
        """The probability that a statistic (outcomes,) is at least as large as the observed one."""
        return min(1.0, float(self.probability[statistic >= observed].sum()))


class Friedman(NamedTuple):
    """Friedman's chi-squared and its exact p.

    The F of Iman & Davenport is an increasing function of it, so its exact p is the same.
    """

    statistic: float
    p: float
    exact: bool
    """Whether p is from all orders, not from random ones."""


def average_ranks(scores: ArrayLike) -> NDArray[np.float64]:
    """The mean rank (methods,) over settings; the highest score has rank 1, ties get their mean rank."""
    return _ranks(scores).mean(axis=0)


def chance(scores: ArrayLike, rng: np.random.Generator) -> Chance:
    """The null distribution of the methods' rank sums, given the ties in these scores."""
    doubled = np.round(2 * _ranks(scores)).astype(np.int64)
    return _counted(doubled) or _drawn(doubled, rng)


def friedman(scores: ArrayLike, by_chance: Chance | None) -> Friedman:
    """Friedman's test: whether the methods differ at all, from their ranks in every setting.

    Demšar's formula, without scipy's correction for ties; p takes ties into account.

    Args:
        scores: Scores (settings, methods).
        by_chance: The result of `chance`; None if a score is missing, which gives NaN.
    """
    ranks = _ranks(scores)
    settings, methods = ranks.shape
    mean = ranks.mean(axis=0)
    statistic = 12 * settings / (methods * (methods + 1)) * float(((mean - (methods + 1) / 2) ** 2).sum())
    if by_chance is None or math.isnan(statistic):
        return Friedman(math.nan, math.nan, exact=False)
    observed = np.round(2 * ranks.sum(axis=0)).astype(np.int64)
    squares = (by_chance.sums**2).sum(axis=1)
    return Friedman(statistic, by_chance.tail(squares, int((observed**2).sum())), by_chance.exact)


def critical_difference(settings: int, by_chance: Chance, alpha: float = 0.05) -> float:
    """The smallest significant difference of two average ranks (Nemenyi 1963, with the exact distribution).

    By chance, the best and the worst of all methods are at least this far apart with probability alpha at most;
    infinite if no difference is that rare.
    """
    ranges = by_chance.sums.max(axis=1) - by_chance.sums.min(axis=1)
    for found in np.unique(ranges):
        if by_chance.tail(ranges, int(found)) <= alpha:
            return float(found) / (2 * settings)
    return math.inf


def cliques(ranks: ArrayLike, critical_difference: float) -> list[tuple[int, ...]]:
    """The largest groups of methods whose ranks differ by less than the critical difference.

    Positions in `ranks`, best first; only groups of two or more, which are the bars of the diagram.
    """
    values = np.asarray(ranks, float)
    near = critical_difference * (1 - SAME)  # a difference equal to it counts as significant, despite rounding
    order = np.argsort(values, kind="stable")
    groups: list[tuple[int, ...]] = []
    reached = 0
    for first in range(len(order)):
        end = first + int((values[order[first:]] - values[order[first]] < near).sum())
        if end > max(reached, first + 1):
            groups.append(tuple(map(int, order[first:end])))
            reached = end
    return groups


def holm_wilcoxon(scores: ArrayLike, baseline: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Holm-adjusted p-values (methods,) of each method against the baseline; NaN for the baseline itself.

    Wilcoxon's signed-rank test over settings (Benavoli, Corani & Mangili 2016 prefer it to mean
    ranks, which depend on the other methods). It is exact up to `SETTINGS_COUNTED` settings; beyond,
    signs are drawn. A setting counts for a method if both it and the baseline have a score there and
    did not both diverge.

    Args:
        scores: Scores (settings, methods).
        baseline: The baseline's column.
        rng: Draws signs.
    """
    columns = np.asarray(scores, float)
    with np.errstate(invalid="ignore"):  # -inf - -inf gives NaN: both diverged
        differences = (np.delete(columns, baseline, axis=1) - columns[:, [baseline]]).T
    if len(columns) <= SETTINGS_COUNTED:
        p = wilcoxon_test(differences)
    else:
        p = sign_flip_test(_signed_ranks(differences), rng)
    return np.insert(holm(p), baseline, np.nan)


def _ranks(scores: ArrayLike) -> NDArray[np.float64]:
    from scipy.stats import rankdata

    return rankdata(-np.asarray(scores, float), axis=1)


def _signed_ranks(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Signed ranks of the absolute differences (lines, n), without zeros."""
    from scipy.stats import rankdata

    nonzero = np.where(differences == 0, np.nan, differences)
    return rankdata(np.abs(nonzero), axis=1, nan_policy="omit") * np.sign(nonzero)


def _counted(doubled: Whole) -> Chance | None:
    """Enumerate all orders in all settings, from twice the ranks (settings, methods); None if there are too many.

    By symmetry, the order of the first setting can be fixed, and sums need not be assigned to methods.
    """
    methods = doubled.shape[1]
    if methods > METHODS_COUNTED or (doubled < 0).any():
        return None
    sums = np.sort(doubled[:1], axis=1)
    weights: NDArray[np.float64] = np.ones(1)
    digits = int(doubled.max(axis=1).sum() + 1) ** np.arange(methods)  # one number per outcome
    for row in doubled[1:]:
        orders, counts = np.unique(np.array(list(permutations(row))), axis=0, return_counts=True)
        if len(sums) * orders.size > AT_ONCE:
            return None
        moved = np.sort((sums[:, None] + orders).reshape(-1, methods), axis=1)
        each = np.outer(weights, counts / counts.sum()).ravel()
        _, first, place = np.unique(moved @ digits, return_index=True, return_inverse=True)
        sums = moved[first]
        weights = np.bincount(place, each).astype(float)
    return Chance(sums, weights, exact=True)


def _drawn(doubled: Whole, rng: np.random.Generator) -> Chance:
    """Random orders and the observed one, so that p is never 0 (Phipson & Smyth 2010)."""
    total = np.zeros((ORDERS, doubled.shape[1]), np.int64)
    for row in doubled:
        total += rng.permuted(np.tile(row, (ORDERS, 1)), axis=1)
    sums = np.concatenate([total, doubled.sum(axis=0, keepdims=True)])
    return Chance(sums, np.full(len(sums), 1 / len(sums)), exact=False)
