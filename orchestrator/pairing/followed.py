"""The verdict on a claim over several settings at any of the looks between which seeds are added for it.

A verdict on all settings, or on some, rests on intervals that hold at every number of seeds, however these differ from
setting to setting and whatever decided them. So does one on a mean if all settings get the same seeds. If they get them
by spread and cost, it is given at a few looks that are set beforehand (`statistics.staged`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from orchestrator.experiment.claims import Claim
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.questions import Key, Part, Question, parts
from orchestrator.pairing.combination import Rows, Together, combine, in_every_reading
from orchestrator.pairing.evidence import Row, evidence, paired
from orchestrator.statistics import staged
from orchestrator.statistics.intervals import Interval
from orchestrator.statistics.pairs import Judgement, Pairs, SeedRule, judge_at_look
from orchestrator.statistics.scopes import UNKNOWN, levels_of
from orchestrator.statistics.spread import spread, step_of_sum

Cost = Callable[[Question], float]
"""The cost of one seed of a question."""


class Look(NamedTuple):
    """What a claim on a mean knows, and what it waits for."""

    judgement: Judgement
    """At the last look for which all seeds are there."""
    wanted: Mapping[Question, int]
    """How many pairs of each question the next look needs; empty after the last look."""
    each: int
    """Seeds per setting that the next look costs if all settings have equally many; 0 after the last look."""


@dataclass(frozen=True)
class _Setting:
    """One setting's term of the mean."""

    question: Question
    factor: float
    pairs: Pairs
    seeds: Sequence[int]

    @property
    def deviation(self) -> float:
        """Standard deviation of the term over seeds; NaN if unknown."""
        return abs(self.factor) * float(spread(self.pairs.complete, self.pairs.step))

    def first(self, number: int) -> _Setting:
        """The setting with its first seeds alone."""
        pairs = self.pairs
        mine = Pairs(pairs.challenger[:number], pairs.baseline[:number], pairs.mine, pairs.theirs)
        return _Setting(self.question, self.factor, mine, self.seeds[:number])


def judged(claim: Claim, experiment: Experiment, rows: Rows, cost: Cost | None = None) -> Together:
    """The verdict on a claim that asks for seeds, before correction for other questions.

    Args:
        claim: A claim over several settings.
        experiment: Has a rule for seeds.
        rows: Returns the results of a question.
        cost: The cost of a seed of a question; by default as these results tell.
    """
    found = parts(claim, experiment)
    rule = limits(experiment)
    if claim.over == "mean" and experiment.allocation == "decisive":
        return Together(looked_at(claim, found, rows, rule, cost or cost_of(experiment, rows)).judgement, None)
    return combine(claim, found, rows, range(rule.least), rule)


def may_get_seeds(claim: Claim, experiment: Experiment, rows: Rows, alpha: float) -> list[Question]:
    """The questions of an undecided claim over several settings for which further seeds can matter.

    For a mean, those with fewer than the most seeds. For `all` and `some` also a setting that has a verdict of its own
    needs no more: it will hardly get another one.

    Args:
        claim: A claim over several settings.
        experiment: Has a rule for seeds.
        rows: Returns the results of a question.
        alpha: The level of the claim.
    """
    rule = limits(experiment)
    asked = [question for part in parts(claim, experiment) for question in part.questions]
    pairs = [evidence(claim, *rows(question), ()) for question in asked]
    return [
        question
        for question, own in zip(asked, pairs, strict=True)
        if len(own.challenger) < rule.most
        and (
            claim.over == "mean"
            or experiment.allocation == "equal"
            or judge_at_look(own, claim.direction, claim.tolerance, least=rule.least, most=rule.most, alpha=alpha)
            == "undecided"
        )
    ]


def limits(experiment: Experiment) -> SeedRule:
    """The least and the most seeds."""
    rule = experiment.sequence
    if rule is None:
        raise ValueError(f"Experiment '{experiment.name}' has a fixed number of seeds")
    return SeedRule(rule.min, rule.max)


def cost_of(experiment: Experiment, rows: Rows) -> Cost:
    """The core seconds, or GPU seconds, of one seed of a question, by its first seeds, rounded to a power of two.

    It is rounded so that the same seeds are asked for again where times differ a little. Where no time is known, all
    questions cost the same.
    """
    least = limits(experiment).least

    def cost(question: Question) -> float:
        found = [_seconds(question.measures, experiment, each, least) for each in rows(question) if each]
        total = math.fsum(found)
        return 2.0 ** round(math.log2(total)) if total > 0 else 1.0

    return cost


def _seconds(keys: Mapping[Key, object], experiment: Experiment, rows: Collection[Row], least: int) -> float:
    first = sorted(rows, key=lambda row: row["seed"])[:least]
    known = [row["train_seconds"] for row in first if row.get("train_seconds")]
    resources = experiment.settled(first[0]["loss"], *_setting(keys)[::-1]).resources
    return math.fsum(known) / max(1, len(known)) * resources.devices * (resources.gpus or resources.cpus)


