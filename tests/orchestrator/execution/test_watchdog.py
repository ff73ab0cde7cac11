"""A worker that hangs is ended from outside, whatever it does; one that does not is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import sys, time
from pathlib import Path
from orchestrator.execution.watchdog import Watchdog

limit, silence, words, seconds = sys.argv[1:]
dog = Watchdog(float(silence))

def a_cell_that_takes(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            time.sleep(0.05)
        except BaseException:
            pass

with dog.watching(float(limit), Path(words)):
    print("under way", flush=True)
    a_cell_that_takes(float(seconds))
print("ended by itself", flush=True)
time.sleep(0.5)
"""


class Worker:
    def __init__(self, limit: float, silence: float, words: Path, seconds: float) -> None:
        arguments = [str(argument) for argument in (limit, silence, words, seconds)]
        self.process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "under way\n"

    def end(self) -> tuple[int, str]:
        said, _ = self.process.communicate(timeout=60)
        return self.process.returncode, said


@pytest.fixture
def words(tmp_path: Path) -> Path:
    return tmp_path / "cell" / "last-words.txt"


def test_a_cell_that_overruns_its_limit_is_killed_and_leaves_its_stack(words: Path) -> None:
    code, said = Worker(1.0, 60, words, 600).end()
    assert (code, said) == (-signal.SIGKILL, "")
    reason, stack = words.read_text().split("\n", 1)
    assert reason == "longer than its limit of 1 s"
    assert "in a_cell_that_takes" in stack


def test_a_frozen_process_is_killed_although_it_can_tell_nothing(words: Path) -> None:
    worker = Worker(600, 1.5, words, 600)
    os.kill(worker.process.pid, signal.SIGSTOP)
    code, _ = worker.end()
    assert code == -signal.SIGKILL
    assert words.read_text().startswith("no sign of life for 1.5 s\nIt could not write its stacks")


def test_a_cell_that_ends_in_time_is_left_alone(words: Path) -> None:
    assert Worker(30.0, 1.0, words, 2.5).end() == (0, "ended by itself\n")
    assert not words.exists()


def test_the_watchdog_goes_with_its_worker(words: Path) -> None:
    worker = Worker(600, 60, words, 600)
    children = Path(f"/proc/{worker.process.pid}/task/{worker.process.pid}/children")
    (dog,) = map(int, children.read_text().split())
    worker.process.kill()
    worker.end()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.kill(dog, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("the watchdog outlived its worker")
