"""What is done with results: the table, the comparison, the report, and their way to others."""

from __future__ import annotations

import json
import signal
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator import extras
from orchestrator.cli.options import (
    ALL,
    RUNS,
    SOME_FAILED,
    Axes,
    DataDir,
    File,
    RegistryURL,
    Root,
    TrackingURI,
    with_axes,
)
from orchestrator.errors import RequestError, WorkspaceError
from orchestrator.launching.writing import note_documents, write_report, write_results
from orchestrator.privacy import masked
from orchestrator.report.terminal.console import complain, console, near, say
from orchestrator.sentences import counted
from orchestrator.stores import Stores

if TYPE_CHECKING:
    from orchestrator.study import Study
    from orchestrator.workspace import Location


@with_axes
def aggregate(
    file: File,
    *,
    workspace: Root = RUNS,
    data_dir: DataDir = None,
    compact: Annotated[
        bool, typer.Option("--compact", help="Also put all samples into one partitioned Parquet dataset.")
    ] = False,
    axes: Axes = ALL,
) -> None:
    """(Re)build the experiment's results table from the per-cell files."""
    from orchestrator.records.files.compact import compact_samples
    from orchestrator.records.files.evaluations import Evaluations

    asked = axes.study(file, Stores.at(workspace), data_dir)
    study = asked.unchanged
    people = console()
    for plan in study.plans():
        results = write_results(study, partial(complain, people), plan)
        note_documents(study, plan.experiment.name)
        table = near(study.place.results(plan.experiment.name))
        due = study.owed if plan is study.plan else plan
        written = f"{results.table.num_rows} of {_are(len(due))} in {table}."
        if not plan.is_told:
            written = f"{table} is left as it was: which cells belong in it cannot be told without the data."
        for sentence in (written, *study.data(plan).told()):
            say(people, sentence)
    if asked.changes:
        say(people, "Options change nothing here: the table has all that was asked of the experiment.")
    if compact:
        name = study.experiment.name
        folder = study.place.compacted(name)
        files = study.stores.evaluations
        rows = compact_samples(study.owed, files, folder)
        compact_samples(study.owed, files, study.place.compacted_validation(name), Evaluations.validation)
        say(people, f"{rows} samples are in {near(folder)}.")


@with_axes
def compare(
    file: File,
    *,
    workspace: Root = RUNS,
    data_dir: DataDir = None,
    registry: RegistryURL = None,
    form: Annotated[
        Literal["text", "markdown", "latex", "json"], typer.Option("--format", help="How to print it.")
    ] = "text",
    null: Annotated[
        bool, typer.Option("--null", help="Instead: how often each test finds a difference where there is none.")
    ] = False,
    samples: Annotated[
        bool, typer.Option("--samples", help="Instead: the claims over test samples, and which noise is larger.")
    ] = False,
    axes: Axes = ALL,
) -> None:
    """Compare every loss with the baseline, paired by seed, and judge the claims."""
    from orchestrator.analysis import sample_noise
    from orchestrator.report.document import document
    from orchestrator.report.markdown import markdown
    from orchestrator.report.paper.latex import latex
    from orchestrator.report.terminal import comparison as terminal
    from orchestrator.report.terminal import noise, null_rates

    del registry  # scripts pass it; the cells' files now tell what it was asked for
    study = axes.study(file, Stores.at(workspace), data_dir)
    _write_results(study, workspace)
    for sentence in study.changes:
        say(console(stderr=True), sentence)
    comparison = study.comparison
    if null:
        console().print(null_rates.table(study.plan.experiment, study.counted.rows()))
        return
    if samples:
        found = sample_noise.within(study.plan, study.stores.evaluations, comparison.left_out)
        console().print(noise.table(found))
        return
    overall = study.overall
    match form:
        case "text":
            console().print(terminal.table(comparison, overall, study.curves))
        case "json":
            print(json.dumps(document(comparison, overall, study.curves), indent=2, allow_nan=False))
        case "markdown":
            print(markdown(comparison, overall))
        case "latex":
            print(latex(comparison, overall))


@with_axes
def report(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE.yaml]", help="The experiment file; --index needs none.", show_default=False),
    ] = None,
    *,
    workspace: Root = RUNS,
    data_dir: DataDir = None,
    registry: RegistryURL = None,
    index: Annotated[
        bool, typer.Option("--index", help="Instead, or also: a page that lists all experiments of the workspace.")
    ] = False,
    axes: Axes = ALL,
) -> None:
    """Write the report: one HTML page with verdicts, figures and a threshold to move."""
    if file is None:
        if not index:
            raise RequestError("Name the experiment's file: report FILE.yaml. --index lists all experiments.")
    else:
        _report(file, Stores.at(workspace, registry), workspace, data_dir, axes)
    if index:
        print(f"Index: {near(_write_index(Stores.at(workspace)))}")


