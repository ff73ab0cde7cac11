"""Keep a workspace in order: remove, rebuild, verify, examine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator import extras
from orchestrator.cli.options import (
    ALL,
    RUNS,
    SOME_FAILED,
    Address,
    Axes,
    DataDir,
    File,
    Json,
    RegistryURL,
    Root,
    TrackingURI,
    with_axes,
)
from orchestrator.errors import RequestError
from orchestrator.process import scratch
from orchestrator.report.terminal.console import complain, console, say
from orchestrator.sentences import counted
from orchestrator.stores import Stores
from orchestrator.study import Study

if TYPE_CHECKING:
    from orchestrator.experiment.plan import Cell, Plan
    from orchestrator.pricing.price import Disk
    from orchestrator.reproduction.verification import Verdict


def gc(
    *,
    workspace: Root = RUNS,
    registry: RegistryURL = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove what is listed.")] = False,
    cells: Annotated[
        list[str] | None, typer.Option("--cells", metavar="ID", help="Also these finished cells; repeatable.")
    ] = None,
) -> None:
    """List what is safe to delete: old states, leftovers, files of no experiment, folders of dead launches."""
    from orchestrator.records.files import garbage
    from orchestrator.records.files.storage import Storage
    from orchestrator.report.terminal.upkeep import garbage as listed

    stores = Stores.at(workspace, registry)
    done = stores.evaluations.ids()
    asked = {prefix: [cell for cell in done if cell.startswith(prefix)] for prefix in cells or []}
    if strangers := [prefix for prefix, found in asked.items() if len(found) != 1]:
        raise RequestError(f"Not exactly one cell of {workspace} begins with '{strangers[0]}'.")
    with stores.registry_if_any() as records:
        known = {name: set(records.states(name)) for name in records.experiments()} if records else None
    for sentence in stores.unread():
        complain(console(stderr=True), sentence)
    files = Storage(stores.place.root).list()
    items = garbage.garbage(files, known, time.time(), [cell for (cell,) in asked.values()], done)
    left = scratch.left()
    items += [garbage.Item(str(folder), scratch.size(folder), "temporary folder of a dead launch") for folder in left]
    console().print(listed(items, removed=remove))
    if remove:
        garbage.remove(stores.place, items[: len(items) - len(left)])
        scratch.remove(left)


def rebuild(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE.yaml", help="Experiments that the cells belong to.")
    ] = None,
    *,
    workspace: Root = RUNS,
    registry: RegistryURL = None,
    tracking: TrackingURI = None,
    data_dir: DataDir = None,
    mlflow: Annotated[bool, typer.Option("--mlflow", help="Rebuild these experiments' MLflow runs, too.")] = False,
) -> None:
    """Rebuild the registry, and with --mlflow the tracking store, from the per-cell files."""
    extras.need("rebuild", *extras.SQL, "mlflow")
    from orchestrator.records.files.evaluations import Account
    from orchestrator.records.rebuild import rebuild as rebuilt

    if mlflow and not files:
        raise RequestError("--mlflow needs the experiments whose runs to rebuild: add FILE.yaml.")
    stores = Stores.at(workspace, registry, tracking)
    evaluations = stores.evaluations
    studies = [Study.of_file(file, stores, data_dir) for file in files or []]
    if not evaluations.ids():
        raise RequestError(f"Workspace {workspace} has no per-cell files to rebuild from.")
    stores.history.learn(account for _, account in evaluations.accounts() if isinstance(account, Account))
    plans = [plan for study in studies for plan in study.plans()]
    windows = {plan.experiment.name: stores.tracking(plan.experiment.name) for plan in plans} if mlflow else {}
    for runs in windows.values():
        runs.prepare()
    people = console()
    with stores.registry() as records:
        cells, damaged = rebuilt(evaluations, records, plans, windows, partial(complain, people))
    people.print(f"Cells put back: {cells}. Damaged files, passed over: {damaged}.")


@with_axes
def verify(
    file: File,
    *,
    cells: Annotated[
        list[str] | None,
        typer.Option("--cells", metavar="ID,…", help="Which cells, by the first digits of their ids; repeatable."),
    ] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", metavar="N", min=1, help="How many. Default: all named, or 1.")
    ] = None,
    workspace: Root = RUNS,
    data_dir: DataDir = None,
    axes: Axes = ALL,
) -> None:
    """Rerun a sample of finished cells, imported ones first, and say whether they reproduce bit for bit."""
    extras.need("verify")
    from orchestrator.launching.run_plan import note_rerun, prepare
    from orchestrator.report.terminal.upkeep import verdict as told
    from orchestrator.reproduction.verification import choose, origins

    study = axes.study(file, Stores.at(workspace), data_dir)
    evaluations = study.stores.evaluations
    plan = evaluations.with_replicas(study.plan)
    prefixes = [prefix for given in cells or [] for prefix in given.split(",")]
    try:
        found = origins(plan, evaluations)
        unverified = {cell for cell, origin in found.items() if origin == "unverified"}
        chosen = choose(plan, evaluations.ids(replicas=True), prefixes, sample, unverified)
    except RequestError as error:
        raise RequestError("\n".join([str(error), *study.data(study.plan).told()])) from None
    prepare(chosen, study.data_dir)
    people = console()
    identical = 0
    for cell, verdict in _rerun(study, chosen):
        if found.get(cell.id) != "here":  # a cell that was trained here needs no such mark
            note_rerun(cell, evaluations, verdict)
        people.print(told(cell, verdict), soft_wrap=True)
        if not isinstance(verdict, str) and verdict.identical:
            identical += 1
    for sentence in study.changes:
        say(people, sentence)
    verb = "reproduces" if len(chosen) == 1 else "reproduce"
    people.print(f"{identical} of {counted(len(chosen), 'cell')} {verb} bit for bit.")
    if imported := {cell for cell, origin in found.items() if origin != "here"}:
        rerun = sum(cell.id in imported for cell in chosen.cells)
        people.print(f"{rerun} of {counted(len(imported), 'imported cell')} rerun.")
    if identical < len(chosen):
        raise typer.Exit(SOME_FAILED)


def _rerun(study: Study, chosen: Plan) -> Iterator[tuple[Cell, Verdict | str]]:
    """Train finished cells once more, in a folder that is removed; each with how it compares, or why nobody knows."""
    from orchestrator import provenance
    from orchestrator.execution.worker import Worker
    from orchestrator.judging.cell_scores import read
    from orchestrator.launching.run_plan import repeat
    from orchestrator.records.files.evaluations import Evaluations
    from orchestrator.records.recorder import Recorder
    from orchestrator.records.tracking.runs import Untracked

    with TemporaryDirectory() as folder:
        copies = Evaluations(Path(folder) / "evaluations")
        worker = Worker(Recorder(copies, Untracked(), provenance.code()), study.data_dir.resolve(), read_scores=read)
        for cell in chosen.cells:
            yield cell, repeat(cell, study.stores.evaluations, worker, copies)


def doctor(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE.yaml]", help="Default: every experiment.")] = None,
    *,
    workspace: Root = RUNS,
    registry: RegistryURL = None,
    tracking: TrackingURI = None,
    address: Address = None,
    data_dir: DataDir = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="First make registry and MLflow agree with the cells' files.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what is wrong with machine, services, data and records, and what to do."""
    extras.need("doctor")
    from orchestrator.diagnosis.examination import examine
    from orchestrator.diagnosis.mending import mend
    from orchestrator.launching import old_cells
    from orchestrator.pricing.price import NO_DISK
    from orchestrator.report.terminal import health

    stores = Stores.at(workspace, registry, tracking)

    study = cache(partial(Study.of_file, file, stores, data_dir)) if file else None
    if fix:
        with stores.registry() as records:
            done = mend(study().plan if study else None, stores.evaluations, records, stores.tracking)
        for sentence in done or ["Nothing to mend."]:
            say(console(stderr=as_json), sentence)
    findings = examine(
        (lambda: study().plan) if study else None,  # which says what is wrong with the file
        root=stores.place.root,
        evaluations=stores.place.evaluations,
        registry=registry or stores.place.registry,
        tracking=stores.tracking,
        address=address,
        data_dir=data_dir,
        older=lambda plan: old_cells.older(study(), plan) if study else (),
        edited=lambda _: study().edited if study else (),
        space=lambda plan: _space(study(), plan) if study else NO_DISK,
    )
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        console().print(health.findings(findings))
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(SOME_FAILED)


def _space(study: Study, plan: Plan) -> Disk:
    """The disk that the waiting cells of a plan need."""
    from orchestrator.experiment.checks import labels_here
    from orchestrator.pricing.price import disk_for, estimator, here

    waiting = plan.pending(study.stores.evaluations.ids()).cells
    rates = study.stores.rates.read()
    return disk_for(waiting, estimator(waiting, study.stores.evaluations, rates, labels_here(study.data_dir)), here())
