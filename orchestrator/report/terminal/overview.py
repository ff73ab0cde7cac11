"""What a launch is about to do and how far it is: the plan, the status, the catalogue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.experiment.choices import Choice
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import SHOWN, Cell, Plan
from orchestrator.experiment.tuning import Tuning
from orchestrator.outcome import RESULTS, is_done
from orchestrator.report.terminal import price as prices
from orchestrator.report.terminal import prospects
from orchestrator.report.terminal.progress import duration
from orchestrator.report.wording.prospects import caution
from orchestrator.reproduction.verification import Verdict
from orchestrator.sentences import counted
from orchestrator.workspace import Location

if TYPE_CHECKING:  # they import what a plan does without
    from orchestrator.analysis.added import Added
    from orchestrator.analysis.comparison import Comparison
    from orchestrator.experiment.field_texts import PluginText
    from orchestrator.pricing.price import Price
    from orchestrator.records.files.garbage import Item
    from orchestrator.records.sql.status import Running, Status, TriedAttempt

FEW = 10
"""At most as many seeds are named one by one."""


def as_json(
    experiment: Experiment, plan: Plan, states: Mapping[str, str], replicas: Sequence[Cell] = ()
) -> dict[str, Any]:
    """The plan for machines; while recipes are sought, the trials are a plan apart, and cells have no ids yet."""
    if plan.experiment.name != experiment.name:
        total = len(experiment.losses) * len(experiment.backbones) * len(experiment.datasets) * len(experiment.seeds)
        later = {
            "experiment": experiment.name,
            "cells": [],
            "total": total,
            "done": 0,
            "pending": total,
            "replicas": [],
        }
        return {**later, "tuning": as_json(plan.experiment, plan, states)}
    axes = ("loss", "backbone", "dataset", "seed")
    cells = [
        {
            "id": cell.id if cell.data_known else None,
            **{axis: getattr(cell, axis) for axis in axes},
            "state": states[cell.id],
        }
        for cell in plan.cells
    ]
    done = sum(map(is_done, states.values()))
    counts = {"total": len(plan), "done": done, "pending": len(plan) - done}
    again = [{axis: getattr(cell, axis) for axis in ("id", *axes, "environment")} for cell in replicas]
    return {"experiment": plan.experiment.name, "cells": cells, **counts, "replicas": again}


def grid(
    plan: Plan,
    states: Mapping[str, str],
    price: Price,
    rows: Sequence[Mapping[str, Any]],
    data: Sequence[str] = (),
    *,
    promises: Sequence[str] = (),
    added: Sequence[str] = (),
    cautions: Sequence[str] = (),
    older: Sequence[str] = (),
    replicas: Sequence[Cell] = (),
    why: str = "",
    per_gpu_hour: float | None = None,
) -> RenderableType:
    """Axes, additions, counts, replicas, what is known of data, starts and older cells, cost, possible conclusions."""
    experiment = plan.experiment
    table = _facts()
    table.add_row("experiment", Text(experiment.name, style="bold"))
    if experiment.question:
        table.add_row("question", Text(experiment.question))
    for axis in ("losses", "backbones", "datasets"):
        table.add_row(axis, Text(", ".join(_described(choice) for choice in getattr(experiment, axis))))
    table.add_row("seeds", Text(_seeds(experiment.seeds)))
    _told(table, "additions", added)
    if tuning := experiment.tuning:
        table.add_row("tuning", Text(_tuning(tuning)))
    is_trial = any(cell.trial is not None for cell in plan.cells)
    table.add_row("trials" if is_trial else "cells", Text(_counts(plan, states)))
    if replicas:
        table.add_row("replicas", again(replicas, why))
    _told(table, "cost", prices.lines(price, per_gpu_hour))
    _told(table, "data", data)
    _told(table, "promises", promises)
    _told(table, "caution", cautions, style="yellow")
    _told(table, "older cells", older)
    if is_trial or not experiment.claims:
        return table
    notes = [Text(f"Note: {sentence}.", style="dim") for sentence in caution(experiment)]
    costs = prices.claims(price)
    return Group(table, Text(), prospects.table(experiment, rows), *notes, *([Text(), costs] if costs else []))


def _told(table: Table, name: str, sentences: Iterable[str], style: str = "") -> None:
    """A row for each sentence, the first with the name."""
    for number, sentence in enumerate(sentences):
        table.add_row("" if number else name, Text(sentence, style=style))


def _tuning(tuning: Tuning) -> str:
    space = ", ".join(f"{name} {domain}" for name, domain in tuning.space.items())
    size = f"{counted(tuning.trials, 'trial')} of {counted(len(tuning.seeds), 'seed')} each"
    return f"{size} by {tuning.metric} on {tuning.on}, {tuning.searcher}: {space}"


def _described(choice: Choice) -> str:
    return choice.label if choice.label == choice.plugin.key else f"{choice.label} ({choice.plugin.key})"


def _seeds(seeds: Sequence[int]) -> str:
    """Each seed, or the first and the last of many in a row."""
    first, last = seeds[0], seeds[-1]
    if len(seeds) > FEW and last - first + 1 == len(seeds):
        return f"{first} to {last} ({len(seeds)} seeds)"
    return ", ".join(map(str, seeds))


def _counts(plan: Plan, states: Mapping[str, str]) -> str:
    counted = Counter(states.values())
    done = _done(counted)
    details = [f"{counted[state]} {state}" for state in (*_NAMED, "running") if counted[state]]
    text = f"{len(plan)} in all, {done} done, {len(plan) - done} to run"
    return f"{text} ({', '.join(details)})" if details else text


_NAMED = ("failed", "diverged", "collapsed")
"""Ends that are told apart from the number of cells that are done."""


def _done(tally: Mapping[str, int]) -> int:
    return sum(tally.get(state, 0) for state in RESULTS)


def left(plan: Plan, waiting: Plan, tally: Mapping[str, int]) -> RenderableType:
    """What a launch will and will not run."""
    done = _done(tally)
    text = f"{plan.experiment.name}: {counted(len(plan), 'cell')}, {done} already done, {len(waiting)} to run."
    if not waiting.cells and not tally.get("failed"):
        every = "its 1 cell is" if len(plan) == 1 else f"all {len(plan)} cells are"
        text = f"{plan.experiment.name}: {every} already done; nothing is rerun."
    if tally.get("failed"):
        text += f" {tally['failed']} failed earlier and are skipped; --retry-failed runs them again."
    return Text(text)


def again(replicas: Sequence[Cell], why: str = "") -> RenderableType:
    """Which cells are trained again, so that pairs meet in one environment, and why."""
    number = f"{counted(len(replicas), 'cell')} {'is' if len(replicas) == 1 else 'are'}"
    named = ", ".join(cell.name for cell in replicas[:NAMED])
    more = f" and {len(replicas) - NAMED} more" if len(replicas) > NAMED else ""
    because = f" ({why})" if why else ""
    return Text(f"{number} trained again beside partners of another environment{because}: {named}{more}.")


NAMED = 3
"""Replicas named one by one."""


def counts(plan: Plan, tally: Mapping[str, int], comparison: Comparison | None, damaged: int) -> dict[str, int]:
    """How a launch ended, for machines."""
    done = _done(tally) - damaged
    # Seeds that the claims did not ask for are none that a launch owes.
    total = sum(line.planned for line in comparison.lines) if comparison and comparison.sequence else len(plan)
    found = {state: tally.get(state, 0) for state in _NAMED}
    return {"total": total, "done": done, "pending": total - done, **found}


def ended(counts: Mapping[str, int]) -> str:
    """How a launch ended, in a few words."""
    named = [f"{counts[state]} {state}" for state in (*_NAMED, "pending") if counts[state]]
    return ", ".join([f"{counts['done']} of {counted(counts['total'], 'cell')} done", *named])


GROWING = ("resnet8", "resnet20", "resnet18")
"""Backbones for small images, from quick to slow: where one of them is asked, the next is proposed."""

LATER = "A rule stated before the first launch is no look; stated now, it makes verdicts exploratory."


@dataclass(frozen=True)
class Given:
    """The options of a launch that its hints repeat, as words of a command line, by what they say."""

    workspace: Sequence[str] = ()
    registry: Sequence[str] = ()
    tracking: Sequence[str] = ()
    data: Sequence[str] = ()
    compute: Sequence[str] = ()
    """Where and how cells run."""
    narrowing: Sequence[str] = ()
    """What this launch leaves out; empty if nothing."""


def next_commands(
    file: Path, results: Location, asked: Experiment, comparison: Comparison | None, given: Given | None = None
) -> Text:
    """What to try next, ready to be copied, as far as it fits the experiment.

    Args:
        file: The experiment file.
        results: The results table.
        asked: The experiment as it stays asked.
        comparison: What was found; None if nothing was.
        given: The options of the launch.
    """
    given = given or Given()
    stores = [*given.workspace, *given.registry, *given.data]
    run = ["launch", str(file), *stores, *given.tracking, *given.compute]
    lines = [
        (["report", str(file), *stores, *given.narrowing], "the page to read and to show"),
        (["compare", str(file), *stores, *given.narrowing, "--format", "latex"], "the table for a paper"),
        (["ui", str(file), *given.workspace, *given.tracking], "compare runs in MLflow"),
    ]
    if given.narrowing:
        is_other = "--set" in given.narrowing
        lines.append((run, "what the file asks" if is_other else "also what this launch left out"))
    elif backbone := _next_backbone(asked):
        lines.append(([*run, "--backbone", backbone], "add a backbone; only new cells run, and it stays asked"))
    hints = (Text.assemble("  ", (command(words), "bold"), (f"  # {purpose}", "dim")) for words, purpose in lines)
    told = [Text(f"\nResults: {results}. Next:"), *hints]
    if not given.narrowing and (rule := _rule(asked, comparison)):
        told.append(Text.assemble("More seeds, as claims need them: ", (rule, "bold"), (f" in {file}. {LATER}", "dim")))
    return Text("\n").join(told)


def command(words: Sequence[str]) -> str:
    """A command of the program, ready to be copied."""
    return " ".join(["python -m orchestrator", *map(quote, words)])


def _next_backbone(asked: Experiment) -> str | None:
    known = {choice.plugin.key for choice in asked.backbones}
    return next((name for name in GROWING if name not in known), None) if known & {*GROWING} else None


def _rule(asked: Experiment, comparison: Comparison | None) -> str | None:
    """The rule by which a file may ask for more seeds; None if a rule asks for them, or all claims are decided."""
    count = len(asked.seeds)
    is_open = comparison and any(finding.verdict == "undecided" for finding in comparison.findings)
    if asked.sequence or not is_open or list(asked.seeds) != list(range(count)):
        return None
    return f"seeds: {{min: {max(count, 2)}, max: {max(30, 2 * count)}, until: decided}}"


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


def verdict(cell: Cell, found: Verdict | str) -> RenderableType:
    """Whether a cell reproduced, and where it did not; or why that is not known."""
    name = f"{cell.name} ({cell.id[:SHOWN]})"
    if isinstance(found, str):
        return Text(f"not verified  {name}\n  {found}", style="red")
    heading = Text(f"identical  {name}") if found.identical else Text(f"different  {name}", style="red")
    return Text("\n  ").join([heading, *map(Text, found.sentences())])


def garbage(items: Sequence[Item], *, removed: bool) -> RenderableType:
    """Files that are safe to delete."""
    if not items:
        return Text("Nothing to remove.")
    table = _facts()
    for item in items:
        table.add_row(Text(item.name), Text(f"{item.size:,} bytes"), Text(item.reason))
    total = f"{sum(item.size for item in items):,} bytes in {counted(len(items), 'item')}"
    return Group(table, Text(f"{total} {'removed' if removed else 'can be deleted: --remove deletes them'}."))


def catalogue(known: Mapping[str, str]) -> RenderableType:
    """Names with one line each."""
    table = _facts()
    for name, summary in known.items():
        table.add_row(Text(name), Text(summary))
    return table


def plugin(found: PluginText) -> RenderableType:
    """A plug-in: what it is, its parameters, and where its code is."""
    parts: list[RenderableType] = [Text.assemble((found.name, "bold"), f"  {found.text}"), Text()]
    if found.parameters:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for head in ("parameter", "default", "type", "meaning"):
            table.add_column(head, overflow="fold")
        for each in found.parameters:
            table.add_row(Text(each.name, style="bold"), Text(each.default), Text(each.type), Text(each.meaning))
        parts.append(table)
    else:
        parts.append(Text("It has no parameters."))
    return Group(*parts, Text(f"\nSource: {found.module} ({found.file})", style="dim"))


def _facts() -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    return table
