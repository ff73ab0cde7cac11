"""What to try after a launch: commands, ready to be copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from rich.text import Text

from orchestrator.experiment.model import Experiment
from orchestrator.workspace import Location

if TYPE_CHECKING:
    from orchestrator.analysis.comparison import Comparison

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
