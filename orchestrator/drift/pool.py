"""What a comparison says of the environments that its cells come from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from orchestrator.drift.environment import Environment, Setting, change
from orchestrator.drift.judgement import PASSED, Outcome, Sentence, filled, judge, told
from orchestrator.drift.ledger import Entry, Ledger
from orchestrator.experiment import Experiment
from orchestrator.outcome import has_figures
from orchestrator.sequence import Row


@dataclass(frozen=True)
class Part:
    """How many finished cells are of one machine and training loop, whatever their setting."""

    environment: Environment
    cells: int


@dataclass(frozen=True)
class Pair:
    """Two environments whose cells stand in one setting, and what is known of them."""

    old: Environment
    new: Environment
    untested: tuple[Setting, ...]
    outcome: Outcome | None
    trusted: bool

    @property
    def is_settled(self) -> bool:
        """Whether the anchors say that the two may be pooled."""
        return self.outcome is not None and self.outcome.found in PASSED and not self.untested

    def sentences(self) -> Iterator[Sentence]:
        """What a reader must know of it."""
        about = {"change": change(self.old, self.new)}
        if self.outcome:
            yield told(self.old, self.new, self.outcome)
        if self.trusted and not self.is_settled:
            yield "{change}: pooled because --trust-old said so.", about
        elif self.untested:
            where = ", ".join(f"{backbone} on {dataset}" for dataset, backbone in self.untested)
            yield "{change}: never tested for {where}.", {**about, "where": where}


@dataclass(frozen=True)
class Pool:
    """The environments that an experiment's cells come from, where there are several."""

    parts: tuple[Part, ...]
    pairs: tuple[Pair, ...]
    """Each with the newest of the same setting."""

    @property
    def is_settled(self) -> bool:
        """Whether the anchors say that all may be pooled that are."""
        return all(pair.is_settled for pair in self.pairs)

    def sentences(self) -> Iterator[Sentence]:
        """What a reader must know of it."""
        if len(self.parts) > 1:
            parts = "; ".join(f"{part.cells} of {part.environment}" for part in self.parts)
            yield "The cells come from {count} environments: {parts}.", {"count": len(self.parts), "parts": parts}
        for pair in self.pairs:
            yield from pair.sentences()

    def told(self) -> list[str]:
        """The same in English."""
        return [filled(sentence) for sentence in self.sentences()]

    def to_json(self) -> dict[str, Any]:
        """All of it, with what was found of each pair by name."""
        pairs = [{**asdict(pair), "found": pair.outcome and pair.outcome.found} for pair in self.pairs]
        return {**asdict(self), "pairs": pairs}


def pooled(experiment: Experiment, rows: Iterable[Row], ledger: Ledger) -> Pool | None:
    """What the finished cells of a results table come from; None where it is one environment."""
    pasts = [
        ((row["dataset"], row["backbone"]), Environment.of(row))
        for row in sorted(rows, key=lambda row: row["started"])
        if has_figures(row["state"])
    ]
    counts = Counter(environment.at_large for _, environment in pasts)
    newest = dict(pasts)
    met: defaultdict[tuple[Environment, Environment], set[Setting]] = defaultdict(set)
    for setting, environment in pasts:
        if environment != newest[setting]:
            met[environment, newest[setting]].add(setting)
    if len(counts) < 2 and not met:  # noqa: PLR2004 - two are needed to differ
        return None
    entries = ledger.entries()
    pairs = [_pair(experiment, old, new, settings, entries) for (old, new), settings in met.items()]
    return Pool(tuple(Part(environment, cells) for environment, cells in counts.items()), tuple(pairs))


def _pair(
    experiment: Experiment, old: Environment, new: Environment, settings: Collection[Setting], entries: Iterable[Entry]
) -> Pair:
    about = [entry for entry in entries if entry.old == old]
    tests = [entry for entry in about if entry.new == new and not entry.trusted]
    # Where a launch trusted, it did not wait to see on which GPU its cells would be.
    trusted = [entry for entry in about if entry.trusted and replace(entry.new, device=new.device) == new]
    tested = {setting for entry in tests for setting in entry.settings}
    untested = tuple(sorted(setting for setting in settings if setting not in tested))
    return Pair(old, new, untested, judge(experiment, tests), trusted=bool(trusted))
