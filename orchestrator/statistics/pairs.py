"""What pairs of seeds say of a claim, also where some of them have no value.

A cell that diverged, or whose measure does not exist, is no missing cell: it is an outcome, and
a bad one. Leaving it out would flatter the loss that lost it. So a verdict has to stand with
such cells at the worst value that the measure has; where it has none, a sign test that counts
them against the verdict has to agree.
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
"""Why there is no verdict: planned seeds are left out; seeds may still be added; planned cells are missing; too few
pairs; a measure without steps has the same value in all of them; or the verdict does not stand with lost cells at
their worst."""

SHARP = 0.25
"""The p of a sign test from which it disagrees with a verdict sharply."""


@dataclass(frozen=True)
class Scale:
    """What values a measure can have."""

    worst: float | None = None
    """The bound on its bad side; None where it has none."""
    best: float | None = None
    """The bound on its good side."""
    step: float = 0.0
    """Between neighbouring values; 0 where it has no steps."""


@dataclass(frozen=True)
class Pairs:
    """Values of one seed each, of which some may be lost.

    Attributes:
        challenger: A value a seed; None where the cell diverged or the measure does not exist.
        baseline: The same seeds; zeros where a measure itself is judged, and no difference.
        mine: What values the challenger's measure can have.
        theirs: What values the baseline's can have.
        missing: Planned seeds for which a cell has not been run or failed.
    """

    challenger: Sequence[float | None]
    baseline: Sequence[float | None]
    mine: Scale = Scale()
    theirs: Scale = Scale()
    missing: int = 0

    @cached_property
    def step(self) -> float:
        """Of a difference: none where one of the two has none."""
        return max(self.mine.step, self.theirs.step) if self.mine.step and self.theirs.step else 0.0

    @cached_property
    def complete(self) -> list[float]:
        """Differences of the pairs of which nothing is lost."""
        return [mine - theirs for mine, theirs in self._both() if mine is not None and theirs is not None]

    @property
    def lost(self) -> int:
        """Pairs of which something is lost."""
        return len(self.challenger) - len(self.complete)

    @cached_property
    def at_worst(self) -> list[float] | None:
        """Differences with what is lost at its bound; None where that has none."""
        found: list[float] = []
        for mine, theirs in self._both():
            high = self.mine.worst if mine is None else mine
            low = self.theirs.worst if theirs is None else theirs
            if high is None or low is None:
                return None
            found.append(high - low)
        return found

    def outside(self, margin: float) -> list[float] | None:
        """Differences with every pair of which something is lost beyond the margin; None where there is no bound.

        Two losses that diverge alike do not perform alike: what is lost says nothing of equality.
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
    """What pairs say of a claim if it is the only question."""

    difference: Interval
    """Of the pairs of which nothing is lost."""
    levels: Levels
    """From which level of significance on each verdict would be given."""
    withheld: Withheld | None
    """Why there is no verdict, where it is not the interval alone."""
    lost: int
    """Pairs that count as the worst."""
    at_worst: Interval | None
    """The difference with these at their bounds; None without any, and where there are no bounds."""
    signs: float
    """p of a sign test of the verdict; NaN where there are too few pairs for one."""

    @property
    def verdict(self) -> Verdict:
        """At 5 %."""
        return self.levels.verdict(1 - CONFIDENCE)

    @property
    def p(self) -> float:
        """How sure the verdict is; NaN where none can be given yet, whatever the level."""
        return math.nan if self.withheld in {"missing", "few", "no spread"} else self.levels.p

    @property
    def is_doubted(self) -> bool:
        """Whether the sign test disagrees sharply, so that the verdict rests on differences being about normal."""
        return self.signs > SHARP


class Rule(NamedTuple):
    """How many seeds there may be where results decide their number."""

    least: int
    most: int

    def level(self, distance: float, n: int, lost: int) -> float:
        """As `sequential.level`, of n values; pairs that are lost make no further ones."""
        last = self.most - lost
        # The rule for one look alone is no rule for the last of several.
        return sequential.level(distance, n, min(self.least, last - 1), last)

    def interval(self, values: Sequence[float], step: float, lost: int) -> Interval:
        """The 95 % interval that holds at whatever number of seeds."""
        last = self.most - lost
        return sequential.interval(values, min(self.least, last - 1), last, 1 - CONFIDENCE, step)


def judge(pairs: Pairs, direction: Direction, margin: float, rule: Rule | None = None) -> Judgement:
    """What is to be said of a claim from a number of seeds that was fixed beforehand, or that others decided.

    Args:
        pairs: All seeds that have an outcome.
        direction: Of the claim.
        margin: Of the claim.
        rule: How many seeds there may be, where results, of this claim or of another, decide their number.
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
    """The verdict on a claim that is looked at from `least` to `most` seeds, so often wrong at any look as alpha.

    Cells that are missing are cells to come. Where something without a bound is lost there is no verdict.
    """
    if pairs.lost and pairs.at_worst is None:
        return "undecided"

    def found(values: Sequence[float]) -> Verdict:
        last = most - len(pairs.challenger) + len(values)  # what is lost makes no further pair
        # The rule for one look alone is no rule for the last of several.
        look = sequential.interval(values, min(least, last - 1), last, alpha, pairs.step)
        return verdict(look, direction, margin)

    first, *others = map(found, _readings(pairs))
    if pairs.lost and first == ("supported" if direction == "equal" else "equivalent"):
        others.append(found(pairs.outside(margin) or []))
    return "undecided" if any(other != first for other in others) else first


def _readings(pairs: Pairs) -> list[list[float]]:
    """Without what is lost, and with it at its worst: a verdict has to stand in both."""
    if not pairs.lost or pairs.at_worst is None:
        return [pairs.complete]
    return [pairs.at_worst, *([pairs.complete] if len(pairs.complete) >= ENOUGH else [])]


def _levels(pairs: Pairs, direction: Direction, margin: float, rule: Rule | None) -> Levels:
    """The largest level of each verdict in all readings of the pairs."""

    def read(values: Sequence[float]) -> Levels:
        lost = len(pairs.challenger) - len(values)
        level = student if rule is None else partial(rule.level, lost=lost)
        return levels(mean_interval(values, CONFIDENCE, pairs.step), direction, margin, level)

    found = [read(values) for values in _readings(pairs)]
    if pairs.lost and (outside := pairs.outside(margin)) is not None:
        apart = read(outside)
        found.append(Levels(apart.supported, 0, 0) if direction == "equal" else Levels(0, 0, apart.equivalent))
    elif pairs.lost and rule:
        return UNKNOWN  # a sign test holds at one look
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