def _setting(keys: Mapping[Key, object]) -> tuple[str, str]:
    dataset, backbone, _ = next(iter(keys))
    return dataset, backbone


def looked_at(claim: Claim, found: Sequence[Part], rows: Rows, rule: SeedRule, cost: Cost) -> Look:
    """The verdict on a mean at the last look whose seeds are there, and what the next look needs.

    Args:
        claim: A claim over a mean of settings.
        found: Its parts, one per setting.
        rows: Returns the results of a question.
        rule: The least and the most seeds.
        cost: The cost of a seed of a question.
    """
    settings = [
        _Setting(question, factor / len(found), evidence(claim, *rows(question), ()), [*paired(claim, *rows(question))])
        for part in found
        for question, factor in part.terms
    ]
    numbers = staged.looks(rule.least, rule.most)
    waiting = Judgement(_unknown(0), UNKNOWN, "missing", 0, None, math.nan)
    if any(len(setting.seeds) < rule.least for setting in settings):
        return Look(waiting, {setting.question: rule.least for setting in settings}, rule.least)
    share_out = partial(
        staged.shares,
        _deviations([setting.first(rule.least).deviation for setting in settings]),
        [cost(setting.question) for setting in settings],
        least=rule.least,
        most=rule.most,
    )
    judgement = waiting
    for look, each in enumerate(numbers):
        sizes = share_out(each)
        if any(len(setting.seeds) < size for setting, size in zip(settings, sizes, strict=True)):
            return Look(judgement, dict(zip([each.question for each in settings], sizes, strict=True)), each)
        cut = [setting.first(size) for setting, size in zip(settings, sizes, strict=True)]
        judgement = _judged(claim, cut, _Moment(numbers, look))
    return Look(judgement, {}, 0)


def _deviations(known: Sequence[float]) -> list[float]:
    """A spread that is unknown is taken for the largest."""
    largest = max((each for each in known if not math.isnan(each)), default=1.0)
    return [largest if math.isnan(each) else each for each in known]


class _Moment(NamedTuple):
    """Which of the looks it is."""

    numbers: Sequence[int]
    """Seeds per setting at each look, if all settings have equally many."""
    look: int

    @property
    def share(self) -> float:
        """The weight of the first seeds."""
        return self.numbers[0] / self.numbers[self.look]


def _judged(claim: Claim, settings: Sequence[_Setting], moment: _Moment) -> Judgement:
    """The verdict that holds with and without lost values."""
    lost = sum(setting.pairs.lost for setting in settings)
    complete = [
        [None if mine is None or theirs is None else mine - theirs for mine, theirs in _both(setting.pairs)]
        for setting in settings
    ]
    worst = [setting.pairs.at_worst for setting in settings]
    readings = [complete, *([[each or [] for each in worst]] if lost and None not in worst else [])]
    each = [_reading(claim, settings, values, moment) for values in readings]
    return in_every_reading(claim, bool(lost), lost, each)


def _both(pairs: Pairs) -> list[tuple[float | None, float | None]]:
    return list(zip(pairs.challenger, pairs.baseline, strict=True))


def _reading(
    claim: Claim, settings: Sequence[_Setting], values: Sequence[Sequence[float | None]], moment: _Moment
) -> Judgement:
    seeds = sorted(set[int]().union(*(setting.seeds for setting in settings)))
    place = {seed: column for column, seed in enumerate(seeds)}
    table = np.full((len(settings), len(seeds)), np.nan)
    first = np.zeros(table.shape, bool)
    for row, (setting, own) in enumerate(zip(settings, values, strict=True)):
        columns = [place[seed] for seed in setting.seeds]
        table[row, columns] = [math.nan if value is None else value for value in own]
        first[row, columns[: moment.numbers[0]]] = True
    factors = [setting.factor for setting in settings]
    step = step_of_sum([setting.pairs.step for setting in settings], factors)
    found = staged.weighted(table, factors, first, moment.share, step)
    fewest = int((~np.isnan(table)).sum(axis=1).min())
    if math.isnan(found.error):
        return Judgement(_unknown(fewest), UNKNOWN, "no spread", 0, None, math.nan)
    number = len(moment.numbers)
    level = partial(staged.level, freedom=found.freedom, look=moment.look, number=number)
    return Judgement(
        staged.interval(found, moment.look, number, fewest),
        levels_of(found.estimate, found.error, claim.direction, claim.tolerance, level),
        None,
        0,
        None,
        math.nan,
    )


def _unknown(n: int) -> Interval:
    return Interval(math.nan, math.nan, math.nan, n)
