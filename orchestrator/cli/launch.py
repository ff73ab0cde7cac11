"""Launch an experiment."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator import extras
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
    given,
    with_axes,
)
from orchestrator.cli.rehearse import rehearse
from orchestrator.errors import OutageError, RequestError
from orchestrator.privacy import masked
from orchestrator.report.terminal.console import complain, near, say
from orchestrator.report.terminal.console import console as made_console
from orchestrator.stores import Stores

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.analysis.comparison import Comparison
    from orchestrator.launching.launch import Ended
    from orchestrator.report.terminal.hints import Given
    from orchestrator.study import Study

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
        _refuse_options_of_records(context)
        rehearse(
            context=context,
            file=file,
            stand_in=False,
            workspace=workspace,
            tracking=tracking,
            data_dir=data_dir,
            address=address,
            executor=executor,
            max_concurrent=max_concurrent,
            form="json" if as_json else "text",
            **asdict(axes),
        )
        return
    # Before anything that takes a while.
    print(f"Launching {masked(str(file))}.", file=sys.stderr if as_json else sys.stdout, flush=True)
    extras.need("launch")
    from orchestrator.launching.compute import Compute
    from orchestrator.launching.launch import Launch, StoppedLaunch
    from orchestrator.launching.webhook import Webhook
    from orchestrator.report.terminal import launch as told

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
        damaged, comparison = (0, None) if ended.is_tuning else _conclude(console, ended, file, context)
    except RequestError as error:
        if not stages.begun.is_set():
            raise
        raise OutageError(str(error)) from error  # not exit code 2, which says that nothing was started
    counts = told.counts(ended.plan, ended.tally, comparison, damaged)
    if hook and (complaint := hook.tell(f"{study.experiment.name}: {told.ended(counts)}.", **counts)):
        complain(console, complaint)
    if as_json:
        seconds = round(time.monotonic() - began, 3)
        print(json.dumps({"experiment": ended.plan.experiment.name, **counts, "seconds": seconds}))
    if ended.tally["failed"] or damaged:
        raise typer.Exit(SOME_FAILED)


def _refuse_options_of_records(context: typer.Context) -> None:
    if needless := [word for word in given(context, *OF_RECORDS) if word.startswith("--")]:
        kept = "--smoke tries one short cell of each kind and keeps no result"
        raise RequestError(f"{kept}: leave out {', '.join(needless)}.")


def _conclude(console: Console, ended: Ended, file: Path, context: typer.Context) -> tuple[int, Comparison | None]:
    """Write the table, print the comparison and what to try next.

    Returns:
        How many files were damaged, and the comparison if there is a result.
    """
    from orchestrator.launching.outages import patiently
    from orchestrator.launching.summary import write_summary
    from orchestrator.launching.writing import note_inventory, write_results
    from orchestrator.report.terminal import comparison as terminal
    from orchestrator.report.terminal.hints import next_commands

    study = ended.study
    tell = partial(say, console)
    results = patiently(lambda: write_results(study, partial(complain, console)), tell)
    patiently(lambda: note_inventory(study), tell)
    comparison = None
    if results.table.num_rows:
        console.print(patiently(lambda: terminal.table(study.comparison, curves=study.curves), tell))
        runs = ended.runs or study.stores.tracking(study.experiment.name)
        write_summary(study, runs, partial(complain, console), has_trained=ended.runs is not None)
        comparison = study.comparison
    table = near(study.place.results(study.experiment.name))
    hints = next_commands(file, table, study.kept, comparison, _given_again(context, study))
    console.print(hints, soft_wrap=True)
    return len(results.damaged), comparison


def _given_again(context: typer.Context, study: Study) -> Given:
    """The options that hints repeat; those of the axes only where they leave something out."""
    from orchestrator.experiment.additions import left_out
    from orchestrator.report.terminal.hints import Given

    axes = ("loss", "backbone", "dataset", "only", "seeds") if left_out(study.kept, study.experiment) else ()
    return Given(
        workspace=given(context, "workspace"),
        registry=given(context, "registry"),
        tracking=given(context, "tracking"),
        data=given(context, "data_dir"),
        compute=given(context, "address", "executor", "max_concurrent"),
        narrowing=given(context, *axes, "settings"),
    )
