"""The signals that ask this program to end politely: Ctrl-C, a batch system's SIGTERM, and a terminal that closes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

POLITE = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Heard:
    """Whether `interrupt` was called."""

    is_any = False


def listen(hear: Callable[[int, FrameType | None], None]) -> None:
    """Call `hear` at each polite signal, also where a background job ignores the keyboard's.

    Under `nohup` the program goes on when the terminal closes, so an ignored SIGHUP stays ignored.
    """
    for polite in POLITE:
        if polite is not signal.SIGHUP or signal.getsignal(polite) is not signal.SIG_IGN:
            signal.signal(polite, hear)


def interrupt(_number: int = 0, _frame: FrameType | None = None) -> None:
    """Interrupt the program as Ctrl-C does."""
    _Heard.is_any = True
    raise KeyboardInterrupt


def was_interrupted() -> bool:
    """Whether a polite signal has interrupted the program; a library may have turned that into an error of its own."""
    return _Heard.is_any


@contextmanager
def heard_as_before() -> Generator[None]:
    """Afterwards signals are heard as before, whatever a library did meanwhile; only the main thread sees to it."""
    before = {polite: signal.getsignal(polite) for polite in POLITE}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for polite, hear in before.items():
                signal.signal(polite, hear)
