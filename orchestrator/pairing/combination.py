"""One verdict on several effects, from the results of the settings that they are about.

A sum of effects (a mean, a difference of effects, a trend) is one number per seed, and is judged
like any other. Verdicts on all settings, or on some, combine those of the settings. Lost values
count at their worst: a verdict must hold both with and without them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from orchestrator.experiment.claims import Claim
from orchestrator.experiment.questions import Part, Question
from orchestrator.pairing.evidence import Row, evidence, paired
from orchestrator.statistics.intervals import CONFIDENCE, Interval
from orchestrator.statistics.pairs import Judgement, Pairs, Scale, SeedRule, judge
from orchestrator.statistics.scopes import UNKNOWN, Levels, combined, in_all, in_some, levels, population_interval
from orchestrator.statistics.spread import step_of_sum

Rows = Callable[[Question], tuple[Collection[Row], Collection[Row]]]
"""The results of a question's challenger and of its baseline."""

Values = Mapping[int, float]


class Together(NamedTuple):
    """A verdict on several parts."""

    judgement: Judgement
    decisive: str | None
    """The name of the deciding part, whose difference is shown; None for a mean of several."""


class Summed(NamedTuple):
    """A sum of effects by seed."""

    complete: Values
    """The sum for each seed without lost values."""
    at_worst: Values | None
    """The sum for every seed, with lost values at their worst bound; None if there is no bound."""
    step: float
    """The smallest difference between two possible values; 0 if values are continuous."""
    missing: int
    """The number of planned seeds that some effect lacks."""

    @property
    def readings(self) -> list[Values]:
        """The readings in each of which a verdict must hold."""
        return [self.complete, *([self.at_worst] if self.lost and self.at_worst is not None else [])]

    def first(self, seeds: int) -> Summed:
        """The sum restricted to seeds below a number."""
        complete = {seed: value for seed, value in self.complete.items() if seed < seeds}
        at_worst = self.at_worst and {seed: value for seed, value in self.at_worst.items() if seed < seeds}
        return self._replace(complete=complete, at_worst=at_worst)

    @property
    def lost(self) -> bool:
        """Whether any value is lost."""
        return self.at_worst is None or len(self.at_worst) > len(self.complete)


def combine(
    claim: Claim, found: Sequence[Part], rows: Rows, planned: Iterable[int], rule: SeedRule | None = None
) -> Together:
    """The verdict on a claim over several settings, or on one contrast, before correction for other questions.

    Args:
        claim: The claim.
        found: Its parts; a single one if each part has its own verdict.
        rows: Returns the results of a question.
        planned: The seeds that must be there before there is a verdict.
        rule: The least and the most seeds, if other claims decide their number. A mean over a population of data sets
            then uses the first seeds only, because the number of further seeds per data set depends on its results.
    """
    seeds = set(planned)
    if claim.over in {"all", "some"}:
        return _of_each(claim, found, [_judged(claim, _summed(part.terms, rows, seeds), rule) for part in found])
    alone = found[0].name if len(found) == 1 else None
    if claim.population:
        sums = [_summed(part.terms, rows, seeds) for part in found]
        sums = [each.first(rule.least) for each in sums] if rule else sums
        return Together(_of_population(claim, found, sums), alone)
    terms = [(question, factor / len(found)) for part in found for question, factor in part.terms]
    return Together(_judged(claim, _summed(terms, rows, seeds), rule), alone)


