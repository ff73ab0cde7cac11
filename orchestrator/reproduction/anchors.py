"""Anchors: before new cells are pooled with old ones, a launch retrains a few old ones where the new ones will run."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from orchestrator.errors import RequestError
from orchestrator.execution import environments
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Cell, Plan, original
from orchestrator.outcome import has_figures
from orchestrator.provenance.environment import SOME_GPU, Environment, LossCode, Origin, change
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.reproduction import finished_cells
from orchestrator.reproduction.anchor_log import Anchor, AnchorEntry, Ledger
from orchestrator.reproduction.equivalence import PASSED, Outcome, judge, told
from orchestrator.reproduction.finished_cells import Past, Setting, finished
from orchestrator.reproduction.pooling import TRUSTED
from orchestrator.reproduction.verification import TrainedFiles, compare
from orchestrator.sentences import counted, filled

ANCHORS = 3
"""Old cells to retrain at a time; if there are more settings than this, one per setting."""


Foresight = Callable[[Cell], Sequence[Mapping[str, Any]]]
"""Returns what a cell about to be trained will record of its environment and code, as far as it is known: on a
cluster, one entry for each kind of machine."""


@dataclass(frozen=True)
class Meeting:
    """An older environment, or older code of a loss, whose cells are about to be pooled with new ones."""

    old: Origin
    expected: Origin
    settings: tuple[Setting, ...]
    """The settings with both old and new cells."""
    entries: tuple[AnchorEntry, ...]
    """Earlier tests of the same two origins."""

    @property
    def untested(self) -> list[Setting]:
        """Settings in which no anchor was retrained."""
        return [setting for setting in self.settings if not any(setting in entry.settings for entry in self.entries)]

    def outcome(self, experiment: Experiment) -> Outcome | None:
        """What the tests found; None if there was none, or if the new environment turned out to be the old one."""
        return judge(experiment, [entry for entry in self.entries if entry.old != entry.new])

    def needs(self, experiment: Experiment) -> Sequence[Setting]:
        """The settings that need anchors: the untested ones or, while the outcome is undecided, all."""
        found = self.outcome(experiment)
        if found and found.found == "shifted":
            return ()
        return self.untested or (self.settings if found and found.found == "undecided" else ())

    def passes(self, experiment: Experiment) -> bool:
        """Whether no test speaks against pooling the two."""
        found = self.outcome(experiment)
        return found is None or found.found in PASSED

    def said(self, experiment: Experiment) -> str:
        """What the anchors say; empty if the new environment turned out to be the old one."""
        found = self.outcome(experiment)
        if found is None:
            return ""
        new = self.entries[-1].new
        return filled(told(self.old, self.expected if new == self.old else new, found))


def meetings(
    pasts: Iterable[Past], pending: Iterable[Cell], here: Foresight, entries: Collection[AnchorEntry]
) -> list[Meeting]:
    """Every older environment, and older code of a loss, whose cells would be pooled with the new ones.

    Cells of one loss are pooled over seeds; cells of two losses are compared only within one environment. A replica is
    trained in its partner's environment, so only its code may differ.

    Args:
        pasts: Finished cells.
        pending: Cells about to be trained.
        here: Returns what such a cell will record of its environment and code, as far as it is known.
        entries: Earlier tests.
    """
    arriving: defaultdict[tuple[str, ...], set[Origin]] = defaultdict(set)
    for cell in pending:
        for each in here(cell):
            if not cell.environment:
                arriving[cell.dataset, cell.backbone, cell.loss].add(Environment.of(each))
            arriving[cell.loss,].add(LossCode.of(cell.loss, each))
    met: defaultdict[tuple[Origin, Origin], set[Setting]] = defaultdict(set)
    for past in pasts:
        origins: Sequence[tuple[tuple[str, ...], Origin]] = (
            ((*past.setting, past.cell.loss), past.environment),
            ((past.cell.loss,), past.loss),
        )
        for where, old in origins:
            for expected in arriving.get(where, set()) - {old}:
                if past.setting not in met.get((expected, old), ()):  # one test serves both directions
                    met[old, expected].add(past.setting)
    return [
        Meeting(old, expected, tuple(sorted(settings)), _about(entries, old, expected))
        for (old, expected), settings in met.items()
    ]


def _about(entries: Collection[AnchorEntry], old: Origin, expected: Origin) -> tuple[AnchorEntry, ...]:
    """The tests of two origins, in either order; an unknown environment has none.

    For a GPU whose name only a cell's process knows, tests with the same expectation count.
    """
    if isinstance(expected, Environment) and not expected.is_of_a_machine:
        return ()
    tests = [entry for entry in entries if not entry.trusted]
    if isinstance(expected, Environment) and expected.device == SOME_GPU:
        return tuple(entry for entry in tests if (entry.old, entry.expected) == (old, expected))
    forth = tuple(entry for entry in tests if entry.old == old and expected in (entry.new, _else_expected(entry)))
    return forth or tuple(entry for entry in tests if (entry.old, entry.new) == (expected, old))


def _else_expected(entry: AnchorEntry) -> Origin | None:
    """The expected origin, if the anchors turned out to have the origin of the old cells."""
    return entry.expected if entry.new == entry.old else None


def anchors(experiment: Experiment, pasts: Iterable[Past], settings: Collection[Setting]) -> list[Cell]:
    """Which cells of one older environment or code to retrain: cheap ones, alternating between settings and losses.

    Every setting gets one. Losses in claims come first, and each setting starts with another loss. The same cells
    always give the same anchors.
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
    here: Foresight,
    retrain: Callable[[list[Cell]], AbstractContextManager[Evaluations]],
    say: Callable[[str], None],
    trust: bool,
) -> None:
    """Allow new cells to be pooled with old ones, if the anchors or the user allow it.

    Args:
        plan: The experiment and all cells that may be pooled with new ones.
        pending: The cells about to be trained, including replicas.
        evaluations: The cells' files.
        ledger: The earlier findings; the new ones are added.
        here: Returns what a cell about to be trained will record of its environment and code, as far as it is known.
        retrain: Retrains cells where the new ones will run; gives their files inside the `with` block.
        say: Called with progress sentences.
        trust: Pool without training anchors.

    Raises:
        RequestError: The anchors differ, or have not decided yet.
    """
    experiment = plan.experiment
    pasts = finished(_beside(plan, pending), evaluations)

    def met() -> list[Meeting]:
        return meetings(pasts, pending, here, ledger.entries())

    if trust:
        _trust([each for each in met() if each.needs(experiment) or not each.passes(experiment)], ledger, say)
        return
    chosen = [(each, _chosen(experiment, each, pasts, here)) for each in met()]
    if cells := {cell.id: cell for _, cells in chosen for cell in cells}:
        changes = "; ".join(change(each.old, each.expected) for each, cells in chosen if cells)
        anchors = counted(len(cells), "cell")
        say(f"Some finished cells have another environment or code ({changes}): {anchors} will be retrained first.")
        with retrain([*cells.values()]) as copies:
            ledger.add([entry for each, cells in chosen for entry in _entries(each, cells, evaluations, copies)])
        for each in met():
            if each.passes(experiment) and (said := each.said(experiment)):
                say(said)
    if refused := [each for each in met() if not each.passes(experiment)]:
        raise RequestError(_refusal(experiment, refused))


