"""Show how launches stand, and what was tried of a cell."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator import extras
from orchestrator.cli import streams
from orchestrator.cli.options import RUNS, Json, RegistryURL, Root, launch_command
from orchestrator.errors import RequestError
from orchestrator.report.terminal.console import console as made_console
from orchestrator.report.terminal.console import say
from orchestrator.stores import Stores
from orchestrator.study import Study

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from orchestrator.analysis.imported import ImportedCells
    from orchestrator.records.sql.registry import Registry
    from orchestrator.records.sql.status import Status, TriedAttempt


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
    from orchestrator.report.terminal import status as shown

    stores = Stores.at(workspace, registry)
    study = Study.of_file(file, stores) if file else None
    name = study.experiment.name if study else None
    console = made_console()
    with stores.registry_if_any() as records:
        if cell is not None:
            _show_attempts(_tried(records, cell, name), console, as_json=as_json)
            return
        if as_json:
            told = _as_json(_states(records, name), study, records, stores)
            upcoming = study.next_cells if study else None
            following = {**upcoming.to_json(), "command": launch_command(context, file)} if file and upcoming else None
            print(json.dumps([{**each, "next": following} for each in told]))
            return
        subject = f"Experiment '{name}' has" if name else "No experiment has"
        nothing = f"{subject} not been launched in workspace {workspace}."
        if watch:
            _watch(lambda: shown.statuses(_states(records, name), nothing), console)
            return
        found = _states(records, name)
        console.print(shown.statuses(found, nothing))
        for sentence in _sentences(found, study, records, stores):
            say(console, sentence)


def _states(records: Registry | None, name: str | None) -> list[Status]:
    """How an experiment stands, if the registry knows it; all that it knows where none is named."""
    if records is None:
        return []
    return [records.status(known) for known in records.experiments() if name in {None, known}]


def _as_json(
    found: Sequence[Status], study: Study | None, records: Registry | None, stores: Stores
) -> list[dict[str, Any]]:
    """How experiments stand, with what is known of their cells; `study` is of the one that was asked for."""
    from orchestrator.launching import old_cells
    from orchestrator.launching.additions import additions_of
    from orchestrator.report.terminal import status as shown

    changed = old_cells.outdated_of(found, study, records, stores)
    imported = _imported(found, stores)
    additions = additions_of(found, study, records, stores)
    told: list[dict[str, Any]] = []
    for each in found:
        foreign = imported[each.experiment]
        added = additions[each.experiment]
        known = {
            "changed": changed[each.experiment],
            "imported": foreign and foreign.to_json(),
            "additions": added and added.to_json(),
        }
        told.append({**shown.status_json(each), **known})
    return told


def _sentences(found: Sequence[Status], study: Study | None, records: Registry | None, stores: Stores) -> list[str]:
    """What comes next, what was added, and which cells are old or imported; `study` is of the one asked for."""
    from orchestrator.launching import old_cells
    from orchestrator.launching.additions import additions_of
    from orchestrator.report.terminal import status as shown

    told: list[str] = []
    if study and (upcoming := study.next_cells):
        told.append(upcoming.sentence)
    told += shown.by_experiment(additions_of(found, study, records, stores), of_one=bool(study))
    told += shown.outdated(old_cells.outdated_of(found, study, records, stores), of_one=bool(study))
    for foreign in _imported(found, stores).values():
        told += foreign.told() if foreign else ()
    return told


def _imported(found: Iterable[Status], stores: Stores) -> dict[str, ImportedCells | None]:
    """Which cells were trained elsewhere, by experiment."""
    from orchestrator.analysis.imported import ImportedCells
    from orchestrator.records.files import results

    names = [status.experiment for status in found]
    return {name: ImportedCells.among(results.read(stores.place.results(name))) for name in names}


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
    from orchestrator.report.terminal import status as shown

    if as_json:
        print(json.dumps([shown.attempt_json(each) for each in tried]))
    else:
        console.print(shown.attempts(tried), soft_wrap=True)


def _show_log(file: Path | None, stores: Stores, cell: str) -> None:
    """Print what a command has printed."""
    from orchestrator.records.files.command_logs import printed

    plans = Study.of_file(file, stores).plans() if file else ()
    ids = {each.name: each.id for plan in plans for each in plan.cells}
    print(printed(stores.place, ids.get(cell, cell)), end="")
