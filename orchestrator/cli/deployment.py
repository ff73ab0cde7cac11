"""From results to a model in use: which one to deploy, at which threshold."""

from __future__ import annotations

import json

import typer

from orchestrator.cli.options import ALL, RUNS, UNDECIDED, Axes, DataDir, File, Json, Root, with_axes
from orchestrator.report.terminal.console import console
from orchestrator.stores import Stores


@with_axes
def decide(
    file: File,
    *,
    workspace: Root = RUNS,
    data_dir: DataDir = None,
    as_json: Json = False,
    axes: Axes = ALL,
) -> None:
    """Say which model to deploy, at which threshold, at what cost, and what can be promised.

    With --only, a person chooses among models; promises are then weaker, because that person may know test results.
    """
    from orchestrator.report.document import decision as document
    from orchestrator.report.terminal.decision import text

    study = axes.study(file, Stores.at(workspace), data_dir)
    found = study.decision
    if as_json:
        print(json.dumps(document(found), indent=2, allow_nan=False))
    else:
        console().print(text(found))
    if not found.deployed.promise.is_kept:
        raise typer.Exit(UNDECIDED)
