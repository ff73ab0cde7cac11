"""What an executor does, and what it needs from those who record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from orchestrator.execution.queue import Queue
from orchestrator.experiment.plan import Cell
from orchestrator.outcome import Attempt, Event

if TYPE_CHECKING:
    from trainers.checkpoint import Shelf
    from trainers.fit import Fit

Listener = Callable[[Event], None]
"""Told of every event, in the driver's process, one at a time."""


class Log(Protocol):
    """Takes what one cell tells while it runs, in the worker's process."""

    def loaded(self, fingerprint: str) -> None:
        """What the dataset's images and labels hash to."""
        ...

    def resumed(self, history: Sequence[Mapping[str, float]]) -> None:
        """An earlier attempt did these epochs; this one goes on from there."""
        ...

    def epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        """The figures of an epoch, counted from 1."""
        ...

    def finished(self, fit: Fit, attempt: Attempt) -> str | None:
        """Publish the trained model's account; only after this is the cell done. The id of the environment."""
        ...

    def diverged(self, epoch: int, attempt: Attempt) -> str | None:
        """Publish that the loss became NaN or infinite in `epoch`. The id of the environment."""
        ...

    def stopped(self) -> None:
        """The user stopped the launch; another attempt will go on."""
        ...


class Recorder(Protocol):
    """Opens a log for each cell. Crosses to the worker's process, so it must pickle."""

    def open(self, cell: Cell) -> AbstractContextManager[Log]:
        """A log for this cell; an exception inside closes it as failed."""
        ...


class Checkpoints(Protocol):
    """Where cells keep the state from which another attempt can go on. Must pickle, too."""

    @property
    def every_epochs(self) -> int | None:
        """Epochs between two saves, unless time decides."""
        ...

    @property
    def every_seconds(self) -> float | None:
        """Seconds between two saves, unless epochs decide."""
        ...

    def shelf(self, cell: Cell) -> Shelf:
        """Where the cell's state lies."""
        ...

    def clear(self, cell: Cell) -> None:
        """Remove the state of a cell that is done."""
        ...

    def is_stopping(self) -> bool:
        """Whether running cells shall save their state and stop."""
        ...

    def last_words(self, cell: Cell) -> Path | None:
        """The file for the stack of a process that had to be ended; None where storage is no folder."""
        ...


class Executor(Protocol):
    """Runs every cell of a queue and tells the listener what happens."""

    def starting(self) -> AbstractContextManager[None]:
        """Within: what `run` needs starts beside what the caller does; optional, and it fails only in `run`."""
        ...

    def run(self, queue: Queue, listen: Listener) -> None:
        """Run until the queue is over.

        Raises:
            RequestError: The cells cannot be run here at all; none was started.
            KeyboardInterrupt: The user stopped it at once; cells under way told no outcome.
        """
        ...
