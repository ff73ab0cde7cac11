"""Which finished cells were trained with different code than today's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.execution import environments
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Plan
from orchestrator.outcome import has_figures
from orchestrator.provenance import fingerprints
from orchestrator.provenance.environment import CODES, SHARED, Environment, change, fingerprint, sources
from orchestrator.provenance.fingerprints import Code
from orchestrator.provenance.scripts import of_command
from orchestrator.sentences import Sentence, filled

Codes = Mapping[tuple[str, str], Code]
"""Today's code by axis and by the plug-in's label; the training loop has an empty label."""

OTHER_CODE = {
    "loss": "{cells} of loss '{name}' came from different code ({reason}).",
    "backbone": "{cells} of backbone '{name}' came from different code ({reason}).",
    "dataset": "{cells} of dataset '{name}' came from different code ({reason}).",
    "loop": "{cells} came from a different training loop ({reason}).",
}
"""The sentence for each axis."""

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
    """Which code has changed since cells were trained, and for how many cells.

    Args:
        rows: The rows of the results table.
        now: Today's code.
    """
    changed: Counter[tuple[str, str, tuple[str | None, str]]] = Counter()
    for row in rows:
        if not has_figures(row["state"]):
            continue
        for axis in CODES:
            name = row.get(axis, "") if axis != "loop" else ""
            code = now.get((axis, name))
            if code and fingerprint(row, axis) != code.sha256:
                changed[axis, name, (sources(row).get(axis), code.source)] += 1
    return [
        (OTHER_CODE[axis], {"cells": _cells(count), "name": name, "reason": _reason(*reason)})
        for (axis, name, reason), count in sorted(changed.items(), key=lambda item: CODES.index(item[0][0]))
    ]


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


def _reason(then: str | None, now: str) -> Sentence:
    if then is None:
        return "its code was not recorded", {}
    return (
        ("{now} has changed since", {"now": now})
        if then == now
        else ("{then} then, {now} now", {"then": then, "now": now})
    )


def _cells(count: int) -> Sentence:
    return ("1 finished cell", {}) if count == 1 else ("{count} finished cells", {"count": count})