def _summed(terms: Sequence[tuple[Question, float]], rows: Rows, planned: set[int]) -> Summed:
    pairs = [evidence(question.claim, *rows(question), ()) for question, _ in terms]
    found = [paired(question.claim, *rows(question)) for question, _ in terms]
    factors = [factor for _, factor in terms]
    complete = [
        {seed: mine - theirs for seed, (mine, theirs) in each.items() if mine is not None and theirs is not None}
        for each in found
    ]
    at_worst = [
        None if each.at_worst is None else dict(zip(own, each.at_worst, strict=True))
        for own, each in zip(found, pairs, strict=True)
    ]
    bounded = [each for each in at_worst if each is not None]
    steps = [each.step for each in pairs]
    shared = set[int].intersection(*(set(each) for each in found))
    return Summed(
        complete=combined(complete, factors),
        at_worst=combined(bounded, factors) if len(bounded) == len(terms) else None,
        step=step_of_sum(steps, factors),
        missing=len(planned - shared),
    )


def _judged(claim: Claim, summed: Summed, rule: SeedRule | None) -> Judgement:
    scale = Scale(step=summed.step)
    seeds = max(map(len, summed.readings))
    each = [
        judge(
            Pairs(list(values.values()), [0.0] * len(values), scale, scale, summed.missing),
            claim.direction,
            claim.tolerance,
            # lost seeds never make a pair
            rule and rule._replace(most=rule.most - seeds + len(values)),
        )
        for values in summed.readings
    ]
    return in_every_reading(claim, summed.lost, len(summed.at_worst or ()) - len(summed.complete), each)


def _of_population(claim: Claim, found: Sequence[Part], sums: Sequence[Summed]) -> Judgement:
    datasets = [part.dataset for part in found]
    lost = any(summed.lost for summed in sums)
    readings = [[summed.complete for summed in sums]]
    if lost and all(summed.at_worst is not None for summed in sums):
        readings.append([summed.at_worst or {} for summed in sums])
    each: list[Judgement] = []
    missing = any(summed.missing for summed in sums)
    for reading in readings:
        interval = population_interval(reading, datasets)
        own = UNKNOWN if missing else levels(interval, claim.direction, claim.tolerance)
        each.append(Judgement(interval, own, "missing" if missing else None, 0, None, math.nan))
    count = sum(len(summed.at_worst or ()) - len(summed.complete) for summed in sums if summed.at_worst is not None)
    return in_every_reading(claim, lost, count, each)


def in_every_reading(claim: Claim, lost: bool, count: int, each: Sequence[Judgement]) -> Judgement:
    """The verdict that holds both without lost values and with them at their worst."""
    first, *others = each
    if not lost or first.withheld:
        return first
    if not others:
        return first._replace(levels=UNKNOWN, withheld="lost")
    found = Levels(*map(max, zip(*(reading.levels for reading in each), strict=True)))
    # Lost values are no evidence for equality.
    apart = found._replace(supported=1.0) if claim.direction == "equal" else found._replace(equivalent=1.0)
    withheld = "lost" if apart.verdict(1 - CONFIDENCE) == "undecided" != first.verdict else None
    return first._replace(levels=apart, withheld=withheld, lost=count, at_worst=others[0].difference)


def _of_each(claim: Claim, found: Sequence[Part], each: Sequence[Judgement]) -> Together:
    """The verdict on all settings, or on some, from the verdict on each."""
    # the deciding setting: with "all" the least supported one, with "some" the best supported one
    choose = max if claim.over == "all" else min
    decisive = choose(range(len(each)), key=lambda place: _standing(each[place].levels))
    withheld = [judgement.withheld for judgement in each if judgement.withheld]
    together = (in_all if claim.over == "all" else in_some)([judgement.levels for judgement in each])
    if "missing" in withheld:
        together = UNKNOWN
        withheld = ["missing"]
    shown: Interval = each[decisive].difference
    return Together(
        each[decisive]._replace(
            difference=shown,
            levels=together,
            withheld=withheld[0] if withheld and together.verdict(1 - CONFIDENCE) == "undecided" else None,
            lost=sum(judgement.lost for judgement in each),
        ),
        found[decisive].name,
    )


def _standing(found: Levels) -> tuple[float, float]:
    """A sort key: smaller the more clearly a claim is supported, larger the more clearly it is refuted."""
    return found.supported, -found.refuted
