"""What a comparison says about the environments of its cells."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

from orchestrator.adaptive.seeds import Row
from orchestrator.errors import DamagedFileError
from orchestrator.execution import environments
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Cell, Plan, original
from orchestrator.outcome import has_figures
from orchestrator.provenance.environment import Environment, LossCode, Origin, change
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.results import Licences, Results
from orchestrator.reproduction.anchor_log import AnchorEntry, Ledger
from orchestrator.reproduction.code_changes import Codes, since
from orchestrator.reproduction.equivalence import PASSED, TOLD, Outcome, judge, told
from orchestrator.reproduction.finished_cells import Setting
from orchestrator.reproduction.left_out import Admits, LeftOut, left_out
from orchestrator.reproduction.left_out import sentences as said_of
from orchestrator.sentences import Sentence, filled, gathered, listed

POOLED = "{change}: pooled because of --trust-old."
UNTESTED = "{change}: not tested for {where}."

ALIKE = {
    TOLD["identical"]: ("Retraining old cells gave identical results, bit for bit: {names}.", "change"),
    POOLED: ("Pooled because of --trust-old: {names}.", "change"),
    UNTESTED: ("Not tested by retraining old cells: {names}.", "change"),
}
"""What is said of several changes at once."""


@dataclass(frozen=True)
class EnvironmentCount:
    """How many finished cells come from one machine and training loop, over all settings."""

    environment: Environment
    cells: int


@dataclass(frozen=True)
class OriginPair:
    """Two environments with cells in one setting, or two states of a loss's code, and whether they may be pooled."""

    old: Origin
    new: Origin
    untested: tuple[Setting, ...]
    outcome: Outcome | None
    trusted: bool

    @property
    def is_settled(self) -> bool:
        """Whether the anchors allow pooling the two."""
        return self.outcome is not None and self.outcome.found in PASSED and not self.untested

    @property
    def is_pooled(self) -> bool:
        """Whether the anchors or the user allow pooling the two."""
        return self.trusted or self.is_settled

    def sentences(self) -> Iterator[Sentence]:
        """What a reader must know about it."""
        about = {"change": change(self.old, self.new)}
        if self.outcome:
            yield told(self.old, self.new, self.outcome)
        if self.trusted and not self.is_settled:
            yield POOLED, about
        elif self.untested:
            where = ", ".join(f"{backbone} on {dataset}" for dataset, backbone in self.untested)
            yield UNTESTED, {**about, "where": where}


@dataclass(frozen=True)
class Pool:
    """The environments of an experiment's cells, or the codes of a loss, if there are several."""

    parts: tuple[EnvironmentCount, ...]
    pairs: tuple[OriginPair, ...]
    """Each origin with the newest one of the same setting or the same loss."""
    changed: tuple[Sentence, ...] = ()
    """Which cells were trained with different code than today's."""
    left: tuple[LeftOut, ...] = ()
    """The cells that may not be pooled with those that count, and so are in no figure."""

    @property
    def left_out(self) -> frozenset[str]:
        """The ids of cells and replicas that are left out of all figures and verdicts."""
        return frozenset(cell for left in self.left for cell in left.cells)

    @property
    def other_code(self) -> frozenset[str]:
        """The ids of those of them with different code of their loss."""
        return frozenset(cell for left in self.left if isinstance(left.origin, LossCode) for cell in left.cells)

    @property
    def is_settled(self) -> bool:
        """Whether the anchors allow pooling everything, and the cells were trained with today's code."""
        return all(pair.is_settled for pair in self.pairs) and not self.changed

    def sentences(self) -> Iterator[Sentence]:
        """What a reader must know about it."""
        if len(self.parts) > 1:
            parts = "; ".join(f"{part.cells} of {part.environment}" for part in self.parts)
            yield "The cells come from {count} environments: {parts}.", {"count": len(self.parts), "parts": parts}
        yield from gathered((sentence for pair in self.pairs for sentence in pair.sentences()), ALIKE)
        yield from said_of(self.left)
        yield from self.changed

    def told(self) -> list[str]:
        """The same in English."""
        return [filled(sentence) for sentence in self.sentences()]

    def _changes(self) -> list[Sentence]:
        """Each part whose code has changed."""
        return [each for sentence in self.changed for each in listed(sentence) or [sentence]]

    def to_json(self) -> dict[str, Any]:
        """All fields, with the finding of each pair by name."""
        pairs = [{**asdict(pair), "found": pair.outcome and pair.outcome.found} for pair in self.pairs]
        return {**asdict(self), "pairs": pairs, "changed": list(map(filled, self._changes()))}


