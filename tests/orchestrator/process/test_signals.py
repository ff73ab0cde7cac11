"""The signals that ask to end: all three alike, unless `nohup` says otherwise."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys
from orchestrator.process import signals
signal.signal(signal.SIGHUP, {before})
signals.listen(signals.interrupt)
try:
    os.kill(os.getpid(), signal.{sent})
    print("goes on", signals.was_interrupted())
except KeyboardInterrupt:
    print("interrupted", signals.was_interrupted())
"""


@pytest.mark.parametrize(
    ("sent", "before", "said"),
    [
        ("SIGINT", "signal.SIG_DFL", "interrupted True"),
        ("SIGTERM", "signal.SIG_DFL", "interrupted True"),
        ("SIGHUP", "signal.SIG_DFL", "interrupted True"),
        ("SIGHUP", "signal.SIG_IGN", "goes on False"),
        ("SIGTERM", "signal.SIG_IGN", "interrupted True"),
    ],
)
def test_each_interrupts_but_a_closed_terminal_under_nohup(sent: str, before: str, said: str) -> None:
    program = PROGRAM.format(sent=sent, before=before)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"{said}\n"


def test_a_process_can_be_started_that_outlives_the_terminal() -> None:
    program = """
import signal, subprocess, sys
from orchestrator.process import signals
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run under nohup
child = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGHUP); print('alive')"]
with signals.outliving_the_terminal():
    print(subprocess.run(child, capture_output=True, text=True).stdout.strip())
print(subprocess.run(child).returncode == -signal.SIGHUP)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "alive\nTrue\n"
