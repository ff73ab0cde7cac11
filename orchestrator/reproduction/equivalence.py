"""Whether retrained cells are equivalent to the originals, within the claims' margins."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, filterfalse
from typing import Literal, NamedTuple

from orchestrator.experiment import units
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.own_measures import is_derived
from orchestrator.provenance.environment import Origin, change
from orchestrator.reproduction.anchor_log import Anchor, AnchorEntry
from orchestrator.sentences import Sentence, filled
from orchestrator.statistics.intervals import Interval, mean_interval
from orchestrator.statistics.verdicts import verdict
from trainers.metrics.traits import TRAITS

UNCLAIMED = {"uniform_accuracy": 0.005}
"""The measure to test, and its margin, if no claim says what matters."""

ERROR = 0.05
"""The probability that a shift as large as the margin passes as equivalent, over all looks at the same two origins."""

Found = Literal["identical", "equivalent", "undecided", "shifted"]
"""From best to worst: the same bits; within the margin; undecided; beyond the margin."""

TOLD: dict[Found, str] = {
    "identical": "{change}: retraining {anchors} gave identical results, bit for bit.",
    "equivalent": "{change}: retraining {anchors} gave equivalent results: {outcome}.",
    "undecided": "{change}: retraining {anchors} gave results that may differ: {outcome}.",
    "shifted": "{change}: retraining {anchors} gave different results: {outcome}.",
}
"""The sentence for each finding."""

PASSED: tuple[Found, ...] = ("identical", "equivalent")


class AnchorShift(NamedTuple):
    """The shift of a measure in the anchors of one loss or one setting."""

    name: str
    difference: Interval
    """Now minus then, with its interval."""


@dataclass(frozen=True)
class MeasureShift:
    """The shift of a measure over all anchors, and what it means."""

    metric: str
    margin: float
    difference: Interval
    """Now minus then over all anchors, with its interval."""
    found: Found
    furthest: AnchorShift | None = None
    """The loss or setting whose interval reaches furthest from 0; None if there is only one of each."""

    def __str__(self) -> str:
        apart = f", {self.furthest.name} {self._shown(self.furthest.difference)}" if self.furthest else ""
        margin = filled(units.amount(self.margin, [self.metric]))
        return f"{self.metric} {self._shown(self.difference)}{apart}, margin {margin}"

    def _shown(self, interval: Interval) -> str:
        return filled(units.shown(interval, [self.metric]))


@dataclass(frozen=True)
class Outcome:
    """The result of comparing the anchors of two environments or codes."""

    anchors: int
    measures: tuple[MeasureShift, ...]
    diverged: tuple[str, ...]
    """Names of the anchors that finished then but diverge now."""
    lost: tuple[str, ...] = ()
    """Anchors that had a measure then but lack it now, each named with the measure."""

    @property
    def found(self) -> Found:
        """The worst finding of all measures."""
        if self.diverged or self.lost:
            return "shifted"
        if not self.measures:
            return "undecided"
        return max((measured.found for measured in self.measures), key=list(TOLD).index)

    def __str__(self) -> str:
        diverged = [f"{name} diverges now" for name in self.diverged]
        return "; ".join([*map(str, self.measures), *diverged, *self.lost])


def margins(experiment: Experiment) -> dict[str, float]:
    """The measures that claims are about, each with the smallest margin of these claims.

    User-defined measures are left out, because a cell does not record them.
    """
    found: dict[str, float] = {}
    for claim in experiment.claims:
        if claim.trend:  # its margin is per unit of the trend
            continue
        for metric in filterfalse(is_derived, claim.metrics):
            found[metric] = min(claim.tolerance, found.get(metric, claim.tolerance))
    return found


def judge(experiment: Experiment, entries: Iterable[AnchorEntry]) -> Outcome | None:
    """The outcome of all entries about the same two environments or codes; None if no anchor was retrained.

    Each entry is one look at the anchors so far. The first look is tested at half of `ERROR`, each further one at half
    the level of the previous one, so that any number of looks together errs with probability `ERROR` at most.
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


def _measured(asked: Mapping[str, float], anchors: Sequence[Anchor], error: float) -> list[MeasureShift]:
    found: list[MeasureShift] = []
    for metric, margin in asked.items():
        pairs = [(anchor, anchor.then.get(metric), (anchor.now or {}).get(metric)) for anchor in anchors]
        shifts = [(anchor, now - then) for anchor, then, now in pairs if then is not None and now is not None]
        step = max((TRAITS[metric].step(anchor.samples) for anchor, _ in shifts), default=0.0)
        interval = mean_interval([shift for _, shift in shifts], 1 - error, step)
        if all(anchor.identical for anchor in anchors):
            found.append(MeasureShift(metric, margin, interval, "identical"))
        elif shifts:
            parts = _parts(shifts, step, error)
            furthest = max(parts, key=lambda part: max(abs(part.difference.low), abs(part.difference.high)))
            judged = _found(shifts, margin, step, error)
            found.append(MeasureShift(metric, margin, interval, judged, furthest if len(parts) > 2 else None))  # noqa: PLR2004 - one loss and one setting
    return found


Shifts = Sequence[tuple[Anchor, float]]
"""Anchors with their differences, now minus then."""


def _found(shifts: Shifts, margin: float, step: float, error: float) -> Found:
    """The finding from each loss and each setting separately, because their shifts may cancel in the overall mean.

    The environments pass if each of them lies within the margin: the intersection–union test (Berger 1982), which
    needs no correction. They have shifted if any lies beyond the margin, each tested at its share of the error.
    """
    if not any(shift for _, shift in shifts):  # a single cell has no interval, but no shift at all is enough
        return "equivalent"
    if not margin:  # without a margin, every difference counts
        return "shifted"
    parts = _parts(shifts, step, error)
    if all(verdict(part.difference, "equal", margin) == "supported" for part in parts):
        return "equivalent"
    stricter = _parts(shifts, step, error / len(parts))
    refuted = any(verdict(part.difference, "equal", margin) == "refuted" for part in stricter)
    return "shifted" if refuted else "undecided"


def _parts(shifts: Shifts, step: float, error: float) -> list[AnchorShift]:
    """Each loss and each setting, with the interval of its mean.

    One or two anchors give no spread of their own, so the spread of all anchors is used. If losses or settings shift
    differently, it is too large, which only makes the test more conservative.
    """
    groups = defaultdict[str, list[float]](list)
    for anchor, shift in shifts:
        dataset, backbone = anchor.setting
        groups[anchor.loss].append(shift)
        groups[f"{backbone} on {dataset}"].append(shift)
    whole = mean_interval([shift for _, shift in shifts], 1 - error, step)
    return [AnchorShift(name, _within(values, whole)) for name, values in groups.items()]


def _within(values: Sequence[float], whole: Interval) -> Interval:
    """The mean of some anchors with the spread of all; its n is the number of all."""
    half = (whole.high - whole.low) / 2 * math.sqrt(whole.n / len(values))
    mean = math.fsum(values) / len(values)
    return Interval(mean, mean - half, mean + half, whole.n)


def told(old: Origin, new: Origin, outcome: Outcome) -> Sentence:
    """What anchors say about two environments or codes."""
    many = ("{count} old cells", {"count": outcome.anchors})
    anchors = ("1 old cell", {}) if outcome.anchors == 1 else many
    return TOLD[outcome.found], {"change": change(old, new), "anchors": anchors, "outcome": str(outcome)}
