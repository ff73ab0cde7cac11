"""The live table: what is left, by a clock of the test's own."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Plan, plan
from orchestrator.outcome import Advanced, Attempt, Collapsed, Diverged, Failed, Finished, Lost, Started
from orchestrator.report.terminal.progress import LISTED, LiveTable, duration

if TYPE_CHECKING:
    from orchestrator.experiment.plan import Cell

ATTEMPT = Attempt("here", 0.0, 2.0)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def a_plan(seeds: int = 4, epochs: int = 10, label: str = "softmax") -> Plan:
    document = {
        "name": "x",
        "losses": [{"name": "softmax", "as": label}],
        "backbones": ["resnet8"],
        "datasets": ["digits"],
        "seeds": seeds,
        "recipe": {"epochs": epochs},
        "baseline": label,
    }
    return plan(Experiment.model_validate(document))


def console(*, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=120, force_terminal=terminal, highlight=False, color_system=None)


def printed(screen: Console) -> str:
    return screen.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cells() -> tuple[Cell, ...]:
    return a_plan().cells


@pytest.fixture
def table(clock: Clock) -> LiveTable:
    return LiveTable(a_plan().cells, console(), clock)


def test_before_the_first_epoch_nothing_is_known(table: LiveTable, cells: tuple[Cell, ...], clock: Clock) -> None:
    assert table.eta() is None
    table(Started(cells[0], "here", 0.0))
    clock.now += 5
    assert table.eta() is None


def test_time_left_is_epochs_left_by_epochs_a_second(table: LiveTable, cells: tuple[Cell, ...], clock: Clock) -> None:
    table(Started(cells[0], "here", 0.0))
    clock.now += 10
    table(Advanced(cells[0], 5, {}))
    assert table.eta() == pytest.approx(10 / 5 * 35)
    clock.now += 10
    table(Advanced(cells[0], 10, {}))
    table(Finished(cells[0], ATTEMPT, {}))
    assert table.eta() == pytest.approx(20 / 10 * 30)


@pytest.mark.parametrize("terminal", [False, True])
def test_a_collapsed_cell_is_named_with_its_reason_and_counted(
    cells: tuple[Cell, ...], clock: Clock, *, terminal: bool
) -> None:
    screen = console(terminal=terminal)
    table = LiveTable(cells, screen, clock)
    table(Started(cells[0], "here", 0.0))
    table(Collapsed(cells[0], ATTEMPT, {"uniform_accuracy": 0.1, "sample_wise_accuracy": 0.1}, "all the same"))
    assert "2.0 s  collapsed: all the same" in printed(screen)
    screen.print(table.render())
    assert ", 1 collapsed" in printed(screen)


def test_time_before_the_first_cell_does_not_count(table: LiveTable, cells: tuple[Cell, ...], clock: Clock) -> None:
    clock.now += 500
    table(Started(cells[0], "here", 0.0))
    clock.now += 10
    table(Advanced(cells[0], 10, {}))
    assert table.eta() == pytest.approx(30)


def test_a_cell_that_ends_early_leaves_nothing_of_itself(
    table: LiveTable, cells: tuple[Cell, ...], clock: Clock
) -> None:
    for cell in cells:
        table(Started(cell, "here", 0.0))
        table(Advanced(cell, 2, {}))
    clock.now += 8
    table(Diverged(cells[0], ATTEMPT, 3))
    table(Failed(cells[1], ATTEMPT, "broke", ""))
    table(Finished(cells[2], ATTEMPT, {}))
    table(Finished(cells[3], ATTEMPT, {}))
    assert table.eta() == 0


def test_a_cell_that_died_before_it_started_is_counted(table: LiveTable, cells: tuple[Cell, ...]) -> None:
    table(Failed(cells[0], ATTEMPT, "The worker process died", ""))
    assert table.eta() is None
    screen = console()
    screen.print(table.render())
    assert "1/4" in printed(screen)
    assert "1 failed" in printed(screen)


def test_each_outcome_is_a_line_where_there_is_no_terminal(clock: Clock, cells: tuple[Cell, ...]) -> None:
    screen = console()
    with LiveTable(a_plan().cells, screen, clock) as table:
        table(Finished(cells[0], ATTEMPT, {"uniform_accuracy": 0.5, "sample_wise_accuracy": 0.75}))
        table(Diverged(cells[1], ATTEMPT, 3))
        table(Failed(cells[2], ATTEMPT, "OSError: disk full", "the whole story"))
    assert printed(screen).splitlines() == [
        "softmax/resnet8/digits/s0  2.0 s  uniform 0.5000, sample-wise 0.7500",
        "softmax/resnet8/digits/s1  2.0 s  diverged in epoch 3",
        "softmax/resnet8/digits/s2  2.0 s  failed: OSError: disk full",
    ]


def test_now_and_then_a_line_says_how_far_a_launch_is(clock: Clock, cells: tuple[Cell, ...]) -> None:
    table = LiveTable(cells, console(), clock)
    clock.now += 12
    assert table.line()[8:] == "  0 of 4 cells done, starting since 12 s"
    table(Started(cells[0], "here", 0.0))
    table(Started(cells[1], "here", 0.0))
    clock.now += 10
    table(Advanced(cells[1], 5, {}))
    table(Failed(cells[0], ATTEMPT, "broke", ""))
    assert table.line()[8:] == "  1 of 4 cells done, 1 failed, 1 running, epochs: 15 of 40, about 17 s left"


def test_without_a_terminal_the_first_line_does_not_wait_for_an_outcome(
    monkeypatch: pytest.MonkeyPatch, cells: tuple[Cell, ...]
) -> None:
    monkeypatch.setattr("orchestrator.report.terminal.progress.SOONEST", 0.01)
    screen = console()
    with LiveTable(cells, screen):
        for _ in range(1000):
            if "0 of 4 cells done, starting since" in printed(screen):
                break
            time.sleep(0.01)
    assert "0 of 4 cells done, starting since" in printed(screen)


def test_an_accuracy_of_nothing_is_shown(clock: Clock, cells: tuple[Cell, ...]) -> None:
    screen = console()
    with LiveTable(a_plan().cells, screen, clock) as table:
        table(Finished(cells[0], ATTEMPT, {"uniform_accuracy": 0.0, "sample_wise_accuracy": 0.1}))
    assert "uniform 0.0000, sample-wise 0.1000" in printed(screen)


@pytest.mark.parametrize("hostile", ["[bold]x", "[@click=x]", "<b>", "a&b", "50%", ":smile:"])
@pytest.mark.parametrize("terminal", [True, False])
def test_hostile_names_and_errors_are_shown_as_they_are(clock: Clock, hostile: str, terminal: Any) -> None:
    screen = console(terminal=terminal)
    asked = a_plan(label=hostile)
    with LiveTable(asked.cells, screen, clock) as table:
        table(Started(asked.cells[0], hostile, 0.0))
        screen.print(table.render())
        assert printed(screen).count(hostile) >= 2
        table(Failed(asked.cells[0], ATTEMPT, f"ValueError: {hostile} [/b]", ""))
    assert f"{hostile}/resnet8/digits/s0  2.0 s  failed: ValueError: {hostile} [/b]" in printed(screen)


def test_only_so_many_running_cells_are_listed(clock: Clock) -> None:
    asked = a_plan(LISTED + 3)
    screen = console()
    table = LiveTable(asked.cells, screen, clock)
    for cell in asked.cells:
        table(Started(replace(cell), "here", 0.0))
    screen.print(table.render())
    assert printed(screen).count("epoch 0/10") == LISTED
    assert "… and 3 more" in printed(screen)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (45.4, "45 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
        (3599.7, "1 h 00 min"),
    ],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_epochs_of_a_lost_attempt_are_not_counted_twice(cells: tuple[Cell, ...], clock: Clock) -> None:
    table = LiveTable(cells, console(), clock)
    table(Started(cells[0], "here", 0.0))
    table(Advanced(cells[0], 5, {}))
    table(Lost(cells[0], ATTEMPT, "process", "it died", ""))
    table(Started(cells[0], "here", 0.0))
    table(Advanced(cells[0], 6, {}))
    assert "epochs: 6 of 40" in table.line()
