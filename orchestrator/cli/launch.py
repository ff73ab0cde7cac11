"""Launch an experiment, show what a launch would do, and how launches stand."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from orchestrator import extras
from orchestrator.cli import streams
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
from orchestrator.cli.rehearse import rehearse
from orchestrator.errors import OutageError, RequestError
from orchestrator.privacy import masked
from orchestrator.report.terminal.console import complain, near, say
from orchestrator.report.terminal.console import console as made_console
from orchestrator.stores import Stores
from orchestrator.study import Study

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from orchestrator.execution.queue import CellKind
    from orchestrator.experiment.checks import LabelSource
    from orchestrator.experiment.plan import Cell, Plan
    from orchestrator.launching.launch import Ended
    from orchestrator.pricing.price import Price
    from orchestrator.records.sql.registry import Registry
    from orchestrator.records.sql.status import Status, TriedAttempt


STORES = ("workspace", "registry", "data_dir")

OF_RECORDS = ("registry", "retry_failed", "join", "trust_old", "rehash", "budget", "notify")
"""Options of a launch that make no sense where nothing is recorded."""


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
    budget: Annotated[
        float | None,
        typer.Option("--budget", metavar="HOURS", min=0, help="End in this time; no cell begins that would end later."),
    ] = None,
    notify: Annotated[
        str | None, typer.Option("--notify", metavar="URL", help="Webhook to call at the first failure and at the end.")
    ] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Only rehearse: one short cell of each kind; nothing of it counts.")
    ] = False,
    axes: Axes = ALL,
    as_json: Json = False,
) -> None:
    """Run what is missing, record it, and print the comparison."""
    if smoke:
        if needless := [word for word in _given(context, *OF_RECORDS) if word.startswith("--")]:
            kept = "--smoke tries one short cell of each kind and keeps no result"
            raise RequestError(f"{kept}: leave out {', '.join(needless)}.")
        form = "json" if as_json else "text"
        where = {"address": address, "executor": executor, "max_concurrent": max_concurrent}
        stores = {"workspace": workspace, "tracking": tracking, "data_dir": data_dir}
        rehearse(context=context, file=file, form=form, stand_in=False, **where, **stores, **asdict(axes))
        return
    # Before anything that takes a while.
    print(f"Launching {masked(str(file))}.", file=sys.stderr if as_json else sys.stdout, flush=True)
    extras.need("launch")
    from orchestrator.launching.compute import Compute
    from orchestrator.launching.launch import Launch, StoppedLaunch
    from orchestrator.launching.webhook import Webhook
    from orchestrator.report.terminal import overview

    began = time.monotonic()
    console = made_console(stderr=as_json)
    hook = Webhook(notify) if notify else None
    study = axes.study(file, Stores.at(workspace, registry, tracking), data_dir).keeping()
    study.stores.prepare()
    for sentence in study.changes:
        say(console, sentence)
    stages = Launch(
        study=study,
        compute=Compute(executor, address, max_concurrent, debug=context.obj is DEBUG),
        console=console,
        hook=hook,
        retry_failed=retry_failed,
        join=join,
        trust_old=trust_old,
        rehash=rehash,
        until=None if budget is None else began + 3600 * budget,
    )
    try:
        ended = stages.run()
    except StoppedLaunch:
        raise typer.Exit(INTERRUPTED) from None
    try:
        damaged = 0 if ended.is_tuning else _conclude(console, ended, file, context)
    except RequestError as error:
        if not stages.begun.is_set():
            raise
        raise OutageError(str(error)) from error  # not exit code 2, which says that nothing was started
    comparison = None if ended.is_tuning or not ended.study.results.table.num_rows else ended.study.comparison
    counts = overview.counts(ended.plan, ended.tally, comparison, damaged)
    if hook and (complaint := hook.tell(f"{study.experiment.name}: {overview.ended(counts)}.", **counts)):
        complain(console, complaint)
    if as_json:
        seconds = round(time.monotonic() - began, 3)
        print(json.dumps({"experiment": ended.plan.experiment.name, **counts, "seconds": seconds}))
    if ended.tally["failed"] or damaged:
        raise typer.Exit(SOME_FAILED)


@with_axes
def show_plan(
    context: typer.Context,
    file: File,
    *,
    workspace: Root = RUNS,
    registry: RegistryURL = None,
    data_dir: DataDir = None,
    rehash: Rehash = False,
    axes: Axes = ALL,
    on: Annotated[
        str | None,
        typer.Option("--on", metavar="CLUSTER", help="Time on a cluster, such as '8 x a100 + 2 x l4'. Default: here."),
    ] = None,
    price: Annotated[
        float | None, typer.Option("--price", min=0, help="The price of a GPU hour, to print the cost.")
    ] = None,
    register: Annotated[
        bool, typer.Option("--register", help="Print a hash of the file's claims and seed rule, to publish beforehand.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print the grid, what of it is done and what the rest costs; start nothing."""
    from orchestrator.decision.evidence import evidence
    from orchestrator.experiment import checks
    from orchestrator.experiment.stated import register as register_of
    from orchestrator.launching import old_cells
    from orchestrator.launching.run_plan import take_stock
    from orchestrator.outcome import is_done
    from orchestrator.records.files.results import read_all
    from orchestrator.report.terminal import overview
    from orchestrator.report.terminal import price as prices
    from orchestrator.report.wording.decision import provable
    from trainers.datasets.hashes import forget

    study = axes.study(file, Stores.at(workspace, registry), data_dir)
    if rehash:
        forget(study.data_dir)
    trials = study.trials
    # As long as recipes are sought, nobody knows the final cells.
    plan = trials.plan if trials and not trials.over else study.plan
    data = study.data(plan)
    with study.stores.registry_if_any() as records:
        states = take_stock(plan, study.stores.evaluations, records)
        durations = records.durations(plan.experiment.name) if records else {}
    left = plan.pending({cell for cell, state in states.items() if is_done(state)})
    counted = checks.labels_here(study.data_dir)
    checks.check(left, counted)
    absent = checks.absent(left, study.data_dir)
    cautions = [*absent, *study.stores.unread(), *checks.cautions(left, counted)]
    facts = checks.facts(left, counted)
    promises = evidence(plan, counted)
    cautions += [provable(each) for each in promises if not each.suffices]
    pending = [cell for cell in left.cells if states[cell.id] != "failed"]
    again, why = ([], "") if trials and plan is trials.plan else old_cells.replicas(study, plan, states)
    changed = old_cells.changed(study, plan)
    outlook = old_cells.outlook(study, plan, [*pending, *again])
    registered = register_of(study.filed) if register else None
    cost = _priced(study, left, again=again, on=on, durations=durations, labels_of=counted)
    if as_json:
        anchors = [{"id": cell.id, "name": cell.name} for cell in outlook.anchors] if outlook else []
        first = {"changed": changed, "anchors": anchors, "refusals": outlook.refusals if outlook else []}
        told = {**overview.as_json(study.experiment, plan, states, again), "data": data.to_json(), **first}
        told |= {"promises": [each._asdict() for each in promises]} if promises else {}
        told |= {"cautions": cautions, "images": facts, "additions": study.added and study.added.to_json()}
        told["price"] = prices.as_json(cost, price)
        told["next"] = _upcoming(study, file, context)
        print(json.dumps(told | ({"register": registered} if registered else {})))
    else:
        rows = read_all(study.place.results(study.experiment.name))
        older = [*changed, *(outlook.sentences() if outlook else ())]
        made_console().print(
            overview.grid(
                plan,
                states,
                cost,
                rows,
                [*facts, *data.told()],
                promises=[provable(each) for each in promises if each.suffices],
                added=[*(study.added.told() if study.added else ()), *study.changes],
                cautions=cautions,
                older=older,
                replicas=again,
                why=why,
                per_gpu_hour=price,
            )
        )
        upcoming = study.next_cells
        for line in filter(
            None,
            (upcoming and upcoming.sentence, f"{registered}  claims and seed rule of {file}" if registered else ""),
        ):
            print(line)


