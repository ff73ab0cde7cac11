"""What an executor does, and what it needs from those who record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from orchestrator.outcome import Attempt, Event
from orchestrator.plan import Cell

if TYPE_CHECKING:
    from trainers.fit import Fit

Listener = Callable[[Event], None]
"""Told of every event, in the driver's process, one at a time."""


class Log(Protocol):
    """Takes what one cell tells while it runs, in the worker's process."""

    def loaded(self, fingerprint: str) -> None:
        """What the dataset's images and labels hash to."""
        ...

    def epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        """The figures of an epoch, counted from 1."""
        ...

    def finished(self, fit: Fit, attempt: Attempt) -> None:
        """Publish the trained model's account; only after this is the cell done."""
        ...

    def diverged(self, epoch: int, attempt: Attempt) -> None:
        """Publish that the loss became NaN or infinite in `epoch`."""
        ...


class Recorder(Protocol):
    """Opens a log for each cell. Crosses to the worker's process, so it must pickle."""

    def open(self, cell: Cell) -> AbstractContextManager[Log]:
        """A log for this cell; an exception inside closes it as failed."""
        ...


class Executor(Protocol):
    """Runs every cell once and tells the listener what happens."""

    def run(self, cells: Sequence[Cell], listen: Listener) -> None:
        """Run all cells; returns when each has told its outcome.

        Raises:
            RequestError: The cells cannot be run here at all; none was started.
            KeyboardInterrupt: The user stopped it; cells under way told no outcome.
        """
        ...