def _write_index(stores: Stores) -> Location:
    from orchestrator.records.files.storage import Storage
    from orchestrator.report.web.index import entries
    from orchestrator.report.web.index import index as index_of

    place = stores.place
    folder = place.report("x").parent.parent
    Storage(folder).write("index.html", index_of(entries(place), place.root.name).encode())
    return folder / "index.html"


def _report(file: Path, stores: Stores, workspace: str, data_dir: Path | None, axes: Axes) -> None:
    study = axes.study(file, stores, data_dir)
    _write_results(study, workspace)
    for sentence in (*study.changes, *(study.added.told() if study.added else ())):
        say(console(), sentence)
    try:
        written = write_report(study)
    except OSError as error:
        written = Path(f"{study.plan.experiment.name}.report.html").absolute()
        written.write_text(study.page, encoding="utf-8")
        complain(console(stderr=True), f"The report cannot be in the workspace ({error.strerror}) and is here instead.")
    print(f"Report: {near(written)}")


def ui(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE.yaml]", help="Whose runs to show. Default: all experiments.")
    ] = None,
    *,
    workspace: Root = RUNS,
    tracking: TrackingURI = None,
    port: Annotated[int | None, typer.Option("--port", min=1, max=65535, help="Default: any free port.")] = None,
) -> None:
    """Show runs in MLflow's UI: that of a tracking server, or one for this machine only, until Ctrl-C."""
    # Before anything that takes a while.
    print(f"Opening MLflow's UI on {masked(tracking or workspace)}, which takes some seconds.", flush=True)
    extras.need("ui", "mlflow")
    from orchestrator.experiment.files import filed
    from orchestrator.records.tracking.mlflow_store import is_server, is_there
    from orchestrator.records.tracking.mlflow_ui import link, serve

    stores = Stores.at(workspace, tracking_uri=tracking)
    runs = stores.tracking(filed(file).name if file else "")
    if file and not is_there(runs.uri):  # else asking would create a store
        raise RequestError(f"Nothing has been launched in workspace {workspace}: launch {file} first.")
    stores.place.create()
    root = stores.place.root
    try:
        with TemporaryDirectory() as folder, ExitStack() as ends:
            log = (root if isinstance(root, Path) else Path(folder)) / "mlflow-ui.log"
            with console().status("Waiting for MLflow"):
                address = ends.enter_context(serve(runs.uri, runs.artifacts, log, port))
                page = link(runs.uri, address, runs.experiment)
            print(page, flush=True)
            if not is_server(runs.uri):
                print("Ctrl-C ends it.", flush=True)
                signal.pause()
    except KeyboardInterrupt:
        print()


@with_axes
def export(
    file: File,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder to make.", show_default=False)],
    *,
    workspace: Root = RUNS,
    data_dir: DataDir = None,
    axes: Axes = ALL,
) -> None:
    """Write a folder to publish: results, samples, experiment, provenance, a data card, checksums."""
    from orchestrator.records.files.publication import export as exported

    study = axes.study(file, Stores.at(workspace), data_dir)
    people = console()
    trials = study.trials
    data = study.data(study.plan)
    earlier = [cell for each in data.earlier for cell in each.cells]
    made = exported(study.plan, study.place, folder, trials and trials.plan, earlier)
    for sentence in made.damaged:
        complain(people, sentence)
    for sentence in (*data.told(), *study.changes, f"{made.cells} of {_are(len(study.owed))} in {folder}."):
        say(people, sentence)


def import_cells(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `export` made.", show_default=False)],
    *,
    workspace: Root = RUNS,
) -> None:
    """Take a colleague's exported cells into this workspace.

    They then count as done, and as unverified until `verify` has rerun a sample with the same numbers.
    """
    from orchestrator.records.files.evaluations import read_account
    from orchestrator.records.files.import_cells import import_

    stores = Stores.at(workspace).prepare()
    people = console()
    ours = stores.evaluations
    found = import_(folder, ours)
    stores.history.learn(read_account(ours.folder / name) for name, cell in ours.cells() if cell in found.taken)
    for sentence in found.problems:
        complain(people, sentence)
    people.print(f"Cells taken: {len(found.taken)}; already here: {len(found.present)}.")
    if found.taken:
        people.print("They count as unverified until `verify` has rerun a sample of them with the same numbers.")
    if found.problems:
        raise typer.Exit(SOME_FAILED)


def _are(cells: int) -> str:
    return f"{counted(cells, 'cell')} {'is' if cells == 1 else 'are'}"


def _write_results(study: Study, workspace: str) -> None:
    """Write the results table, where the workspace can be written; what is wrong is told apart from what is printed.

    Raises:
        RequestError: It is empty.
    """
    tell = partial(complain, console(stderr=True))
    try:
        results = write_results(study, tell)
    except WorkspaceError as error:  # a colleague's, which can be read
        results = study.results
        tell(f"{error} Its results table stays as it is.")
    if not results.table.num_rows:
        nothing = f"No cell of '{study.experiment.name}' is done in {workspace}: launch it first."
        raise RequestError("\n".join([nothing, *study.data(study.plan).told()]))
