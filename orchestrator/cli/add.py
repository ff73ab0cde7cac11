"""Add axis values and seeds to an experiment's file, and take additions back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.options import RUNS, DataDir, File, RegistryURL, Root
from orchestrator.errors import RequestError
from orchestrator.report.terminal.console import console, near, say
from orchestrator.sentences import counted
from orchestrator.stores import Stores

if TYPE_CHECKING:
    from orchestrator.launching.edits import Edit, Named

Names = list[str] | None


def add(
    file: File,
    *,
    loss: Annotated[Names, typer.Option("--loss", metavar="NAME", help="A loss; repeatable.")] = None,
    backbone: Annotated[Names, typer.Option("--backbone", metavar="NAME", help="A backbone; repeatable.")] = None,
    dataset: Annotated[Names, typer.Option("--dataset", metavar="NAME", help="A data set; repeatable.")] = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", metavar="N|LIST", help="5 for 0…4, or a list such as 0,3,7.")
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Take these back: out of the file, and of what flags of launch added.")
    ] = False,
    workspace: Root = RUNS,
    registry: RegistryURL = None,
    data_dir: DataDir = None,
) -> None:
    """Write an axis value or seeds into the file, and keep its comments; or take them back."""
    from orchestrator.launching.edits import put, take_back

    named: Named = {"loss": loss or [], "backbone": backbone or [], "dataset": dataset or []}
    if not any(named.values()) and seeds is None:
        raise RequestError("Name what to add or to take back: --loss, --backbone, --dataset or --seeds.")
    stores = Stores.at(workspace, registry)
    change = (take_back if remove else put)(file, named, seeds, stores, data_dir)
    for sentence in _sentences(change, file, remove=remove):
        say(console(), sentence)


def _sentences(change: Edit, file: Path, *, remove: bool) -> list[str]:
    """What was done, for people."""
    what = change.entry.said()
    if not what:
        return [f"{near(file)} has all of that already."]
    verb = f"Taken back from {' and from '.join(change.places)}" if remove else f"Added to {near(file)}"
    told = [f"{verb}: {what}. Cells asked: {change.before} before, {change.after} now."]
    if change.entry.results:
        told.append(
            f"Its {counted(change.entry.results, 'result')} stay in the workspace: nothing finished is deleted."
        )
    return [*told, *(change.added.told() if change.added else ())]
