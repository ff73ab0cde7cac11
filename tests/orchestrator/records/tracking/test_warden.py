"""A server ends with the process that started it, however that one ends."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from orchestrator.records.tracking import warden

SERVER = """
import signal, time
signal.signal(signal.SIGTERM, signal.{answer})
print("serves", flush=True)
time.sleep(600)
"""

STARTER = """
import subprocess, sys, time
server = [sys.executable, "-I", "-S", "-c", {server!r}]
warden = subprocess.Popen(
    [sys.executable, "-I", "-S", {warden!r}, *server], stdin=subprocess.PIPE, start_new_session=True
)
time.sleep(600)
"""


@pytest.mark.parametrize("answer", ["SIG_DFL", "SIG_IGN"])
def test_a_server_ends_after_its_starter_is_killed_also_if_it_is_deaf(answer: str) -> None:
    program = STARTER.format(server=SERVER.format(answer=answer), warden=warden.__file__)
    starter = subprocess.Popen([sys.executable, "-I", "-S", "-c", program], stdout=subprocess.PIPE, text=True)
    assert starter.stdout
    with starter.stdout as said:
        assert said.readline() == "serves\n"
        family = psutil.Process(starter.pid).children(recursive=True)
        assert len(family) == 2
        starter.kill()
        starter.wait()
        _, left = psutil.wait_procs(family, timeout=60)
    assert left == []
