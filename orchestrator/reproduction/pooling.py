"""What a comparison says of the environments that its cells come from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from orchestrator.adaptive.seeds import Row
from orchestrator.experiment.model import Experiment
from orchestrator.outcome import has_figures
from orchestrator.provenance.environment import Environment, LossCode, Origin, change
from orchestrator.records.files.results import Licences
from orchestrator.reproduction.anchor_log import Entry, Ledger
from orchestrator.reproduction.code_changes import Codes, since
from orchestrator.reproduction.equivalence import PASSED, Outcome, judge, told
from orchestrator.reproduction.finished_cells import Setting
from orchestrator.reproduction.left_out import Admits, Left, left_out
from orchestrator.reproduction.left_out import sentences as said_of
from orchestrator.sentences import Sentence, filled


@dataclass(frozen=True)
class Part:
    """How many finished cells are of one machine and training loop, whatever their setting."""

    environment: Environment
    cells: int


@dataclass(frozen=True)
class Pair:
    """Two environments whose cells stand in one setting, or two states of a loss's code, and what is known of them."""

    old: Origin
    new: Origin
    untested: tuple[Setting, ...]
    outcome: Outcome | None
    trusted: bool

    @property
    def is_settled(self) -> bool:
        """Whether the anchors say that the two may be pooled."""
        return self.outcome is not None and self.outcome.found in PASSED and not self.untested

    @property
    def is_pooled(self) -> bool:
        """Whether the anchors or the user say so."""
        return self.trusted or self.is_settled

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
    """The environments that an experiment's cells come from, or the codes of a loss, where there are several."""

    parts: tuple[Part, ...]
    pairs: tuple[Pair, ...]
    """Each with the newest of the same setting, or of the same loss."""
    changed: tuple[Sentence, ...] = ()
    """Which cells were trained by other code than there is today."""
    left: tuple[Left, ...] = ()
    """What may not be pooled with the cells that count, and so is in no figure."""

    @property
    def left_out(self) -> frozenset[str]:
        """The ids of cells and replicas that no figure and no verdict counts."""
        return frozenset(cell for left in self.left for cell in left.cells)

    @property
    def other_code(self) -> frozenset[str]:
        """Those of them that were trained by other code of their loss."""
        return frozenset(cell for left in self.left if isinstance(left.origin, LossCode) for cell in left.cells)

    @property
    def is_settled(self) -> bool:
        """Whether the anchors say that all may be pooled, and today's code is that of the cells."""
        return all(pair.is_settled for pair in self.pairs) and not self.changed

    def sentences(self) -> Iterator[Sentence]:
        """What a reader must know of it."""
        if len(self.parts) > 1:
            parts = "; ".join(f"{part.cells} of {part.environment}" for part in self.parts)
            yield "The cells come from {count} environments: {parts}.", {"count": len(self.parts), "parts": parts}
        for pair in self.pairs:
            yield from pair.sentences()
        yield from said_of(self.left)
        yield from self.changed

    def told(self) -> list[str]:
        """The same in English."""
        return [filled(sentence) for sentence in self.sentences()]

    def to_json(self) -> dict[str, Any]:
        """All of it, with what was found of each pair by name."""
        pairs = [{**asdict(pair), "found": pair.outcome and pair.outcome.found} for pair in self.pairs]
        return {**asdict(self), "pairs": pairs, "changed": [filled(sentence) for sentence in self.changed]}


def pooled(
    experiment: Experiment,
    rows: Sequence[Row],
    ledger: Ledger,
    now: Codes | None = None,
    replicas: Sequence[Row] = (),
) -> Pool | None:
    """What the finished cells of a results table come from; None where all is of one kind.

    Pooled are cells of one loss in one setting, over seeds.

    Args:
        experiment: What was asked.
        rows: The results table.
        ledger: What anchors have said.
        now: Today's code, of which cells of other code are told apart.
        replicas: The table of replicas.
    """
    # What is imported and unverified states itself when it began, and is no measure for what was trained here.
    ordered = sorted(rows, key=lambda row: (row.get("origin") != "unverified", row["started"]))
    done = [row for row in ordered if has_figures(row["state"])]
    settings = [(row["dataset"], row["backbone"]) for row in done]
    environments = [Environment.of(row) for row in done]
    codes = [LossCode.of(row["loss"], row) for row in done]
    counts = Counter(environment.at_large for environment in environments)
    lines = [(*setting, row["loss"]) for setting, row in zip(settings, done, strict=True)]
    met = {**_met(lines, settings, environments), **_met([code.loss for code in codes], settings, codes)}
    changed = tuple(since(rows, now or {}))
    entries = ledger.entries()
    left = tuple(left_out(ordered, replicas, admits(experiment, entries)))
    if len(counts) < 2 and not met and not changed and not left:  # noqa: PLR2004 - two are needed to differ
        return None
    pairs = tuple(_pair(experiment, old, new, where, entries) for (old, new), where in met.items())
    return Pool(tuple(Part(environment, cells) for environment, cells in counts.items()), pairs, changed, left)


