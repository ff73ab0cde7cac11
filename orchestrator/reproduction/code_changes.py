"""Which finished cells were trained with different code than today's."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from orchestrator.execution import environments
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Plan
from orchestrator.outcome import has_figures
from orchestrator.provenance import fingerprints
from orchestrator.provenance.environment import CODES, SHARED, Environment, change, fingerprint, sources
from orchestrator.provenance.fingerprints import Code
from orchestrator.provenance.scripts import of_command
from orchestrator.sentences import Sentence, filled, some, together

Codes = Mapping[tuple[str, str], Code]
"""Today's code by axis and by the plug-in's label; the training loop has an empty label."""

OTHER_CODE = {
    "loss": "{cells} of loss '{name}' came from different code ({reason}).",
    "backbone": "{cells} of backbone '{name}' came from different code ({reason}).",
    "dataset": "{cells} of dataset '{name}' came from different code ({reason}).",
    "loop": "{cells} came from a different training loop ({reason}).",
}
"""The sentence for each axis."""

PARTS = {
    "loss": "loss '{name}'",
    "backbone": "backbone '{name}'",
    "dataset": "dataset '{name}'",
    "loop": "training loop",
}
"""What is named where several have changed."""

OTHER_CODES = "{cells} came from different code: {changes}."

ELSEWHERE = "{cells} came from a different environment than a launch here would use: {change}."

UNKNOWN = "Torch is not installed here, so this plan does not tell which finished cells a launch would train again."


def codes(experiment: Experiment) -> Codes:
    """Today's code of an experiment's plug-ins, by axis and label, and of the training loop."""
    found = {
        (axis, choice.label): fingerprints.of_plugin(axis, type(choice.plugin))
        for axis, name in fingerprints.AXES.items()
        for choice in getattr(experiment, name)
    }
    trainer = experiment.trainer
    return {**found, ("loop", ""): of_command(trainer) if trainer else fingerprints.of_loop()}


def codes_by_plugin(experiment: Experiment) -> Codes:
    """The same by the plug-ins' own names, which labels may differ from."""
    known = codes(experiment)
    names = {
        (axis, choice.label): type(choice.plugin).name
        for axis, name in fingerprints.AXES.items()
        for choice in getattr(experiment, name)
    }
    return {(axis, names.get((axis, label), "")): code for (axis, label), code in known.items()}


def changed(plan: Plan, rows: Collection[Mapping[str, Any]]) -> list[str]:
    """Which finished cells a launch here would train by other code or elsewhere; sentences for people.

    Args:
        plan: What the launch would run.
        rows: How the finished cells of the plan came about.
    """
    if not rows:  # then nobody needs to read today's code
        return []
    code = since(rows, codes(plan.experiment))
    if not environments.can_be_told():
        return [*map(filled, code), UNKNOWN]
    cells = {cell.id: cell for cell in plan.cells}
    here = {row["cell_id"]: environments.environment(cells[row["cell_id"]]) for row in rows}
    return [*map(filled, code), *map(filled, elsewhere(rows, here))]


def since(rows: Iterable[Mapping[str, Any]], now: Codes) -> list[Sentence]:
    """Which code has changed since cells were trained, and for how many cells: one sentence, or none.

    Args:
        rows: The rows of the results table.
        now: Today's code.
    """
    changed: Counter[ChangedCode] = Counter()
    cells = 0
    for row in rows:
        if has_figures(row["state"]) and (parts := list(_changed(row, now))):
            changed.update(parts)
            cells += 1
    ordered = sorted(changed.items(), key=lambda item: CODES.index(item[0].axis))
    each: list[Sentence] = [
        (OTHER_CODE[part.axis], {"cells": _cells(count), "name": part.name, "reason": part.reason})
        for part, count in ordered
    ]
    if len(each) < 2:  # noqa: PLR2004 - several are told together
        return each
    changes = list(_by_reason(part for part, _ in ordered))
    return [together(OTHER_CODES, {"cells": _cells(cells), "changes": some(changes)}, each)]


class ChangedCode(NamedTuple):
    """A part of the code that is another than today's, and where both come from."""

    axis: str
    name: str
    then: str | None
    now: str

    @property
    def reason(self) -> Sentence:
        """What is known of the change."""
        if self.then is None:
            return "its code was not recorded", {}
        if self.then == self.now:
            return "{now} has changed since", {"now": self.now}
        return "{then} then, {now} now", {"then": self.then, "now": self.now}


def _by_reason(changed: Iterable[ChangedCode]) -> Iterator[Sentence]:
    """The parts that changed for the same reason, and the reason."""
    found: defaultdict[str, list[ChangedCode]] = defaultdict(list)
    for part in changed:
        found[filled(part.reason)].append(part)
    for parts in found.values():
        names: list[Sentence] = [(PARTS[part.axis], {"name": part.name}) for part in parts]
        yield "{parts} ({reason})", {"parts": some(names), "reason": parts[0].reason}


def _changed(row: Mapping[str, Any], now: Codes) -> Iterator[ChangedCode]:
    """The parts of a cell's code that have changed since."""
    for axis in CODES:
        name = row.get(axis, "") if axis != "loop" else ""
        code = now.get((axis, name))
        if code and fingerprint(row, axis) != code.sha256:
            yield ChangedCode(axis, name, sources(row).get(axis), code.source)


def elsewhere(rows: Iterable[Mapping[str, Any]], here: Mapping[str, Environment]) -> list[Sentence]:
    """Which finished cells were trained on a different machine, or with different settings, than they would be here.

    Args:
        rows: The rows of the results table.
        here: The environment that each cell would have if trained here, by its id.
    """
    changed: Counter[str] = Counter()
    for row in rows:
        expected = here.get(row["cell_id"])
        if expected is None or not has_figures(row["state"]):
            continue
        code = {name: getattr(expected, name) for name in SHARED}
        then = replace(Environment.of(row), **code)
        if not expected.may_be(then):
            changed[change(then, expected)] += 1
    return [(ELSEWHERE, {"cells": _cells(count), "change": text}) for text, count in changed.items()]


def _cells(count: int) -> Sentence:
    return ("1 finished cell", {}) if count == 1 else ("{count} finished cells", {"count": count})
