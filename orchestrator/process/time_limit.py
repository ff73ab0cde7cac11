"""A time limit for work that waits for somebody else, whatever that one does.

A timeout of a socket is for one read: a server that sends a byte a second is never too late for it.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable
from typing import NoReturn, TypeVar

Result = TypeVar("Result")

_given_up: list[threading.Thread] = []
"""What runs work that took too long."""


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
    _given_up.append(thread)
    raise TimeoutError(f"no answer within {seconds:g} s")


def leave(code: int | str | None) -> NoReturn:
    """End this process as `sys.exit` does, but wait for no work that was given up.

    pyarrow would wait for its requests, also for one whose answer comes a byte a second.
    """
    if any(thread.is_alive() for thread in _given_up):
        if store := sys.modules.get("pyarrow.fs"):
            atexit.unregister(store.ensure_s3_finalized)
        atexit._run_exitfuncs()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # there is no public one
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))
    sys.exit(code)
