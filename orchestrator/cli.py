"""The verbs of the command line. What they need is put together in `wiring`.

What a verb needs is imported inside it, so that `--help` and `plan` start in a blink.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator import provenance, wiring
from orchestrator.errors import OrchestratorError, RequestError
from orchestrator.workspace import Workspace

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.execution.executor import Executor
    from orchestrator.plan import Plan
    from orchestrator.records.registry import Registry
    from orchestrator.records.tracking import Tracking

FINE, SOME_FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: every cell finished; some cell failed; the request is wrong; interrupted by the user."""

app = typer.Typer(
    help="Is one loss really better than another? Plan, run and compare grids of models.",
    epilog="With --debug, anywhere, errors show their traceback.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

File = Annotated[Path, typer.Argument(metavar="FILE.yaml", help="The experiment file.", show_default=False)]
Root = Annotated[
    Path,
    typer.Option(
        "--workspace", metavar="DIR", envvar="ORCHESTRATOR_WORKSPACE", help="The folder for all that a launch leaves."
    ),
]
RegistryURL = Annotated[
    str | None,
    typer.Option("--registry", metavar="URL", envvar="ORCHESTRATOR_REGISTRY", help="Default: SQLite in the workspace."),
]
TrackingURI = Annotated[
    str | None,
    typer.Option("--tracking", metavar="URI", envvar="MLFLOW_TRACKING_URI", help="Default: SQLite in the workspace."),
]
DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir", metavar="DIR", envvar="ORCHESTRATOR_DATA", help="The folder that holds or receives datasets."
    ),
]
Address = Annotated[
    str | None,
    typer.Option("--address", envvar="RAY_ADDRESS", help="A Ray cluster to join. Default: a Ray of our own."),
]
Losses = Annotated[list[str] | None, typer.Option("--loss", metavar="NAME", help="Add a loss; repeatable.")]
Backbones = Annotated[list[str] | None, typer.Option("--backbone", metavar="NAME", help="Add a backbone; repeatable.")]
Datasets = Annotated[list[str] | None, typer.Option("--dataset", metavar="NAME", help="Add a dataset; repeatable.")]
Only = Annotated[bool, typer.Option("--only", help="Narrow the axes to the names given, instead of adding them.")]
Seeds = Annotated[str | None, typer.Option("--seeds", metavar="N|LIST", help="5 for 0…4, or a list such as 0,3,7.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

RUNS, DATA = Path("runs"), Path("data")


def main() -> None:
    """Run a verb; an error is one message a person can act on, and never a bare traceback."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` does, for an experiment's `plugins:`
    # A batch system's polite end is a Ctrl-C, also where a background job ignores the keyboard's.
    for polite in (signal.SIGINT, signal.SIGTERM):
        signal.signal(polite, signal.default_int_handler)
    try:
        app([argument for argument in arguments if argument != "--debug"], prog_name="orchestrator")
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OrchestratorError):
            print(error, file=sys.stderr)
        else:
            print(f"Unexpected {type(error).__name__}: {error}\n--debug shows where.", file=sys.stderr)
        sys.exit(WRONG if isinstance(error, RequestError) else SOME_FAILED)


@app.command()
def launch(
    file: File,
    *,
    workspace: Root = RUNS,
    registry: RegistryURL = None,
    tracking: TrackingURI = None,
    data_dir: DataDir = DATA,
    address: Address = None,
    executor: Annotated[
        Literal["ray", "inline"], typer.Option("--executor", help="'inline' runs cells one by one in this process.")
    ] = "ray",
    max_concurrent: Annotated[
        int | None, typer.Option("--max-concurrent", metavar="N", min=1, help="Cells to run at once, at most.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run cells again that failed in an earlier launch.")
    ] = False,
    loss: Losses = None,
    backbone: Backbones = None,
    dataset: Datasets = None,
    only: Only = False,
    seeds: Seeds = None,
    as_json: Json = False,
) -> None:
    """Run what is missing, record it, and print the comparison."""
    from orchestrator.campaign import outstanding, prepare
    from orchestrator.plan import plan as planned
    from orchestrator.records.evaluations import Evaluations
    from orchestrator.report import overview

    began = time.monotonic()
    console = wiring.console(stderr=as_json)
    plan = planned(wiring.experiment(file, loss, backbone, dataset, only, seeds))
    place = Workspace(workspace.resolve())
    place.create()
    with wiring.registry(place, registry) as records:
        waiting, tally = outstanding(plan, Evaluations(place.evaluations), records, retry_failed=retry_failed)
        console.print(overview.left(plan, waiting, tally))
        if waiting.cells:
            runs = wiring.tracking(place, tracking, plan.experiment.name)
            prepare(waiting, data_dir)
            runs.prepare()
            runner = wiring.executor(executor, address, max_concurrent, place, runs, data_dir)
            tally += _run(waiting, runner, records, runs, console)
    damaged = _conclude(console, plan, place, file)
    if as_json:
        done = tally["finished"] + tally["diverged"] - damaged
        counts = {"total": len(plan), "done": done, "pending": len(plan) - done}
        counts |= {"failed": tally["failed"], "diverged": tally["diverged"]}
        seconds = round(time.monotonic() - began, 3)
        print(json.dumps({"experiment": plan.experiment.name, **counts, "seconds": seconds}))
    if tally["failed"] or damaged:
        raise typer.Exit(SOME_FAILED)


@app.command(name="plan")
def show_plan(
    file: File,
    *,
    workspace: Root = RUNS,
    registry: RegistryURL = None,
    loss: Losses = None,
    backbone: Backbones = None,
    dataset: Datasets = None,
    only: Only = False,
    seeds: Seeds = None,
    as_json: Json = False,
) -> None:
    """Print the grid and what of it is done; start nothing."""
    from orchestrator.campaign import take_stock
    from orchestrator.plan import plan as planned
    from orchestrator.records.evaluations import Evaluations
    from orchestrator.report import overview

    plan = planned(wiring.experiment(file, loss, backbone, dataset, only, seeds))
    place = Workspace(workspace.resolve())
    with wiring.registry_if_any(place, registry) as records:
        states = take_stock(plan, Evaluations(place.evaluations), records)
        durations = records.durations(plan.experiment.name) if records else {}
    if as_json:
        print(json.dumps(overview.as_json(plan, states)))
    else:
        wiring.console().print(overview.grid(plan, states, durations))


@app.command()
def status(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE.yaml]", help="Default: every experiment.")] = None,
    *,
    workspace: Root = RUNS,
    registry: RegistryURL = None,
    as_json: Json = False,
) -> None:
    """Print what the registry knows: counts, running cells, failures with their reason."""
    from orchestrator.report import overview

    wanted = [wiring.experiment(file).name] if file else None
    place = Workspace(workspace.resolve())
    with wiring.registry_if_any(place, registry) as records:
        known = records.experiments() if records else []
        names = known if wanted is None else [name for name in wanted if name in known]
        states = [records.status(name) for name in names] if records else []
    if as_json:
        print(json.dumps([overview.status_json(status) for status in states]))
    elif states:
        wiring.console().print(overview.statuses(states))
    else:
        subject = f"Experiment '{wanted[0]}' has" if wanted else "No experiment has"
        wiring.console().print(f"{subject} not been launched in workspace {workspace}.", markup=False, emoji=False)


@app.command()
def aggregate(
    file: File,
    *,
    workspace: Root = RUNS,
    loss: Losses = None,
    backbone: Backbones = None,
    dataset: Datasets = None,
    only: Only = False,
    seeds: Seeds = None,
) -> None:
    """(Re)build the experiment's results table from the per-cell files."""
    from orchestrator.plan import plan as planned

    place = Workspace(workspace.resolve())
    plan = planned(wiring.experiment(file, loss, backbone, dataset, only, seeds))
    console = wiring.console()
    results = wiring.aggregated(console, plan, place)
    written = (
        f"{results.table.num_rows} of {len(plan)} cells are in {wiring.near(place.results(plan.experiment.name))}."
    )
    console.print(written, markup=False, emoji=False, soft_wrap=True)


@app.command()
def compare(
    file: File,
    *,
    workspace: Root = RUNS,
    form: Annotated[
        Literal["text", "markdown", "latex", "json"], typer.Option("--format", help="How to print it.")
    ] = "text",
    loss: Losses = None,
    backbone: Backbones = None,
    dataset: Datasets = None,
    only: Only = False,
    seeds: Seeds = None,
) -> None:
    """Compare every loss with the baseline, paired by seed, and judge the claims."""
    from orchestrator.plan import plan as planned
    from orchestrator.report import tables
    from orchestrator.report.comparison import compare as compared

    place = Workspace(workspace.resolve())
    plan = planned(wiring.experiment(file, loss, backbone, dataset, only, seeds))
    results = wiring.aggregated(wiring.console(stderr=True), plan, place)
    if not results.table.num_rows:
        raise RequestError(f"No cell of '{plan.experiment.name}' is done in {workspace}: launch it first.")
    comparison = compared(plan.experiment, results.rows())
    match form:
        case "text":
            wiring.console().print(tables.terminal(comparison))
        case "json":
            print(json.dumps(comparison.to_json(), indent=2))
        case _:
            print(tables.text(comparison, form))


@app.command()
def ui(
    *,
    workspace: Root = RUNS,
    tracking: TrackingURI = None,
    port: Annotated[int | None, typer.Option("--port", min=1, max=65535, help="Default: any free port.")] = None,
) -> None:
    """Open the MLflow UI on this workspace, on this machine only, until Ctrl-C."""
    from orchestrator.records.mlflow_ui import serve

    place = Workspace(workspace.resolve())
    place.create()
    runs = wiring.tracking(place, tracking, experiment="")
    with serve(runs.uri, runs.artifacts, place.root / "mlflow-ui.log", port) as url:
        print(f"MLflow UI: {url}\nCtrl-C ends it.", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print()


@app.command()
def rebuild(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE.yaml", help="Experiments to give their cells back to.")
    ] = None,
    *,
    workspace: Root = RUNS,
    registry: RegistryURL = None,
    tracking: TrackingURI = None,
    mlflow: Annotated[bool, typer.Option("--mlflow", help="Rebuild these experiments' MLflow runs, too.")] = False,
) -> None:
    """Rebuild the registry, and with --mlflow the tracking store, from the per-cell files."""
    from orchestrator.plan import plan as planned
    from orchestrator.records.evaluations import Evaluations
    from orchestrator.records.rebuild import rebuild as rebuilt

    if mlflow and not files:
        raise RequestError("--mlflow needs the experiments whose runs to rebuild: add FILE.yaml.")
    plans = [planned(wiring.experiment(file)) for file in files or []]
    place, console = Workspace(workspace.resolve()), wiring.console()
    evaluations = Evaluations(place.evaluations)
    if not evaluations.ids():
        raise RequestError(f"Workspace {workspace} has no per-cell files to rebuild from.")
    names = [plan.experiment.name for plan in plans] if mlflow else []
    windows = {name: wiring.tracking(place, tracking, name) for name in names}
    for runs in windows.values():
        runs.prepare()
    with wiring.registry(place, registry) as records:
        cells, damaged = rebuilt(evaluations, records, plans, windows, partial(wiring.complain, console))
    console.print(f"Cells put back: {cells}. Damaged files, passed over: {damaged}.")


@app.command()
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
    data_dir: DataDir = DATA,
    loss: Losses = None,
    backbone: Backbones = None,
    dataset: Datasets = None,
    only: Only = False,
    seeds: Seeds = None,
) -> None:
    """Rerun a sample of finished cells and say whether they reproduce bit for bit; store nothing."""
    from orchestrator.campaign import prepare, repeat
    from orchestrator.execution.worker import Worker
    from orchestrator.plan import plan as planned
    from orchestrator.records.evaluations import Evaluations
    from orchestrator.records.recorder import Recorder
    from orchestrator.records.tracking import Untracked
    from orchestrator.report import overview
    from orchestrator.verification import choose

    plan = planned(wiring.experiment(file, loss, backbone, dataset, only, seeds))
    evaluations = Evaluations(Workspace(workspace.resolve()).evaluations)
    prefixes = [prefix for given in cells or [] for prefix in given.split(",")]
    chosen = choose(plan, evaluations.ids(), prefixes, sample)
    prepare(chosen, data_dir)
    console, identical = wiring.console(), 0
    with TemporaryDirectory() as folder:
        copies = Evaluations(Path(folder))
        worker = Worker(Recorder(copies, Untracked(), provenance.code()), data_dir.resolve())
        for cell in chosen.cells:
            verdict = repeat(cell, evaluations, worker, copies)
            console.print(overview.verdict(cell, verdict), soft_wrap=True)
            identical += not isinstance(verdict, str) and verdict.identical
    console.print(f"{identical} of {len(chosen)} cells reproduce bit for bit.")
    if identical < len(chosen):
        raise typer.Exit(SOME_FAILED)


@app.command()
def doctor(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE.yaml]", help="Default: every experiment.")] = None,
    *,
    workspace: Root = RUNS,
    registry: RegistryURL = None,
    tracking: TrackingURI = None,
    address: Address = None,
    data_dir: DataDir = DATA,
    as_json: Json = False,
) -> None:
    """Say what is wrong with machine, services, data and records, and what to do; change nothing."""
    from orchestrator.diagnosis.examination import examine
    from orchestrator.plan import plan as planned
    from orchestrator.report import health

    place = Workspace(workspace.resolve())
    findings = examine(
        (lambda: planned(wiring.experiment(file))) if file else None,
        root=place.root,
        evaluations=place.evaluations,
        registry=registry or place.registry,
        tracking=lambda experiment: wiring.tracking(place, tracking, experiment),
        address=address,
        data_dir=data_dir,
    )
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        wiring.console().print(health.findings(findings))
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(SOME_FAILED)


