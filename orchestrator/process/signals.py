"""The signals that ask this program to end politely: Ctrl-C, a batch system's SIGTERM, and a terminal that closes."""

from __future__ import annotations

import signal
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
def outliving_the_terminal() -> Generator[None]:
    """Start processes that do not hear when the terminal closes: whoever starts them ends them, and not at once."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