def _trust(untested: Sequence[Meeting], ledger: Ledger, say: Callable[[str], None]) -> None:
    """Note that a user allows the pooling that no anchor has."""
    for each in untested:
        say(TRUSTED.format(change=change(each.old, each.expected)))
    if untested:
        ledger.add(AnchorEntry.of_trust(each.old, each.expected, each.settings) for each in untested)


@dataclass(frozen=True)
class Outlook:
    """What a launch would do with old cells before it trains new ones."""

    anchors: tuple[Cell, ...] = ()
    """Cells that it would retrain."""
    changes: tuple[str, ...] = ()
    """Why."""
    refusals: tuple[str, ...] = ()
    """What earlier anchors say against pooling, because of which it would refuse."""

    def sentences(self) -> Iterator[str]:
        """The same in sentences."""
        if self.anchors:
            names = ", ".join(cell.name for cell in self.anchors)
            count = counted(len(self.anchors), "finished cell")
            why = "; ".join(self.changes)
            yield f"A launch would first retrain {count} ({why}): {names}. --trust-old pools them untested."
        for said in self.refusals:
            yield f"A launch would refuse to pool old cells with new ones. {said}"


def outlook(
    plan: Plan,
    rows: Iterable[Mapping[str, Any]],
    pending: Sequence[Cell],
    evaluations: Evaluations,
    ledger: Ledger,
) -> Outlook | None:
    """What a launch would do about old cells before it trains those pending; None where it would do nothing.

    Without torch nobody knows, and it is None.

    Args:
        plan: All cells that may be pooled with those pending.
        rows: How the finished cells of the plan came about.
        pending: The cells and replicas that the launch would train.
        evaluations: The files.
        ledger: What anchors have said.
    """
    if not environments.can_be_told():
        return None
    cells = {cell.id: cell for cell in plan.cells}
    pasts = [finished_cells.past(cells[row["cell_id"]], row, 0.0) for row in rows if has_figures(row["state"])]
    if not meetings(pasts, pending, environments.origins, ()):
        return None
    return foresee(plan, pending, evaluations, ledger, environments.origins)


