"""A mean over settings that need not have equally many seeds, looked at a few times that are set beforehand.

All settings get the same seeds first. Spread and cost of these say how further seeds are shared out (Neyman 1934); the
differences themselves have no say. The first seeds keep the weight that they would have if all settings had equally
many, so the mean stays unbiased whatever its differences look like: a setting whose first seeds happen to lie close
together gets few further ones, but no more say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.statistics.intervals import CONFIDENCE, Interval
from orchestrator.statistics.spread import SAME

Array = NDArray[np.float64]

FLOOR = 0.5
"""A setting gets at least this share of the further seeds that it would get if all got equally many, because its spread
is known from few seeds alone."""


def looks(least: int, most: int) -> tuple[int, ...]:
    """The seeds per setting at each look, if all settings have equally many: twice as many each time.

    Examples:
        >>> from orchestrator.statistics.staged import looks
        >>> looks(5, 30)
        (5, 10, 20, 30)
    """
    found = [least]
    while 2 * found[-1] < most:
        found.append(2 * found[-1])
    return (*found, most)


def shares(deviations: Sequence[float], costs: Sequence[float], each: int, least: int, most: int) -> list[int]:
    """The seeds of each setting at a look, for no more than `each` seeds in every setting would cost.

    Further seeds are in proportion to the deviation over the square root of the cost, which makes the variance of the
    sum smallest for its cost.

    Args:
        deviations: Standard deviation of each setting's term of the sum, its weight included.
        costs: Cost of a seed in each setting.
        each: Seeds per setting if all had equally many.
        least: Seeds that every setting has.
        most: Seeds that a setting can have.

    Examples:
        >>> from orchestrator.statistics.staged import shares
        >>> shares([1, 3], [1, 1], each=10, least=4, most=30), shares([1, 1], [9, 1], each=10, least=4, most=30)
        ([7, 13], [9, 19])
    """
    if each in (least, most):
        return [each] * len(costs)
    price = np.asarray(costs, float)
    ideal = np.maximum(np.asarray(deviations, float), 0.0) / np.sqrt(price)
    lowest = math.ceil(FLOOR * (each - least))

    def at(scale: float) -> Array:
        return np.clip(scale * ideal, lowest, most - least)

    budget = (each - least) * float(price.sum())
    low = 0.0
    high = (most - least) / max(float(ideal[ideal > 0].min(initial=math.inf)), 1e-300) if (ideal > 0).any() else 0.0
    for _ in range(100):
        middle = (low + high) / 2
        if float(at(middle) @ price) > budget:
            high = middle
        else:
            low = middle
    return [least + int(further) for further in np.floor(at(low) + SAME * most)]


class Sum(NamedTuple):
    """A weighted sum of the settings' means."""

    estimate: float
    error: float
    """Its standard error; NaN if it is unknown."""
    freedom: float
    """Degrees of freedom of the error."""

    def interval(self, level: float, n: int) -> Interval:
        """Student's t interval that misses the truth with probability `level`; n is shown beside it."""
        from scipy.special import stdtrit

        half = float(stdtrit(self.freedom, 1 - level / 2)) * self.error
        return Interval(self.estimate, self.estimate - half, self.estimate + half, n)


def weighted(values: Array, factors: Sequence[float], first: NDArray[np.bool_], share: float, step: float = 0.0) -> Sum:
    """The weighted sum of the settings' means, and its standard error.

    Settings depend on each other through shared seeds. Covariances are estimated from the seeds that two settings
    share, so the error assumes neither independence nor equal variances; its degrees of freedom are Satterthwaite's. If
    all settings have the same seeds, this is Student's t on one number per seed.

    Args:
        values: Differences (settings, seeds); NaN where a setting has none.
        factors: One per setting.
        first: Which of the seeds are the first ones of a setting (settings, seeds).
        share: The weight of the first seeds in the mean of each setting; 1 if there are no others.
        step: Step size of the sum, 0 if it is continuous; half of it is the smallest spread of a seed.
    """
    there = ~np.isnan(values)
    held = np.where(there, values, 0.0)
    coefficients = _coefficients(there, np.asarray(factors, float), first, share)
    estimate = float((coefficients * held).sum())
    shared = there.astype(float) @ there.T
    if math.isnan(estimate) or shared.min() < 2:  # noqa: PLR2004 - one seed has no spread
        return Sum(estimate, math.nan, 1.0)
    covariances = _covariances(held, there.astype(float), shared)
    products = coefficients @ coefficients.T
    variance = float((products * covariances).sum())
    least = step / 2 / math.sqrt(float(shared.max()))
    if variance <= max((SAME * float(np.abs(held).max())) ** 2, least**2):
        return Sum(estimate, least or math.nan, float(shared.min()) - 1)
    return Sum(estimate, math.sqrt(variance), _freedom(products, covariances, shared, variance))


def _coefficients(there: NDArray[np.bool_], factors: Array, first: NDArray[np.bool_], share: float) -> Array:
    """The factor of each value in the sum; NaN if a setting has no value of one of the two kinds."""
    kinds = [(there & first, share), (there & ~first, 1 - share)]
    found = np.zeros(there.shape)
    for mask, weight in kinds:
        if weight > 0:
            number = mask.sum(axis=1)
            each = np.where(number > 0, factors * weight / np.maximum(number, 1), math.nan)
            found += np.where(mask | (number == 0)[:, None], each[:, None], 0.0)
    return found


def _covariances(held: Array, there: Array, shared: Array) -> Array:
    """Sample covariances of each two settings over the seeds that both have."""
    sums = held @ there.T  # of the first of two settings, over the seeds of both
    return (held @ held.T - sums * sums.T / shared) / (shared - 1)


def _freedom(products: Array, covariances: Array, shared: Array, variance: float) -> float:
    """Satterthwaite's degrees of freedom: those of the chi square that scatters as the variance's estimate does.

    Of estimates over seeds that are nested, the one from fewer seeds lies inside the other.
    """
    pairs = shared.ravel()
    inverse: Array = 1 / (np.maximum.outer(pairs, pairs).reshape(shared.shape * 2) - 1)
    across = covariances[None, :, :, None] * covariances.T[:, None, None, :]  # of t and u, and of s and v
    scatter = (products[:, :, None, None] * products * across * inverse).sum()
    return max(1.0, variance**2 / float(scatter))


def level(distance: float, freedom: float, look: int, number: int) -> float:
    """The smallest alpha, over all looks together, at which the interval at one of them excludes a value.

    Half of alpha is for the last look, the other half in equal parts for those before (Bonferroni).

    Args:
        distance: From the sum to the value, in standard errors.
        freedom: Degrees of freedom of the standard error.
        look: Which look, from 0.
        number: The number of looks.
    """
    from scipy.special import stdtr

    return min(1.0, float(2 * stdtr(freedom, -abs(distance))) * parts(look, number))


def parts(look: int, number: int) -> int:
    """Into how many parts alpha is divided for a look: its level is alpha over this."""
    return 2 if look == number - 1 else 2 * (number - 1)


def interval(found: Sum, look: int, number: int, n: int) -> Interval:
    """The 95 % interval at a look, which holds at all looks together; n is shown beside it."""
    return found.interval((1 - CONFIDENCE) / parts(look, number), n)
