"""How good a recipe was to be expected of fewer trials, by loss, and whether who is ahead depends on their number."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.experiment.model import Experiment
from orchestrator.experiment.questions import questions
from orchestrator.experiment.tuning import Tuning
from orchestrator.sentences import Sentence
from orchestrator.statistics.budget import expected_best
from orchestrator.statistics.intervals import Interval
from orchestrator.statistics.searches import Standing, standing
from orchestrator.statistics.searches import leads as ahead_by

if TYPE_CHECKING:
    from orchestrator.adaptive.trials import Tried, Tuned

COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
"""Numbers of trials at which losses are compared, up to the number there are."""

POINTS = 50
"""Of a curve, at most about."""


STANDINGS: Mapping[Standing, str] = {
    "ahead": "{challenger} is ahead of {baseline} with any number of trials (n = {trials}, seeds of each: {seeds}).",
    "behind": "{challenger} is behind {baseline} with any number of trials (n = {trials}, seeds of each: {seeds}).",
    "turns": "Whether {challenger} is ahead of {baseline} depends on the number of trials (n = {trials}, seeds of each: {seeds}).",  # noqa: E501 - one key of words.json
    "open": "Whether {challenger} would be ahead of {baseline} in other trials is not known (n = {trials}, seeds of each: {seeds}).",  # noqa: E501 - one key of words.json
}
"""Who is ahead, with what it rests on."""


class ComparedLosses(NamedTuple):
    """Two losses in one setting, and the claims that are about them there."""

    claims: tuple[str, ...]
    dataset: str
    backbone: str
    challenger: str
    baseline: str


def pairs(experiment: Experiment) -> list[ComparedLosses]:
    """Every two losses that a claim compares, in every setting it speaks of."""
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for claim, dataset, backbone in questions(experiment):
        if claim.baseline not in (None, claim.challenger):
            found.setdefault((dataset, backbone, claim.challenger, claim.baseline), []).append(claim.id)
    return [ComparedLosses(tuple(claims), *key) for key, claims in found.items()]


def first(tuned: Tuned) -> dict[int, Tried]:
    """The trials as they were drawn, by number, trained for as long as all of them were."""
    least = min((tried.epochs for tried in tuned.tried), default=0)
    return {tried.number: tried for tried in tuned.tried if tried.epochs == least}


def _is_accuracy(metric: str) -> bool:
    """Whether a measure is a share of samples that are right."""
    return "accuracy" in metric


def worst(tuning: Tuning, tuned: Iterable[Tuned]) -> float:
    """The score that stands for a trial that diverged: accuracy 0, or of another measure the lowest there is.

    Args:
        tuning: What was asked.
        tuned: The losses that are compared with each other.
    """
    if tuning.direction == "higher" and _is_accuracy(tuning.metric):
        return 0.0
    scores = (tried.score for each in tuned for tried in first(each).values())
    return min((score for score in scores if math.isfinite(score)), default=math.nan)


@dataclass(frozen=True)
class Budget:
    """The best measure on the validation split that a number of trials of one loss leads to."""

    dataset: str
    backbone: str
    loss: str
    epochs: int
    """Of these trials."""
    trials: tuple[int, ...]
    best: tuple[float, ...]
    """Per number of trials: the mean over all draws; of a searcher that learns, the best found by then."""
    low: tuple[float, ...]
    """The band of 95 % of all draws; by a searcher that learns, as `best`."""
    high: tuple[float, ...]


@dataclass(frozen=True)
class Lead:
    """By how much the challenger's best trial is to be expected ahead of the baseline's, by the number of trials."""

    pair: ComparedLosses
    by: Mapping[int, Interval]
    """In the unit of the measure; above 0 the challenger is ahead, also where lower is better. Its bounds are for
    other trials and other seeds: NaN with too few, and by a searcher that learns, whose trials are no draws."""
    trials: int
    seeds: int
    """Of each trial."""

    @property
    def sentence(self) -> Sentence:
        """Whether it depends on the number of trials."""
        values = {"challenger": self.pair.challenger, "baseline": self.pair.baseline}
        return STANDINGS[standing(self.by.values())], values | {"trials": self.trials, "seeds": self.seeds}


def budgets(experiment: Experiment, tuned: Sequence[Tuned]) -> tuple[Budget, ...]:
    """The curve of every loss in every setting; of those without a trial that has a score, none."""
    if experiment.tuning is None:
        return ()
    return tuple(
        Budget(each.competitor.dataset, each.competitor.backbone, each.competitor.loss, epochs, counts, *band)
        for each, scores, epochs in _scored(experiment.tuning, tuned)
        if (counts := _counts(len(scores))) and (band := _band(experiment.tuning, scores, counts))
    )


def leads(experiment: Experiment, tuned: Sequence[Tuned]) -> tuple[Lead, ...]:
    """For every two losses that a claim compares, who is ahead by the number of trials both had."""
    tuning = experiment.tuning
    if tuning is None:
        return ()
    scored = {tuple(each.competitor): (each, scores) for each, scores, _ in _scored(tuning, tuned)}
    both = (
        (pair, *(scored.get((loss, pair.backbone, pair.dataset)) for loss in pair[-2:])) for pair in pairs(experiment)
    )
    return tuple(_lead(tuning, pair, mine, theirs) for pair, mine, theirs in both if mine and theirs)


def _lead(
    tuning: Tuning, pair: ComparedLosses, mine: tuple[Tuned, Sequence[float]], theirs: tuple[Tuned, Sequence[float]]
) -> Lead:
    most = min(len(mine[1]), len(theirs[1]))
    counts = (*(count for count in COUNTS if count < most), most)
    sign = 1 if tuning.direction == "higher" else -1
    best, other = (_band(tuning, scores, counts)[0] for scores in (mine[1], theirs[1]))
    bounds = _bounds(tuning, mine[0], theirs[0], counts)
    by = {
        count: bound._replace(estimate=sign * (a - b))
        for count, a, b, bound in zip(counts, best, other, bounds, strict=True)
    }
    return Lead(pair, by, most, len(tuning.seeds))


def _bounds(tuning: Tuning, mine: Tuned, theirs: Tuned, counts: Sequence[int]) -> list[Interval]:
    """How far leads scatter over other trials and other seeds; NaN where trials are no draws, or do not pair."""
    ours = first(mine)
    others = first(theirs)
    lowest = worst(tuning, (mine, theirs))
    if tuning.searcher == "optuna" or ours.keys() != others.keys():
        return [Interval(math.nan, math.nan, math.nan, counts[-1])] * len(counts)
    return ahead_by(by_seed(ours, lowest), by_seed(others, lowest), counts)


def by_seed(trials: Mapping[int, Tried], lowest: float) -> NDArray[np.float64]:
    """The scores of trials in their order, (trials, seeds), with one for those that diverged."""
    scores = np.array([trials[number].by_seed for number in sorted(trials)])
    return np.where(np.isfinite(scores), scores, lowest)


def _scored(tuning: Tuning, tuned: Sequence[Tuned]) -> Iterator[tuple[Tuned, list[float], int]]:
    """The scores of each competitor's trials, with one for those that diverged, and their epochs."""
    for _, group in itertools.groupby(sorted(tuned, key=_setting), key=_setting):
        setting = list(group)
        lowest = worst(tuning, setting)
        for each in setting:
            trials = first(each).values()
            scores = [tried.score if math.isfinite(tried.score) else lowest for tried in trials]
            if scores and math.isfinite(lowest):
                yield each, scores, min(tried.epochs for tried in trials)


def _setting(tuned: Tuned) -> tuple[str, str]:
    return tuned.competitor.dataset, tuned.competitor.backbone


def _band(tuning: Tuning, scores: Sequence[float], counts: Sequence[int]) -> tuple[tuple[float, ...], ...]:
    """The best by the number of trials, and the ends of its band, in the unit of the measure."""
    if tuning.searcher == "optuna":
        so_far = list(itertools.accumulate(scores, max))
        best = tuple(so_far[count - 1] for count in counts)
        columns = (best, best, best)
    else:
        found = expected_best(scores, counts)
        columns = tuple(tuple(map(float, column)) for column in (found.mean, found.low, found.high))
    if tuning.direction == "higher":
        return columns
    mean, low, high = (tuple(-value for value in column) for column in columns)
    return mean, high, low


def _counts(most: int) -> tuple[int, ...]:
    """All numbers up to `most`, or as many as tell enough, ever further apart."""
    if most <= POINTS:
        return tuple(range(1, most + 1))
    return tuple(sorted({round(most ** (place / (POINTS - 1))) for place in range(POINTS)}))
