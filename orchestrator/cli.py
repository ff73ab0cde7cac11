"""The verbs of the command line. What they need is put together in `wiring`.

What a verb needs is imported inside it, so that `--help` and `plan` start in a blink.
"""

from __future__ import annotations

import json
import signal
import sys
import time
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

    from orchestrator.analysis.comparison import Comparison
    from orchestrator.experiment.plan import Plan
    from orchestrator.launching.launch import Ended
    from orchestrator.records.files.results import Results
    from orchestrator.records.sql.registry import Status

FINE = 0
SOME_FAILED = 1
WRONG = 2
INTERRUPTED = 130
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
    str,
    typer.Option(
        "--workspace",
        metavar="DIR|URI",
        envvar="ORCHESTRATOR_WORKSPACE",
        help="The folder, or s3://BUCKET/PREFIX, for all that a launch leaves.",
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
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        envvar="ORCHESTRATOR_DATA",
        help="The folder that holds or receives datasets. Default: data, else where the last launch here had them.",
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

Rehash = Annotated[
    bool, typer.Option("--rehash", help="Read all data again, also where sizes and dates say they are unchanged.")
]

RUNS = "runs"


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
    data_dir: DataDir = None,
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
    join: Annotated[bool, typer.Option("--join", help="Share the work with a launch that is under way.")] = False,
    trust_old: Annotated[
        bool, typer.Option("--trust-old", help="Pool cells of another environment or code without testing a few.")
    ] = False,
    rehash: Rehash = False,
    notify: Annotated[
        str | None, typer.Option("--notify", metavar="URL", help="Webhook to call at the first failure and at the end.")
    ] = None,
    loss: Losses = None,
    backbone: Backbones = None,
    dataset: Datasets = None,
    only: Only = False,
    seeds: Seeds = None,
    as_json: Json = False,
) -> None:
    """Run what is missing, record it, and print the comparison."""
    from orchestrator.launching.launch import Launch, StoppedLaunch
    from orchestrator.launching.webhook import Webhook
    from orchestrator.report.terminal import overview

    began = time.monotonic()
    console = wiring.console(stderr=as_json)
    hook = Webhook(notify) if notify else None
    experiment = wiring.experiment(file, loss, backbone, dataset, only, seeds)
    place = wiring.prepared(Workspace.at(workspace))
    stages = Launch(
        place=place,
        registry=registry,
        tracking=tracking,
        data_dir=wiring.folder(experiment, place, data_dir),
        executor=executor,
        address=address,
        most=max_concurrent,
        retry_failed=retry_failed,
        join=join,
        trust_old=trust_old,
        whole=wiring.experiment(file, loss, backbone, dataset),
        stated=wiring.stated(file, experiment),
        rehash=rehash,
        hook=hook,
        console=console,
    )
    try:
        ended = stages.run(experiment)
    except StoppedLaunch:
        raise typer.Exit(INTERRUPTED) from None
    damaged, comparison = (0, None) if ended.is_tuning else _conclude(console, ended, place, registry, file)
    counts = overview.counts(ended.plan, ended.tally, comparison, damaged)
    if hook and (complaint := hook.tell(f"{experiment.name}: {overview.ended(counts)}.", **counts)):
        wiring.complain(console, complaint)
    if as_json:
        seconds = round(time.monotonic() - began, 3)
        print(json.dumps({"experiment": ended.plan.experiment.name, **counts, "seconds": seconds}))
    if ended.tally["failed"] or damaged:
        raise typer.Exit(SOME_FAILED)


