"""What a launch itself tells MLflow: with a time limit, and never a reason to end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import BusyError, UnreachableError
from orchestrator.process.time_limit import within
from orchestrator.sentences import counted

if TYPE_CHECKING:
    from orchestrator.records.tracking.runs import Tracking

LIMIT = 120.0
"""Seconds that the launch waits for MLflow in all at one place."""


@dataclass(frozen=True)
class Window:
    """The runs of an experiment, as its launch prepares, mends and completes them."""

    runs: Tracking
    say: Callable[[str], None]
    """Shows a sentence about what MLflow does not take."""

    def open(self, work: Callable[[Callable[[], bool]], None], *, has_begun: bool) -> None:
        """Do what comes before cells.

        Args:
            work: Tells MLflow something; what it is given says whether it is too late to tell more.
            has_begun: Whether a cell of this launch has run. Before, a store that is not there is an error.

        Raises:
            UnreachableError: Nothing has run yet, and there is no such store.
        """
        too_late = threading.Event()
        try:
            within(LIMIT, lambda: work(too_late.is_set))
        except (UnreachableError, TimeoutError) as error:
            too_late.set()
            if not (has_begun or isinstance(error, (BusyError, TimeoutError))):
                raise
            self._complain(error)

    def close(self, work: Callable[[], None]) -> None:
        """Do what comes after cells, and say how many attempts MLflow does not know in full."""
        try:
            within(LIMIT, work)
        except (UnreachableError, TimeoutError) as error:
            self._complain(error)
        if number := len(self.runs.waiting()):
            self.say(f"MLflow lacks {counted(number, 'attempt')}; the next launch tells it.")

    def _complain(self, error: Exception) -> None:
        reason = str(error).rstrip(".")
        self.say(f"MLflow is not up to date: {reason}. Results do not depend on it, and the next launch tells it.")
