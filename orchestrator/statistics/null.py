"""How often each test finds a difference where there is none, estimated from the experiment's own results."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.statistics.intervals import ENOUGH
from orchestrator.statistics.paired import bca_interval, paired_t_test, sign_flip_test, wilcoxon_test

_DRAWS = 2_000
"""Resamples per test: enough for a rate, and a fifth of what a verdict uses."""

_GRIDS = 100
"""Simulated grids: they give the uncertainty of the rate to within a tenth."""


def false_positive_rates(
    values: ArrayLike, rng: np.random.Generator, splits: int = 1_000, alpha: float = 0.05, step: float = 0.0
) -> dict[str, float]:
    """Compare each configuration with itself, and count the differences found.

    The seeds are split at random into two halves and paired at random, `splits` times; with an
    odd number one seed is left out. Any difference found is a false positive, so each test should
    find one in a share of at most alpha. The t interval agrees with the t test. Rates are NaN if
    no configuration has twice `ENOUGH` seeds.

    Args:
        values: One row per configuration, (configurations, seeds); NaN where a seed is missing.
        rng: Draws splits and resamples.
        splits: Number of splits of each configuration.
        alpha: Level of the tests.
        step: Step size of the measure, 0 if it is continuous.
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
    """Standard deviation of a rate of `false_positive_rates` between grids, for a test with error rate `alpha`.

    The splits of a grid reuse its seeds, and its configurations can be correlated by seed, so a thousand splits are
    worth far fewer. This is an upper bound: it is simulated for Student's t on normal grids with the seeds of this
    one and perfectly correlated configurations. NaN if there is no rate.

    Args:
        values: One row per configuration, (configurations, seeds); NaN where a seed is missing.
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
    """Differences between random halves of each configuration, (lines, n), padded with NaN."""
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
