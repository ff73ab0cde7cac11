"""How often each test finds a difference where there is none, in this very grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.statistics.paired import bca_interval, paired_t_test, sign_flip_test, wilcoxon_test

_DRAWS = 2_000
"""Resamples of one test: enough for a rate, a fifth of what one verdict gets."""


def false_positive_rates(
    values: ArrayLike, rng: np.random.Generator, splits: int = 1_000, alpha: float = 0.05
) -> dict[str, float]:
    """Compare each configuration with itself, and count the differences found.

    Its seeds are split at random into two halves, paired at random, `splits` times; with an
    odd number one seed sits out. Whatever is found is false. Each test should find it in a
    share of alpha at most; the t interval finds what the t test finds. Rates are NaN where
    no configuration has four seeds.

    Args:
        values: One configuration a row, (settings, seeds); NaN where a seed is missing.
        rng: Draws splits and resamples.
        splits: Number of splits of each configuration.
        alpha: Level of the tests.
    """
    array = np.asarray(values, float)
    complete = [row[~np.isnan(row)] for row in array]
    halves = [_halves(row, rng, splits) for row in complete if len(row) >= 4]  # noqa: PLR2004 - two pairs
    if not halves:
        return dict.fromkeys(("sign_flip", "bca", "t", "wilcoxon"), float("nan"))
    widest = max(half.shape[1] for half in halves)
    lines = np.concatenate(
        [np.pad(half, ((0, 0), (0, widest - half.shape[1])), constant_values=np.nan) for half in halves]
    )
    low, high = bca_interval(lines, rng, draws=_DRAWS, confidence=1 - alpha)
    found = {
        "sign_flip": sign_flip_test(lines, rng, draws=_DRAWS) <= alpha,
        "bca": (low > 0) | (high < 0),
        "t": paired_t_test(lines) <= alpha,
        "wilcoxon": wilcoxon_test(lines) <= alpha,
    }
    return {test: float(np.mean(positive)) for test, positive in found.items()}


def _halves(row: NDArray[np.float64], rng: np.random.Generator, splits: int) -> NDArray[np.float64]:
    """Differences between random halves of the values, (splits, n // 2)."""
    shuffled = rng.permuted(np.tile(row, (splits, 1)), axis=1)
    half = len(row) // 2
    return shuffled[:, :half] - shuffled[:, half : 2 * half]
