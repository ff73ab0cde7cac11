"""A process that runs a command and ends with it: none of the command's processes outlives the cell, however that ends.

The worker starts it, writes a line of JSON (see `Spec`) to its standard input, and later perhaps `stop`. When the input
closes, because the worker has ended in whatever way, the command is ended, too. Children that leave the command's
process group stay below this process (on Linux), and are ended with it. The result is a line of JSON on its output.

The command's output is kept in a file of bounded size: its beginning and its end.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

HEAD = 2**18
"""Bytes of the output's beginning that are kept."""

TAIL = 2**18
"""Bytes of its end."""

PIECE = 2**16

TICK = 0.05
"""Seconds between two looks at what cannot be waited for."""

KEEP = 1.0
"""Seconds between two writes of the output's file."""

LAST = 2.0
"""Seconds in which all processes of a command end once they are killed."""

IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""A Ctrl-C in the terminal is for the driver; this process ends when its worker does."""

SUBREAPER = 36
DEATH_SIGNAL = 1
"""Of prctl(2): orphans below this process become its children; a child is killed when this process dies."""


class Spec(TypedDict):
    """What to run."""

    command: list[str]
    folder: str
    environment: dict[str, str]
    output: str
    """The file for what the command prints."""
    written: list[str]
    """Folders of which the size is limited."""
    most: int
    """Bytes that these may hold, and that any one file may have."""
    grace: float
    """Seconds that the command gets to end by itself when it is to stop."""


class Output:
    """What a command prints: its beginning and its end."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._head = bytearray()
        self._tail = bytearray()
        self._size = 0
        self._is_new = False
        self._kept = 0.0

    def add(self, piece: bytes) -> None:
        """Take what was printed."""
        self._size += len(piece)
        room = HEAD - len(self._head)
        self._head += piece[:room]
        self._tail += piece[room:] if room > 0 else piece
        if len(self._tail) > 2 * TAIL:
            del self._tail[:-TAIL]
        self._is_new = True

    def keep(self, *, at_once: bool = False) -> None:
        """Write the file, if something is new and the last time was long enough ago."""
        now = time.monotonic()
        if not self._is_new or (now - self._kept < KEEP and not at_once):
            return
        tail = bytes(self._tail[-TAIL:])
        left_out = self._size - len(self._head) - len(tail)
        gap = f"\n… {left_out} bytes are left out …\n".encode() if left_out else b""
        part = self._file.with_suffix(".part")
        with contextlib.suppress(OSError):  # a full disk: what is said here is not worth a cell
            part.write_bytes(bytes(self._head) + gap + tail)
            part.replace(self._file)
        self._is_new = False
        self._kept = now


def run(spec: Spec) -> dict[str, Any]:
    """Run a command to its end.

    Returns:
        `code`, as `subprocess` has it, or `error` where it could not start; and `ended`: by `itself`, or because of
        `stop`, `disk`, or `worker`, which is gone.
    """
    _prctl(SUBREAPER, 1)
    output = Output(Path(spec["output"]))
    try:
        child = subprocess.Popen(
            spec["command"],
            cwd=spec["folder"],
            env=spec["environment"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: _bounded(spec["most"]),  # noqa: PLW1509 - there is one thread
        )
    except OSError as error:
        return {"error": f"{error.strerror}: {error.filename or spec['command'][0]}", "ended": "itself"}
    try:
        ended = _watched(child, spec, output)
    finally:
        end_all(child.pid)
    code = child.wait()
    _drain(child, output)
    output.keep(at_once=True)
    return {"code": code, "ended": ended}


def _watched(child: subprocess.Popen[bytes], spec: Spec, output: Output) -> str:
    """Wait for the end of the command, for a reason to end it, or for a word of the worker; returns which it was."""
    assert child.stdout is not None  # noqa: S101 - for the type checker
    pipe = child.stdout.fileno()
    os.set_blocking(pipe, False)
    os.set_blocking(0, False)
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    selector.register(pipe, selectors.EVENT_READ)
    deadline: float | None = None
    look = 0.0
    while child.poll() is None:
        for key, _ in selector.select(TICK):
            piece = _read(key.fd)
            if key.fd == 0 and piece == b"":
                return "worker"
            if key.fd == 0 and piece and deadline is None:
                deadline = time.monotonic() + spec["grace"]
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.pid, signal.SIGTERM)
            elif key.fd == pipe and piece:
                output.add(piece)
            elif key.fd == pipe and piece == b"":
                selector.unregister(pipe)
        output.keep()
        now = time.monotonic()
        if deadline is not None and now > deadline:
            return "stop"
        if now > look:
            if sum(map(size, spec["written"])) > spec["most"]:
                return "disk"
            look = now + max(0.5, 10 * (time.monotonic() - now))
    return "itself" if deadline is None else "stop"


def _read(file: int) -> bytes | None:
    try:
        return os.read(file, PIECE)
    except BlockingIOError:
        return None


def _drain(child: subprocess.Popen[bytes], output: Output) -> None:
    """Take what the command still had printed when it ended."""
    assert child.stdout is not None  # noqa: S101 - for the type checker
    while piece := _read(child.stdout.fileno()):
        output.add(piece)


def _bounded(most: int) -> None:
    """In the command's process: limit its files, and end it with this process, should that be killed."""
    _prctl(DEATH_SIGNAL, signal.SIGKILL)
    for each in IGNORED:
        signal.signal(each, signal.SIG_DFL)
    most_allowed = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    limit = most if most_allowed == resource.RLIM_INFINITY else min(most, most_allowed)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def end_all(leader: int) -> None:
    """Kill every process of a command: its group, and all that descend from this process."""
    deadline = time.monotonic() + LAST
    while True:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)
        below = list(_descendants(os.getpid()))
        for process in below:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        if not below or time.monotonic() > deadline:
            return
        time.sleep(0.005)


def _descendants(ancestor: int) -> Iterator[int]:
    """The processes below one that have not ended; of those that have, only their number is left. Only on Linux."""
    parents = dict[int, int]()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            state, parent, *_ = (folder / "stat").read_text("latin-1").rpartition(")")[2].split()
            if state != "Z":
                parents[int(folder.name)] = int(parent)
    found = {ancestor}
    while more := {process for process, parent in parents.items() if parent in found and process not in found}:
        found |= more
    yield from found - {ancestor}


def size(folder: str) -> int:
    """The bytes that a folder's files, or a file, take."""
    if Path(folder).is_file():
        return _taken(folder)
    return sum(_taken(f"{root}/{name}") for root, _, names in os.walk(folder) for name in names)


def _taken(file: str) -> int:
    with contextlib.suppress(OSError):
        return os.lstat(file).st_blocks * 512  # a file with holes takes less than its length
    return 0


def main() -> None:
    """Read what to run, run it, and say how it ended."""
    for each in IGNORED:
        signal.signal(each, signal.SIG_IGN)
    line = b""
    while not line.endswith(b"\n"):  # byte by byte, because what follows it is not for Python's buffer
        piece = os.read(0, 1)
        if not piece:
            return
        line += piece
    sys.stdout.write(f"{json.dumps(run(json.loads(line)))}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