def _priced(
    study: Study,
    left: Plan,
    *,
    again: Sequence[Cell],
    on: str | None,
    durations: Mapping[CellKind, Sequence[float]],
    labels_of: LabelSource,
) -> Price:
    """What the rest of a plan costs with the replicas, here or on a cluster that is named."""
    from orchestrator.pricing.devices import cluster
    from orchestrator.pricing.features import features
    from orchestrator.pricing.price import elsewhere, estimator, here, price

    place = elsewhere(cluster(on)) if on else here()
    waiting = [*left.cells, *again]
    estimates = estimator(waiting, study.stores.evaluations, study.stores.rates.read(), labels_of)
    before = features(waiting, labels_of, study.data_dir)
    return price(waiting, left.experiment, estimates, place, durations, features=before)


def _show_log(file: Path | None, stores: Stores, cell: str) -> None:
    """Print what a command has printed."""
    from orchestrator.records.files.command_logs import printed

    study = Study.of_file(file, stores) if file else None
    cells = [each for plan in study.plans() for each in plan.cells] if study else []
    print(printed(stores.place, next((each.id for each in cells if each.name == cell), cell)), end="")


def _upcoming(study: Study | None, file: Path | None, context: typer.Context) -> dict[str, Any] | None:
    """What plan and status say of the next cells, with the command that runs them; None where they say nothing."""
    from orchestrator.report.terminal import overview

    upcoming = study.next_cells if study else None
    if upcoming is None:
        return None
    options = [name for name in (*STORES, *(field.name for field in fields(Axes))) if name in context.params]
    return {**upcoming.to_json(), "command": overview.command(["launch", str(file), *_given(context, *options)])}


