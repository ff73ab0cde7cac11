"""Writes an experiment's records into a folder to publish.

The folder is a Data Package (datapackage.org, version 2.0) and a Croissant dataset. What it holds of
a cell is its file, byte for byte, so that whoever takes it over has the cell done.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from pyarrow import csv

from orchestrator import provenance
from orchestrator.errors import DamagedFileError, LostRowsError, RequestError
from orchestrator.experiment.plan import Plan
from orchestrator.records.files import cell_file, left_files, results
from orchestrator.records.files.checksums import sha256, write_sums
from orchestrator.records.files.class_names import Names, class_names
from orchestrator.records.files.croissant import croissant
from orchestrator.records.files.descriptions import (
    as_json,
    classes_table,
    data_card,
    data_package,
    resolved,
    rows_below,
)
from orchestrator.records.files.evaluations import Evaluations, set_aside
from orchestrator.records.files.results import Results
from orchestrator.records.files.soundness import check
from orchestrator.records.files.storage import Storage
from orchestrator.records.files.summaries import Summaries
from orchestrator.workspace import Workspace


@dataclass(frozen=True)
class Exported:
    """How many cells are in the folder, how many of the plan are not, and what is wrong with files set aside."""

    cells: int
    missing: int
    damaged: tuple[str, ...]


def export(
    plan: Plan, place: Workspace, folder: Path, trials: Plan | None = None, earlier: Collection[str] = ()
) -> Exported:
    """Write all that is known of an experiment into an empty folder; with its trials, where it was tuned.

    Args:
        plan: The experiment and its cells.
        place: The workspace.
        folder: Where to write.
        trials: Those of its tuning stage.
        earlier: Ids of cells of earlier data or protocols, which go into a folder of their own and no table.

    Raises:
        RequestError: The folder is not empty, or no cell is done.
    """
    if folder.exists() and any(folder.iterdir()):
        raise RequestError(f"{folder} is not empty: name a new folder, so that nothing in it is mixed up or lost.")
    target = Storage(folder)
    ours = Evaluations(place.evaluations)
    copies = Evaluations(folder / "evaluations")
    damaged = _copy_cells((plan, trials), ours, copies)
    found = results.aggregate(plan, copies, anew=True)
    damaged += _copy_earlier(earlier, ours, folder / "earlier")
    if not found.table.num_rows and earlier:  # the folder of them is whole by itself
        return Exported(0, len(found.missing), damaged)
    if not found.table.num_rows:
        raise RequestError("\n".join([*damaged, f"No cell of '{plan.experiment.name}' is done: launch it first."]))
    if plan.experiment.trainer:
        for name in copies.names():
            left_files.copy(name, Storage(place.root), target)
    _write_table(found, folder)
    _copy_report(plan.experiment.name, place, target)
    added = place.additions(plan.experiment.name)
    if (content := Storage(added.parent).read(added.name)) is not None:
        target.write("additions.json", content)
    names = class_names(plan.cells, Summaries.of_cells(ours, plan.cells))
    _describe(plan, found, names, target, copies)
    write_sums(target)
    return Exported(found.table.num_rows, len(found.missing), damaged)


def _copy_cells(plans: Iterable[Plan | None], source: Evaluations, target: Evaluations) -> tuple[str, ...]:
    names = (source.name(cell) for plan in plans if plan for cell in source.with_replicas(plan).cells)
    return _copy(sorted(names), source, target)


def _copy(names: Iterable[str], source: Evaluations, target: Evaluations) -> tuple[str, ...]:
    damaged: list[str] = []
    for name in names:
        try:
            check(whole := source.checked(name))
            target.take(name, whole)
        except FileNotFoundError:
            continue
        except LostRowsError as error:
            damaged.append(f"{error} The cell is left out.")
        except DamagedFileError as error:
            damaged.append(f"{error} It was set aside as {set_aside(source.folder / name).name}.")
    return tuple(damaged)


def _copy_earlier(cells: Collection[str], source: Evaluations, folder: Path) -> tuple[str, ...]:
    """Cells that are pooled with none of the others, as a folder that can be imported by itself."""
    if not cells:
        return ()
    names = [name for name in source.names() if cell_file.cell_in(name) in cells]
    damaged = _copy(names, source, Evaluations(folder / "evaluations"))
    write_sums(Storage(folder))
    return damaged


def _copy_report(experiment: str, place: Workspace, target: Storage) -> None:
    source = Storage(place.report(experiment).parent)
    for file in source.list():
        if not file.is_half_written and (content := source.read(file.name)) is not None:
            target.write(f"report/{file.name}", content)


def _write_table(found: Results, folder: Path) -> None:
    results.write(found, folder / "results.parquet")
    sink = pa.BufferOutputStream()
    csv.write_csv(found.table, sink)
    Storage(folder).write("results.csv", sink.getvalue().to_pybytes())


def _describe(plan: Plan, found: Results, names: Names, target: Storage, copies: Evaluations) -> None:
    """Say what is in the folder: what was asked, by what code and packages, and what the files hold."""
    lock = provenance.ROOT / "requirements.lock"
    if lock.exists():
        target.write(lock.name, lock.read_bytes())
    target.write("experiment.yaml", yaml.safe_dump(resolved(plan.experiment), sort_keys=False).encode())
    made = {"export": provenance.code(), "cells": _provenance(plan, found, copies)}
    target.write("provenance.json", as_json(made))
    if names:
        target.write("classes.csv", classes_table(names).encode())
    target.write("README.md", data_card(plan, found, names).encode())
    target.write("datapackage.json", as_json(data_package(plan.experiment, target)))
    validation = bool(rows_below("validation", target))
    described = croissant(plan.experiment, sha256(target, "results.parquet") or "", validation=validation)
    target.write("croissant.json", as_json(described))


def _provenance(plan: Plan, found: Results, evaluations: Evaluations) -> dict[str, Any]:
    done = plan.pending({cell.id for cell in found.missing})
    return {cell.id: evaluations.content(cell)["provenance"] for cell in done.cells}
