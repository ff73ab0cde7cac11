"""Rehearse a launch."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Annotated, Literal

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
    Root,
    TrackingURI,
    with_axes,
)
from orchestrator.report.terminal.console import console as made_console
from orchestrator.report.terminal.console import say
from orchestrator.stores import Stores


@with_axes
def rehearse(
    context: typer.Context,
    file: File,
    *,
    stand_in: Annotated[
        bool, typer.Option("--stand-in", help="Draw images of the right shape and number, instead of reading data.")
    ] = False,
    workspace: Root = RUNS,
    tracking: TrackingURI = None,
    data_dir: DataDir = None,
    address: Address = None,
    executor: Annotated[
        Literal["ray", "inline"], typer.Option("--executor", help="'inline' runs cells one by one in this process.")
    ] = "ray",
    max_concurrent: Annotated[
        int | None, typer.Option("--max-concurrent", metavar="N", min=1, help="Cells to run at once, at most.")
    ] = None,
    form: Annotated[Literal["text", "json"], typer.Option("--format", help="For people, or for machines.")] = "text",
    axes: Axes = ALL,
) -> None:
    """Try one short cell of each kind on the real cluster; nothing of it counts as a result."""
    console = made_console(stderr=form == "json")
    say(console, f"Rehearsing {file}: a few steps, a checkpoint, another attempt and an evaluation per kind of cell.")
    extras.need("rehearse")
    from orchestrator.launching.compute import Compute
    from orchestrator.launching.launch import StoppedLaunch
    from orchestrator.launching.rehearsal import rehearse as carry_out
    from orchestrator.report.terminal import rehearsal

    began = time.monotonic()
    study = axes.study(file, Stores.at(workspace, None, tracking), data_dir).keeping()
    study.stores.prepare()
    compute = Compute(executor, address, max_concurrent, debug=context.obj is DEBUG)
    try:
        found = carry_out(study, compute, console, stand_in=stand_in)
    except StoppedLaunch:
        raise typer.Exit(INTERRUPTED) from None
    if form == "json":
        seconds = round(time.monotonic() - began, 3)
        told = {"experiment": found.experiment, "kinds": [asdict(each) for each in found.tried], **found.counts}
        print(json.dumps({**told, "notes": found.notes, "seconds": seconds}, indent=2, allow_nan=False))
    else:
        console.print(rehearsal.told(found.tried, found.counts))
    if not found.is_good:
        raise typer.Exit(SOME_FAILED)
