"""The program as a user runs it: another process, its exit code and what it prints."""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

USERS = ("ORCHESTRATOR_", "MLFLOW_", "RAY_", "TUNE_", "COLUMNS")
"""Settings of whoever runs the tests, which must not reach the program."""

BY_RAY = "PYTHONBREAKPOINT"
"""What Ray sets in a process that uses it, and leaves."""

AS_URGENT = {"RAY_worker_niceness": "0"}
"""Ray's workers usually give way to all other processes: beside a test that computes, they would stand still."""

EARLY = ("PYTHON", "ATEN_", "ONEDNN_", "OMP_", "MKL_", "LC_", "LANG", "TZ", "LD_")
"""Settings that count before or while modules are imported."""

BEFORE = dict(os.environ)
"""The settings of the tests before any of them changed one."""


def variables(**more: str) -> dict[str, str]:
    """The environment variables of the tests without the user's settings, and more."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith((*USERS, BY_RAY))}
    return kept | AS_URGENT | more


def run(*arguments: object, folder: Path, timeout: float = 240, **more: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m orchestrator ARGUMENTS` in a folder.

    Where nothing speaks against it, the process is a copy of one that has imported torch and MLflow already. It is a
    fresh interpreter where Ray may start, which makes more processes of its own, and where a variable is set that
    counts while modules are imported.

    Args:
        arguments: Of the command line.
        folder: Where it runs.
        timeout: In seconds.
        more: Environment variables beside those of the tests.
    """
    words = [str(argument) for argument in arguments]
    own = variables(**more)
    if is_calm(words, own):
        return _warm().run(words, folder, own, timeout)
    command = [sys.executable, "-m", "orchestrator", *words]
    return subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, timeout=timeout, check=False)


def start(*arguments: object, folder: Path, **options: Any) -> subprocess.Popen[str]:
    """Start the program in a fresh interpreter, with pipes: to read along, to press Ctrl-C, to kill it."""
    words = [sys.executable, "-m", "orchestrator", *map(str, arguments)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(words, cwd=folder, env=variables(), text=True, **pipes, **options)


def is_calm(words: list[str], own: Mapping[str, str]) -> bool:
    changed = {name for name in own.keys() | BEFORE.keys() if own.get(name) != BEFORE.get(name)}
    inline = "inline" in words or words[:1] not in (["launch"], ["rehearse"], ["ui"])
    return sys.platform == "linux" and inline and not any(name.startswith(EARLY) for name in changed)


class _Warm:
    """The process that is copied."""

    def __init__(self) -> None:
        self.door, theirs = socket.socketpair()
        script = Path(__file__).with_name("warm_start.py")
        root = str(script.parents[2])
        command = [sys.executable, str(script), str(theirs.fileno())]
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            command, env=variables(PYTHONPATH=path), stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
        )
        theirs.close()
        self.answers = self.door.makefile("r")
        atexit.register(self.end)

    def run(
        self, words: list[str], folder: Path, own: dict[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            request = {"arguments": words, "folder": str(folder), "variables": own}
            socket.send_fds(self.door, [json.dumps(request).encode()], [out.fileno(), err.fileno()])
            child = int(self.answers.readline())
            if not select.select([self.door], [], [], timeout)[0]:
                os.kill(child, signal.SIGKILL)
                self.answers.readline()
                raise subprocess.TimeoutExpired(words, timeout, _content(out), _content(err))
            code = int(self.answers.readline())
            return subprocess.CompletedProcess(words, code, _content(out), _content(err))

    def end(self) -> None:
        self.answers.close()
        self.door.close()
        self.process.wait()


@functools.cache
def _warm() -> _Warm:
    return _Warm()


def _content(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()
