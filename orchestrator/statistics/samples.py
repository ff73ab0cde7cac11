"""Challenger against baseline over test samples: the noise of the test set in addition to that of the seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.statistics.intervals import CONFIDENCE, Interval

MANY = 1_000
"""Kinds of samples beyond which drawing them one by one takes long."""


class TwoWay(NamedTuple):
    """The difference of two accuracies, for other seeds and another test set.

    The variance of the difference has three parts: more seeds reduce `seed_variance / seeds`,
    more test samples reduce `sample_variance / samples`, and either reduces
    `residual_variance / (seeds * samples)`.
    """

    estimate: float
    low: float
    high: float
    seed_variance: float
    sample_variance: float
    residual_variance: float


def mcnemar(challenger_correct: ArrayLike, baseline_correct: ArrayLike) -> float:
    """The exact two-sided p-value of McNemar's test (1947) that both are right equally often.

    Only samples that exactly one of the two gets right count; if there are none, p is 1.

    Args:
        challenger_correct: Whether each test sample (n,) is right, under one seed.
        baseline_correct: The same for the baseline, on the same samples.

    Examples:
        >>> from orchestrator.statistics.samples import mcnemar
        >>> mcnemar([1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0])  # five to none: 2 / 2**5
        0.0625
    """
    from scipy.special import bdtr

    gained, lost = _discordant(challenger_correct, baseline_correct)
    return min(1.0, 2 * float(bdtr(min(gained, lost), gained + lost, 0.5)))


def paired_sample_interval(
    challenger_correct: ArrayLike, baseline_correct: ArrayLike, confidence: float = CONFIDENCE
) -> Interval:
    """The difference of two accuracies under one seed, with an interval for other test sets of this size.

    Bonett & Price 2012: Wald's interval after adding, for each of the two, one sample that it
    alone gets right. Unlike a bootstrap interval, its width is not 0 if both agree on every sample.

    Args:
        challenger_correct: Whether each test sample (n,) is right.
        baseline_correct: The same for the baseline, on the same samples.
        confidence: Confidence level.
    """
    from scipy.special import ndtri

    n = len(np.asarray(challenger_correct))
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    gained, lost = _discordant(challenger_correct, baseline_correct)
    gain = (gained + 1) / (n + 2)
    loss = (lost + 1) / (n + 2)
    half = float(ndtri((1 + confidence) / 2)) * math.sqrt((gain + loss - (gain - loss) ** 2) / (n + 2))
    return Interval((gained - lost) / n, max(-1.0, gain - loss - half), min(1.0, gain - loss + half), n)


def two_way_interval(
    challenger_correct: ArrayLike,
    baseline_correct: ArrayLike,
    rng: np.random.Generator,
    draws: int = 2_000,
    confidence: float = CONFIDENCE,
) -> TwoWay:
    """The difference of two accuracies, with seeds and test samples resampled together.

    The pigeonhole bootstrap (Owen 2007) draws rows and columns independently. Its variance is too
    small if seeds dominate and are few, and too large if neither dominates. So the percentile levels
    are adjusted: for a normal bootstrap they would give the t interval of the variance components
    (Satterthwaite 1946), as Hesterberg (2015) does for a one-way bootstrap. The interval is NaN with
    fewer than two seeds or samples, or without any spread.

    Args:
        challenger_correct: Whether each sample is right, (seeds, samples); scores work too.
        baseline_correct: The same for the baseline, with the same seeds and samples.
        rng: Draws seeds and samples.
        draws: Number of resamples.
        confidence: Confidence level.
    """
    from scipy.special import ndtr, stdtrit

    difference = np.asarray(challenger_correct, float) - np.asarray(baseline_correct, float)
    seeds, samples = difference.shape
    estimate = float(difference.mean()) if difference.size else math.nan
    if min(seeds, samples) < 2:  # noqa: PLR2004 - one value has no spread
        return TwoWay(estimate, *[math.nan] * 5)
    between_seeds, between_samples, residual = squares = _mean_squares(difference)
    # the estimated components can be negative; the variance is at least the residual part
    variance = max(between_seeds + between_samples - residual, residual) / difference.size
    resampled = _pigeonhole(difference, rng, draws)
    spread = float(resampled.std())
    low = high = math.nan
    if spread > 0:
        weight = sum(
            s**2 / f for s, f in zip(squares, (seeds - 1, samples - 1, (seeds - 1) * (samples - 1)), strict=True)
        )
        freedom = max(seeds - 1, (variance * difference.size) ** 2 / weight)
        tail = ndtr(stdtrit(freedom, (1 - confidence) / 2) * math.sqrt(variance) / spread)
        low, high = map(float, np.quantile(resampled, (tail, 1 - tail)))
    return TwoWay(
        estimate,
        low,
        high,
        seed_variance=max(0.0, (between_seeds - residual) / samples),
        sample_variance=max(0.0, (between_samples - residual) / seeds),
        residual_variance=residual,
    )


def _mean_squares(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean squares of a two-way analysis of variance: rows, columns and residual."""
    rows, columns = values.shape
    row = values.mean(axis=1) - values.mean()
    column = values.mean(axis=0) - values.mean()
    rest = values - values.mean() - row[:, None] - column
    return (
        float(columns * (row**2).sum() / (rows - 1)),
        float(rows * (column**2).sum() / (columns - 1)),
        float((rest**2).sum() / ((rows - 1) * (columns - 1))),
    )


