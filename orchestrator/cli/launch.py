"""Launch an experiment, show what a launch would do, and how launches stand."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator import wiring
from orchestrator.cli.options import (
    ALL,
    DEBUG,
    INTERRUPTED,
    RUNS,
    SOME_FAILED,
    Address,
    Axes,
    DataDir,
    File,
    Json,
    RegistryURL,
    Rehash,
    Root,
    TrackingURI,
    with_axes,
)
from orchestrator.workspace import Workspace

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.analysis.comparison import Comparison
    from orchestrator.launching.launch import Ended
    from orchestrator.records.sql.registry import Status


@with_axes
def launch(
    context: typer.Context,
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
    axes: Axes = ALL,
    as_json: Json = False,
) -> None:
    """Run what is missing, record it, and print the comparison."""
    from orchestrator.launching.launch import Launch, StoppedLaunch
    from orchestrator.launching.webhook import Webhook
    from orchestrator.report.terminal import overview

    began = time.monotonic()
    console = wiring.console(stderr=as_json)
    hook = Webhook(notify) if notify else None
    experiment = axes.experiment(file)
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
        whole=axes.whole(file),
        stated=wiring.stated(file, experiment),
        rehash=rehash,
        hook=hook,
        console=console,
        debug=context.obj is DEBUG,
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


@with_axes
def show_plan(
    file: File,
    *,
    workspace: Root = RUNS,
    registry: RegistryURL = None,
    data_dir: DataDir = None,
    rehash: Rehash = False,
    axes: Axes = ALL,
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
    experiment = axes.experiment(file)
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
    whole = axes.whole(file)
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

    from orchestrator.analysis.imported import ImportedCells
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

        def imported(name: str) -> ImportedCells | None:
            return ImportedCells.among(results.read(place.results(name)))

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


def _conclude(
    console: Console, ended: Ended, place: Workspace, registry: str | None, file: Path
) -> tuple[int, Comparison | None]:
    """Aggregate, print the comparison and what to try next; return how many files were damaged, and the comparison."""
    from orchestrator.report.terminal import comparison as terminal
    from orchestrator.report.terminal import overview

    plan = ended.plan
    comparison = None
    results = wiring.aggregated(console, plan, place)
    wiring.inventoried(plan, place, registry, results)
    if results.table.num_rows:
        comparison = wiring.compared(results, plan, place, file)
        console.print(terminal.table(comparison))
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
