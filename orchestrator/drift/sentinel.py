"""Before new cells stand beside old ones: train a few of the old ones, the anchors, where the new ones will be."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import zip_longest

from orchestrator.drift.environment import Environment, Past, Setting, change, finished
from orchestrator.drift.judgement import PASSED, Outcome, filled, judge, told
from orchestrator.drift.ledger import Anchor, Entry, Ledger
from orchestrator.errors import RequestError
from orchestrator.experiment import Experiment
from orchestrator.outcome import has_figures
from orchestrator.plan import Cell, Plan
from orchestrator.records.evaluations import Evaluations
from orchestrator.verification import Left, compare

ANCHORS = 3
"""Cells of an older environment that are trained again at a time, or one a setting where there are more of these."""


@dataclass(frozen=True)
class Meeting:
    """An older environment whose cells new ones are about to stand beside."""

    old: Environment
    expected: Environment
    settings: tuple[Setting, ...]
    """Where they meet."""
    entries: tuple[Entry, ...]
    """Earlier tests of the same two."""

    @property
    def untested(self) -> list[Setting]:
        """Settings in which no anchor was trained again."""
        return [setting for setting in self.settings if not any(setting in entry.settings for entry in self.entries)]

    def outcome(self, experiment: Experiment) -> Outcome | None:
        """What is known; None where nothing is, or the new environment turned out to be the old one."""
        return judge(experiment, [entry for entry in self.entries if entry.old != entry.new])

    def needs(self, experiment: Experiment) -> Sequence[Setting]:
        """The settings in which anchors have to be trained: those untested, or all while it is undecided."""
        found = self.outcome(experiment)
        if found and found.found == "shifted":
            return ()
        return self.untested or (self.settings if found and found.found == "undecided" else ())

    def passes(self, experiment: Experiment) -> bool:
        """Whether nothing speaks against pooling the two."""
        found = self.outcome(experiment)
        return found is None or found.found in PASSED

    def said(self, experiment: Experiment) -> str:
        """What the anchors say; empty where the new environment turned out to be the old one."""
        found = self.outcome(experiment)
        return filled(told(self.old, self.entries[-1].new, found)) if found else ""


def meetings(
    pasts: Iterable[Past], pending: Iterable[Cell], here: Callable[[Cell], Environment], entries: Collection[Entry]
) -> list[Meeting]:
    """Every older environment beside whose cells new ones are about to be trained.

    Args:
        pasts: Finished cells.
        pending: Cells about to be trained.
        here: The environment that such a cell will have, as far as it is known.
        entries: Earlier tests.
    """
    arriving: defaultdict[Setting, set[Environment]] = defaultdict(set)
    for cell in pending:
        arriving[cell.dataset, cell.backbone].add(here(cell))
    met: defaultdict[tuple[Environment, Environment], set[Setting]] = defaultdict(set)
    for past in pasts:
        for expected in arriving.get(past.setting, set()) - {past.environment}:
            met[past.environment, expected].add(past.setting)
    return [
        Meeting(old, expected, tuple(sorted(settings)), _about(entries, old, expected))
        for (old, expected), settings in met.items()
    ]


def _about(entries: Iterable[Entry], old: Environment, expected: Environment) -> tuple[Entry, ...]:
    return tuple(entry for entry in entries if (entry.old, entry.expected) == (old, expected) and not entry.trusted)


def anchors(experiment: Experiment, pasts: Iterable[Past], settings: Collection[Setting]) -> list[Cell]:
    """Which cells of one older environment to train again: the cheapest, settings and losses taking turns.

    Every setting has one; within it the losses that claims compare come first, and each setting begins with
    another loss. Always the same for the same cells.
    """
    named = [loss for claim in experiment.claims for loss in (claim.challenger, claim.baseline) if loss]
    known = [*named, experiment.baseline, *(choice.label for choice in experiment.losses)]
    order = {loss: place for place, loss in enumerate(dict.fromkeys(known))}
    by_setting: defaultdict[Setting, defaultdict[str, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for past in sorted(pasts, key=lambda past: (past.seconds, past.cell.id)):
        if past.setting in settings:
            by_setting[past.setting][past.cell.loss].append(past.cell)
    lines = [_in_turn(by_setting[setting], order, turn) for turn, setting in enumerate(sorted(by_setting))]
    return _alternating(lines)[: max(ANCHORS, len(lines))]


def _in_turn(by_loss: Mapping[str, Sequence[Cell]], order: Mapping[str, int], turn: int) -> list[Cell]:
    losses = sorted(by_loss, key=order.__getitem__)
    first = turn % len(losses)
    return _alternating([by_loss[loss] for loss in losses[first:] + losses[:first]])


def _alternating(lines: Sequence[Sequence[Cell]]) -> list[Cell]:
    return [cell for row in zip_longest(*lines) for cell in row if cell]


def admit(
    plan: Plan,
    pending: Sequence[Cell],
    evaluations: Evaluations,
    ledger: Ledger,
    *,
    here: Callable[[Cell], Environment],
    retrain: Callable[[list[Cell]], AbstractContextManager[Evaluations]],
    say: Callable[[str], None],
    trust: bool,
) -> None:
    """Let new cells stand beside old ones, if anchors say so or the user does.

    Args:
        plan: The experiment and its cells.
        pending: Those about to be trained.
        evaluations: The cells' files.
        ledger: What was found before, and takes what is found now.
        here: The environment of a cell about to be trained, as far as it is known.
        retrain: Trains cells where the new ones will be; within, the files that they left.
        say: Told what goes on.
        trust: Pool without asking the anchors.

    Raises:
        RequestError: The anchors say no, or not yet.
    """
    experiment, settings = plan.experiment, {(cell.dataset, cell.backbone) for cell in pending}
    waiting = {cell.id for cell in pending}
    there = [cell for cell in plan.cells if (cell.dataset, cell.backbone) in settings and cell.id not in waiting]
    pasts = finished(there, evaluations)

    def met() -> list[Meeting]:
        return meetings(pasts, pending, here, ledger.entries())

    if trust:
        trusted = [each for each in met() if each.needs(experiment) or not each.passes(experiment)]
        for each in trusted:
            say(f"{change(each.old, each.expected)}: pooled without a further test, as --trust-old says.")
        if trusted:
            ledger.add(Entry(time.time(), m.old, m.expected, m.expected, m.settings, (), trusted=True) for m in trusted)
        return
    chosen = [(each, _chosen(experiment, each, pasts)) for each in met()]
    if cells := {cell.id: cell for _, cells in chosen for cell in cells}:
        changes = "; ".join(change(each.old, each.expected) for each, cells in chosen if cells)
        say(f"Some cells are of another environment ({changes}): {len(cells)} of them are trained again first.")
        with retrain([_as_then(cell, evaluations) for cell in cells.values()]) as copies:
            ledger.add([entry for each, cells in chosen for entry in _entries(each, cells, evaluations, copies)])
        for each in met():
            if each.passes(experiment) and (said := each.said(experiment)):
                say(said)
    if refused := [each for each in met() if not each.passes(experiment)]:
        raise RequestError(_refusal(experiment, refused))


def _chosen(experiment: Experiment, meeting: Meeting, pasts: Iterable[Past]) -> list[Cell]:
    tried = {anchor.cell for entry in meeting.entries for anchor in entry.anchors}
    fresh = [past for past in pasts if past.environment == meeting.old and past.cell.id not in tried]
    return anchors(experiment, fresh, meeting.needs(experiment))


def _as_then(cell: Cell, evaluations: Evaluations) -> Cell:
    """The cell with as many threads and devices as then, because sums split among them round differently."""
    provenance = evaluations.content(cell)["provenance"]
    then = {"cpus": provenance.get("threads"), "devices": provenance.get("devices")}
    update = {name: number for name, number in then.items() if number}
    return replace(cell, resources=cell.resources.model_copy(update=update))


def _entries(meeting: Meeting, cells: Sequence[Cell], evaluations: Evaluations, copies: Evaluations) -> Iterator[Entry]:
    """What some cells' files and copies say, by the environment that the copies are from."""
    found: defaultdict[Environment, list[Anchor]] = defaultdict(list)
    for cell in cells:
        then, now = evaluations.account(cell), copies.account(cell)
        same = compare(Left.of(cell, evaluations), Left.of(cell, copies)).identical
        metrics = now.metrics if has_figures(now.state) else None
        anchor = Anchor(cell.id, cell.name, (cell.dataset, cell.backbone), then.metrics, metrics, same, now.samples)
        found[Environment.of(now.provenance)].append(anchor)
    for new, tried in found.items():
        settings = tuple(sorted({anchor.setting for anchor in tried}))
        yield Entry(time.time(), meeting.old, meeting.expected, new, settings, tuple(tried))


def _refusal(experiment: Experiment, refused: Iterable[Meeting]) -> str:
    remedies = (
        "Remove the old cells, which trains them anew (gc --remove --cells ID), or name another --workspace; or raise "
        "the claim's margin in the experiment file; or, where they only may differ, launch again, which tries up to "
        f"{ANCHORS} further ones. --trust-old pools old and new nevertheless, and every comparison will say so."
    )
    said = [meeting.said(experiment) for meeting in refused]
    return "\n".join(["Old cells cannot be pooled with new ones, so none was added.", *said, remedies])