def trust(
    experiment: Experiment, rows: Sequence[Row], replicas: Sequence[Row], ledger: Ledger, say: Callable[[str], None]
) -> None:
    """Let all finished cells be pooled because the user says so, and record it.

    Args:
        experiment: What was asked.
        rows: The results table.
        replicas: The table of replicas.
        ledger: What anchors have said; takes what is let through.
        say: Told what is let through.
    """
    settings = {row["cell_id"]: (row["dataset"], row["backbone"]) for row in (*rows, *replicas)}
    # What is let through may change what others are compared with, so they are looked at again.
    while (pool := pooled(experiment, rows, ledger, replicas=replicas)) and pool.left:
        for left in pool.left:
            say(TRUSTED.format(change=change(left.origin, left.kept)))
        ledger.add(
            Entry.of_trust(left.origin, left.kept, {settings[cell] for cell in left.cells}) for left in pool.left
        )


TRUSTED = "{change}: pooled without a further test, as --trust-old says."


def admits(experiment: Experiment, entries: Collection[Entry]) -> Admits:
    """Whether the anchors, or the user, allow to pool two origins in a setting, whichever of them is the older."""

    @cache
    def admitted(one: Origin, other: Origin, setting: Setting) -> bool:
        pairs = [_pair(experiment, *both, (setting,), entries) for both in ((one, other), (other, one))]
        return any(pair.is_pooled for pair in pairs)

    return admitted


def licences(experiment: Experiment, rows: Iterable[Row], ledger: Ledger) -> Licences:
    """Which environments may be pooled, in which setting, of those that some cells and replicas come from."""
    there = {(_setting(row), Environment.of(row).id): Environment.of(row) for row in rows if has_figures(row["state"])}
    if len({name for _, name in there}) < 2:  # noqa: PLR2004 - two are needed to differ
        return {}
    allowed = admits(experiment, ledger.entries())
    found = defaultdict[tuple[Setting, str], list[str]](list)
    for (setting, name), own in there.items():
        others = ((other, each) for (where, other), each in there.items() if where == setting and other != name)
        found[setting, name] = [other for other, each in others if allowed(own, each, setting)]
    return found


def _setting(row: Row) -> Setting:
    return row["dataset"], row["backbone"]


def _met(
    together: Sequence[Hashable], settings: Sequence[Setting], origins: Sequence[Origin]
) -> dict[tuple[Origin, Origin], set[Setting]]:
    """What stands beside the newest of those that belong together, and in which settings."""
    newest = dict(zip(together, origins, strict=True))
    met: defaultdict[tuple[Origin, Origin], set[Setting]] = defaultdict(set)
    for key, setting, origin in zip(together, settings, origins, strict=True):
        if origin != newest[key]:
            met[origin, newest[key]].add(setting)
    return met


def _pair(
    experiment: Experiment, old: Origin, new: Origin, settings: Collection[Setting], entries: Iterable[Entry]
) -> Pair:
    about = [entry for entry in entries if entry.old == old]
    tests = [entry for entry in about if entry.new == new and not entry.trusted]
    # Where a launch trusted, it did not wait to see where its cells would be.
    trusted = [entry for entry in about if entry.trusted and entry.new.may_be(new)]
    tested = {setting for entry in tests for setting in entry.settings}
    untested = tuple(sorted(setting for setting in settings if setting not in tested))
    return Pair(old, new, untested, judge(experiment, tests), trusted=bool(trusted))
