"""Files of a workspace that are safe to delete: old states, leftovers, and what no experiment refers to."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.experiment.plan import original
from orchestrator.records.files.cell_file import DAMAGED, cell_in
from orchestrator.records.files.checkpoints import STATE, STOP, UNUSABLE
from orchestrator.records.files.command_logs import ENDING as LOG
from orchestrator.records.files.models import ENDING, LEFT_BY_COMMAND
from orchestrator.records.files.storage import Storage, Stored
from orchestrator.workspace import ANCHORS, PROBE, REHEARSALS, Workspace

DAY = 86_400.0
"""Seconds after which nobody writes on at a file."""

_LEFT = re.compile(
    rf"checkpoints/({re.escape(STOP)}[^/]+|[^/]+/{STATE}\.\d+)|drift/{ANCHORS}[^/]+/.*|{REHEARSALS}/.*|{re.escape(PROBE)}\d+"
)
"""What a launch removes by itself unless it is killed, beside what `Stored` knows of."""

_FOREIGN = ("mlartifacts",)
"""Folders that are MLflow's to clean."""

_PARTS = {
    "validation": "validation rows",
    "certification": "rows kept apart",
    "summaries": "summary",
    "models": "trained model",
    "logs": "what a command printed",
}
"""Folders of what lies beside cells' files, and what it is."""

_ENDINGS = (ENDING, LEFT_BY_COMMAND, LOG)
"""Of files that are named by a cell's id alone: models, and what commands printed."""


@dataclass(frozen=True)
class Item:
    """A file that can go: its name below the workspace, its bytes, and why."""

    name: str
    size: int
    reason: str


def garbage(
    files: Iterable[Stored],
    experiments: Mapping[str, Collection[str]] | None,
    now: float,
    cells: Collection[str] = (),
    done: Collection[str] = (),
) -> list[Item]:
    """Which files of a workspace can go, in their order.

    Args:
        files: All that `Storage(workspace.root).list()` tells.
        experiments: The ids of the cells of every experiment in the registry; None where it cannot be asked,
            and then nothing goes for lack of an experiment.
        now: Seconds since 1970.
        cells: Ids of finished cells whose files are to go as well, with their replicas; without them, none does.
        done: Ids of cells that are done, beside those among the files: these may lie behind a link.
    """
    there = list(files)
    known = {*done, *(cell for file in there if (cell := _cell(file)))}
    reasons = [(file, _reason(file, known, experiments, now, cells)) for file in there]
    return [Item(file.name, file.size, reason) for file, reason in reasons if reason]


def remove(place: Workspace, items: Sequence[Item]) -> int:
    """Delete the files; return how many bytes they had."""
    storage = Storage(place.root)
    for item in items:
        storage.delete(item.name)
    return sum(item.size for item in items)


def _cell(file: Stored) -> str | None:
    kind, _, rest = file.name.partition("/")
    return cell_in(rest) if kind == "evaluations" else None


def _beside(file: Stored) -> str | None:
    """The cell that a file belongs to, of those beside cells' files."""
    inner = file.name.partition("/")[2]
    name, dot, ending = inner.rpartition("/")[2].rpartition(".")
    return name if f"{dot}{ending}" in _ENDINGS else cell_in(inner)


def _of_part(
    file: Stored,
    kind: str,
    done: Collection[str],
    experiments: Mapping[str, Collection[str]] | None,
    *,
    now: float,
    cells: Collection[str],
) -> str | None:
    """What lies beside a cell's file goes with it; where the cell is not done, it may just have been written."""
    what = _PARTS[kind]
    cell = _beside(file)
    if cell and original(cell) in cells:
        return f"{what} of a cell asked for by its id"
    if kind == "logs":  # what a command printed stays also where its cell failed, because it says why
        asked = experiments is None or cell in done or any(cell in ids for ids in experiments.values())
        return None if asked else f"{what} of a cell that no experiment asks for"
    return f"{what} of no cell that is done" if cell not in done and now - file.modified > DAY else None


def _reason(
    file: Stored,
    done: Collection[str],
    experiments: Mapping[str, Collection[str]] | None,
    now: float,
    cells: Collection[str],
) -> str | None:
    kind, _, rest = file.name.partition("/")
    if kind in _FOREIGN:
        return None
    if file.is_half_written or _LEFT.fullmatch(file.name):
        return "left half-written" if now - file.modified > DAY else None
    subject = rest.partition("/")[0]
    match kind:
        case "evaluations" if file.name.endswith(DAMAGED):
            return "set aside, because it could not be trusted"
        case "evaluations":
            return _of_cells(file, experiments, cells)
        case "validation" | "certification" | "summaries" | "models" | "logs":
            return _of_part(file, kind, done, experiments, now=now, cells=cells)
        case "checkpoints" if rest.partition("/")[2].startswith(UNUSABLE):
            return "set aside, because it could not be used"
        case "checkpoints" if subject in done:
            return "state of a cell that is done"
        case "checkpoints" if experiments is not None and not any(subject in asked for asked in experiments.values()):
            return "state of a cell that no experiment asks for"
        case "results" | "reports" | "compacted" | "compacted-validation" if experiments is not None:
            known = subject.removesuffix(".parquet").removesuffix(".replicas") if kind == "results" else subject
            return None if known in experiments else "of no experiment in the registry"
        case _:
            return None


def _of_cells(file: Stored, experiments: Mapping[str, Collection[str]] | None, cells: Collection[str]) -> str | None:
    cell = _cell(file)
    if cell is not None:
        return "a cell's file, asked for by its id" if {cell, original(cell)} & set(cells) else None
    return None if experiments is None else "no cell's file"
