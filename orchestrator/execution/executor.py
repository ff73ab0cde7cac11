"""What an executor does, and what it needs from the recorders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.execution.queue import Queue
from orchestrator.experiment.plan import Cell
from orchestrator.outcome import Attempt, Event

if TYPE_CHECKING:
    from trainers.checkpoint import Shelf
    from trainers.fit import Fit

Listener = Callable[[Event], None]
"""Called with every event, one at a time, in the driver's process."""


class Log(Protocol):
    """Receives what one cell reports while it runs, in the worker's process."""

    def note_data(self, fingerprint: str, origins: Mapping[str, Any]) -> None:
        """Record the hash of the dataset's images and labels, and where they come from."""
        ...

    def resumed(self, history: Sequence[Mapping[str, float]]) -> None:
        """Record the epochs that an earlier attempt completed; this one continues from there."""
        ...

    def epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Record the figures of an epoch, counted from 1."""
        ...

    def printed(self, output: str) -> None:
        """Keep what a command has printed so far, of bounded size."""
        ...

    def left_model(self, file: Path) -> None:
        """Keep a model that a command has left."""
        ...

    def finish(self, fit: Fit, attempt: Attempt) -> str | None:
        """Publish the trained model's account, which makes the cell done; return the id of the environment."""
        ...

    def diverge(self, epoch: int, attempt: Attempt) -> str | None:
        """Publish that the loss became NaN or infinite in `epoch`; return the id of the environment."""
        ...

    def stop(self) -> None:
        """Record that the user stopped the launch; another attempt will continue."""
        ...


class LogOpener(Protocol):
    """Opens a log for each cell. It is sent to the worker's process, so it must pickle."""

    def open(self, cell: Cell) -> AbstractContextManager[Log]:
        """Open a log for this cell; an exception in the block closes it as failed."""
        ...


class CheckpointStore(Protocol):
    """Where cells save the state from which another attempt can continue. It must pickle."""

    @property
    def every_epochs(self) -> int | None:
        """Epochs between two saves; None if time decides."""
        ...

    @property
    def every_seconds(self) -> float | None:
        """Seconds between two saves; None if epochs decide."""
        ...

    def shelf(self, cell: Cell) -> Shelf:
        """Where the cell's state is saved."""
        ...

    def folder(self, cell: Cell) -> Path | None:
        """A folder for the state of a command; None if the storage is not a folder."""
        ...

    def clear(self, cell: Cell) -> None:
        """Remove the state of a cell that is done."""
        ...

    def is_stopping(self) -> bool:
        """Whether running cells should save their state and stop."""
        ...

    def last_words(self, cell: Cell) -> Path | None:
        """The file for the stacks of a process that is killed; None if the storage is not a folder."""
        ...


class Executor(Protocol):
    """Runs every cell of a queue and reports events to the listener."""

    def starting(self) -> AbstractContextManager[None]:
        """Start what `run` needs while the block runs. Optional; if it fails, `run` raises the error."""
        ...

    def run(self, queue: Queue, listen: Listener) -> None:
        """Run until the queue is over.

        Raises:
            RequestError: The cells cannot be run here at all; none was started.
            KeyboardInterrupt: The user stopped it at once; running cells report no outcome.
        """
        ...
