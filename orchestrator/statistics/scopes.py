"""One verdict over several settings: in all, in some, on their mean, or for a population of data sets.

A setting can support a claim, refute it, or show that its difference is too small to matter.
Each of the three has a smallest significance level at which it holds (`Levels`). A verdict over
several settings combines these levels into `Levels` again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple

from orchestrator.statistics.intervals import CONFIDENCE, ENOUGH, Interval, mean_interval
from orchestrator.statistics.verdicts import Direction, Verdict

FEWEST_DATASETS = 5
"""Fewest data sets for a statement about a population of them."""


class Levels(NamedTuple):
    """The smallest two-sided level at which each verdict would be given; 1 if it never would."""

    supported: float
    refuted: float
    equivalent: float

    @property
    def p(self) -> float:
        """The smallest of the three: the p-value of the verdict, whichever it is."""
        return min(self)

    def verdict(self, alpha: float) -> Verdict:
        """The verdict at a level of significance."""
        if self.supported <= alpha:
            return "supported"
        if self.refuted <= alpha:
            return "refuted"
        return "equivalent" if self.equivalent <= alpha else "undecided"


UNKNOWN = Levels(1.0, 1.0, 1.0)
"""A setting without information, such as one with two seeds."""


Level = Callable[[float, int], float]
"""From a distance in standard errors and a number of values to the two-sided level at which the mean differs."""


def student(distance: float, n: int) -> float:
    """The level of Student's t test at a single look."""
    from scipy.special import stdtr

    return float(2 * stdtr(n - 1, -distance))


def levels(difference: Interval, direction: Direction, margin: float, level: Level = student) -> Levels:
    """The levels of one setting, by default from Student's t test at both ends of the margin.

    There is no verdict with fewer than `ENOUGH` seeds, or if the differences have no spread.

    Args:
        difference: The mean difference with its 95 % t interval, n - 1 degrees of freedom.
        direction: Direction of the claim.
        margin: Differences up to this size do not matter.
        level: Gives the level of a distance in standard errors.
    """
    from scipy.special import stdtrit

    if difference.n < ENOUGH or not difference.high > difference.low:
        return UNKNOWN
    error = (difference.high - difference.low) / 2 / float(stdtrit(difference.n - 1, (1 + CONFIDENCE) / 2))
    return levels_of(difference.estimate, error, direction, margin, lambda distance: level(distance, difference.n))


def levels_of(
    estimate: float, error: float, direction: Direction, margin: float, level: Callable[[float], float]
) -> Levels:
    """The levels of an estimate.

    Args:
        estimate: The mean difference.
        error: Its standard error, above 0.
        direction: Direction of the claim.
        margin: Differences up to this size do not matter.
        level: From a distance in standard errors to the two-sided level at which the mean differs.
    """

    def beyond(distance: float) -> float:
        return 1.0 if distance <= 0 else min(1.0, level(distance / error))

    above = beyond(estimate - margin)
    below = beyond(-estimate - margin)
    # two one-sided tests: both must reject
    inside = max(beyond(margin - estimate), beyond(margin + estimate))
    match direction:
        case "higher":
            return Levels(above, below, inside)
        case "lower":
            return Levels(below, above, inside)
        case "equal":
            return Levels(inside, min(above, below), 1.0)  # here, equivalence is what supports the claim


def in_all(settings: Sequence[Levels]) -> Levels:
    """The levels of a claim about all settings.

    Supported if every setting supports it: the intersection-union test (Berger 1982), whose level
    is the largest of all settings, however they depend on each other. Refuted if some setting
    refutes it after Holm's correction over settings: the smallest level times their number.
    """
    return Levels(
        supported=max((setting.supported for setting in settings), default=1.0),
        refuted=min([1.0, *(len(settings) * setting.refuted for setting in settings)]),
        equivalent=max((setting.equivalent for setting in settings), default=1.0),
    )


def in_some(settings: Sequence[Levels]) -> Levels:
    """The levels of a claim about at least one setting: those of `in_all` for the opposite claim."""
    refuted, supported, equivalent = in_all(
        [Levels(each.refuted, each.supported, each.equivalent) for each in settings]
    )
    return Levels(supported, refuted, equivalent)


def combined(settings: Sequence[Mapping[int, float]], factors: Sequence[float]) -> dict[int, float]:
    """A weighted sum over settings for each seed that all of them have.

    Mean, difference of two effects and trend are such sums. Each seed gives one number, so
    Student's t over seeds is valid even if settings share images or initial weights, and
    whatever their variances are.

    Args:
        settings: Values of each setting by seed.
        factors: One per setting.
    """
    shared = set[int].intersection(*(set(values) for values in settings)) if settings else set[int]()
    pairs = list(zip(settings, factors, strict=True))
    return {seed: math.fsum(factor * values[seed] for values, factor in pairs) for seed in sorted(shared)}


def mean_factors(settings: int) -> list[float]:
    """Factors of the mean over settings."""
    return [1 / settings] * settings


def trend_factors(positions: Sequence[float]) -> list[float]:
    """Factors of the least-squares slope over positions: the change for each step of 1.

    Raises:
        ValueError: All positions are the same.
    """
    centre = math.fsum(positions) / len(positions)
    squares = math.fsum((position - centre) ** 2 for position in positions)
    if squares == 0:
        raise ValueError("A trend needs at least two different positions")
    return [(position - centre) / squares for position in positions]


def population_interval(
    settings: Sequence[Mapping[int, float]], datasets: Sequence[Hashable], confidence: float = CONFIDENCE
) -> Interval:
    """The mean over a population of data sets, of which these are a sample.

    Averaging over seeds, then over the backbones of a data set, gives one number per data set.
    The interval is Student's t interval of these numbers. It is NaN with fewer than
    `FEWEST_DATASETS` data sets, or if a setting has no value. Its n is the number of data sets.

    Args:
        settings: Values of each setting by seed.
        datasets: The data set of each setting.
        confidence: Confidence level.
    """
    found = mean_interval(dataset_means(settings, datasets), confidence)
    return found if found.n >= FEWEST_DATASETS else Interval(found.estimate, math.nan, math.nan, found.n)


def dataset_means(settings: Sequence[Mapping[int, float]], datasets: Sequence[Hashable]) -> list[float]:
    """One mean per data set, over its settings' means over seeds; NaN if a setting has no value."""
    means = dict[Hashable, list[float]]()
    for values, dataset in zip(settings, datasets, strict=True):
        means.setdefault(dataset, []).append(math.fsum(values.values()) / len(values) if values else math.nan)
    return [math.fsum(each) / len(each) for each in means.values()]
