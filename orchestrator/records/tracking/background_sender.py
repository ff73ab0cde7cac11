"""Brings entries to the store from a thread of its own, so that training never waits for one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from orchestrator.records.tracking.spool import Entry, Journal

PATIENCE = 3.0
"""Seconds that the end of a cell waits for the store; what is not delivered by then stays in the spool."""

_GLANCE = 0.1
"""Seconds to see whether the store is still busy with a cell before."""

GATHER = 1.0
"""Seconds between requests, at least: a short cell is told in one, a long one seldom."""

_SHARE = 200
"""A request is followed by a rest of this many times the CPU time that it took: half a percent of a core."""

_TURN = threading.Lock()
"""Held during a request: a process has one under way at most, also when a cell before has left one hanging."""


class Courier:
    """Delivers one run's entries in order, again and again until the store takes them or the run is over.

    Attributes:
        error: The first that the store or the spool raised.

    """

    def __init__(self, deliver: Callable[[Sequence[Entry]], None], journal: Journal | None) -> None:
        """Start with nothing to deliver.

        Args:
            deliver: The request; raises if the store did not take everything. Repeating it changes nothing.
            journal: Takes each entry before it is sent, and goes when all are delivered.

        """
        self.error: Exception | None = None
        self._deliver = deliver
        self._journal = journal
        self._changed = threading.Condition()
        self._waiting: list[Entry] = []
        self._closed = False
        self._queues = False
        self._tried = threading.Event()
        # Not one that a process waits for before it ends: what it would still say is in the journal.
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def post(self, entry: Entry) -> None:
        """Have an entry delivered; returns at once. Nothing is told of a run that is over."""
        with self._changed:
            if self._closed:
                return
            if self._journal:
                try:
                    self._journal.append(entry)
                except OSError as error:
                    self.error = self.error or error
            self._waiting.append(entry)
            self._changed.notify()

    def opened(self) -> None:
        """Wait for the answer to the first request, but not for long."""
        self._await(self._tried.wait)

    def close(self) -> bool:
        """Deliver what is left now, if that does not take long; whether all is delivered."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._await(self._thread.join)
        return not self._thread.is_alive() and not self._waiting

    def _await(self, wait: Callable[[float], object]) -> None:
        wait(_GLANCE)
        if not self._queues:  # behind a request of a cell before, which has been waited for once
            wait(PATIENCE)

    def _work(self) -> None:
        rest = 0.0
        last = False
        while not last:
            with self._changed:
                self._changed.wait_for(lambda: self._closed, rest)
                self._changed.wait_for(lambda: self._closed or self._waiting)
                last = self._closed
                # The opening alone, so that the run is seen at once and all else goes with the first figures.
                entries = self._waiting[: None if last or self._tried.is_set() else 1]
            rest = self._attempt(entries)
        if self._journal:
            self._journal.close(delivered=not self._waiting)

    def _attempt(self, entries: Sequence[Entry]) -> float:
        """Make a request; return for how long to rest."""
        self._queues = True
        with _TURN:
            self._queues = False
            started = time.monotonic()
            busy = time.thread_time()
            try:
                self._deliver(entries)
            except Exception as error:  # noqa: BLE001 - whatever MLflow or a driver raises, the cell goes on
                self.error = self.error or error
            else:
                with self._changed:
                    del self._waiting[: len(entries)]
            self._tried.set()
            return max(GATHER, _SHARE * (time.thread_time() - busy), time.monotonic() - started)
