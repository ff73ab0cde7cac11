"""Runs a server in this process group, and ends the group when whoever started this process is gone, however it ended.

Started as a script, with a pipe as standard input that nobody writes to: the system closes it with the process that
started this one, also after a SIGKILL.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

GRACE = 5.0
"""Seconds that the server has to end by itself."""


def guard(command: list[str]) -> int:
    """Run the command until it ends, or until standard input closes; return its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: None)  # a signal to the group is for the server, with which this ends
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_when_alone, daemon=True).start()
    return server.wait()


def _end_when_alone() -> None:
    os.read(sys.stdin.fileno(), 1)
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(guard(sys.argv[1:]))
