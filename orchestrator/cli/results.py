"""What is done with results: the table, the comparison, the report, and their way to others."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator import wiring
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
from orchestrator.errors import RequestError
from orchestrator.workspace import Workspace

if TYPE_CHECKING:
    from orchestrator.experiment.plan import Plan
    from orchestrator.records.files.results import Results


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
    from orchestrator.records.files import results as tables
    from orchestrator.records.files.evaluations import Evaluations

    place = Workspace.at(workspace)
    console = wiring.console()
    experiment = axes.experiment(file)
    for plan in wiring.plans(experiment, place, data_dir):
        results = wiring.aggregated(console, plan, place, data_dir)
        wiring.documented(place, None, plan.experiment.name)
        cells = f"{results.table.num_rows} of {len(plan)} cells"
        table = wiring.near(place.results(plan.experiment.name))
        written = f"{cells} are in {table}."
        if not plan.is_told:
            written = f"{table} is left as it was: which cells belong in it cannot be told without the data."
        for sentence in (written, *wiring.data(plan, place).told()):
            console.print(sentence, markup=False, emoji=False, soft_wrap=True)
    if compact:
        plan = wiring.plan(experiment, place, data_dir)
        folder = place.compacted(experiment.name)
        rows = tables.compact(plan, Evaluations(place.evaluations), folder)
        beside = place.compacted_validation(plan.experiment.name)
        tables.compact(plan, Evaluations(place.evaluations), beside, Evaluations.validation)
        console.print(f"{rows} samples are in {wiring.near(folder)}.", markup=False, emoji=False, soft_wrap=True)


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
    from orchestrator.analysis import across_settings, sample_noise
    from orchestrator.records.files.evaluations import Evaluations
    from orchestrator.report.document import document
    from orchestrator.report.markdown import markdown
    from orchestrator.report.paper.latex import latex
    from orchestrator.report.terminal import comparison as terminal
    from orchestrator.report.terminal import noise, null_rates

    del registry  # scripts pass it; the cells' files now tell what it was asked for
    place = Workspace.at(workspace)
    plan = wiring.plan(axes.experiment(file), place, data_dir)
    results = _results(plan, place, workspace, data_dir)
    comparison = wiring.compared(results, plan, place, file)
    counted = results.without(comparison.left_out)
    if null:
        wiring.console().print(null_rates.table(plan.experiment, counted.rows()))
        return
    if samples:
        found = sample_noise.within(plan, Evaluations(place.evaluations), comparison.left_out)
        wiring.console().print(noise.table(found))
        return
    overall = across_settings.overall(plan.experiment, counted.all_rows())
    match form:
        case "text":
            wiring.console().print(terminal.table(comparison, overall))
        case "json":
            print(json.dumps(document(comparison, overall), indent=2, allow_nan=False))
        case "markdown":
            print(markdown(comparison, overall))
        case "latex":
            print(latex(comparison, overall))


@with_axes
def report(
    file: File,
    *,
    workspace: Root = RUNS,
    data_dir: DataDir = None,
    registry: RegistryURL = None,
    axes: Axes = ALL,
) -> None:
    """Write the report: one HTML page with verdicts, figures and a threshold to move."""
    from orchestrator.records.files.evaluations import Evaluations
    from orchestrator.records.files.storage import Storage
    from orchestrator.report.web import page

    place = Workspace.at(workspace)
    plan = wiring.plan(axes.experiment(file), place, data_dir)
    results = _results(plan, place, workspace, data_dir)
    comparison = wiring.compared(results, plan, place, file)
    content = page.render(comparison, results.rows(), Evaluations(place.evaluations), plan, results.replica_rows())
    written = place.report(plan.experiment.name)
    Storage(written.parent).write(written.name, content.encode())
    wiring.documented(place, registry, plan.experiment.name)
    print(f"Report: {wiring.near(written)}")


def ui(
    *,
    workspace: Root = RUNS,
    tracking: TrackingURI = None,
    port: Annotated[int | None, typer.Option("--port", min=1, max=65535, help="Default: any free port.")] = None,
) -> None:
    """Open the MLflow UI on this workspace, on this machine only, until Ctrl-C."""
    from orchestrator.records.tracking.mlflow_ui import serve

    place = Workspace.at(workspace)
    place.create()
    runs = wiring.tracking(place, tracking, experiment="")
    with TemporaryDirectory() as folder:
        log = (place.root if isinstance(place.root, Path) else Path(folder)) / "mlflow-ui.log"
        with serve(runs.uri, runs.artifacts, log, port) as url:
            print(f"MLflow UI: {url}\nCtrl-C ends it.", flush=True)
            try:
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

    place = Workspace.at(workspace)
    console = wiring.console()
    experiment = axes.experiment(file)
    known = wiring.contents(experiment, place, data_dir)
    trials = wiring.trials(experiment, place, known)
    plan = wiring.final(experiment, trials, known)
    data = wiring.data(plan, place)
    earlier = [cell for each in data.earlier for cell in each.cells]
    made = exported(plan, place, folder, trials and trials.plan, earlier)
    for sentence in made.damaged:
        wiring.complain(console, sentence)
    for sentence in data.told():
        console.print(sentence, markup=False, emoji=False, soft_wrap=True)
    console.print(f"{made.cells} of {len(plan)} cells are in {folder}.", markup=False, emoji=False, soft_wrap=True)


def import_cells(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `export` made.", show_default=False)],
    *,
    workspace: Root = RUNS,
) -> None:
    """Take a colleague's exported cells into this workspace.

    They then count as done, and as unverified until `verify` has rerun a sample with the same numbers.
    """
    from orchestrator.records.files.contents import History
    from orchestrator.records.files.evaluations import Evaluations, read_account
    from orchestrator.records.files.publication import import_

    place = wiring.prepared(Workspace.at(workspace))
    console = wiring.console()
    ours = Evaluations(place.evaluations)
    found = import_(folder, ours)
    History(place.data).learn(read_account(ours.folder / name) for name, cell in ours.cells() if cell in found.taken)
    for sentence in found.problems:
        wiring.complain(console, sentence)
    console.print(f"Cells taken: {len(found.taken)}; already here: {len(found.present)}.")
    if found.taken:
        console.print("They count as unverified until `verify` has rerun a sample of them with the same numbers.")
    if found.problems:
        raise typer.Exit(SOME_FAILED)


def _results(plan: Plan, place: Workspace, workspace: str, data_dir: Path | None) -> Results:
    """The results table; damaged files are told apart from what is printed.

    Raises:
        RequestError: It is empty.
    """
    results = wiring.aggregated(wiring.console(stderr=True), plan, place, data_dir)
    if not results.table.num_rows:
        nothing = f"No cell of '{plan.experiment.name}' is done in {workspace}: launch it first."
        raise RequestError("\n".join([nothing, *wiring.data(plan, place).told()]))
    return results
