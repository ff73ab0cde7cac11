"""The verdict on a claim from pairs of results with the same seed, some of which may be lost.

A cell that diverged, or whose measure is undefined, is not missing: it is an outcome, and a bad
one. Leaving it out would favour the loss that failed. So a verdict must hold with such cells at
the measure's worst value. If the measure has no worst value, a sign test that counts these cells
against the verdict must agree with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal, NamedTuple

from orchestrator.statistics import sequential
from orchestrator.statistics.intervals import CONFIDENCE, ENOUGH, Interval, mean_interval
from orchestrator.statistics.scopes import UNKNOWN, Levels, levels, student
from orchestrator.statistics.verdicts import ENOUGH_SIGNS, Direction, Verdict, sign_p, verdict

Withheld = Literal["narrowed", "open", "missing", "few", "no spread", "lost"]
"""Why there is no verdict: planned seeds are left out; seeds may still be added; planned cells are missing; there are
too few pairs; a continuous measure has the same value in all of them; or the verdict changes with lost cells at their
worst."""

SHARP = 0.25
"""Above this p, a sign test clearly disagrees with a verdict."""


@dataclass(frozen=True)
class Scale:
    """What values a measure can have."""

    worst: float | None = None
    """The bound in the worse direction; None if there is none."""
    best: float | None = None
    """The bound in the better direction."""
    step: float = 0.0
    """Step size; 0 if the measure is continuous."""


@dataclass(frozen=True)
class Pairs:
    """Values of challenger and baseline by seed; some may be lost.

    Attributes:
        challenger: One value per seed; None if the cell diverged or the measure is undefined.
        baseline: One value per seed, in the same order; zeros if the claim is about the value itself, not a difference.
        mine: The range of the challenger's measure.
        theirs: The range of the baseline's measure.
        missing: Number of planned seeds without a result: a cell was not run, or failed.
    """

    challenger: Sequence[float | None]
    baseline: Sequence[float | None]
    mine: Scale = Scale()
    theirs: Scale = Scale()
    missing: int = 0

    @cached_property
    def step(self) -> float:
        """Step size of a difference; 0 if one of the two measures is continuous."""
        return max(self.mine.step, self.theirs.step) if self.mine.step and self.theirs.step else 0.0

    @cached_property
    def complete(self) -> list[float]:
        """Differences of the pairs with both values."""
        return [mine - theirs for mine, theirs in self._both() if mine is not None and theirs is not None]

    @property
    def lost(self) -> int:
        """Number of pairs with a lost value."""
        return len(self.challenger) - len(self.complete)

    @cached_property
    def at_worst(self) -> list[float] | None:
        """Differences with lost values at their worst; None if the measure has no worst value."""
        found: list[float] = []
        for mine, theirs in self._both():
            high = self.mine.worst if mine is None else mine
            low = self.theirs.worst if theirs is None else theirs
            if high is None or low is None:
                return None
            found.append(high - low)
        return found

    def outside(self, margin: float) -> list[float] | None:
        """Differences with every lost pair beyond the margin; None if the measure has no worst value.

        Two losses that both diverge are not thereby equivalent: a lost pair is no evidence of equality.
        """
        if self.at_worst is None:
            return None
        return [
            self._apart(margin, is_mine=mine is None) if mine is None or theirs is None else mine - theirs
            for mine, theirs in self._both()
        ]

    def _apart(self, margin: float, *, is_mine: bool) -> float:
        scale = self.mine if is_mine else self.theirs
        fall = (scale.worst or 0.0) - (scale.best or 0.0)
        return math.copysign(max(abs(fall), 2 * margin), fall if is_mine else -fall)

    def _both(self) -> Iterator[tuple[float | None, float | None]]:
        return zip(self.challenger, self.baseline, strict=True)


class Judgement(NamedTuple):
    """The judgement on a claim before correction for other questions."""

    difference: Interval
    """From the pairs with both values."""
    levels: Levels
    """The smallest significance level at which each verdict would be given."""
    withheld: Withheld | None
    """Why there is no verdict, if there is a reason other than the interval."""
    lost: int
    """Number of pairs with a lost value."""
    at_worst: Interval | None
    """The difference with lost values at their worst; None if there are none, or no worst value."""
    signs: float
    """p of a sign test of the verdict; NaN if there are too few pairs for one."""

    @property
    def verdict(self) -> Verdict:
        """At 5 %."""
        return self.levels.verdict(1 - CONFIDENCE)

    @property
    def p(self) -> float:
        """The p-value of the verdict; NaN if there can be none yet at any level."""
        return math.nan if self.withheld in {"missing", "few", "no spread"} else self.levels.p

    @property
    def is_doubted(self) -> bool:
        """Whether the sign test clearly disagrees, so that the verdict depends on differences being about normal."""
        return self.signs > SHARP


class SeedRule(NamedTuple):
    """The smallest and largest number of seeds, if results decide their number."""

    least: int
    most: int

    def level(self, distance: float, n: int, lost: int) -> float:
        """As `sequential.level`, for n values; lost pairs are not replaced by further ones."""
        last = self.most - lost
        # Even if lost pairs reduce `last` to `least`, there were several looks: the fixed design's rule must not apply.
        return sequential.level(distance, n, min(self.least, last - 1), last)

    def interval(self, values: Sequence[float], step: float, lost: int) -> Interval:
        """The 95 % interval that holds at any number of seeds."""
        last = self.most - lost
        return sequential.interval(values, min(self.least, last - 1), last, 1 - CONFIDENCE, step)


def judge(pairs: Pairs, direction: Direction, margin: float, rule: SeedRule | None = None) -> Judgement:
    """Judge a claim, with a number of seeds fixed beforehand or decided by a rule.

    Args:
        pairs: All seeds with an outcome.
        direction: Direction of the claim.
        margin: Margin of the claim.
        rule: The range of seeds if results, of this claim or of another, decide their number.
    """

    def interval(values: Sequence[float]) -> Interval:
        return mean_interval(values, CONFIDENCE, pairs.step)

    complete = interval(pairs.complete)
    worst = None if pairs.at_worst is None or not pairs.lost else interval(pairs.at_worst)
    found = _levels(pairs, direction, margin, rule)
    withheld = _withheld(pairs, [complete, *([worst] if worst else [])])
    if withheld:
        found = UNKNOWN
    elif pairs.lost and found.verdict(1 - CONFIDENCE) == "undecided" != verdict(complete, direction, margin):
        withheld = "lost"
    signs = math.nan if rule else _signs(pairs, found, direction, margin)
    shown = rule.interval(pairs.complete, pairs.step, pairs.lost) if rule else complete
    return Judgement(shown, found, withheld, pairs.lost, worst, signs)


def judge_at_look(pairs: Pairs, direction: Direction, margin: float, *, least: int, most: int, alpha: float) -> Verdict:
    """The verdict at one of several looks, from `least` to `most` seeds; the error rate over all looks is alpha.

    Missing cells are still to come. If a value without a worst case is lost, there is no verdict.
    """
    if pairs.lost and pairs.at_worst is None:
        return "undecided"

    def found(values: Sequence[float]) -> Verdict:
        last = most - len(pairs.challenger) + len(values)  # lost pairs are not replaced by further ones
        # As in `SeedRule.level`: the rule of a fixed design must not apply.
        look = sequential.interval(values, min(least, last - 1), last, alpha, pairs.step)
        return verdict(look, direction, margin)

    first, *others = map(found, _readings(pairs))
    if pairs.lost and first == ("supported" if direction == "equal" else "equivalent"):
        others.append(found(pairs.outside(margin) or []))
    return "undecided" if any(other != first for other in others) else first


def _readings(pairs: Pairs) -> list[list[float]]:
    """Differences without lost pairs, and with lost values at their worst: a verdict must hold in both."""
    if not pairs.lost or pairs.at_worst is None:
        return [pairs.complete]
    return [pairs.at_worst, *([pairs.complete] if len(pairs.complete) >= ENOUGH else [])]


def _levels(pairs: Pairs, direction: Direction, margin: float, rule: SeedRule | None) -> Levels:
    """For each verdict, the largest level over all readings of the pairs."""

    def read(values: Sequence[float]) -> Levels:
        lost = len(pairs.challenger) - len(values)
        level = student if rule is None else partial(rule.level, lost=lost)
        return levels(mean_interval(values, CONFIDENCE, pairs.step), direction, margin, level)

    found = [read(values) for values in _readings(pairs)]
    if pairs.lost and (outside := pairs.outside(margin)) is not None:
        apart = read(outside)
        found.append(Levels(apart.supported, 0, 0) if direction == "equal" else Levels(0, 0, apart.equivalent))
    elif pairs.lost and rule:
        return UNKNOWN  # a sign test is valid at one look only
    elif pairs.lost:
        names: tuple[Verdict, ...] = ("supported", "refuted", "equivalent")
        found.append(Levels(*(sign_p(pairs.complete, name, direction, margin, pairs.lost) for name in names)))
    return Levels(*map(max, zip(*found, strict=True)))


def _withheld(pairs: Pairs, readings: Sequence[Interval]) -> Withheld | None:
    if pairs.missing:
        return "missing"
    if max(reading.n for reading in readings) < ENOUGH:
        return "few"
    if any(math.isnan(reading.low) for reading in readings if reading.n >= ENOUGH):
        return "no spread"
    return None


def _signs(pairs: Pairs, found: Levels, direction: Direction, margin: float) -> float:
    stands = found.verdict(1 - CONFIDENCE)
    if stands == "undecided" or len(pairs.challenger) < ENOUGH_SIGNS:
        return math.nan
    if pairs.at_worst is None:
        return sign_p(pairs.complete, stands, direction, margin, pairs.lost)
    return sign_p(pairs.at_worst, stands, direction, margin)