def status(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(metavar="[FILE.yaml]", help="Default: every experiment.")] = None,
    *,
    workspace: Root = RUNS,
    registry: RegistryURL = None,
    cell: Annotated[
        str | None,
        typer.Option("--cell", metavar="ID", help="Instead: the attempts at a cell, and the trace of its last error."),
    ] = None,
    log: Annotated[
        str | None,
        typer.Option(
            "--log", metavar="CELL", help="Instead: what a command printed; CELL is an id, or with FILE a name."
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on showing it, until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Print what the registry knows: counts, time left, launches, running cells, failures with their reason."""
    if log is not None:
        _show_log(file, Stores.at(workspace, registry), log)
        return
    extras.need("status", *extras.SQL)
    from orchestrator.analysis.imported import ImportedCells
    from orchestrator.launching import old_cells
    from orchestrator.launching.additions import additions_of
    from orchestrator.records.files import results
    from orchestrator.report.terminal import overview

    stores = Stores.at(workspace, registry)
    study = Study.of_file(file, stores) if file else None
    wanted = [study.experiment.name] if study else None
    console = made_console()
    with stores.registry_if_any() as records:
        if cell is not None:
            tried = _tried(records, cell, study.experiment.name if study else None)
            _show_attempts(tried, console, as_json=as_json)
            return

        def states() -> list[Status]:
            return _states(records, wanted)

        def imported(name: str) -> ImportedCells | None:
            return ImportedCells.among(results.read(stores.place.results(name)))

        def outdated(found: list[Status]) -> dict[str, list[str] | None]:
            if study:
                return {study.experiment.name: old_cells.outdated(study)}
            return old_cells.outdated_of([each.experiment for each in found], records, stores)

        if as_json:
            found = states()
            changed = outdated(found)
            foreign = {status.experiment: imported(status.experiment) for status in found}
            counted = {name: one and one.to_json() for name, one in foreign.items()}
            news = {name: one and one.to_json() for name, one in additions_of(found, study, records, stores).items()}
            told = {status.experiment: overview.status_json(status) for status in found}
            following = _upcoming(study, file, context)
            more = {name: {"imported": counted[name], "additions": news[name], "next": following} for name in told}
            print(json.dumps([{**each, "changed": changed[name], **more[name]} for name, each in told.items()]))
            return
        subject = f"Experiment '{wanted[0]}' has" if wanted else "No experiment has"
        nothing = f"{subject} not been launched in workspace {workspace}."
        if not watch:
            console.print(overview.statuses(found := states(), nothing))
            foreign = [one for status in found if (one := imported(status.experiment))]
            older = overview.outdated(outdated(found), of_one=bool(study))
            asked = overview.by_experiment(additions_of(found, study, records, stores), of_one=bool(study))
            upcoming = study.next_cells if study else None
            for sentence in (
                *([upcoming.sentence] if upcoming else []),
                *asked,
                *older,
                *(text for one in foreign for text in one.told()),
            ):
                say(console, sentence)
            return
        _watch(lambda: overview.statuses(states(), nothing), console)


def _states(records: Registry | None, wanted: list[str] | None) -> list[Status]:
    """How the experiments stand that are wanted and known; all where none is named."""
    if records is None:
        return []
    known = records.experiments()
    return [records.status(name) for name in (known if wanted is None else wanted) if name in known]


def _watch(shown: Callable[[], RenderableType], console: Console) -> None:
    """Show something anew every two seconds, until Ctrl-C."""
    from rich.live import Live

    with Live(shown(), console=console, auto_refresh=False) as live, suppress(KeyboardInterrupt):
        while not streams.is_gone():
            time.sleep(2)
            live.update(shown(), refresh=True)


def _tried(records: Registry | None, prefix: str, experiment: str | None) -> list[TriedAttempt]:
    """The attempts at the one cell whose id begins so."""
    found = records.tried(prefix, experiment) if records else []
    cells = sorted({each.cell for each in found})
    if not cells:
        raise RequestError(f"No cell that was begun here has an id that begins with '{prefix}'.")
    if len(cells) > 1:
        shown = ", ".join(cell[: len(prefix) + 4] for cell in cells[:5])
        raise RequestError(f"The ids of {len(cells)} cells begin with '{prefix}': {shown}. Give more of it.")
    return found


def _show_attempts(tried: list[TriedAttempt], console: Console, *, as_json: bool) -> None:
    from orchestrator.report.terminal import overview

    if as_json:
        print(json.dumps([overview.attempt_json(each) for each in tried]))
    else:
        console.print(overview.attempts(tried), soft_wrap=True)


def _conclude(console: Console, ended: Ended, file: Path, context: typer.Context) -> int:
    """Write the table, print the comparison and what to try next; returns how many files were damaged."""
    from orchestrator.experiment.additions import left_out
    from orchestrator.launching.outages import patiently
    from orchestrator.launching.summary import write_summary
    from orchestrator.report.terminal import comparison as terminal
    from orchestrator.report.terminal import overview

    study = ended.study
    tell = partial(say, console)
    results = patiently(lambda: study.write_results(partial(complain, console)), tell)
    patiently(study.take_inventory, tell)
    if results.table.num_rows:
        console.print(patiently(lambda: terminal.table(study.comparison, curves=study.curves), tell))
        runs = ended.runs or study.stores.tracking(study.experiment.name)
        write_summary(study, runs, partial(complain, console), has_trained=ended.runs is not None)
    table = near(study.place.results(study.experiment.name))
    found = study.comparison if results.table.num_rows else None
    narrowing = ("loss", "backbone", "dataset", "only", "seeds") if left_out(study.kept, study.experiment) else ()
    narrowing = (*narrowing, "settings")
    given = overview.Given(
        workspace=_given(context, "workspace"),
        registry=_given(context, "registry"),
        tracking=_given(context, "tracking"),
        data=_given(context, "data_dir"),
        compute=_given(context, "address", "executor", "max_concurrent"),
        narrowing=_given(context, *narrowing),
    )
    console.print(overview.next_commands(file, table, study.kept, found, given), soft_wrap=True)
    return len(results.damaged)


def _given(context: typer.Context, *names: str) -> list[str]:
    """The words of options that the user gave on the command line; passwords in them are not shown."""
    words: list[str] = []
    for name in names:
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[name]
        option = next(parameter.opts[0] for parameter in context.command.params if parameter.name == name)
        for each in value if isinstance(value, (list, tuple)) else [value]:
            words += [option] if each is True else [option, masked(str(each))]
    return words
