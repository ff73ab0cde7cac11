"""A launch ends early: when its time is up, at a first signal politely, at a second one at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from rich.console import Console

from orchestrator.errors import OutageError
from orchestrator.execution.queue import Queue
from orchestrator.launching.stopping import stoppable
from orchestrator.process import signals

HANG = 60
"""Seconds after which a wait has failed."""


@dataclass
class States:
    """Where running cells hear that they should stop, and whether they still should."""

    error: Exception | None = None
    asked: threading.Event = field(default_factory=threading.Event)
    forgotten: bool = False

    def ask_to_stop(self) -> None:
        self.asked.set()
        if self.error:
            raise self.error

    def forget_stop(self) -> None:
        self.forgotten = True


@dataclass
class Runs:
    """The MLflow runs that were interrupted."""

    interrupted: list[object] = field(default_factory=list)

    def interrupt(self, cells: object) -> None:
        self.interrupted.append(cells)


@dataclass
class Room:
    """A launch with nothing in it."""

    queue: Queue = field(default_factory=lambda: Queue([]))
    states: States = field(default_factory=States)
    runs: Runs = field(default_factory=Runs)

    def carry_out(self, work: Callable[[], object], seconds: float | None = None) -> Counter[str]:
        def carry() -> Counter[str]:
            work()
            return Counter(finished=1)

        until = None if seconds is None else time.monotonic() + seconds
        stores = cast("Any", self.states), cast("Any", self.runs)
        return stoppable(carry, self.queue, *stores, until=until, console=Console(quiet=True))


@pytest.fixture
def room() -> Iterator[Room]:
    with signals.heard_as_before():
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run under nohup
        yield Room()


def test_when_its_time_is_up_running_cells_save_their_state_and_no_other_begins(room: Room) -> None:
    tally = room.carry_out(lambda: room.states.asked.wait(HANG), seconds=0.05)
    assert tally == {"finished": 1}
    assert room.states.asked.is_set()
    assert (room.queue.ran_out, room.queue.is_closed, room.states.forgotten) == (True, True, True)
    assert room.runs.interrupted == []


def test_a_time_that_is_up_before_it_begins_is_up_at_once(room: Room) -> None:
    room.carry_out(lambda: room.states.asked.wait(HANG), seconds=-5)
    assert room.queue.ran_out


def test_a_launch_that_is_stopped_already_is_not_out_of_time(room: Room) -> None:
    room.queue.close()
    room.carry_out(lambda: time.sleep(0.3), seconds=0.05)
    assert (room.queue.ran_out, room.states.asked.is_set()) == (False, False)


def test_what_ends_in_time_is_never_stopped(room: Room) -> None:
    room.carry_out(lambda: None, seconds=0.2)
    time.sleep(0.4)
    assert (room.queue.ran_out, room.queue.is_closed, room.states.asked.is_set()) == (False, False, False)


@pytest.mark.parametrize("error", [None, OutageError("The storage is away.")], ids=["heard", "unheard"])
@pytest.mark.parametrize("number", signals.POLITE)
def test_the_first_signal_asks_cells_to_save_their_state_and_lets_them(
    room: Room, number: signal.Signals, error: Exception | None
) -> None:
    room.states.error = error

    def work() -> None:
        os.kill(os.getpid(), number)
        assert room.states.asked.wait(HANG)

    assert room.carry_out(work) == {"finished": 1}
    assert (room.queue.is_closed, room.queue.ran_out, room.states.forgotten) == (True, False, True)
    assert room.runs.interrupted == []


def test_the_second_signal_ends_it_at_once(room: Room) -> None:
    def work() -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(HANG)

    assert room.carry_out(work) == Counter()
    assert room.queue.is_closed
    assert room.states.forgotten
    assert len(room.runs.interrupted) == 1