def foresee(plan: Plan, pending: Sequence[Cell], evaluations: Evaluations, ledger: Ledger, here: Foresight) -> Outlook:
    """What `admit` would do; with the same arguments."""
    experiment = plan.experiment
    pasts = finished(_beside(plan, pending), evaluations)
    met = meetings(pasts, pending, here, ledger.entries())
    chosen = [(each, _chosen(experiment, each, pasts, here)) for each in met]
    cells = {cell.id: cell for _, cells in chosen for cell in cells}
    changes = dict.fromkeys(change(each.old, each.expected) for each, cells in chosen if cells)
    refusals = tuple(each.said(experiment) for each in met if not each.passes(experiment))
    return Outlook(tuple(cells.values()), tuple(changes), refusals)


def _beside(plan: Plan, pending: Sequence[Cell]) -> list[Cell]:
    """The cells of a plan that share a setting or a loss with the cells about to be trained, without these."""
    waiting = {cell.id for cell in pending}
    losses = {cell.loss for cell in pending}
    settings = {(cell.dataset, cell.backbone) for cell in pending}
    others = (cell for cell in plan.cells if cell.id not in waiting)
    return [cell for cell in others if (cell.dataset, cell.backbone) in settings or cell.loss in losses]


def _chosen(experiment: Experiment, meeting: Meeting, pasts: Iterable[Past], here: Foresight) -> list[Cell]:
    """Anchors of a meeting; preferably cells of which nothing else has changed."""
    tried = {anchor.cell for entry in meeting.entries for anchor in entry.anchors}
    fresh = [past for past in pasts if meeting.old in (past.environment, past.loss) and past.cell.id not in tried]
    clear = [past for past in fresh if _is_same_beside(past, meeting.old, here(past.cell))]
    settled = {past.setting for past in clear}
    rest = (past for past in fresh if past.setting not in settled)
    chosen = anchors(experiment, [*clear, *rest], meeting.needs(experiment))
    return [_placed(cell, meeting.expected, here) for cell in chosen]


def _placed(cell: Cell, expected: Origin, here: Foresight) -> Cell:
    """An anchor; on a mixed cluster a replica, which must be trained in the environment under test."""
    if isinstance(expected, Environment) and expected.is_of_a_machine and len(here(cell)) > 1:
        return cell.again_in(expected.id)
    return cell


def _is_same_beside(past: Past, old: Origin, told: Iterable[Mapping[str, Any]]) -> bool:
    """Whether only the environment of a cell would differ, and not its loss's code, or the reverse."""
    if isinstance(old, Environment):
        return any(past.loss == LossCode.of(past.cell.loss, each) for each in told)
    return any(Environment.of(each).may_be(past.environment) for each in told)


def _entries(
    meeting: Meeting, cells: Sequence[Cell], evaluations: Evaluations, copies: Evaluations
) -> Iterator[AnchorEntry]:
    """The comparison of cells with their copies, one entry for each environment or code of the copies."""
    found: defaultdict[Origin, list[Anchor]] = defaultdict(list)
    for again in cells:
        cell = replace(again, id=original(again.id))
        then = evaluations.account(cell)
        now = copies.account(again)
        same = compare(TrainedFiles.of(cell, evaluations), TrainedFiles.of(again, copies)).identical
        metrics = now.metrics if has_figures(now.state) else None
        anchor = Anchor(cell.id, cell.name, (cell.dataset, cell.backbone), then.metrics, metrics, same, now.samples)
        is_loss = isinstance(meeting.old, LossCode)
        new = LossCode.of(cell.loss, now.provenance) if is_loss else Environment.of(now.provenance)
        found[new].append(anchor)
    for new, tried in found.items():
        settings = tuple(sorted({anchor.setting for anchor in tried}))
        yield AnchorEntry(time.time(), meeting.old, meeting.expected, new, settings, tuple(tried))


def _refusal(experiment: Experiment, refused: Iterable[Meeting]) -> str:
    remedies = (
        "Remove the old cells, so that they are retrained (gc --remove --cells ID); or pass another --workspace; or "
        "raise the claim's margin in the experiment file; or, if results only may differ, launch again, which retrains "
        f"up to {ANCHORS} further cells. --trust-old pools old and new anyway, and every comparison will say so."
    )
    said = [meeting.said(experiment) for meeting in refused]
    return "\n".join(["Old cells cannot be pooled with new ones, so none was added.", *said, remedies])
