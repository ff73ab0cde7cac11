"""Which cell is next, which is tried again, and when it is over. Time is a number that the tests move."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.execution.queue import ASK_AGAIN, LONGEST_PAUSE, RETRIES, SHORTEST_LIMIT, Queue, Ticket, TimeBudget
from orchestrator.experiment.plan import Cell, identity
from orchestrator.experiment.resources import Resources
from orchestrator.outcome import Adopted, Attempt, Diverged, Failed, Fault, Finished, Lost, Stopped
from trainers.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable

ATTEMPT = Attempt("here", 0.0, 1.0)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def a_cell(loss: str = "softmax", seed: int = 0, resources: Resources | None = None, **training: Any) -> Cell:
    document = {"loss": loss, "backbone": "resnet8", "dataset": "digits", "seed": seed, "training": training}
    recipe = Recipe.model_validate(document)
    return Cell(identity(recipe), loss, "resnet8", "digits", seed, recipe, resources or Resources())


def lost(cell: Cell, fault: Fault) -> Lost:
    return Lost(cell, ATTEMPT, fault, "it went", "")


def taken(queue: Queue) -> Ticket:
    ticket = queue.take()
    assert ticket is not None
    return ticket


def drained(queue: Queue, seconds: Callable[[Cell], float] = lambda cell: 1.0) -> list[Cell]:
    """Every cell in the order of the queue, each finished at once."""
    cells = []
    while ticket := queue.take():
        cells.append(ticket.cell)
        queue.ended(Finished(ticket.cell, Attempt("here", 0.0, seconds(ticket.cell)), {}))
    return cells


# Order


def test_cells_that_took_longest_go_first() -> None:
    cells = [a_cell(loss, seed) for loss in ("softmax", "bce_unified") for seed in range(2)]
    durations = {cells[0].kind: [1.0], cells[2].kind: [5.0, 7.0]}
    queue = Queue(cells, durations=durations)
    taken(queue), taken(queue)  # one of each kind goes ahead
    assert [cell.loss for cell in drained(queue)] == ["bce_unified", "softmax"]


def test_of_every_kind_that_is_not_measured_one_is_sent_ahead() -> None:
    losses = ("softmax", "bce_unified", "focal")
    queue = Queue(a_cell(loss, seed) for loss in losses for seed in range(3))
    assert {taken(queue).cell.loss for _ in losses} == set(losses)


def test_of_kinds_that_are_not_measured_the_one_with_most_epochs_goes_first() -> None:
    epochs = {"softmax": 2, "bce_unified": 9, "focal": 4}
    queue = Queue(a_cell(loss, seed, epochs=number) for loss, number in epochs.items() for seed in range(2))
    ahead = [taken(queue).cell.loss for _ in epochs]
    assert ahead == [taken(queue).cell.loss for _ in epochs] == ["bce_unified", "focal", "softmax"]


def test_what_is_not_measured_goes_before_what_is_however_long_that_takes() -> None:
    long = a_cell("softmax")
    queue = Queue([long, a_cell("focal", epochs=1)], durations={long.kind: [1e6]})
    assert [cell.loss for cell in drained(queue)] == ["focal", "softmax"]


def test_what_its_like_took_is_their_mean_with_those_that_ended_on_the_way() -> None:
    first = a_cell(seed=0)
    queue = Queue([first, a_cell(seed=1)], durations={first.kind: [100.0, 200.0]})
    queue.ended(Finished(taken(queue).cell, Attempt("here", 0.0, 600.0), {}))
    assert taken(queue).time_limit == 3000.0
    queue = Queue([first, a_cell(seed=1)])
    queue.ended(Finished(taken(queue).cell, Attempt("here", 0.0, 600.0), {}))
    assert taken(queue).time_limit == 6000.0


def test_what_is_measured_on_the_way_decides_the_order_of_the_rest() -> None:
    cells = [a_cell(loss, seed) for loss in ("softmax", "bce_unified") for seed in range(3)]
    order = drained(Queue(cells), lambda cell: 9.0 if cell.loss == "bce_unified" else 1.0)
    assert [cell.loss for cell in order[2:]] == ["bce_unified"] * 2 + ["softmax"] * 2


def test_cells_of_equal_resources_follow_each_other_so_that_processes_are_used_again() -> None:
    large = Resources(cpus=2)
    cells = [
        a_cell(loss, seed, resources)
        for seed in range(3)
        for loss, resources in (("softmax", None), ("bce_unified", large))
    ]
    needed = [cell.resources for cell in drained(Queue(cells))]
    assert sum(before != after for before, after in itertools.pairwise(needed)) == 1


def test_what_needs_most_of_a_gpu_goes_first_and_then_what_needs_most_cpus() -> None:
    needs = [Resources(cpus=8), Resources(gpus=0.5), Resources(cpus=2, gpus=1), Resources(cpus=1), Resources(gpus=1)]
    queue = Queue(a_cell(seed=seed, resources=needed) for seed, needed in enumerate(needs))
    assert [cell.seed for cell in drained(queue)] == [2, 4, 1, 0, 3]


@given(st.lists(st.tuples(st.sampled_from(["softmax", "bce_unified", "focal"]), st.integers(0, 9)), unique=True))
def test_every_cell_is_handed_out_exactly_once(asked: list[tuple[str, int]]) -> None:
    cells = [a_cell(loss, seed) for loss, seed in asked]
    queue = Queue(cells)
    assert sorted(cell.id for cell in drained(queue)) == sorted(cell.id for cell in cells)
    assert queue.over


# Limits


def test_no_more_cells_are_out_than_allowed() -> None:
    queue = Queue([a_cell(seed=seed) for seed in range(3)], most=2)
    first = taken(queue)
    _ = taken(queue)
    assert queue.take() is None
    queue.ended(Finished(first.cell, ATTEMPT, {}))
    assert queue.take() is not None


def test_a_cells_own_time_limit_counts_before_what_its_like_took() -> None:
    cell = replace(a_cell(), time_limit=7.0)
    assert taken(Queue([cell], durations={cell.kind: [1000.0]})).time_limit == 7.0


def test_without_a_limit_a_cell_may_take_ten_times_as_long_as_its_like() -> None:
    cell = a_cell()
    assert taken(Queue([cell], durations={cell.kind: [100.0, 300.0]})).time_limit == 2000.0
    assert taken(Queue([cell], durations={cell.kind: [1.0]})).time_limit == SHORTEST_LIMIT
    assert taken(Queue([cell])).time_limit is None


# Faults


@pytest.mark.parametrize("fault", RETRIES)
def test_a_lost_cell_is_tried_again_as_often_as_its_fault_allows_and_then_has_failed(fault: Fault) -> None:
    clock = Clock()
    cell = a_cell()
    queue = Queue([cell], clock=clock)
    for _ in range(RETRIES[fault]):
        ticket = taken(queue)
        assert isinstance(queue.ended(lost(cell, fault)), Lost)
        clock.now += LONGEST_PAUSE
    assert ticket.cell == cell
    taken(queue)
    attempt = Attempt("there", 5.0, 2.0)
    ending = queue.ended(Lost(cell, attempt, fault, "it went", "line 1"))
    times = RETRIES[fault] + 1
    error = f"it went ({times} attempts ended by this kind of fault: {fault})"
    assert ending == Failed(cell, attempt, error, "line 1")
    assert queue.over


def test_losing_machines_uses_up_no_other_chance() -> None:
    clock = Clock()
    cell = a_cell()
    queue = Queue([cell], clock=clock)
    for fault in ["node"] * 10 + ["process"] * RETRIES["process"]:
        taken(queue)
        assert isinstance(queue.ended(lost(cell, fault)), Lost)  # pyright: ignore[reportArgumentType]
        clock.now += LONGEST_PAUSE
    assert queue.take() is not None


def test_pauses_double_up_to_the_longest() -> None:
    clock = Clock()
    cell = a_cell()
    pauses = list[float]()
    queue = Queue([cell], clock=clock)
    taken(queue)
    for _ in range(8):
        queue.ended(lost(cell, "node"))
        began = clock.now
        while queue.take() is None:
            clock.now += 0.5
        pauses.append(clock.now - began)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_cell_whose_memory_ran_out_is_tried_again_alone() -> None:
    clock = Clock()
    big = a_cell(seed=0)
    small = a_cell(seed=1)
    queue = Queue([big, small], clock=clock)
    assert not taken(queue).alone
    queue.ended(lost(big, "memory"))
    clock.now += LONGEST_PAUSE
    ticket = taken(queue)
    assert (ticket.cell, ticket.alone) == (big, True)
    assert queue.take() is None, "others would keep the machine busy for ever"
    queue.started(big)
    assert taken(queue).cell == small


def test_a_cell_whose_memory_ran_out_stays_alone_after_another_fault() -> None:
    clock = Clock()
    cell = a_cell()
    queue = Queue([cell], clock=clock)
    for fault in ("memory", "node", "process"):
        taken(queue)
        queue.ended(lost(cell, fault))
        clock.now += LONGEST_PAUSE
    assert taken(queue).alone


def test_a_cell_that_is_alone_and_ends_before_it_starts_keeps_nobody_waiting() -> None:
    clock = Clock()
    big = a_cell(seed=0)
    queue = Queue([big, a_cell(seed=1)], clock=clock)
    taken(queue)
    queue.ended(lost(big, "memory"))
    clock.now += LONGEST_PAUSE
    assert taken(queue).alone
    queue.ended(Failed(big, ATTEMPT, "It broke.", ""))
    assert taken(queue).cell.seed == 1


def test_a_lost_cell_waits_while_others_run() -> None:
    clock = Clock()
    queue = Queue([a_cell(seed=0), a_cell(seed=1)], clock=clock)
    queue.ended(lost(taken(queue).cell, "process"))
    assert taken(queue).cell.seed == 1
    assert queue.take() is None
    assert not queue.over


@pytest.mark.parametrize("ending", [Finished(a_cell(), ATTEMPT, {}), Diverged(a_cell(), ATTEMPT, 1)])
def test_a_result_is_told_as_it_is(ending: Finished | Diverged) -> None:
    queue = Queue([ending.cell])
    taken(queue)
    assert queue.ended(ending) is ending
    assert queue.over


# Several launches


def test_a_cell_that_another_launch_runs_is_asked_for_again_later() -> None:
    clock = Clock()
    answers = iter(["taken", "mine"])
    queue = Queue([a_cell()], claim=lambda cell: next(answers), clock=clock)  # pyright: ignore[reportArgumentType]
    assert queue.take() is None
    assert not queue.over
    clock.now += ASK_AGAIN
    assert queue.take() is not None


@pytest.mark.parametrize("state", ["finished", "diverged", "failed"])
def test_a_cell_that_another_launch_has_settled_is_not_run(state: Any) -> None:
    heard: list[Adopted] = []
    cell = a_cell()
    queue = Queue([cell], claim=lambda cell: state, adopted=heard.append)
    assert queue.take() is None
    assert heard == [Adopted(cell, state)]
    assert queue.over


# Cells that are added on the way


def test_cells_may_be_added_while_others_run() -> None:
    queue = Queue([a_cell(seed=0)])
    first = taken(queue).cell
    queue.add([a_cell(seed=1), a_cell("bce_unified", 1)])
    queue.ended(Finished(first, ATTEMPT, {}))
    assert not queue.over
    assert {(cell.loss, cell.seed) for cell in drained(queue)} == {("softmax", 1), ("bce_unified", 1)}
    assert queue.over


def test_cells_that_follow_from_an_ending_are_there_before_the_queue_can_seem_over() -> None:
    told: list[Any] = []

    def more(event: Any) -> list[Cell]:
        told.append(event)
        return [a_cell(seed=event.cell.seed + 1)] if event.cell.seed < 2 else []

    queue = Queue([a_cell()], more=more)
    for seed in range(3):
        assert not queue.over
        assert queue.ended(Finished(taken(queue).cell, ATTEMPT, {})) is told[seed]
    assert queue.over


def test_what_another_launch_has_settled_may_be_followed_by_more() -> None:
    queue = Queue(
        [a_cell(seed=0)],
        claim=lambda cell: "mine" if cell.seed else "finished",
        more=lambda event: [a_cell(seed=1)] if isinstance(event, Adopted) else [],
    )
    assert taken(queue).cell.seed == 1


def test_a_cell_that_was_lost_once_too_often_is_told_as_failed() -> None:
    told: list[Any] = []
    clock = Clock()
    cell = a_cell()
    queue = Queue([cell], clock=clock, more=lambda event: told.append(event) or [])
    for _ in range(RETRIES["hang"] + 1):
        taken(queue)
        queue.ended(lost(cell, "hang"))
        clock.now += LONGEST_PAUSE
    assert [type(event) for event in told] == [Lost, Failed]


def test_several_threads_may_add_and_take_at_once() -> None:
    queue = Queue([])
    seeds = range(400)
    got: list[int] = []

    def add(part: int) -> None:
        for seed in seeds[part::4]:
            queue.add([a_cell(seed=seed)])

    def take() -> None:
        while len(got) < len(seeds):
            if ticket := queue.take():
                got.append(ticket.cell.seed)
                queue.ended(Finished(ticket.cell, ATTEMPT, {}))

    with ThreadPoolExecutor(8) as pool:
        calls = [*(pool.submit(add, part) for part in range(4)), *(pool.submit(take) for _ in range(4))]
    assert all(call.result() is None for call in calls)
    assert sorted(got) == list(seeds)


# Stopping


def test_a_closed_queue_hands_out_nothing_and_is_over_when_what_runs_has_ended() -> None:
    queue = Queue([a_cell(seed=0), a_cell(seed=1)])
    ticket = taken(queue)
    queue.close()
    assert queue.take() is None
    assert not queue.over
    queue.ended(Stopped(ticket.cell, ATTEMPT))
    assert queue.over


def test_a_cell_that_may_not_begin_at_present_is_asked_for_again_and_no_other_meanwhile() -> None:
    now = [0.0]
    answers = iter(["wait", "mine", "mine"])
    asked: list[str] = []

    def claim(cell: Cell) -> Any:
        asked.append(cell.id)
        return next(answers)

    queue = Queue([a_cell(seed=0), a_cell(seed=1)], claim=claim, clock=lambda: now[0])
    assert queue.take() is None
    assert queue.take() is None
    assert len(asked) == 1
    assert not queue.over
    now[0] += 1
    assert {queue.take(), queue.take()} != {None}
    assert asked[1] == asked[0]


def test_a_cell_that_stopped_is_handed_out_again_unless_the_queue_is_closed() -> None:
    cell = a_cell()
    queue = Queue([cell])
    assert queue.take()
    queue.ended(Stopped(cell, ATTEMPT))
    assert not queue.over
    assert queue.take()
    queue.close()
    queue.ended(Stopped(cell, ATTEMPT))
    assert queue.over


# Budget


def test_within_a_budget_only_cells_begin_that_are_expected_to_end_and_then_the_queue_closes() -> None:
    clock = Clock()
    long = [a_cell("softmax", seed) for seed in range(3)]
    short = [a_cell("bce", seed) for seed in range(3)]
    durations = {long[0].kind: [50.0], short[0].kind: [10.0]}
    queue = Queue([*long, *short], durations=durations, clock=clock, budget=TimeBudget(100.0, lambda cell: None))
    begun = list[str]()
    while ticket := queue.take():
        begun.append(ticket.cell.loss)
        clock.now += durations[ticket.cell.kind][0]
        queue.ended(Finished(ticket.cell, Attempt("here", 0.0, durations[ticket.cell.kind][0]), {}))
    # One of each kind first; after 60 s no further long one would end in time, but all short ones do.
    assert begun == ["softmax", "bce", "bce", "bce"]
    assert queue.over
    assert queue.ran_out


def test_cells_of_whose_kind_none_has_run_begin_by_a_guess_and_without_one_at_once() -> None:
    unknown = Queue([a_cell()], clock=Clock(), budget=TimeBudget(10.0, lambda cell: None))
    assert unknown.take()
    guessed = Queue([a_cell()], clock=Clock(), budget=TimeBudget(10.0, lambda cell: 11.0))
    assert guessed.take() is None
    assert guessed.ran_out


def test_a_lost_cell_that_would_not_end_in_time_is_not_tried_again() -> None:
    clock = Clock()
    queue = Queue([a_cell()], clock=clock, budget=TimeBudget(100.0, lambda cell: 60.0))
    queue.ended(lost(taken(queue).cell, "node"))
    clock.now = 50.0
    assert queue.take() is None
    assert queue.ran_out


def test_a_queue_that_has_run_everything_in_time_did_not_run_out() -> None:
    queue = Queue([a_cell()], clock=Clock(), budget=TimeBudget(100.0, lambda cell: 1.0))
    assert len(drained(queue)) == 1
    assert queue.take() is None
    assert not queue.ran_out


def test_without_a_budget_nothing_runs_out() -> None:
    clock = Clock()
    queue = Queue([a_cell()], clock=clock)
    clock.now = 10.0**9
    assert queue.take()
    assert not queue.ran_out
