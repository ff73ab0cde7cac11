"""One live table of a launch: progress with an ETA, and the cells under way."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from orchestrator.experiment.plan import Cell
from orchestrator.outcome import (
    Adopted,
    Advanced,
    Alive,
    Collapsed,
    Diverged,
    Event,
    Failed,
    Finished,
    Lost,
    Outcome,
    Started,
    Stopped,
)
from orchestrator.privacy import public
from orchestrator.sentences import counted

LISTED = 10
"""Running cells shown; a cluster runs more than a terminal has lines."""


BAD_ENDS = ("collapsed", "diverged", "failed")

SOONEST = 10.0
LATEST = 600.0
"""Seconds to the first line of progress where there is no terminal, and the most from one line to the next."""


class LiveTable:
    """Shows a launch as it goes; without a terminal, a line for each outcome, and one of progress now and then."""

    def __init__(self, cells: Sequence[Cell], console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._running: dict[str, tuple[Cell, str, int, float]] = {}
        self._work = sum(cell.recipe.training.epochs for cell in cells)
        self._worked = 0
        self._began: float | None = None
        self._ends = Counter[str]()
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn(), console=console
        )
        self._total = len(cells)
        self._task = self._bar.add_task("cells", total=self._total)
        self._done = 0
        self._entered = clock()
        self._over = threading.Event()
        self._live = Live(get_renderable=self.render, console=console, refresh_per_second=4, transient=True)

    def expect(self, cells: Sequence[Cell]) -> None:
        """Further cells are going to run."""
        self._work += sum(cell.recipe.training.epochs for cell in cells)
        self._total += len(cells)
        self._bar.update(self._task, total=self._total)

    def __enter__(self) -> Self:
        self._entered = self._clock()
        if self._console.is_terminal:
            self._live.start()
        else:
            threading.Thread(target=self._tell_now_and_then, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._live.stop()

    def _tell_now_and_then(self) -> None:
        """The longer a launch takes, the rarer the lines."""
        while not self._over.wait(min(LATEST, max(SOONEST, (self._clock() - self._entered) / 4))):
            self._console.print(Text(self.line()), soft_wrap=True)

    def line(self) -> str:
        """How far it is: `04:15:10  3 of 40 cells done, 2 running, epochs: 30 of 320, about 2 min 05 s left`."""
        parts = [f"{self._done} of {counted(self._total, 'cell')} done"]
        parts += [f"{self._ends[end]} {end}" for end in BAD_ENDS if self._ends[end]]
        if self._began is None:
            parts.append(f"starting since {duration(self._clock() - self._entered)}")
        else:
            parts.append(f"{len(self._running)} running, epochs: {self._worked} of {self._work}")
        left = self.eta()
        parts += [] if left is None else [f"about {duration(left)} left"]
        return f"{datetime.now().astimezone():%H:%M:%S}  {', '.join(parts)}"

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        cell = event.cell
        match event:
            case Started(node=node):
                self._began = self._began or self._clock()
                self._running[cell.id] = (cell, node, 0, self._clock())
            case Advanced(epoch=epoch):
                _, node, before, since = self._running.get(cell.id, (cell, "", 0, self._clock()))
                self._worked += epoch - before
                self._running[cell.id] = (cell, node, epoch, since)
            case Alive():
                pass
            case Stopped() | Lost():
                _, _, before, _ = self._running.pop(cell.id, (cell, "", 0, 0.0))
                self._worked -= before  # the next attempt tells how far it is in all
                if isinstance(event, Lost):
                    again = (
                        f"{cell.name}  lost after {event.attempt.seconds:.1f} s, is tried again: {public(event.error)}"
                    )
                    self._console.print(Text(again), soft_wrap=True)
            case _:
                _, _, before, _ = self._running.pop(cell.id, (cell, "", 0, 0.0))
                self._worked += cell.recipe.training.epochs - before
                self._done += 1
                self._bar.advance(self._task)
                if not isinstance(event, Adopted):
                    self._ended(event)

    def _ended(self, outcome: Outcome) -> None:
        self._ends[type(outcome).__name__.lower()] += 1
        match outcome:
            case Collapsed(reason=reason):
                told = f"collapsed: {reason}"
            case Finished(metrics=metrics):
                uniform = metrics.get("uniform_accuracy")
                sample_wise = metrics.get("sample_wise_accuracy")
                told = (
                    f"uniform {uniform:.4f}, sample-wise {sample_wise:.4f}"
                    if uniform is not None and sample_wise is not None
                    else ""
                )
            case Diverged(epoch=epoch):
                told = f"diverged in epoch {epoch}"
            case Failed(error=error):
                told = f"failed: {public(error)}"  # the driver knows secrets that its workers do not
        if not self._console.is_terminal or isinstance(outcome, (Collapsed, Diverged, Failed)):
            self._console.print(Text(f"{outcome.cell.name}  {outcome.attempt.seconds:.1f} s  {told}"), soft_wrap=True)

    def eta(self) -> float | None:
        """Seconds left, from the epochs done per second since the first cell started; None if unknown."""
        if self._began is None or not self._worked:
            return None
        elapsed = self._clock() - self._began
        return elapsed / self._worked * (self._work - self._worked)

    def render(self) -> RenderableType:
        """The table as it stands."""
        left = self.eta()
        summary = "starting" if self._began is None else f"about {duration(left)} left" if left is not None else ""
        for end in BAD_ENDS:
            summary += f", {self._ends[end]} {end}" if self._ends[end] else ""
        self._bar.update(self._task, description=f"cells ({summary})")
        table = Table(box=None, padding=(0, 2, 0, 2), show_header=False)
        for cell, node, epoch, since in list(self._running.values())[:LISTED]:
            epochs = f"epoch {epoch}/{cell.recipe.training.epochs}"
            table.add_row(Text(cell.name), epochs, duration(self._clock() - since), Text(node))
        more = len(self._running) - LISTED
        return Group(self._bar, table, *([Text(f"  … and {more} more")] if more > 0 else []))


def duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s` or `2 h 05 min`."""
    whole = round(seconds)
    minutes = whole // 60
    hours = whole // 3600
    if hours:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{minutes} min {whole % 60:02d} s" if minutes else f"{whole} s"