@app.command(name="list")
def list_catalogue(
    axis: Annotated[Literal["losses", "backbones", "datasets"], typer.Argument(show_default=False)],
    *,
    as_json: Json = False,
) -> None:
    """List the losses, backbones or datasets an experiment can name, plug-ins included."""
    from orchestrator.report import overview
    from trainers.catalogue import plugins

    known = plugins(axis)
    if as_json:
        print(json.dumps({name: plugin.summary() for name, plugin in known.items()}))
    else:
        wiring.console().print(overview.catalogue(known))


def _run(plan: Plan, executor: Executor, records: Registry, runs: Tracking, console: Console) -> Counter[str]:
    from orchestrator.campaign import carry_out
    from orchestrator.report.live import LiveTable

    try:
        with LiveTable(plan, console) as table:
            return carry_out(plan, executor, records, runs, table)
    except KeyboardInterrupt:
        console.print("Interrupted. Everything finished so far is kept; the same command goes on from there.")
        raise typer.Exit(INTERRUPTED) from None


def _conclude(console: Console, plan: Plan, place: Workspace, file: Path) -> int:
    """Aggregate, print the comparison and what to try next; return how many files were damaged."""
    from orchestrator.report import overview, tables
    from orchestrator.report.comparison import compare as compared

    results = wiring.aggregated(console, plan, place)
    if results.table.num_rows:
        console.print(tables.terminal(compared(plan.experiment, results.rows())))
    console.print(
        overview.next_commands(file, wiring.near(place.root), wiring.near(place.results(plan.experiment.name))),
        soft_wrap=True,
    )
    return len(results.damaged)
