"""Standard output and standard error that never end the program.

What a terminal cannot show is replaced. Once nobody reads (`| head`), the terminal is gone or the disk is full, the
rest of the output is dropped, and the program goes on with its work.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

_GONE = {errno.EPIPE, errno.EIO}
"""The reader has left, or the terminal has closed; nobody misses what is dropped."""


class _Failures:
    """The first error of standard output."""

    first: OSError | None = None


class _Lasting(io.FileIO):
    """A file that takes everything, and drops it after an error."""

    def write(self, content: Any) -> int:
        """Write the bytes, or drop them."""
        try:
            return super().write(content)
        except OSError as error:
            _drop(self.fileno(), error)
            return memoryview(content).nbytes


def make_lasting() -> None:
    """Put such streams in the place of the program's own; a stream that was closed leads nowhere."""
    for number in (0, 1, 2):
        with suppress(OSError):
            os.fstat(number)
            continue
        os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: files opened later must not get it
    if sys.stdout is sys.__stdout__:
        sys.stdout = _lasting(sys.stdout, 1, "replace")
    if sys.stderr is sys.__stderr__:
        sys.stderr = _lasting(sys.stderr, 2, "backslashreplace")


def is_gone() -> bool:
    """Whether standard output is being dropped."""
    return _Failures.first is not None


def is_incomplete() -> bool:
    """Whether somebody misses what was dropped from standard output."""
    return _Failures.first is not None and _Failures.first.errno not in _GONE


def _lasting(stream: TextIO | None, number: int, errors: str) -> TextIO:
    if stream is not None:
        with suppress(OSError):
            stream.flush()
    encoding = getattr(stream, "encoding", None) or "utf-8"
    buffer = io.BufferedWriter(_Lasting(number, "wb", closefd=False))
    return io.TextIOWrapper(buffer, encoding, errors, line_buffering=number == 2 or os.isatty(number))  # noqa: PLR2004 - standard error


def _drop(number: int, error: OSError) -> None:
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
    if number == 1 and _Failures.first is None:
        _Failures.first = error
        if is_incomplete():
            print(f"Standard output cannot be written ({error.strerror}): the rest of it is lost.", file=sys.stderr)
