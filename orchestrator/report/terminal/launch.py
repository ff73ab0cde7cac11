"""What a launch is about to do, and how it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from orchestrator.experiment.plan import Cell, Plan
from orchestrator.outcome import RESULTS
from orchestrator.sentences import counted

if TYPE_CHECKING:
    from orchestrator.analysis.comparison import Comparison

NAMED = 3
"""Replicas named one by one."""

_TOLD_APART = ("failed", "diverged", "collapsed")
"""Ends that are told apart from the number of cells that are done."""


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


def counts(plan: Plan, tally: Mapping[str, int], comparison: Comparison | None, damaged: int) -> dict[str, int]:
    """How a launch ended, for machines."""
    done = _done(tally) - damaged
    # Seeds that the claims did not ask for are none that a launch owes.
    total = sum(line.planned for line in comparison.lines) if comparison and comparison.sequence else len(plan)
    found = {state: tally.get(state, 0) for state in _TOLD_APART}
    return {"total": total, "done": done, "pending": total - done, **found}


def ended(counts: Mapping[str, int]) -> str:
    """How a launch ended, in a few words."""
    named = [f"{counts[state]} {state}" for state in (*_TOLD_APART, "pending") if counts[state]]
    return ", ".join([f"{counts['done']} of {counted(counts['total'], 'cell')} done", *named])


def so_far(plan: Plan, states: Mapping[str, str]) -> str:
    """How many cells are done, and what of the others."""
    tally = Counter(states.values())
    done = _done(tally)
    details = [f"{tally[state]} {state}" for state in (*_TOLD_APART, "running") if tally[state]]
    text = f"{len(plan)} in all, {done} done, {len(plan) - done} to run"
    return f"{text} ({', '.join(details)})" if details else text


def _done(tally: Mapping[str, int]) -> int:
    return sum(tally.get(state, 0) for state in RESULTS)