def pooled(
    experiment: Experiment,
    rows: Sequence[Row],
    ledger: Ledger,
    now: Codes | None = None,
    replicas: Sequence[Row] = (),
) -> Pool | None:
    """The environments and codes of the finished cells of a results table; None if all are alike.

    Cells of one loss in one setting are pooled over seeds.

    Args:
        experiment: The experiment.
        rows: The results table.
        ledger: The anchor log.
        now: Today's code, with which the cells' code is compared.
        replicas: The table of replicas.
    """
    # The start time of unverified imports is only their own statement, so they must not count as the newest.
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
    if len(counts) < 2 and not met and not changed and not left:  # noqa: PLR2004 - a difference needs two
        return None
    pairs = tuple(_pair(experiment, old, new, where, entries) for (old, new), where in met.items())
    return Pool(
        tuple(EnvironmentCount(environment, cells) for environment, cells in counts.items()), pairs, changed, left
    )


def trust(
    experiment: Experiment, rows: Sequence[Row], replicas: Sequence[Row], ledger: Ledger, say: Callable[[str], None]
) -> None:
    """Pool all finished cells because of --trust-old, and record it.

    Args:
        experiment: The experiment.
        rows: The results table.
        replicas: The table of replicas.
        ledger: The anchor log, to which the new entries are added.
        say: Called with a sentence for each pair that is pooled.
    """
    settings = {row["cell_id"]: (row["dataset"], row["backbone"]) for row in (*rows, *replicas)}
    # Pooling some cells may change what the others are compared with, so these are checked again.
    while (pool := pooled(experiment, rows, ledger, replicas=replicas)) and pool.left:
        for left in pool.left:
            say(TRUSTED.format(change=change(left.origin, left.kept)))
        ledger.add(
            AnchorEntry.of_trust(left.origin, left.kept, {settings[cell] for cell in left.cells}) for left in pool.left
        )


TRUSTED = "{change}: pooled without a further test because of --trust-old."


def admits(experiment: Experiment, entries: Collection[AnchorEntry]) -> Admits:
    """A function that says whether the anchors or the user allow pooling two origins in a setting, in either order."""

    @cache
    def admitted(one: Origin, other: Origin, setting: Setting) -> bool:
        pairs = [_pair(experiment, *both, (setting,), entries) for both in ((one, other), (other, one))]
        return any(pair.is_pooled for pair in pairs)

    return admitted


def licences(experiment: Experiment, rows: Iterable[Row], ledger: Ledger) -> Licences:
    """Which environments of these cells and replicas may be pooled, in which setting."""
    there = {(_setting(row), Environment.of(row).id): Environment.of(row) for row in rows if has_figures(row["state"])}
    if len({name for _, name in there}) < 2:  # noqa: PLR2004 - a difference needs two
        return {}
    allowed = admits(experiment, ledger.entries())
    found = defaultdict[tuple[Setting, str], list[str]](list)
    for (setting, name), own in there.items():
        others = ((other, each) for (where, other), each in there.items() if where == setting and other != name)
        found[setting, name] = [other for other, each in others if allowed(own, each, setting)]
    return found


def licensed(found: Results, plan: Plan, ledger: Ledger) -> Results:
    """Results whose rows tell which environments may be pooled with theirs."""
    return replace(found, licences=licences(plan.experiment, found.all_rows(), ledger))


def has_known_code(cell: Cell, experiment: Experiment, evaluations: Evaluations, ledger: Ledger) -> bool:
    """Whether a cell that is done, trained again now, may be pooled with others of its loss, as far as code goes."""
    try:
        content = evaluations.content(replace(cell, id=original(cell.id)))
    except (FileNotFoundError, DamagedFileError):
        return False
    then = LossCode.of(cell.loss, content["provenance"])
    now = LossCode.of(cell.loss, environments.origin(cell))
    admitted = admits(experiment, ledger.entries())
    return then == now or admitted(then, now, (cell.dataset, cell.backbone))


def _setting(row: Row) -> Setting:
    return row["dataset"], row["backbone"]


def _met(
    together: Sequence[Hashable], settings: Sequence[Setting], origins: Sequence[Origin]
) -> dict[tuple[Origin, Origin], set[Setting]]:
    """The origins that differ from the newest one of the same key, each paired with it, and in which settings."""
    newest = dict(zip(together, origins, strict=True))
    met: defaultdict[tuple[Origin, Origin], set[Setting]] = defaultdict(set)
    for key, setting, origin in zip(together, settings, origins, strict=True):
        if origin != newest[key]:
            met[origin, newest[key]].add(setting)
    return met


def _pair(
    experiment: Experiment, old: Origin, new: Origin, settings: Collection[Setting], entries: Iterable[AnchorEntry]
) -> OriginPair:
    about = [entry for entry in entries if entry.old == old]
    tests = [entry for entry in about if entry.new == new and not entry.trusted]
    # With --trust-old, a launch did not wait to learn the environment of its cells.
    trusted = [entry for entry in about if entry.trusted and entry.new.may_be(new)]
    tested = {setting for entry in tests for setting in entry.settings}
    untested = tuple(sorted(setting for setting in settings if setting not in tested))
    return OriginPair(old, new, untested, judge(experiment, tests), trusted=bool(trusted))
