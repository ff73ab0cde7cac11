"""How a launch is stopped before its cells have ended: by the user, or because its time is up."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.errors import OutageError
from orchestrator.execution.queue import Queue
from orchestrator.launching.outages import patiently
from orchestrator.process import signals
from orchestrator.report.terminal.console import say

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.records.files.checkpoints import Checkpoints
    from orchestrator.records.tracking.runs import Tracking


def stoppable(
    carry: Callable[[], Counter[str]],
    queue: Queue,
    states: Checkpoints,
    runs: Tracking,
    *,
    until: float | None,
    console: Console,
) -> Counter[str]:
    """Carry out what waits; the first Ctrl-C lets running cells save their state, the second stops at once.

    Args:
        carry: Carries it out.
        queue: The cells that wait; it is closed when the launch is stopped.
        states: Where running cells save theirs, and hear that they should.
        runs: Of the cells that run when the launch is stopped at once.
        until: When the time is up, by `time.monotonic`; None where it is not limited.
        console: Where people watch.
    """

    def stop() -> None:
        queue.close()
        console.print("Stopping: running cells save their state. Ctrl-C again stops at once.")
        with suppress(OutageError):  # cells that cannot be asked run to their end
            patiently(states.ask_to_stop, partial(say, console))

    def run_out() -> None:
        if not queue.is_closed:
            queue.run_out()
            stop()

    tally: Counter[str] = Counter()
    try:
        with _politely(stop), _at(until, run_out):
            tally = carry()
    except KeyboardInterrupt:
        queue.close()
        runs.interrupt(queue.running())
    finally:
        with suppress(OSError):
            states.forget_stop()
    return tally


@contextmanager
def _at(until: float | None, work: Callable[[], None]) -> Generator[None]:
    """Within: do something at a time by `time.monotonic`, in a thread."""
    if until is None:
        yield
        return
    timer = threading.Timer(max(0.0, until - time.monotonic()), work)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _politely(stop: Callable[[], None]) -> Generator[None]:
    """Within: the first signal to end calls `stop`, the next raises KeyboardInterrupt."""

    def hear(*_: object) -> None:
        signals.listen(signals.interrupt)
        # In a thread, because a signal may come in the middle of a line that is being printed.
        threading.Thread(target=stop).start()

    signals.listen(hear)
    try:
        yield
    finally:
        signals.listen(signals.interrupt)
