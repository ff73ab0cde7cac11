"""Scores normalised per sample: softmax probabilities, log-odds, centred scores.

Normalising the scores of each sample keeps sample-wise accuracy but can change uniform
accuracy, so every uniform accuracy must state its kind of score. These functions derive
`positive` and `rival` of another kind from what an evaluation keeps. They work on a log
scale, on which small probabilities do not round to ties.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from trainers.evaluation import Evaluation

Pair = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Positive and rival of each sample, arrays of shape (n,)."""


def log_probabilities(positive: ArrayLike, rival: ArrayLike, logsumexp: ArrayLike) -> Pair:
    """Log-probabilities of the true class and its rival under softmax, in nats.

    Because `logsumexp` is rounded, probabilities above 1/2 can still tie. This does not affect
    uniform accuracy: the rival of a correct sample is at most log(1/2), so no higher threshold
    is needed.

    Args:
        positive: Scores of the true class, shape (n,); divided by T for temperature T.
        rival: Highest score of any other class, shape (n,); divided by T for temperature T.
        logsumexp: Over all classes' scores, shape (n,); of scores / T for temperature T.
    """
    level = np.asarray(logsumexp, np.float64)
    with np.errstate(invalid="ignore"):  # inf - inf gives NaN, which counts as an error anyway
        return np.asarray(positive, np.float64) - level, np.asarray(rival, np.float64) - level


def level(rows: Evaluation) -> NDArray[np.float64]:
    """The logsumexp of each sample's scores (n,), computed from the log-odds if they are kept, which is more exact."""
    if rows.log_odds is None:
        return rows.logsumexp.astype(np.float64)
    # The log-odds are top - logsumexp(others), so that logsumexp(all) = top + log(1 + exp(-log_odds)).
    top = np.maximum(rows.positive, rows.rival).astype(np.float64)
    return top + np.logaddexp(0, -rows.log_odds)


def log_odds(rows: Evaluation) -> Pair | None:
    """Log-odds log(P / (1 - P)) of true class and rival, P being softmax; None if the evaluation keeps no log-odds.

    They rank samples as P does, but without ties where P rounds to 1. The lower of the two P is at most 1/2, so
    its log-odds can be computed without cancellation; those of the higher one are kept in the evaluation.
    """
    if rows.log_odds is None:
        return None
    lower = np.minimum(rows.positive, rows.rival) - level(rows)
    lower = np.minimum(lower, -np.log(2))  # P <= 1/2, which rounding may have violated
    odds = lower - np.log1p(-np.exp(lower))
    own = rows.prediction == rows.label
    return np.where(own, rows.log_odds, odds), np.where(own, odds, rows.log_odds)


def centred(positive: ArrayLike, rival: ArrayLike) -> Pair:
    """Scores minus the midpoint of the sample's two highest scores: plus and minus half their gap.

    Exact for samples with rival < positive, because these are their two highest scores. For
    other samples the second highest is unknown. The returned values keep rival >= positive,
    so these samples are wrong at every threshold, as they should be, but the values mean
    nothing. Use this for accuracies only, not if rivals of wrong samples set a threshold.

    Args:
        positive: Scores of the true class, shape (n,).
        rival: Highest score of any other class, shape (n,).
    """
    with np.errstate(invalid="ignore"):
        half_gap = (np.asarray(positive, np.float64) - np.asarray(rival, np.float64)) / 2
    return half_gap, -half_gap


def _default_grid() -> NDArray[np.float64]:
    return np.geomspace(0.01, 100, 93)


@dataclass(eq=False)
class Temperatures:
    """Temperature scaling (Guo et al. 2017, arXiv 1706.04599) of a streamed split.

    Sums the negative log-likelihood of softmax(scores / T) at every T of a grid, so that
    neither the n x K scores nor an optimiser is needed. The sum is convex in 1/T, so the
    grid has a single valley.
    """

    grid: NDArray[np.float64] = field(default_factory=_default_grid)
    """Temperatures (m,), ascending."""
    losses: NDArray[np.float64] = field(init=False)
    """Summed negative log-likelihoods (m,), in nats."""
    samples: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.losses = np.zeros(len(self.grid))

    def add(self, logsumexp: ArrayLike, positive: ArrayLike) -> None:
        """Add a batch; a sample that is not finite at some temperature is ignored at all of them.

        Args:
            logsumexp: Of scores / T over classes, shape (m, n). Best in float64: a small T
                magnifies both terms of a small difference.
            positive: Scores of the true class, not divided by T, shape (n,).
        """
        with np.errstate(invalid="ignore"):
            losses = np.asarray(logsumexp, np.float64) - np.asarray(positive, np.float64) / self.grid[:, None]
        finite = np.isfinite(losses).all(axis=0)
        self.losses += losses[:, finite].sum(axis=1)
        self.samples += int(finite.sum())

    @property
    def is_at_edge(self) -> bool:
        """Whether one end of the grid is as good as its best T, so that the optimum may be outside.

        This happens if all samples are right, for example: then a lower T is always better.
        """
        return bool(self.samples) and bool(min(self.losses[0], self.losses[-1]) <= self.losses.min())

    def best(self) -> float:
        """The T of lowest loss, from a parabola in log T through the grid's best T and its neighbours.

        Accurate to half a percent on the default grid, whose steps are 10 %. Ties go to the T
        closest to 1. An end of the grid if the optimum is outside; NaN without samples.
        """
        if not self.samples:
            return float("nan")
        logarithms = np.log(self.grid)
        least = int(np.argmin(np.where(self.losses == self.losses.min(), np.abs(logarithms), np.inf)))
        if least in {0, len(self.grid) - 1}:
            return float(self.grid[least])
        around = slice(least - 1, least + 2)
        return float(np.exp(_lowest_point(logarithms[around], self.losses[around])))


def _lowest_point(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """The minimum of the parabola through three points of which the middle one is lowest."""
    slopes = np.diff(y) / np.diff(x)
    curvature = (slopes[1] - slopes[0]) / (x[2] - x[0])
    if not curvature > 0:
        return float(x[1])
    return float(np.clip((x[0] + x[1]) / 2 - slopes[0] / (2 * curvature), x[0], x[2]))