def _pigeonhole(values: NDArray[np.float64], rng: np.random.Generator, draws: int) -> NDArray[np.float64]:
    """Means of `values` with rows and columns drawn with replacement, (draws,)."""
    rows, columns = values.shape
    # draw equal columns together: of 10 000 samples under 5 seeds, only a few hundred are distinct
    kinds, counts = np.unique(values, axis=1, return_counts=True)
    row_counts = rng.multinomial(rows, np.full(rows, 1 / rows), size=draws)
    if len(counts) > MANY and (kinds == np.round(kinds)).all():
        return _of_integers(row_counts, kinds, counts, rng) / values.size
    kind_counts = rng.multinomial(columns, counts / columns, size=draws)
    return np.einsum("dk,dk->d", row_counts @ kinds, kind_counts) / values.size


def _of_integers(
    row_counts: NDArray[np.int64], kinds: NDArray[np.float64], counts: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Sums over columns that are drawn with replacement, for rows that are drawn already, (draws,).

    However many kinds of columns there are, their sums over rows are few integers: it is these that are drawn.

    Args:
        row_counts: How often each row is drawn, (draws, rows).
        kinds: The kinds of columns, of integers, (rows, kinds).
        counts: How many columns are of each kind, (kinds,).
        rng: Draws columns.
    """
    most = int(np.abs(kinds).max()) * len(kinds)
    width = 2 * most + 1  # no sum over as many rows, however drawn, lies beyond
    shares = [np.bincount(sums + most, counts, width) for sums in _sums(row_counts, kinds)]
    drawn = rng.multinomial(int(counts.sum()), np.stack(shares) / counts.sum())
    return drawn @ np.arange(-most, most + 1, dtype=np.float64)


def _sums(row_counts: NDArray[np.int64], kinds: NDArray[np.float64]) -> Iterator[NDArray[np.int64]]:
    """The sum of each kind of column over the rows of each draw; single precision has integers exactly."""
    single = kinds.astype(np.float32)
    for drawn in np.array_split(row_counts.astype(np.float32), max(1, len(row_counts) // 50)):
        yield from (drawn @ single).astype(np.int64)


def _discordant(challenger_correct: ArrayLike, baseline_correct: ArrayLike) -> tuple[int, int]:
    """Number of samples that only the challenger, and only the baseline, gets right."""
    challenger = np.asarray(challenger_correct, bool)
    baseline = np.asarray(baseline_correct, bool)
    return int((challenger & ~baseline).sum()), int((baseline & ~challenger).sum())
