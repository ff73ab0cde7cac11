"""Whether cells that were trained again are equivalent to what they were, within the claims' margins."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, filterfalse
from typing import Literal, NamedTuple

from orchestrator import units
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.own_measures import is_own
from orchestrator.provenance.environment import Origin, change
from orchestrator.reproduction.anchor_log import Anchor, Entry
from orchestrator.sentences import Sentence, filled
from orchestrator.statistics.intervals import Interval, mean_interval
from orchestrator.statistics.verdicts import verdict
from trainers.metrics.traits import TRAITS

UNCLAIMED = {"uniform_accuracy": 0.005}
"""What is tested, and its margin, where no claim says what matters."""

ERROR = 0.05
"""How often a shift as large as the margin may pass as equivalent, over all looks at the same two origins."""

Found = Literal["identical", "equivalent", "undecided", "shifted"]
"""From best to worst: the same bits; within the margin; not sure; beyond it."""

TOLD: dict[Found, str] = {
    "identical": "{change}: {anchors} old cells trained again gave the same bits.",
    "equivalent": "{change}: {anchors} old cells trained again are equivalent: {outcome}.",
    "undecided": "{change}: {anchors} old cells trained again may differ: {outcome}.",
    "shifted": "{change}: {anchors} old cells trained again differ: {outcome}.",
}
"""What people are told of each."""

PASSED: tuple[Found, ...] = ("identical", "equivalent")


class Part(NamedTuple):
    """What the anchors of one loss, or of one setting, say of a measure."""

    name: str
    difference: Interval
    """Now - then, with its interval."""


@dataclass(frozen=True)
class Measured:
    """What the anchors say of one measure."""

    metric: str
    margin: float
    difference: Interval
    """Now - then over all anchors, with its interval."""
    found: Found
    furthest: Part | None = None
    """The loss or setting that is the least sure to lie within the margin; None where there is one of each."""

    def __str__(self) -> str:
        apart = f", {self.furthest.name} {self._shown(self.furthest.difference)}" if self.furthest else ""
        margin = filled(units.amount(self.margin, [self.metric]))
        return f"{self.metric} {self._shown(self.difference)}{apart}, margin {margin}"

    def _shown(self, interval: Interval) -> str:
        return filled(units.shown(interval, [self.metric]))


@dataclass(frozen=True)
class Outcome:
    """What the anchors of two environments or codes say."""

    anchors: int
    measures: tuple[Measured, ...]
    diverged: tuple[str, ...]
    """Names of those that finished then, and do not now."""
    lost: tuple[str, ...] = ()
    """Names of those that had a measure then, and do not now, each with the measure."""

    @property
    def found(self) -> Found:
        """The worst of all measures."""
        if self.diverged or self.lost:
            return "shifted"
        if not self.measures:
            return "undecided"
        return max((measured.found for measured in self.measures), key=list(TOLD).index)

    def __str__(self) -> str:
        diverged = [f"{name} diverges now" for name in self.diverged]
        return "; ".join([*map(str, self.measures), *diverged, *self.lost])


def margins(experiment: Experiment) -> dict[str, float]:
    """The measures that claims are about, each with the smallest difference that matters to any of them.

    Without those of one's own, which a cell does not record when it ends.
    """
    found: dict[str, float] = {}
    for claim in experiment.claims:
        if claim.trend:  # its margin is one for each step of the trend
            continue
        for metric in filterfalse(is_own, claim.metrics):
            found[metric] = min(claim.tolerance, found.get(metric, claim.tolerance))
    return found


def judge(experiment: Experiment, entries: Iterable[Entry]) -> Outcome | None:
    """What entries about the same two environments or codes say together; None where no anchor was trained again.

    Each entry is one look at the anchors there were by then. The first look is tested at half of `ERROR`, each
    further one at half of what the one before was, so that no number of looks errs more often than `ERROR`.
    """
    looks = [entry.anchors for entry in entries if entry.anchors]
    anchors = list(chain(*looks))
    if not anchors:
        return None
    error = 2 * ERROR / 2 ** len(looks)
    asked = margins(experiment)
    lost = _lost(asked, anchors)
    found = _measured(asked, anchors, error) or ([] if lost else _measured(UNCLAIMED, anchors, error))
    diverged = tuple(anchor.name for anchor in anchors if anchor.now is None)
    return Outcome(len(anchors), tuple(found), diverged, tuple(lost))


def _lost(asked: Iterable[str], anchors: Sequence[Anchor]) -> list[str]:
    return [
        f"{anchor.name} has no {metric} now"
        for metric in asked
        for anchor in anchors
        if anchor.now is not None and anchor.then.get(metric) is not None and anchor.now.get(metric) is None
    ]


def _measured(asked: Mapping[str, float], anchors: Sequence[Anchor], error: float) -> list[Measured]:
    found: list[Measured] = []
    for metric, margin in asked.items():
        pairs = [(anchor, anchor.then.get(metric), (anchor.now or {}).get(metric)) for anchor in anchors]
        shifts = [(anchor, now - then) for anchor, then, now in pairs if then is not None and now is not None]
        step = max((TRAITS[metric].step(anchor.samples) for anchor, _ in shifts), default=0.0)
        interval = mean_interval([shift for _, shift in shifts], 1 - error, step)
        if all(anchor.identical for anchor in anchors):
            found.append(Measured(metric, margin, interval, "identical"))
        elif shifts:
            parts = _parts(shifts, step, error)
            furthest = max(parts, key=lambda part: max(abs(part.difference.low), abs(part.difference.high)))
            judged = _found(shifts, margin, step, error)
            found.append(Measured(metric, margin, interval, judged, furthest if len(parts) > 2 else None))  # noqa: PLR2004 - one loss, one setting
    return found


Shifts = Sequence[tuple[Anchor, float]]
"""Anchors and their differences now - then."""


def _found(shifts: Shifts, margin: float, step: float, error: float) -> Found:
    """What is found of losses and settings apart, since shifts of several may cancel out in the mean over all.

    The two environments pass if every one of them lies within the margin: the intersection–union test (Berger 1982),
    which needs no correction. They have shifted if any lies beyond it, at its share of the error.
    """
    if not any(shift for _, shift in shifts):  # one cell has no interval, but so much it says
        return "equivalent"
    if not margin:  # then every difference counts
        return "shifted"
    parts = _parts(shifts, step, error)
    if all(verdict(part.difference, "equal", margin) == "supported" for part in parts):
        return "equivalent"
    stricter = _parts(shifts, step, error / len(parts))
    refuted = any(verdict(part.difference, "equal", margin) == "refuted" for part in stricter)
    return "shifted" if refuted else "undecided"


def _parts(shifts: Shifts, step: float, error: float) -> list[Part]:
    """Each loss and each setting, with the interval of its mean.

    One or two anchors of a loss tell no spread of their own, so that of all anchors stands for it; where losses or
    settings shift apart it is too large, which passes nothing that should not.
    """
    groups = defaultdict[str, list[float]](list)
    for anchor, shift in shifts:
        dataset, backbone = anchor.setting
        groups[anchor.loss].append(shift)
        groups[f"{backbone} on {dataset}"].append(shift)
    whole = mean_interval([shift for _, shift in shifts], 1 - error, step)
    return [Part(name, _within(values, whole)) for name, values in groups.items()]


def _within(values: Sequence[float], whole: Interval) -> Interval:
    """The mean of some anchors, with the spread of all; its n counts all."""
    half = (whole.high - whole.low) / 2 * math.sqrt(whole.n / len(values))
    mean = math.fsum(values) / len(values)
    return Interval(mean, mean - half, mean + half, whole.n)


def told(old: Origin, new: Origin, outcome: Outcome) -> Sentence:
    """What anchors say of two environments or codes."""
    return TOLD[outcome.found], {"change": change(old, new), "anchors": outcome.anchors, "outcome": str(outcome)}
