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


def test_a_library_that_hears_otherwise_is_not_heard_afterwards() -> None:
    program = """
import os, signal
from orchestrator.process import signals
signals.listen(signals.interrupt)
with signals.heard_as_before():
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
try:
    os.kill(os.getpid(), signal.SIGTERM)
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "interrupted\n"
