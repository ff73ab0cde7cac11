"""What `status` shows: how launches stand, and the attempts at a cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.experiment.plan import SHOWN
from orchestrator.report.terminal.progress import duration
from orchestrator.sentences import counted

if TYPE_CHECKING:
    from orchestrator.analysis.added import Added
    from orchestrator.records.sql.status import Running, Status, TriedAttempt


def statuses(states: Sequence[Status], nothing: str) -> RenderableType:
    """What the registry knows of each experiment, or a sentence where it knows none."""
    return Group(*(_status(status) for status in states)) if states else Text(nothing)


def outdated(changed: Mapping[str, Sequence[str] | None], *, of_one: bool) -> list[str]:
    """Which finished cells of each experiment came from different code or elsewhere; None where that is not known.

    Args:
        changed: Sentences by the names of the experiments.
        of_one: Whether one was asked for, which need not be named.
    """
    unknown = ["whether its code has changed is not known without its file (status FILE.yaml)."]
    return [
        sentence if of_one else f"{name}: {sentence}"
        for name, sentences in changed.items()
        for sentence in (unknown if sentences is None else sentences)
    ]


def by_experiment(added: Mapping[str, Added | None], *, of_one: bool) -> list[str]:
    """What was added to each experiment; as in `outdated`, one that was asked for is not named."""
    told = {name: one.told() for name, one in added.items() if one}
    return [text if of_one else f"{name}: {text}" for name, sentences in told.items() for text in sentences]


def _status(status: Status) -> RenderableType:
    from orchestrator.records.sql.events import ROUTINE

    counts = ", ".join(f"{count} {state}" for state, count in status.counts.items() if count)
    if status.replicas:
        counts += f"; {counted(status.replicas, 'replica')}"
    launches = (
        Text(f"  launched by process {launch.pid} on {launch.host}, last heartbeat {_ago(launch.seen)}")
        for launch in status.launches
    )
    dead = (
        Text(f"  the launch by process {launch.pid} on {launch.host} is dead; the same command goes on from there")
        for launch in status.dead
    )
    left = () if status.seconds_left is None else (Text(f"  about {duration(status.seconds_left)} left"),)
    running = (Text(f"  {_running(cell)}") for cell in status.running)
    failed = (
        Text(f"  failed: {cell.name} ({cell.cell[:SHOWN]}): {cell.error}", style="red") for cell in status.failures
    )
    told = (
        Text(f"  {event.time:%Y-%m-%d %H:%M:%S} UTC: {event.sentence}", style="dim")
        for event in status.events
        if event.kind not in ROUTINE
    )
    if status.failures:
        hint = f"`status --cell {status.failures[-1].cell[:SHOWN]}` shows where it failed"
        failed = (*failed, Text(f"  {hint}", style="dim"))
    documents = (Text(f"  {document.kind}: {document.uri}", style="dim") for document in status.documents)
    heading = Text.assemble((status.experiment, "bold"), f": {counts or 'no cells'}")
    return Group(heading, *launches, *dead, *left, *running, *failed, *told, *documents)


def attempts(tried: Sequence[TriedAttempt]) -> RenderableType:
    """The attempts at one cell, and where the last that failed did."""
    lines = [Text.assemble((tried[-1].name, "bold"), f" ({tried[-1].cell[:SHOWN]})")]
    for each in tried:
        where = f" on {each.node}" if each.node else ""
        took = "" if each.seconds is None else f" after {duration(each.seconds)}"
        why = f": {each.error}" if each.error else ""
        started = f"{each.started:%Y-%m-%d %H:%M:%S} UTC"
        lines.append(Text(f"  attempt {each.number}, begun {started}{where}: {each.outcome}{took}{why}"))
    traces = [each.traceback for each in tried if each.traceback]
    return Group(*lines, *(Text(f"\n{trace.rstrip()}", style="dim") for trace in traces[-1:]))


def _running(cell: Running) -> str:
    if not cell.node:
        return f"waiting for a worker: {cell.name}"
    heartbeat = f", last heartbeat {_ago(cell.seen)}" if cell.seen else ""
    since = f"{cell.since:%Y-%m-%d %H:%M:%S} UTC on {cell.node}"
    done = f"{cell.progress} of {counted(cell.epochs, 'epoch')}" if cell.epochs else counted(cell.progress, "epoch")
    return f"running since {since}, {done}{heartbeat}: {cell.name}"


def _ago(moment: datetime) -> str:
    return f"{duration(max(0.0, (datetime.now(UTC) - moment).total_seconds()))} ago"


def status_json(status: Status) -> dict[str, Any]:
    """A status for machines; times in ISO 8601."""
    content = asdict(status)
    for entry in chain.from_iterable(part for part in content.values() if isinstance(part, tuple)):
        entry |= {name: value.isoformat() for name, value in entry.items() if isinstance(value, datetime)}
    return content


def attempt_json(tried: TriedAttempt) -> dict[str, Any]:
    """An attempt for machines; times in ISO 8601."""
    return {**asdict(tried), "started": tried.started.isoformat()}
