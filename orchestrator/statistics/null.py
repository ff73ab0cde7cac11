"""How often each test finds a difference where there is none, in this very grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.statistics.intervals import ENOUGH
from orchestrator.statistics.paired import bca_interval, paired_t_test, sign_flip_test, wilcoxon_test

_DRAWS = 2_000
"""Resamples of one test: enough for a rate, a fifth of what one verdict gets."""

_GRIDS = 100
"""Simulated grids, from which the rate's own uncertainty is known to a tenth."""


def false_positive_rates(
    values: ArrayLike, rng: np.random.Generator, splits: int = 1_000, alpha: float = 0.05, step: float = 0.0
) -> dict[str, float]:
    """Compare each configuration with itself, and count the differences found.

    Its seeds are split at random into two halves, paired at random, `splits` times; with an
    odd number one seed sits out. Whatever is found is false. Each test should find it in a
    share of alpha at most; the t interval finds what the t test finds. Rates are NaN where
    no configuration has twice `ENOUGH` seeds.

    Args:
        values: One configuration a row, (settings, seeds); NaN where a seed is missing.
        rng: Draws splits and resamples.
        splits: Number of splits of each configuration.
        alpha: Level of the tests.
        step: Between neighbouring values of the measure, 0 if it has none.
    """
    lines = _lines(values, rng, splits)
    if not len(lines):
        return dict.fromkeys(("sign_flip", "bca", "t", "wilcoxon"), float("nan"))
    low, high = bca_interval(lines, rng, draws=_DRAWS, confidence=1 - alpha)
    found = {
        "sign_flip": sign_flip_test(lines, rng, draws=_DRAWS) <= alpha,
        "bca": (low > 0) | (high < 0),
        "t": paired_t_test(lines, step) <= alpha,
        "wilcoxon": wilcoxon_test(lines) <= alpha,
    }
    return {test: float(np.mean(positive)) for test, positive in found.items()}


def rate_deviation(values: ArrayLike, rng: np.random.Generator, splits: int = 1_000, alpha: float = 0.05) -> float:
    """By how much a rate of `false_positive_rates` scatters from grid to grid, for a test that errs in `alpha`.

    The splits of a grid reuse its seeds, and its configurations may follow one another seed by seed, so that a
    thousand splits are worth far fewer. The standard deviation is that of Student's t over simulated normal
    grids with the seeds of this one, all configurations alike: at most this. NaN where there is no rate.

    Args:
        values: One configuration a row, (settings, seeds); NaN where a seed is missing.
        rng: Draws grids and splits.
        splits: Number of splits of each configuration.
        alpha: Level of the test.
    """
    missing = np.isnan(np.asarray(values, float))
    if not ((~missing).sum(axis=1) >= 2 * ENOUGH).any():
        return float("nan")
    rates = [
        np.mean(paired_t_test(_lines(np.where(missing, np.nan, drawn), rng, splits)) <= alpha)
        for drawn in rng.normal(size=(_GRIDS, missing.shape[1]))
    ]
    return float(np.std(rates, ddof=1))


def _lines(values: ArrayLike, rng: np.random.Generator, splits: int) -> NDArray[np.float64]:
    """Differences between random halves of each configuration, (lines, n), the shorter ones filled up with NaN."""
    complete = [row[~np.isnan(row)] for row in np.asarray(values, float)]
    halves = [_halves(row, rng, splits) for row in complete if len(row) >= 2 * ENOUGH]
    widest = max((half.shape[1] for half in halves), default=0)
    filled = [np.pad(half, ((0, 0), (0, widest - half.shape[1])), constant_values=np.nan) for half in halves]
    return np.concatenate([np.zeros((0, widest)), *filled])


def _halves(row: NDArray[np.float64], rng: np.random.Generator, splits: int) -> NDArray[np.float64]:
    """Differences between random halves of the values, (splits, n // 2)."""
    shuffled = rng.permuted(np.tile(row, (splits, 1)), axis=1)
    half = len(row) // 2
    return shuffled[:, :half] - shuffled[:, half : 2 * half]