@app.command(name="plan")
def show_plan(
    file: File,
    *,
    workspace: Root = RUNS,
    registry: RegistryURL = None,
    data_dir: DataDir = None,
    rehash: Rehash = False,
    loss: Losses = None,
    backbone: Backbones = None,
    dataset: Datasets = None,
    only: Only = False,
    seeds: Seeds = None,
    register: Annotated[
        bool, typer.Option("--register", help="Print a hash of the file's claims and seed rule, to publish beforehand.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print the grid and what of it is done; start nothing."""
    from orchestrator.experiment import checks
    from orchestrator.launching.run_plan import take_stock
    from orchestrator.outcome import is_done
    from orchestrator.records.files.evaluations import Evaluations
    from orchestrator.report.terminal import overview
    from trainers.datasets.hashes import forget

    place = Workspace.at(workspace)
    experiment = wiring.experiment(file, loss, backbone, dataset, only, seeds)
    data_dir = wiring.folder(experiment, place, data_dir)
    if rehash:
        forget(data_dir)
    known = wiring.contents(experiment, place, data_dir)
    trials = wiring.trials(experiment, place, known)
    # As long as recipes are sought, nobody knows the final cells.
    plan = trials.plan if trials and not trials.over else wiring.final(experiment, trials, known)
    data = wiring.data(plan, place)
    with wiring.registry_if_any(place, registry) as records:
        states = take_stock(plan, Evaluations(place.evaluations), records)
        durations = records.durations(plan.experiment.name) if records else {}
    left = plan.pending({cell for cell, state in states.items() if is_done(state)})
    counted = checks.labels_here(data_dir)
    checks.check(left, counted)
    cautions = checks.cautions(left, counted)
    recorded = wiring.recorded(plan, place)
    pending = [cell for cell in left.cells if states[cell.id] != "failed"]
    again, why = ([], "") if trials and plan is trials.plan else wiring.replicas(plan, place, states)
    whole = wiring.experiment(file, loss, backbone, dataset)
    changed = wiring.changed(plan, recorded)
    outlook = wiring.outlook(plan, whole, place, data_dir, [*pending, *again])
    registered = wiring.registered(file) if register else None
    if as_json:
        anchors = [{"id": cell.id, "name": cell.name} for cell in outlook.anchors] if outlook else []
        first = {"changed": changed, "anchors": anchors, "refusals": outlook.refusals if outlook else []}
        told = {**overview.as_json(experiment, plan, states, again), "data": data.to_json(), **first}
        told["cautions"] = cautions
        print(json.dumps(told | ({"register": registered} if registered else {})))
    else:
        rows = wiring.known(place, experiment.name)
        older = [*changed, *(outlook.sentences() if outlook else ())]
        wiring.console().print(
            overview.grid(
                plan, states, durations, rows, data.told(), cautions=cautions, older=older, replicas=again, why=why
            )
        )
        if registered:
            print(f"{registered}  claims and seed rule of {file}")


@app.command()
def status(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE.yaml]", help="Default: every experiment.")] = None,
    *,
    workspace: Root = RUNS,
    registry: RegistryURL = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on showing it, until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Print what the registry knows: counts, launches, running cells, failures with their reason."""
    from rich.live import Live

    from orchestrator.analysis.imported import Imported
    from orchestrator.records.files import results
    from orchestrator.report.terminal import overview

    asked = wiring.experiment(file) if file else None
    wanted = [asked.name] if asked else None
    place = Workspace.at(workspace)
    console = wiring.console()
    with wiring.registry_if_any(place, registry) as records:

        def states() -> list[Status]:
            known = records.experiments() if records else []
            names = known if wanted is None else [name for name in wanted if name in known]
            return [records.status(name) for name in names] if records else []

        def imported(name: str) -> Imported | None:
            return Imported.among(results.read(place.results(name)))

        def outdated(found: list[Status]) -> dict[str, list[str] | None]:
            if asked:
                return {asked.name: wiring.outdated(asked, place)}
            return wiring.outdated_of([each.experiment for each in found], records, place)

        if as_json:
            found = states()
            changed = outdated(found)
            foreign = {status.experiment: imported(status.experiment) for status in found}
            counted = {name: one and one.to_json() for name, one in foreign.items()}
            told = [(overview.status_json(status), counted[status.experiment]) for status in found]
            whole = [{**each, "changed": changed[each["experiment"]], "imported": counts} for each, counts in told]
            print(json.dumps(whole))
            return
        subject = f"Experiment '{wanted[0]}' has" if wanted else "No experiment has"
        nothing = f"{subject} not been launched in workspace {workspace}."
        if not watch:
            console.print(overview.statuses(found := states(), nothing))
            foreign = [one for status in found if (one := imported(status.experiment))]
            older = overview.outdated(outdated(found), of_one=bool(asked))
            for sentence in (*older, *(text for one in foreign for text in one.told())):
                console.print(sentence, markup=False, emoji=False, soft_wrap=True)
            return
        with Live(overview.statuses(states(), nothing), console=console, auto_refresh=False) as live:
            try:
                while True:
                    time.sleep(2)
                    live.update(overview.statuses(states(), nothing), refresh=True)
            except KeyboardInterrupt:
                return


@app.command()
def aggregate(
    file: File,
    *,
    workspace: Root = RUNS,
    data_dir: DataDir = None,
    compact: Annotated[
        bool, typer.Option("--compact", help="Also put all samples into one partitioned Parquet dataset.")
    ] = False,
    loss: Losses = None,
    backbone: Backbones = None,
    dataset: Datasets = None,
    only: Only = False,
    seeds: Seeds = None,
) -> None:
    """(Re)build the experiment's results table from the per-cell files."""
    from orchestrator.records.files import results as tables
    from orchestrator.records.files.evaluations import Evaluations

    place = Workspace.at(workspace)
    console = wiring.console()
    experiment = wiring.experiment(file, loss, backbone, dataset, only, seeds)
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


@app.command()
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
    loss: Losses = None,
    backbone: Backbones = None,
    dataset: Datasets = None,
    only: Only = False,
    seeds: Seeds = None,
) -> None:
    """Compare every loss with the baseline, paired by seed, and judge the claims."""
    from orchestrator.analysis import across_settings, null_check, sample_noise
    from orchestrator.records.files.evaluations import Evaluations
    from orchestrator.report.terminal import tables

    del registry  # scripts pass it; the cells' files now tell what it was asked for
    place = Workspace.at(workspace)
    plan = wiring.plan(wiring.experiment(file, loss, backbone, dataset, only, seeds), place, data_dir)
    results = _results(plan, place, workspace, data_dir)
    comparison = wiring.compared(results, plan, place, file)
    counted = results.without(comparison.left_out)
    if null:
        wiring.console().print(null_check.table(plan.experiment, counted.rows()))
        return
    if samples:
        found = sample_noise.within(plan, Evaluations(place.evaluations), comparison.left_out)
        wiring.console().print(sample_noise.table(found))
        return
    overall = across_settings.overall(plan.experiment, counted.all_rows())
    match form:
        case "text":
            wiring.console().print(tables.terminal(comparison, overall))
        case "json":
            print(json.dumps(tables.document(comparison, overall), indent=2, allow_nan=False))
        case _:
            print(tables.text(comparison, form, overall))


@app.command()
def report(
    file: File,
    *,
    workspace: Root = RUNS,
    data_dir: DataDir = None,
    registry: RegistryURL = None,
    loss: Losses = None,
    backbone: Backbones = None,
    dataset: Datasets = None,
    only: Only = False,
    seeds: Seeds = None,
) -> None:
    """Write the report: one HTML page with verdicts, figures and a threshold to move."""
    from orchestrator.records.files.evaluations import Evaluations
    from orchestrator.records.files.storage import Storage
    from orchestrator.report.web import page

    place = Workspace.at(workspace)
    plan = wiring.plan(wiring.experiment(file, loss, backbone, dataset, only, seeds), place, data_dir)
    results = _results(plan, place, workspace, data_dir)
    comparison = wiring.compared(results, plan, place, file)
    content = page.render(comparison, results.rows(), Evaluations(place.evaluations), plan, results.replica_rows())
    written = place.report(plan.experiment.name)
    Storage(written.parent).write(written.name, content.encode())
    wiring.documented(place, registry, plan.experiment.name)
    print(f"Report: {wiring.near(written)}")


@app.command()
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


@app.command()
def export(
    file: File,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder to make.", show_default=False)],
    *,
    workspace: Root = RUNS,
    data_dir: DataDir = None,
    loss: Losses = None,
    backbone: Backbones = None,
    dataset: Datasets = None,
    only: Only = False,
    seeds: Seeds = None,
) -> None:
    """Write a folder to publish: results, samples, experiment, provenance, a data card, checksums."""
    from orchestrator.records.files.publication import export as exported

    place = Workspace.at(workspace)
    console = wiring.console()
    experiment = wiring.experiment(file, loss, backbone, dataset, only, seeds)
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


@app.command(name="import")
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


@app.command()
def gc(
    *,
    workspace: Root = RUNS,
    registry: RegistryURL = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove what is listed.")] = False,
    cells: Annotated[
        list[str] | None, typer.Option("--cells", metavar="ID", help="Also these finished cells; repeatable.")
    ] = None,
) -> None:
    """List what the workspace can do without: old states, leftovers, files of no experiment."""
    from orchestrator.records.files import garbage
    from orchestrator.records.files.evaluations import Evaluations
    from orchestrator.records.files.storage import Storage
    from orchestrator.report.terminal import overview

    place = Workspace.at(workspace)
    done = Evaluations(place.evaluations).ids()
    asked = {prefix: [cell for cell in done if cell.startswith(prefix)] for prefix in cells or []}
    if strangers := [prefix for prefix, found in asked.items() if len(found) != 1]:
        raise RequestError(f"Not exactly one cell of {workspace} begins with '{strangers[0]}'.")
    with wiring.registry_if_any(place, registry) as records:
        known = {name: set(records.states(name)) for name in records.experiments()} if records else None
    items = garbage.garbage(Storage(place.root).list(), known, time.time(), [cell for (cell,) in asked.values()])
    wiring.console().print(overview.garbage(items, removed=remove))
    if remove:
        garbage.remove(place, items)


@app.command()
def rebuild(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE.yaml", help="Experiments to give their cells back to.")
    ] = None,
    *,
    workspace: Root = RUNS,
    registry: RegistryURL = None,
    tracking: TrackingURI = None,
    data_dir: DataDir = None,
    mlflow: Annotated[bool, typer.Option("--mlflow", help="Rebuild these experiments' MLflow runs, too.")] = False,
) -> None:
    """Rebuild the registry, and with --mlflow the tracking store, from the per-cell files."""
    from orchestrator.records.files.contents import History
    from orchestrator.records.files.evaluations import Account, Evaluations
    from orchestrator.records.rebuild import rebuild as rebuilt

    if mlflow and not files:
        raise RequestError("--mlflow needs the experiments whose runs to rebuild: add FILE.yaml.")
    place = Workspace.at(workspace)
    console = wiring.console()
    evaluations = Evaluations(place.evaluations)
    experiments = [wiring.experiment(file) for file in files or []]
    if not evaluations.ids():
        raise RequestError(f"Workspace {workspace} has no per-cell files to rebuild from.")
    History(place.data).learn(account for _, account in evaluations.accounts() if isinstance(account, Account))
    plans = [plan for experiment in experiments for plan in wiring.plans(experiment, place, data_dir)]
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
    data_dir: DataDir = None,
    loss: Losses = None,
    backbone: Backbones = None,
    dataset: Datasets = None,
    only: Only = False,
    seeds: Seeds = None,
) -> None:
    """Rerun a sample of finished cells, imported ones first, and say whether they reproduce bit for bit."""
    from orchestrator.execution.worker import Worker
    from orchestrator.launching.run_plan import note_rerun, prepare, repeat
    from orchestrator.records.files.evaluations import Evaluations
    from orchestrator.records.recorder import Recorder
    from orchestrator.records.tracking.runs import Untracked
    from orchestrator.report.terminal import overview
    from orchestrator.reproduction.verification import choose, origins

    place = Workspace.at(workspace)
    evaluations = Evaluations(place.evaluations)
    experiment = wiring.experiment(file, loss, backbone, dataset, only, seeds)
    data_dir = wiring.folder(experiment, place, data_dir)
    asked = wiring.plan(experiment, place, data_dir)
    plan = evaluations.with_replicas(asked)
    prefixes = [prefix for given in cells or [] for prefix in given.split(",")]
    try:
        found = origins(plan, evaluations)
        unverified = {cell for cell, origin in found.items() if origin == "unverified"}
        chosen = choose(plan, evaluations.ids(replicas=True), prefixes, sample, unverified)
    except RequestError as error:
        raise RequestError("\n".join([str(error), *wiring.data(asked, place).told()])) from None
    prepare(chosen, data_dir)
    console = wiring.console()
    identical = 0
    with TemporaryDirectory() as folder:
        copies = Evaluations(Path(folder) / "evaluations")
        worker = Worker(Recorder(copies, Untracked(), provenance.code()), data_dir.resolve())
        for cell in chosen.cells:
            verdict = repeat(cell, evaluations, worker, copies)
            if found.get(cell.id) != "here":  # a cell that was trained here needs no such mark
                note_rerun(cell, evaluations, verdict)
            console.print(overview.verdict(cell, verdict), soft_wrap=True)
            identical += not isinstance(verdict, str) and verdict.identical
    console.print(f"{identical} of {len(chosen)} cells reproduce bit for bit.")
    if imported := {cell for cell, origin in found.items() if origin != "here"}:
        rerun = sum(cell.id in imported for cell in chosen.cells)
        console.print(f"{rerun} of {len(imported)} imported cell{'' if len(imported) == 1 else 's'} rerun.")
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
    data_dir: DataDir = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="First make registry and MLflow tell what the cells' files tell.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what is wrong with machine, services, data and records, and what to do."""
    from orchestrator.diagnosis.examination import examine
    from orchestrator.report.terminal import health

    place = Workspace.at(workspace)
    if fix:
        from orchestrator.diagnosis.mending import mend
        from orchestrator.records.files.evaluations import Evaluations

        windows = partial(wiring.tracking, place, tracking)
        with wiring.registry(place, registry) as records:
            plan = wiring.plan(wiring.experiment(file), place, data_dir) if file else None
            done = mend(plan, Evaluations(place.evaluations), records, windows)
        for sentence in done or ["Nothing to mend."]:
            wiring.console(stderr=as_json).print(sentence, markup=False, emoji=False, soft_wrap=True)
    findings = examine(
        (lambda: wiring.plan(wiring.experiment(file), place, data_dir)) if file else None,
        root=place.root,
        evaluations=place.evaluations,
        registry=registry or place.registry,
        tracking=lambda experiment: wiring.tracking(place, tracking, experiment),
        address=address,
        data_dir=data_dir,
        older=lambda plan: wiring.older(plan, place),
        edited=lambda plan: wiring.edited(plan, place, file) if file else [],
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
    from orchestrator.report.terminal import overview
    from trainers.catalogue import plugins

    known = plugins(axis)
    if as_json:
        print(json.dumps({name: plugin.summary() for name, plugin in known.items()}))
    else:
        wiring.console().print(overview.catalogue(known))


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


def _conclude(
    console: Console, ended: Ended, place: Workspace, registry: str | None, file: Path
) -> tuple[int, Comparison | None]:
    """Aggregate, print the comparison and what to try next; return how many files were damaged, and the comparison."""
    from orchestrator.report.terminal import overview, tables

    plan = ended.plan
    comparison = None
    results = wiring.aggregated(console, plan, place)
    wiring.inventoried(plan, place, registry, results)
    if results.table.num_rows:
        comparison = wiring.compared(results, plan, place, file)
        console.print(tables.terminal(comparison))
        if ended.runs:
            wiring.show(comparison, results, plan, place, ended.runs)
    console.print(
        overview.next_commands(
            file,
            wiring.near(place.root),
            wiring.near(place.results(plan.experiment.name)),
            is_fixed=plan.experiment.sequence is None,
        ),
        soft_wrap=True,
    )
    return len(results.damaged), comparison
