"""A second process per worker that kills the worker when a cell exceeds its time limit or the worker freezes.

It kills from outside and with SIGKILL, because a hung process cannot respond. Before that,
the worker writes its stacks to a file, if it still can. The watchdog reads lines from its
standard input: `limit SECONDS FILE` (a cell begins; an empty file name for none), `beat`
(the worker is alive) and `rest` (the cell has ended). When the worker exits, the input
closes and the watchdog exits, too.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

SILENCE = 300.0
"""Seconds without a beat after which a worker counts as frozen. Beats come from a separate thread, so only a
stopped process, or one that holds the interpreter's lock all that time, is silent."""

BEAT = 5.0
"""Seconds between two beats."""

LAST_WORDS = 2.0
"""Seconds that a worker gets to write its stacks."""


class Watchdog:
    """Starts the watchdog of this process; one serves all cells that run here."""

    def __init__(self, silence: float = SILENCE) -> None:
        # Without a name, so that nothing is left of it, however this process and the watchdog end.
        self._stacks = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - open as long as this process
        stacks = self._stacks.fileno()
        faulthandler.register(signal.SIGUSR1, file=self._stacks, all_threads=True)
        command = [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(stacks), str(silence)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, pass_fds=[stacks], start_new_session=True)
        self._lock = threading.Lock()
        threading.Thread(target=self._beat, args=(min(BEAT, silence / 3),), daemon=True).start()

    @contextmanager
    def watching(self, limit: float | None, last_words: Path | None) -> Generator[None]:
        """Have this process killed if the block takes longer than `limit` seconds, or the process freezes.

        Args:
            limit: Seconds; None for no limit.
            last_words: The file to which the reason and the stacks are written.
        """
        self._tell(f"limit {'inf' if limit is None else limit} {last_words or ''}")
        try:
            yield
        finally:
            self._tell("rest")

    def _beat(self, seconds: float) -> None:
        while self._tell("beat"):
            time.sleep(seconds)

    def _tell(self, line: str) -> bool:
        pipe = self._process.stdin
        assert pipe is not None  # noqa: S101 - for the type checker
        with self._lock:
            try:
                pipe.write(f"{line}\n".encode())
                pipe.flush()
            except OSError:  # the watchdog is gone: cells run unwatched rather than not at all
                return False
            return True


def watch(worker: int, stacks: int, silence: float) -> None:
    """Run the watchdog's loop."""
    os.set_blocking(sys.stdin.fileno(), False)
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    limit = float("inf")
    began = 0.0
    heard = time.monotonic()
    last_words = ""
    rest = b""
    watched = False
    while True:
        due = min(began + limit, heard + silence) if watched else float("inf")
        selector.select(max(0.0, min(due - time.monotonic(), 3600.0)))
        received = _received()
        if received == b"":
            return  # the worker has ended by itself
        now = time.monotonic()
        lines = (rest + (received or b"")).split(b"\n")
        rest = lines.pop()
        for line in map(bytes.decode, lines):
            heard = now
            match line.split(" ", 2):
                case ["limit", seconds, file]:
                    limit = float(seconds)
                    began = now
                    last_words = file
                    watched = True
                case ["rest"]:
                    watched = False
                case _:  # a beat
                    pass
        if watched and now >= min(began + limit, heard + silence):
            frozen = now >= heard + silence
            reason = f"no sign of life for {silence:g} s" if frozen else f"longer than its limit of {limit:g} s"
            _end(worker, stacks, reason, last_words)
            return


def _received() -> bytes | None:
    """The bytes that have arrived; None if there are none yet, empty if the input is closed."""
    try:
        return os.read(sys.stdin.fileno(), 65536)
    except BlockingIOError:
        return None


def _end(worker: int, stacks: int, reason: str, last_words: str) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker, signal.SIGUSR1)
        deadline = time.monotonic() + LAST_WORDS
        while not os.fstat(stacks).st_size and time.monotonic() < deadline:
            time.sleep(0.05)
    said = os.pread(stacks, os.fstat(stacks).st_size, 0).decode(errors="replace")
    told = said or "It could not write its stacks, because it was stopped."
    if last_words:
        with contextlib.suppress(OSError):
            path = Path(last_words)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{reason}\n{told}", encoding="utf-8")
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker, signal.SIGKILL)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the terminal is for the driver
    watch(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
