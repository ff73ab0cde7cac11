"""Compare the tuning trials of two losses, for other recipes of the search space and for other seeds.

All trials share their seeds, so a seed that favours one loss can favour it in every trial. Uncertainty
therefore comes from both trials and seeds. Trial i has the same recipe for both losses. Arrays are
(trials, seeds).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.statistics.budget import mean_best
from orchestrator.statistics.intervals import CONFIDENCE, ENOUGH, Interval
from orchestrator.statistics.proportions import clopper_pearson

RESAMPLES = 500
"""Resamples of the trials: the standard deviation is then accurate to 3 %."""

Standing = Literal["ahead", "behind", "turns", "open"]


def share_won(won: ArrayLike) -> Interval:
    """The share of the search space, and of seeds, in which one loss beats another.

    A seed can favour one loss in every trial, and a recipe can favour it under every seed. In the worst case, the
    mean has only as much information as one coin toss per seed, or per trial. So the interval is Clopper and
    Pearson's (1934) with n the smaller of the two numbers, which is conservative. Excluding 1/2 takes at least six
    seeds.

    Args:
        won: 1 or 0, and 1/2 for a tie, (trials, seeds).

    Returns:
        The share; its n is the number of trials.
    """
    values = np.asarray(won, float)
    estimate = float(values.mean())
    throws = min(values.shape)
    return Interval(estimate, *clopper_pearson(estimate * throws, throws), values.shape[0])


def leads(mine: ArrayLike, theirs: ArrayLike, counts: Sequence[int]) -> list[Interval]:
    """The expected lead of the best of k trials of one loss over the best of k trials of another.

    The variances over seeds and over trials are added, which slightly overestimates the total. The degrees of freedom
    of Student's t are the smaller of the two numbers minus 1.

    Args:
        mine: Scores of the first loss, (trials, seeds); higher is better.
        theirs: Scores of the second under the same seeds; trial i has the same recipe, as far as both have its fields.
        counts: Numbers of trials k.

    Returns:
        One interval per number k; a trial's score is its mean over seeds. Bounds are NaN with fewer than `ENOUGH`
        seeds or trials. Its n is the number of trials.
    """
    both = np.stack([np.asarray(mine, float), np.asarray(theirs, float)])
    _, trials, seeds = both.shape
    ahead = _lead(both.mean(axis=2), counts)
    by_seed = _lead(both.transpose(0, 2, 1), counts)
    # a fixed seed: the same trials give the same interval
    again = np.random.default_rng(0).integers(trials, size=(RESAMPLES, trials))
    over_trials = _lead(both.mean(axis=2)[:, again], counts).std(axis=0, ddof=1)
    over_seeds = by_seed.std(axis=0, ddof=1) / math.sqrt(seeds) if seeds > 1 else np.full(len(counts), math.nan)
    return [
        Interval(centre, *_around(centre, of_seeds, of_trials, (trials, seeds)), trials)
        for centre, of_seeds, of_trials in zip(ahead.tolist(), over_seeds.tolist(), over_trials.tolist(), strict=True)
    ]


def standing(leads: Collection[Interval]) -> Standing:
    """Which loss is ahead at every number of trials, or whether that depends on the number.

    A loss is ahead at every number if it is ahead at each one (the intersection-union test, Berger 1982), so no
    correction for multiple tests is needed.
    """
    if all(lead.low > 0 for lead in leads):
        return "ahead"
    if all(lead.high < 0 for lead in leads):
        return "behind"
    return "turns" if any(lead.low > 0 for lead in leads) and any(lead.high < 0 for lead in leads) else "open"


def _lead(both: NDArray[np.float64], counts: Sequence[int]) -> NDArray[np.float64]:
    """Differences (..., counts) of the expected best, from scores (2, ..., trials)."""
    mine, theirs = mean_best(both, counts)
    return mine - theirs


def _around(centre: float, over_seeds: float, over_trials: float, drawn: tuple[int, int]) -> tuple[float, float]:
    from scipy.special import stdtrit

    if min(drawn) < ENOUGH:
        return math.nan, math.nan
    half = float(stdtrit(min(drawn) - 1, (1 + CONFIDENCE) / 2)) * math.hypot(over_seeds, over_trials)
    return centre - half, centre + half
