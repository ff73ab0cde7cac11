"""What the three accuracies become when scores are first normalised per sample.

A map of each sample's own scores keeps sample-wise accuracy and can change uniform
accuracy, so the kind of score belongs beside every uniform accuracy. These functions
derive the `positive` and `rival` of another kind from what an evaluation keeps, on a log
scale, where small probabilities do not round to ties.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from trainers.evaluation import Evaluation

Pair = tuple[NDArray[np.float64], NDArray[np.float64]]
"""A positive and a rival of each sample, arrays of shape (n,)."""


def log_probabilities(positive: ArrayLike, rival: ArrayLike, logsumexp: ArrayLike) -> Pair:
    """Logarithms of the softmax probabilities of own class and rival, in nats.

    Probabilities above one half may still round to one and the same value, by the rounding
    of `logsumexp`. Uniform accuracy loses nothing by it: the rival of a right sample never
    passes log(1/2), so no threshold above that is needed.

    Args:
        positive: Scores of the own class, shape (n,); at temperature T divided by T.
        rival: Highest score of any other class, shape (n,); likewise.
        logsumexp: Over all classes' scores, shape (n,); at temperature T of scores / T.
    """
    level = np.asarray(logsumexp, np.float64)
    with np.errstate(invalid="ignore"):  # inf - inf: NaN scores are errors already
        return np.asarray(positive, np.float64) - level, np.asarray(rival, np.float64) - level


def level(rows: Evaluation) -> NDArray[np.float64]:
    """The logsumexp of each sample's scores (n,): by the log-odds, where they are kept, without its rounding."""
    if rows.log_odds is None:
        return rows.logsumexp.astype(np.float64)
    top = np.maximum(rows.positive, rows.rival).astype(np.float64)
    return top + np.logaddexp(0, -rows.log_odds)


def log_odds(rows: Evaluation) -> Pair | None:
    """Of own class and rival, log P / (1 - P) with the softmax probability P; None where no log-odds are kept.

    They rank samples as P does, but for samples whose P rounds to one. The lower of the two P is at most one half, so
    that it has its odds without cancellation; those of the higher one are kept.
    """
    if rows.log_odds is None:
        return None
    lower = np.minimum(rows.positive, rows.rival) - level(rows)
    lower = np.minimum(lower, -np.log(2))  # but for rounding
    odds = lower - np.log1p(-np.exp(lower))
    own = rows.prediction == rows.label
    return np.where(own, rows.log_odds, odds), np.where(own, odds, rows.log_odds)


def centred(positive: ArrayLike, rival: ArrayLike) -> Pair:
    """Scores less the midpoint of the sample's two highest: plus and minus half their gap.

    Exact for samples with rival < positive, whose two highest scores these are. Of other
    samples the second highest is not known; what is returned keeps rival >= positive, so
    they are right at no threshold, as they should be, but their size means nothing. So use
    it for accuracies, and not where the rivals of wrong samples place a threshold.

    Args:
        positive: Scores of the own class, shape (n,).
        rival: Highest score of any other class, shape (n,).
    """
    with np.errstate(invalid="ignore"):
        half_gap = (np.asarray(positive, np.float64) - np.asarray(rival, np.float64)) / 2
    return half_gap, -half_gap


def _default_grid() -> NDArray[np.float64]:
    return np.geomspace(0.01, 100, 93)


@dataclass(eq=False)
class Temperatures:
    """Temperature scaling (Guo et al. 2017, arXiv 1706.04599) of a split that streams by.

    Sums the negative log-likelihood of softmax(scores / T) at every T of a grid, so that
    neither the n x K scores nor an optimiser is needed. It is convex in 1/T, hence has a
    single valley on the grid.
    """

    grid: NDArray[np.float64] = field(default_factory=_default_grid)
    """Temperatures (m,), ascending."""
    losses: NDArray[np.float64] = field(init=False)
    """Summed negative log-likelihoods (m,), in nats."""
    samples: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.losses = np.zeros(len(self.grid))

    def add(self, logsumexp: ArrayLike, positive: ArrayLike) -> None:
        """Count a batch; a sample that is not finite at some temperature is left out at all.

        Args:
            logsumexp: Of scores / T over classes, shape (m, n). Better in float64: small T
                magnify both terms of a small difference.
            positive: Scores of the own class, not divided by T, shape (n,).
        """
        with np.errstate(invalid="ignore"):
            losses = np.asarray(logsumexp, np.float64) - np.asarray(positive, np.float64) / self.grid[:, None]
        finite = np.isfinite(losses).all(axis=0)
        self.losses += losses[:, finite].sum(axis=1)
        self.samples += int(finite.sum())

    @property
    def is_at_edge(self) -> bool:
        """Whether no T of the grid is better than one of its ends, so that the best one may lie outside.

        So it is where all samples are right, for example: any lower T claims more, and is right.
        """
        return bool(self.samples) and bool(min(self.losses[0], self.losses[-1]) <= self.losses.min())

    def best(self) -> float:
        """The T of least loss, by a parabola in log T through the grid's best and its neighbours.

        Within half a percent on the default grid, whose steps are of a tenth. Of equally good
        ones that nearest to 1; an end of the grid where the valley lies outside; NaN without
        samples.
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
    """Where the parabola through three points is lowest, the middle one being the lowest of them."""
    slopes = np.diff(y) / np.diff(x)
    curvature = (slopes[1] - slopes[0]) / (x[2] - x[0])
    if not curvature > 0:
        return float(x[1])
    return float(np.clip((x[0] + x[1]) / 2 - slopes[0] / (2 * curvature), x[0], x[2]))
