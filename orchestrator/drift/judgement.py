"""Whether cells that were trained again are equivalent to what they were, within the claims' margins."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

from orchestrator.drift.environment import Environment, change
from orchestrator.drift.ledger import Anchor, Entry
from orchestrator.experiment import Experiment
from orchestrator.statistics.intervals import Interval, mean_interval
from orchestrator.statistics.verdicts import verdict

UNCLAIMED = {"uniform_accuracy": 0.005}
"""What is tested, and its margin, where no claim says what matters."""

ERROR = 0.05
"""How often a shift as large as the margin may pass as equivalent, over all looks at the same two environments."""

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

Sentence = tuple[str, dict[str, Any]]
"""A text with places for values, which a page has in other languages, too, and the values."""


@dataclass(frozen=True)
class Measured:
    """What the anchors say of one measure."""

    metric: str
    margin: float
    difference: Interval
    """Now - then, with its interval."""
    found: Found

    def __str__(self) -> str:
        interval = self.difference
        spread = "" if math.isnan(interval.low) else f" [{interval.low:+.4f}, {interval.high:+.4f}]"
        return f"{self.metric} {interval.estimate:+.4f}{spread}, margin {self.margin:g}"


@dataclass(frozen=True)
class Outcome:
    """What the anchors of two environments say."""

    anchors: int
    measures: tuple[Measured, ...]
    diverged: tuple[str, ...]
    """Names of those that finished then, and do not now."""

    @property
    def found(self) -> Found:
        """The worst of all measures."""
        if self.diverged or not self.measures:
            return "shifted" if self.diverged else "undecided"
        return max((measured.found for measured in self.measures), key=list(TOLD).index)

    def __str__(self) -> str:
        lost = [f"{name} diverges now" for name in self.diverged]
        return "; ".join([*map(str, self.measures), *lost])


def margins(experiment: Experiment) -> dict[str, float]:
    """The measures that claims are about, each with the smallest difference that matters to any of them."""
    found: dict[str, float] = {}
    for claim in experiment.claims:
        for metric in filter(None, (claim.metric, claim.baseline_metric)):
            found[metric] = min(claim.tolerance, found.get(metric, claim.tolerance))
    return found


def judge(experiment: Experiment, entries: Iterable[Entry]) -> Outcome | None:
    """What entries about the same two environments say together; None where no anchor was trained again.

    Each entry is one look at the anchors there were by then. The first look is tested at half of `ERROR`, each
    further one at half of what the one before was, so that no number of looks errs more often than `ERROR`.
    """
    looks = [entry.anchors for entry in entries if entry.anchors]
    anchors = list(chain(*looks))
    if not anchors:
        return None
    confidence = 1 - 2 * ERROR / 2 ** len(looks)
    found = _measured(margins(experiment), anchors, confidence) or _measured(UNCLAIMED, anchors, confidence)
    return Outcome(len(anchors), tuple(found), tuple(anchor.name for anchor in anchors if anchor.now is None))


def _measured(asked: Mapping[str, float], anchors: Sequence[Anchor], confidence: float) -> list[Measured]:
    found: list[Measured] = []
    for metric, margin in asked.items():
        pairs = [(anchor.then.get(metric), (anchor.now or {}).get(metric)) for anchor in anchors]
        differences = [now - then for then, now in pairs if then is not None and now is not None]
        interval = mean_interval(differences, confidence)
        if all(anchor.identical for anchor in anchors):
            found.append(Measured(metric, margin, interval, "identical"))
        elif differences:
            found.append(Measured(metric, margin, interval, _found(differences, margin, interval)))
    return found


def _found(differences: Sequence[float], margin: float, interval: Interval) -> Found:
    if not any(differences):  # one cell has no interval, but so much it says
        return "equivalent"
    if not margin:  # then every difference counts
        return "shifted"
    judged: dict[str, Found] = {"supported": "equivalent", "refuted": "shifted"}
    return judged.get(verdict(interval, "equal", margin), "undecided")


def told(old: Environment, new: Environment, outcome: Outcome) -> Sentence:
    """What anchors say of two environments."""
    return TOLD[outcome.found], {"change": change(old, new), "anchors": outcome.anchors, "outcome": str(outcome)}


def filled(sentence: Sentence) -> str:
    """The sentence in English."""
    text, values = sentence
    return text.format(**values)
