"""One verdict on several settings: in all, in some, on their mean, or in a population of data sets.

A setting says three things of a claim: it supports it, it refutes it, or its difference is
too small to matter. Each holds from some level of significance on (`Levels`). A verdict on
several settings combines these levels, and what comes out is again `Levels`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple

from orchestrator.statistics.intervals import CONFIDENCE, ENOUGH, Interval, mean_interval
from orchestrator.statistics.verdicts import Direction, Verdict

FEWEST_DATASETS = 5
"""Data sets from which something is said of a population of them."""


class Levels(NamedTuple):
    """The smallest two-sided level at which each verdict would be given; 1 where none would."""

    supported: float
    refuted: float
    equivalent: float

    @property
    def p(self) -> float:
        """The smallest of the three: how sure the verdict is, whichever it is."""
        return min(self)

    def verdict(self, alpha: float) -> Verdict:
        """The verdict at a level of significance."""
        if self.supported <= alpha:
            return "supported"
        if self.refuted <= alpha:
            return "refuted"
        return "equivalent" if self.equivalent <= alpha else "undecided"


UNKNOWN = Levels(1.0, 1.0, 1.0)
"""Of a setting that says nothing, such as one with two seeds."""


Level = Callable[[float, int], float]
"""The two-sided level at which a mean of so many values differs from one so many standard errors off."""


def student(distance: float, n: int) -> float:
    """Of Student's t, at one look."""
    from scipy.special import stdtr

    return float(2 * stdtr(n - 1, -distance))


def levels(difference: Interval, direction: Direction, margin: float, level: Level = student) -> Levels:
    """The levels of one setting, by default from Student's t at either end of the margin.

    Fewer than `ENOUGH` seeds, and differences without any spread, say nothing.

    Args:
        difference: The mean difference with its 95 % t interval of n - 1 degrees of freedom.
        direction: Of the claim.
        margin: Differences up to this size do not matter.
        level: Of a distance in standard errors.
    """
    if difference.n < ENOUGH or not difference.high > difference.low:
        return UNKNOWN
    above = _beyond(difference, margin, level)
    below = _beyond(_negated(difference), margin, level)
    inside = max(_beyond(_negated(difference), -margin, level), _beyond(difference, -margin, level))
    match direction:
        case "higher":
            return Levels(above, below, inside)
        case "lower":
            return Levels(below, above, inside)
        case "equal":
            return Levels(inside, min(above, below), 1.0)


def _beyond(difference: Interval, bound: float, level: Level) -> float:
    """The smallest two-sided level at which the interval lies above a bound; 1 where its centre does not."""
    from scipy.special import stdtrit

    distance = difference.estimate - bound
    if distance <= 0:
        return 1.0
    error = (difference.high - difference.low) / 2 / float(stdtrit(difference.n - 1, (1 + CONFIDENCE) / 2))
    return min(1.0, level(distance / error, difference.n))


def _negated(difference: Interval) -> Interval:
    return Interval(-difference.estimate, -difference.high, -difference.low, difference.n)


def in_all(settings: Sequence[Levels]) -> Levels:
    """The levels of a claim about all settings.

    Supported where every setting supports it: the intersection–union test (Berger 1982), whose
    level is the largest of the settings', whatever their dependence. Refuted where some setting
    refutes it, which Holm over the settings has to find: the smallest level times their number.
    """
    return Levels(
        supported=max((setting.supported for setting in settings), default=1.0),
        refuted=min([1.0, *(len(settings) * setting.refuted for setting in settings)]),
        equivalent=max((setting.equivalent for setting in settings), default=1.0),
    )


def in_some(settings: Sequence[Levels]) -> Levels:
    """The levels of a claim about at least one setting: what `in_all` says of its opposite."""
    refuted, supported, equivalent = in_all(
        [Levels(each.refuted, each.supported, each.equivalent) for each in settings]
    )
    return Levels(supported, refuted, equivalent)


def combined(settings: Sequence[Mapping[int, float]], factors: Sequence[float]) -> dict[int, float]:
    """A weighted sum over settings, seed by seed, of the seeds that all of them have.

    Mean, difference of two effects and trend are such sums. Since each seed gives one number,
    Student's t over seeds holds however settings that share images or initial weights depend
    on each other, and whatever their variances are.

    Args:
        settings: Values of each setting by seed.
        factors: One for each setting.
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
    """The mean over a population of data sets, of which those at hand are a sample.

    Means over seeds, then over the backbones of a data set, give one number for each data set;
    the interval is Student's over these, with one degree of freedom less than data sets. It is
    NaN below `FEWEST_DATASETS`, or where a setting has no value. Its n is the number of data sets.

    Args:
        settings: Values of each setting by seed.
        datasets: The data set of each setting.
        confidence: Of the interval.
    """
    found = mean_interval(dataset_means(settings, datasets), confidence)
    return found if found.n >= FEWEST_DATASETS else Interval(found.estimate, math.nan, math.nan, found.n)


def dataset_means(settings: Sequence[Mapping[int, float]], datasets: Sequence[Hashable]) -> list[float]:
    """One mean per data set, of its settings' means over seeds; NaN where a setting has no value."""
    means = dict[Hashable, list[float]]()
    for values, dataset in zip(settings, datasets, strict=True):
        means.setdefault(dataset, []).append(math.fsum(values.values()) / len(values) if values else math.nan)
    return [math.fsum(each) / len(each) for each in means.values()]
