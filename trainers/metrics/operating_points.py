"""Operating points: the threshold if errors have a price or a limit, and the rates it gives.

Everything follows from `positive` and `rival`, and rates count samples, not sample-class pairs:
at threshold t a sample is falsely accepted if *any* wrong class scores above t, and truly
accepted if its true class does; both can happen to one sample. NaN scores count as errors:
a NaN rival is always accepted, a NaN positive never.

Examples:
    >>> from trainers.metrics.operating_points import cost_threshold, true_accept_rate
    >>> positive = [3, 5, 4, 8]
    >>> rival = [1, 2, 2, 6]
    >>> cost_threshold(positive, rival, 1, 1)  # one sample of four is falsely accepted
    Cheapest(cost=0.25, low=2.0, high=3.0)
    >>> cost_threshold(positive, rival, 10, 1)  # cheaper to reject three of four
    Cheapest(cost=0.75, low=6.0, high=8.0)
    >>> true_accept_rate(positive, rival, false_accept_rate=0.25)  # all are above 2
    1.0
    >>> true_accept_rate(positive, rival, false_accept_rate=0.0)  # only 8 is above 6
    0.25
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainers.metrics.uniform import uniform_accuracy


def threshold_at(impostor: ArrayLike, false_accept_rate: float) -> float:
    """The lowest t such that at most a share `false_accept_rate` of the scores is above t.

    Args:
        impostor: Scores that should be rejected, shape (n,).
        false_accept_rate: The limit, in 0 ... 1.

    Returns:
        One of the scores; -inf if all may be accepted, NaN if there are none.
    """
    scores = _never_below(impostor)
    if not scores.size:
        return float("nan")
    shares = np.arange(1, scores.size + 1) / scores.size
    allowed = int(np.count_nonzero(shares <= false_accept_rate))
    if allowed == scores.size:
        return -np.inf
    place = scores.size - 1 - allowed
    return float(np.partition(scores, place)[place])


def true_accept_rate(positive: ArrayLike, rival: ArrayLike, false_accept_rate: float) -> float:
    """Share of positives above the lowest threshold that respects the limit on false accepts.

    Args:
        positive: Scores of the true class, shape (n,).
        rival: Highest score of any other class, shape (n,). A sample is a false accept if this
            is above the threshold, no matter how many wrong classes are.
        false_accept_rate: The limit, a share of samples in 0 ... 1.

    Returns:
        A share in 0 ... 1; NaN without samples.
    """
    if not np.size(positive) or not np.size(rival):
        return float("nan")
    return float(np.mean(np.asarray(positive, np.float64) > threshold_at(rival, false_accept_rate)))


class Cheapest(NamedTuple):
    """The lowest cost of any single threshold, and the open interval of thresholds that reach it.

    Of equally cheap intervals this is the widest bounded one, and of equally wide ones the
    lowest. It is unbounded if rejecting or accepting everything is cheapest.
    """

    cost: float
    low: float
    high: float

    @property
    def threshold(self) -> float:
        """The midpoint of the interval; infinite if it is unbounded."""
        return (self.low + self.high) / 2


def cost_threshold(
    positive: ArrayLike, rival: ArrayLike, false_accept_cost: float, false_reject_cost: float
) -> Cheapest:
    """`min_t (1/n) (c_FA #{i : rival_i >= t} + c_FR #{i : positive_i <= t})`, exactly.

    Args:
        positive: Scores of the true class, shape (n,).
        rival: Highest score of any other class, shape (n,).
        false_accept_cost: Price of a sample with a wrong class at or above t.
        false_reject_cost: Price of a sample whose true class is not above t. A sample can
            cost both.

    Returns:
        Mean cost per sample, in the unit of the prices, and the thresholds; NaN without
        samples.
    """
    accepted = np.sort(_never_below(rival))
    rejected = np.sort(_never_above(positive))
    if not rejected.size:
        return Cheapest(np.nan, np.nan, np.nan)
    # At an endpoint the cost is at least as high as just above it, so open intervals suffice.
    endpoints = np.unique(np.concatenate([[-np.inf], accepted, rejected, [np.inf]]))
    false_accepts = accepted.size - np.searchsorted(accepted, endpoints[:-1], side="right")
    false_rejects = np.searchsorted(rejected, endpoints[:-1], side="right")
    costs = false_accept_cost * false_accepts + false_reject_cost * false_rejects
    widths = np.diff(endpoints)
    widths[np.isinf(widths)] = 0
    best = int(np.argmax(np.where(costs == costs.min(), widths, -np.inf)))
    return Cheapest(float(costs[best] / rejected.size), float(endpoints[best]), float(endpoints[best + 1]))


def risk_coverage(positive: ArrayLike, rival: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Accuracy on the most confident samples, for every possible coverage.

    Confidence is the sample's highest score, `max(positive, rival)`: the maximum logit for
    raw scores, the maximum probability for log-probabilities. A sample is right if
    rival < positive. A sample with a NaN score is wrong and comes last.

    Args:
        positive: Scores of the true class, shape (n,).
        rival: Highest score of any other class, shape (n,).

    Returns:
        Coverage (m,), ascending to 1, with one value per distinct confidence because ties are
        kept together; and accuracy (m,). Risk is 1 - accuracy.
    """
    positive = np.asarray(positive, np.float64)
    rival = np.asarray(rival, np.float64)
    distinct, group = np.unique(_never_above(np.maximum(positive, rival)), return_inverse=True)
    kept = np.cumsum(np.bincount(group, minlength=distinct.size)[::-1])
    right = np.cumsum(np.bincount(group, weights=rival < positive, minlength=distinct.size)[::-1])
    return kept / max(positive.size, 1), right / kept


