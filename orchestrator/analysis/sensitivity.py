"""In how much of the tuning space a challenger beats the baseline: everywhere, or at some learning rates only.

Trial i has the same values of the shared fields for every loss, so that trials pair. A loss that diverged is beaten
by one that did not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.analysis.budget import ComparedLosses, first, pairs, worst
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.space import Domain, Value
from orchestrator.experiment.tuning import Tuning
from orchestrator.sentences import Sentence
from orchestrator.statistics.intervals import Interval
from orchestrator.statistics.searches import share_won

if TYPE_CHECKING:
    from orchestrator.adaptive.trials import Tried, Tuned

MOST_BINS = 8
"""Of one field alone."""

MOST_CELLS = 5
"""Of one of two fields together."""

BIN = 5
CELL = 2
"""Trials that a bin of one field, or of two, is to have on average."""

UNKNOWN: Mapping[str, str] = {
    "learns": "{searcher} chooses trials by each loss's own scores: how much of the space a loss wins is not known.",
    "apart": "Losses share no field of the tuning space: how much of it a loss wins is not known.",
}
"""Why there is no fraction."""

WHERE: Mapping[str, str] = {
    "most": "{challenger} beats {baseline} in most of the space, {wins} of {n} trials ({interval}, seeds of each: {seeds}): {strip}",  # noqa: E501 - one key of words.json
    "little": "{challenger} beats {baseline} in little of the space, {wins} of {n} trials ({interval}, seeds of each: {seeds}): {strip}",  # noqa: E501 - one key of words.json
    "open": "{challenger} beats {baseline} in {wins} of {n} trials (seeds of each: {seeds}), which leaves open in how much of the space: {strip}",  # noqa: E501 - one key of words.json
}
"""What the fraction comes to."""


class PairedTrial(NamedTuple):
    """One trial of both losses."""

    number: int
    values: Mapping[str, Value]
    """Of the shared fields."""
    difference: float
    """Challenger - baseline, in the unit of the measure; above 0 the challenger is better, also where lower is."""
    by_seed: tuple[float, ...]
    """Under each seed 1 or 0; one half where both are level, or both diverged."""

    @property
    def won(self) -> float:
        """The mean over seeds."""
        return math.fsum(self.by_seed) / len(self.by_seed)


class Bin(NamedTuple):
    """The trials in a part of the space."""

    n: int
    wins: float
    mean: float
    """Of their differences; NaN where there is no trial."""


@dataclass(frozen=True)
class Sensitivity:
    """In how much of the space one loss beats another in one setting."""

    pair: ComparedLosses
    metric: str
    epochs: int
    """Of the trials that are compared."""
    fields: Mapping[str, Domain]
    """The shared ones, those first on which the difference depends most."""
    trials: tuple[PairedTrial, ...]

    @property
    def wins(self) -> float:
        """Trials that the challenger won; level ones count one half."""
        return math.fsum(trial.won for trial in self.trials)

    @property
    def fraction(self) -> Interval:
        """Of the space, with its 95 % interval for other trials and other seeds."""
        return share_won([trial.by_seed for trial in self.trials])

    @property
    def where(self) -> str:
        """A key of `WHERE`."""
        _, low, high, _ = self.fraction
        return "most" if low > 1 / 2 else "little" if high < 1 / 2 else "open"

    @property
    def sentence(self) -> Sentence:
        """In how much of the space it wins, and how that changes along the most important field."""
        _, low, high, n = self.fraction
        name = next(iter(self.fields))
        strip = self.along(name)
        shares = (f"{each.wins:.3g}/{each.n}" for each in strip)
        parts = zip(labels(self.fields[name], len(strip)), shares, strict=True)
        return WHERE[self.where], {
            "challenger": self.pair.challenger,
            "baseline": self.pair.baseline,
            "wins": f"{self.wins:.3g}",
            "n": n,
            "seeds": len(self.trials[0].by_seed),
            "interval": f"{100 * low:.0f}–{100 * high:.0f} %",
            "strip": f"{name} {', '.join(f'{label}: {share}' for label, share in parts)}",
        }

    def told(self) -> str:
        """The same in English, with the claims, the setting and the measure."""
        text, values = self.sentence
        where = f"{self.pair.backbone} on {self.pair.dataset}, validation {self.metric}"
        return f"{', '.join(self.pair.claims)} ({where}): {text.format(**values)}"

    def along(self, name: str) -> list[Bin]:
        """The trials along one field, in bins of about equal width on its scale."""
        count = _bins(self.fields[name], len(self.trials) / BIN, MOST_BINS)
        found = self._places(name, count)
        return [self._bin(found == place) for place in range(count)]

    def grid(self, x: str, y: str) -> list[list[Bin]]:
        """The trials over two fields: a list over y of lists over x."""
        wanted = math.sqrt(len(self.trials) / CELL)
        across, up = (_bins(self.fields[name], wanted, MOST_CELLS) for name in (x, y))
        columns = self._places(x, across)
        rows = self._places(y, up)
        return [[self._bin((columns == i) & (rows == j)) for i in range(across)] for j in range(up)]

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            **self.pair._asdict(),
            "metric": self.metric,
            "epochs": self.epochs,
            "where": self.where,
            "wins": self.wins,
            "fraction": self.fraction._asdict(),
            "fields": {name: str(domain) for name, domain in self.fields.items()},
            "trials": [{**trial._asdict(), "won": trial.won} for trial in self.trials],
        }

    def _places(self, name: str, count: int) -> NDArray[np.intp]:
        shares = [self.fields[name].share(trial.values[name]) for trial in self.trials]
        return np.clip(np.floor(np.multiply(shares, count)), 0, count - 1).astype(np.intp)

    def _bin(self, inside: NDArray[np.bool_]) -> Bin:
        own = [trial for trial, is_inside in zip(self.trials, inside, strict=True) if is_inside]
        mean = math.fsum(trial.difference for trial in own) / len(own) if own else math.nan
        return Bin(len(own), math.fsum(trial.won for trial in own), mean)


def _bins(domain: Domain, wanted: float, most: int) -> int:
    """Into how many parts to cut a field: an option each, or about as many as are wanted."""
    if domain.kind == "choice":
        return len(domain.options)
    count = max(2, min(most, round(wanted)))
    return min(count, int(domain.high - domain.low)) if domain.kind == "randint" else count


def labels(domain: Domain, count: int) -> list[str]:
    """What each part of a field covers: `0.001–0.01`, or an option."""
    if domain.kind == "choice":
        return [str(option) for option in domain.options]
    ends = [_end(domain, place / count) for place in range(count + 1)]
    if domain.kind == "randint":
        whole = [math.ceil(end - 1 / 2) for end in ends]  # a number lies where its middle does
        return [f"{low}–{high - 1}" if high - low > 1 else f"{low}" for low, high in pairwise(whole)]
    return [f"{low:.3g}–{high:.3g}" for low, high in pairwise(ends)]


def _end(domain: Domain, share: float) -> float:
    if domain.kind == "loguniform":
        return domain.low * (domain.high / domain.low) ** share
    return domain.low + share * (domain.high - domain.low)


def sensitivities(experiment: Experiment, tuned: Sequence[Tuned]) -> tuple[Sensitivity, ...]:
    """For every two losses that a claim compares, in how much of the space both were tried in."""
    tuning = experiment.tuning
    if tuning is None or unknown(experiment):
        return ()
    found = {tuple(each.competitor): each for each in tuned}
    both = (
        (pair, *(found.get((loss, pair.backbone, pair.dataset)) for loss in pair[-2:])) for pair in pairs(experiment)
    )
    return tuple(
        each for pair, mine, theirs in both if mine and theirs and (each := _sensitivity(tuning, pair, mine, theirs))
    )


def unknown(experiment: Experiment) -> Sentence | None:
    """Why there is no fraction, where trials do not pair."""
    tuning = experiment.tuning
    if tuning is None or not pairs(experiment):
        return None
    if tuning.searcher == "optuna":
        return UNKNOWN["learns"], {"searcher": tuning.searcher}
    return None if tuning.shared else (UNKNOWN["apart"], {})


def _sensitivity(tuning: Tuning, pair: ComparedLosses, challenger: Tuned, baseline: Tuned) -> Sensitivity | None:
    mine = first(challenger)
    theirs = first(baseline)
    lowest = worst(tuning, (challenger, baseline))
    trials = tuple(
        _compared(tuning, lowest, mine[number], theirs[number])
        for number in sorted(mine.keys() & theirs.keys())
        if all(mine[number].values[name] == theirs[number].values[name] for name in tuning.shared)
    )
    if not trials:
        return None
    found = Sensitivity(pair, tuning.metric, mine[trials[0].number].epochs, tuning.shared, trials)
    order = sorted(tuning.shared, key=lambda name: _explained(found, name), reverse=True)
    return replace(found, fields={name: tuning.shared[name] for name in order})


def _compared(tuning: Tuning, lowest: float, mine: Tried, theirs: Tried) -> PairedTrial:
    a, b = (tried.score if math.isfinite(tried.score) else lowest for tried in (mine, theirs))
    won = tuple(0.5 if x == y else float(x > y) for x, y in zip(mine.by_seed, theirs.by_seed, strict=True))
    return PairedTrial(mine.number, {name: mine.values[name] for name in tuning.shared}, a - b, won)


def _explained(found: Sensitivity, name: str) -> float:
    """The share of the differences' variance that lies between the bins of a field, less what chance would give."""
    differences = np.array([trial.difference for trial in found.trials])
    bins = [each for each in found.along(name) if each.n]
    freedom = len(differences) - len(bins)
    total = float(((differences - differences.mean()) ** 2).sum())
    if freedom <= 0 or not total > 0:
        return -math.inf
    between = math.fsum(each.n * (each.mean - differences.mean()) ** 2 for each in bins)
    return 1 - (total - between) / freedom / (total / (len(differences) - 1))
