"""A time limit for work that waits for somebody else, whatever that one does.

A timeout of a socket is for one read: a server that sends a byte a second is never too late for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def within(seconds: float, work: Callable[[], Result]) -> Result:
    """What a piece of work returns or raises.

    Args:
        seconds: How long it may take.
        work: Runs in a thread of its own. If it takes longer, it goes on, and nobody hears of its end.

    Raises:
        TimeoutError: It takes longer.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    for error in errors:
        raise error
    for result in results:
        return result
    raise TimeoutError(f"no answer within {seconds:g} s")