def area_under_risk_coverage(positive: ArrayLike, rival: ArrayLike) -> float:
    """Mean over samples of the risk among all samples at least as confident; lower is better.

    Geifman, Uziel, El-Yaniv, ICLR 2019 (arXiv 1805.08206); arguments as in `risk_coverage`.

    Returns:
        A value in 0 ... 1; NaN without samples.
    """
    coverage, accuracy = risk_coverage(positive, rival)
    if not coverage.size:
        return float("nan")
    return float(np.diff(coverage, prepend=0) @ (1 - accuracy))


def threshold_spread(positive: ArrayLike, rival: ArrayLike, label: ArrayLike) -> float:
    """Standard deviation over classes of each class's best threshold t_k*.

    The denominator is K - 1, so that values with few and many classes compare. Each threshold
    is the midpoint of its interval, as in `uniform_accuracy`. 0 means that one threshold fits
    all; whether a spread is small depends on the scale of the scores.

    Args:
        positive: Scores of the true class, shape (n,).
        rival: Highest score of any other class, shape (n,).
        label: True classes, shape (n,).

    Returns:
        In the unit of the scores. Classes in which no sample has rival < positive are left
        out; NaN if fewer than two remain.
    """
    order = np.argsort(label, kind="stable")
    starts = np.flatnonzero(np.diff(np.asarray(label)[order])) + 1
    classes = zip(
        np.split(np.asarray(positive)[order], starts), np.split(np.asarray(rival)[order], starts), strict=True
    )
    thresholds = np.array([uniform_accuracy(*own).threshold for own in classes])
    thresholds = thresholds[np.isfinite(thresholds)]
    return float(np.std(thresholds, ddof=1)) if thresholds.size > 1 else float("nan")


def _never_below(scores: ArrayLike) -> NDArray[np.float64]:
    """Scores in float64 with NaN above every threshold."""
    scores = np.asarray(scores, np.float64)
    return np.where(np.isnan(scores), np.inf, scores)


def _never_above(scores: ArrayLike) -> NDArray[np.float64]:
    """Scores in float64 with NaN below every threshold."""
    scores = np.asarray(scores, np.float64)
    return np.where(np.isnan(scores), -np.inf, scores)
