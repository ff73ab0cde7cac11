"""What the trials of two losses say of others: of other recipes of the space, and under other seeds.

All trials share their seeds, so a seed that favours one loss may favour it in every trial, and trials alone
are no sample of what another seed would give. Both are drawn here, and trial i of both losses has the same
recipe. Arrays are (trials, seeds).
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
"""Of the trials: their standard deviation is then known to 3 %."""

Standing = Literal["ahead", "behind", "turns", "open"]


def share_won(won: ArrayLike) -> Interval:
    """The share of the space, and of seeds, in which a loss beats another.

    A seed may favour one loss in every trial, or a recipe under every seed: the mean is then worth no more than
    as many throws of a coin as there are seeds, or trials. The interval is Clopper and Pearson's (1934) for the
    smaller of both, which bounds it whatever the two contribute; six seeds are the fewest that exclude one half.

    Args:
        won: 1 or 0, a half where both are level, (trials, seeds).

    Returns:
        The share; its n is the number of trials.
    """
    values = np.asarray(won, float)
    estimate = float(values.mean())
    throws = min(values.shape)
    return Interval(estimate, *clopper_pearson(estimate * throws, throws), values.shape[0])


def leads(mine: ArrayLike, theirs: ArrayLike, counts: Sequence[int]) -> list[Interval]:
    """By how much the best of k trials of one loss is to be expected ahead of another's.

    The variances over seeds and over trials are added, which overstates their sum a little; Student's t has the
    smaller of both numbers - 1 degrees of freedom.

    Args:
        mine: Scores of the one, (trials, seeds); higher is better.
        theirs: Scores of the other under the same seeds; trial i has the same recipe, as far as both have its fields.
        counts: Numbers of trials k.

    Returns:
        One for each number, with the mean over seeds of each trial as its score. Bounds are NaN with fewer than
        `ENOUGH` seeds or trials. Its n is the number of trials.
    """
    both = np.stack([np.asarray(mine, float), np.asarray(theirs, float)])
    _, trials, seeds = both.shape
    ahead = _lead(both.mean(axis=2), counts)
    by_seed = _lead(both.transpose(0, 2, 1), counts)
    again = np.random.default_rng(0).integers(trials, size=(RESAMPLES, trials))
    over_trials = _lead(both.mean(axis=2)[:, again], counts).std(axis=0, ddof=1)
    over_seeds = by_seed.std(axis=0, ddof=1) / math.sqrt(seeds) if seeds > 1 else np.full(len(counts), math.nan)
    return [
        Interval(centre, *_around(centre, of_seeds, of_trials, (trials, seeds)), trials)
        for centre, of_seeds, of_trials in zip(ahead.tolist(), over_seeds.tolist(), over_trials.tolist(), strict=True)
    ]


def standing(leads: Collection[Interval]) -> Standing:
    """Who is ahead with any number of trials, or whether that turns with it.

    A loss is ahead with every number if it is with each (the intersection–union test, Berger 1982): no
    correction for their number is needed.
    """
    if all(lead.low > 0 for lead in leads):
        return "ahead"
    if all(lead.high < 0 for lead in leads):
        return "behind"
    return "turns" if any(lead.low > 0 for lead in leads) and any(lead.high < 0 for lead in leads) else "open"


def _lead(both: NDArray[np.float64], counts: Sequence[int]) -> NDArray[np.float64]:
    """Of scores (2, ..., trials) the differences (..., counts)."""
    mine, theirs = mean_best(both, counts)
    return mine - theirs


def _around(centre: float, over_seeds: float, over_trials: float, drawn: tuple[int, int]) -> tuple[float, float]:
    from scipy.special import stdtrit

    if min(drawn) < ENOUGH:
        return math.nan, math.nan
    half = float(stdtrit(min(drawn) - 1, (1 + CONFIDENCE) / 2)) * math.hypot(over_seeds, over_trials)
    return centre - half, centre + half
