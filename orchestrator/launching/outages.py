"""Services that a launch needs and that do not answer for a while: said once, asked again, waited for, not for ever."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from orchestrator.errors import OutageError, UnreachableError
from orchestrator.workspace.store_errors import StoreRefusedError, meaning

Result = TypeVar("Result")

PATIENCE = 1200.0
"""Seconds that a launch waits for a service before it stops politely."""

PAUSE = 1.0
LONGEST_PAUSE = 15.0
"""First and longest delay before a service is asked again, in seconds; the delay doubles each time."""


SAME = 30.0
"""Seconds after its end in which an outage that begins anew is the same: a full disk takes a little now and then."""


class Outage:
    """Whether a service is away, and for how long.

    Args:
        name: The service, as a sentence begins with it.
        cure: Asks the service, and brings it in step; raises as long as it does not answer.
        say: Shows a sentence.
        clock: A monotonic clock, in seconds.
    """

    def __init__(
        self,
        name: str,
        cure: Callable[[], None],
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.reason = ""
        self._cure = cure
        self._say = say
        self._clock = clock
        self._lock = threading.Lock()
        self._since: float | None = None
        self._began = 0.0
        self._ended = -math.inf
        self._pause = PAUSE
        self._closed = threading.Event()

    @property
    def is_on(self) -> bool:
        """Whether the service is away."""
        return self._since is not None

    @property
    def is_too_long(self) -> bool:
        """Whether it has been away for longer than a launch waits."""
        since = self._since
        return since is not None and self._clock() - since > PATIENCE

    def begin(self, reason: object) -> None:
        """The service does not answer: say so, and ask it again, in a thread of its own, until it does."""
        with self._lock:
            if self.is_on or self._closed.is_set():
                return
            self.reason = str(reason)
            if self._clock() - self._ended > SAME:
                self._began = self._clock()
                self._pause = PAUSE
            self._since = self._began
        self._say(f"{reason} Cells that run go on; others wait until it answers.")
        threading.Thread(target=self._ask_again, daemon=True).start()

    def close(self) -> None:
        """Ask no more."""
        self._closed.set()

    def wait(self, seconds: float) -> None:
        """Wait until it is over, but not longer than some seconds."""
        deadline = self._clock() + seconds
        while self.is_on and self._clock() < deadline:
            self._closed.wait(0.1)

    def end(self) -> OutageError:
        """The error with which a launch ends because of it."""
        return OutageError(
            f"{self.name} stayed away, so the launch stopped: {self.reason} "
            "Everything finished so far is kept; the same command goes on from there."
        )

    def _ask_again(self) -> None:
        while not self._closed.wait(self._pause):
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            try:
                self._cure()
            except Exception as error:  # noqa: BLE001 - whatever is wrong, it is not over
                self.reason = str(error)
            else:
                self._ended = self._clock()
                self._since = None
                self._say(f"{self.name} answers again.")
                return


def passes(error: BaseException) -> bool:
    """Whether what went wrong is of a storage or a database, and may pass."""
    refused = isinstance(error, StoreRefusedError) or isinstance(error.__cause__, StoreRefusedError)
    return isinstance(error, UnreachableError) or refused or meaning(error) in {"unreachable", "slow"}


def patiently(
    work: Callable[[], Result],
    say: Callable[[str], None],
    wait: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Result:
    """What a piece of work returns, as soon as the storage or database that it needs answers.

    Args:
        work: May be begun again.
        say: Shows a sentence, once.
        wait: Waits for some seconds.
        clock: A monotonic clock, in seconds.

    Raises:
        OutageError: It stayed away.
    """
    began = clock()
    pause = PAUSE
    while True:
        try:
            return work()
        except Exception as error:
            if not passes(error):
                raise
            if clock() - began > PATIENCE:
                raise OutageError(
                    f"{error} Everything finished so far is kept; the same command goes on from there."
                ) from error
            if pause == PAUSE:
                say(f"{error} The launch waits until it answers.")
        wait(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
