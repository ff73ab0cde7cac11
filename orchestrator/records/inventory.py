"""What a cell or an experiment has left, and where: cells' files, MLflow runs, table and report."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from orchestrator.experiment.plan import Plan
from orchestrator.records.files.cell_file import cell_in
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.results import of_replicas
from orchestrator.records.files.storage import Storage, Stored
from orchestrator.records.sql.registry import Registry
from orchestrator.records.sql.schema import ArtefactKind
from orchestrator.records.sql.status import Artefact
from orchestrator.workspace import Location, Workspace


def take_inventory(
    registry: Registry, plan: Plan, place: Workspace, runs: Mapping[str, str], *, certain: bool = False
) -> None:
    """Let the registry know all that a planned experiment and its cells have left, and forget what is gone.

    Args:
        registry: Where it is noted.
        plan: The experiment.
        place: The workspace, whose files are listed and not read.
        runs: MLflow's ids of the runs, by cell.
        certain: Whether MLflow itself told them. A cell's file tells the first one that the cell had, and the
            registry knows better where it knows one: runs that were rebuilt have other ids.
    """
    name = plan.experiment.name
    known = {} if certain else {left.cell: left.uri for left in registry.artefacts(name) if left.kind == "run"}
    uris = {cell: f"runs:/{run}" for cell, run in runs.items()} | {cell: uri for cell, uri in known.items() if cell}
    registry.note_artefacts(_left(plan, place, uris), all_of=name)


def _left(plan: Plan, place: Workspace, runs: Mapping[str, str]) -> Iterator[Artefact]:
    name = plan.experiment.name
    files, beside = (_of_cells(folder) for folder in (place.evaluations, place.validation))
    for cell in Evaluations(place.evaluations).with_replicas(plan).cells:
        if file := files.get(cell.id):
            yield _file("evaluation", place.evaluations, cell.id, file)
            if rows := beside.get(cell.id):
                yield _file("validation", place.validation, cell.id, rows)
            if uri := runs.get(cell.id):
                yield Artefact(uri, "run", cell.id, name)
    yield from documents(place, name)


def _of_cells(folder: Location) -> dict[str, Stored]:
    return {cell: file for file in Storage(folder).list() if (cell := cell_in(file.name))}


def _file(kind: ArtefactKind, folder: Location, cell: str, file: Stored) -> Artefact:
    when = datetime.fromtimestamp(file.modified, UTC)
    return Artefact((folder / file.name).as_uri(), kind, cell, bytes=file.size, created=when)


def documents(place: Workspace, experiment: str) -> Iterator[Artefact]:
    """The table and the report of an experiment, and what was added to it, where they are there."""
    table = place.results(experiment)
    yield from _document("table", table, experiment)
    yield from _document("table", table.parent / of_replicas(table.name), experiment)
    yield from _document("report", place.report(experiment), experiment)
    yield from _document("additions", place.additions(experiment), experiment)


def _document(kind: ArtefactKind, path: Location, experiment: str) -> Iterator[Artefact]:
    storage = Storage(path.parent)
    for file in storage.list():
        if file.name == path.name and (content := storage.read(file.name)) is not None:
            digest = hashlib.sha256(content).hexdigest()
            when = datetime.fromtimestamp(file.modified, UTC)
            yield Artefact(path.as_uri(), kind, None, experiment, digest, len(content), when)
