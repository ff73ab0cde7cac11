"""Which launch is alive and which cells are its own, on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text, update

from orchestrator.errors import RequestError, UnreachableError
from orchestrator.experiment.plan import Cell, Plan, identity
from orchestrator.experiment.resources import Resources
from orchestrator.outcome import Attempt, Collapsed, Diverged, Failed, Finished, Lost, Stopped
from orchestrator.records.sql import leases, processes
from orchestrator.records.sql.leases import EXPIRY, RENEWAL, Watch, held
from orchestrator.records.sql.registry import Registry
from orchestrator.records.sql.schema import AttemptRow, LeaseRow
from trainers.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ATTEMPT = Attempt("gpu-1", 1_700_000_000.0, 2.5)


def cell(seed: int = 0) -> Cell:
    document = {"loss": "softmax", "backbone": "resnet8", "dataset": "digits", "seed": seed}
    recipe = Recipe.model_validate(document)
    return Cell(identity(recipe), "softmax", "resnet8", "digits", seed, recipe, Resources())


CELLS = [cell(seed) for seed in range(3)]


def plan(name: str = "first", cells: Sequence[Cell] = CELLS) -> Plan:
    document = {"name": name, "question": "Which?", "claims": []}
    experiment: Any = SimpleNamespace(name=name, question="Which?", model_dump=lambda *, mode: document)
    return Plan(experiment, tuple(cells))


@pytest.fixture
def index(url: str) -> Iterator[Registry]:
    with Registry.open(url) as registry:
        yield registry


def pretend(index: Registry, owner: str, **values: object) -> None:
    """Change a lease, as if another process or machine held it."""
    with index.writing() as session:
        session.execute(update(LeaseRow).where(LeaseRow.owner == owner).values(**values))


def test_an_experiment_under_way_is_not_launched_twice(index: Registry) -> None:
    with held(index, plan()), pytest.raises(RequestError, match=rf"by process {os.getpid()} on [\s\S]* Add --join"):
        held(index, plan()).__enter__()
    with held(index, plan()):
        pass


def test_a_refused_launch_changes_nothing(index: Registry) -> None:
    with held(index, plan()):
        wider = plan()
        wider = Plan(wider.experiment, (*wider.cells, cell(9)))
        with pytest.raises(RequestError):
            held(index, wider).__enter__()
        assert cell(9).id not in index.states("first")


def test_another_experiment_may_be_launched_meanwhile(index: Registry) -> None:
    with held(index, plan("first")), held(index, plan("second")):
        assert [launch.pid for name in ("first", "second") for launch in index.status(name).launches] == [
            os.getpid(),
            os.getpid(),
        ]
    assert index.status("first").launches == ()


@pytest.mark.parametrize("other", ["first", "second"])
def test_a_cell_is_claimed_by_one_launch_only(index: Registry, other: str) -> None:
    with held(index, plan()) as mine, held(index, plan(other), join=True) as theirs:
        assert mine.claim(CELLS[0]) == "mine"
        assert theirs.claim(CELLS[0]) == "taken"
        assert theirs.claim(CELLS[1]) == "mine"


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Finished(CELLS[0], ATTEMPT, {}), "finished"),
        (Collapsed(CELLS[0], ATTEMPT, {}, "why"), "collapsed"),
        (Diverged(CELLS[0], ATTEMPT, 1), "diverged"),
        (Failed(CELLS[0], ATTEMPT, "It broke.", ""), "failed"),
    ],
)
def test_what_another_launch_has_settled_is_adopted(index: Registry, outcome: Any, state: str) -> None:
    with held(index, plan()) as mine, held(index, plan(), join=True) as theirs:
        mine.claim(CELLS[0])
        index.record(outcome, "first")
        assert theirs.claim(CELLS[0]) == state


def test_a_cell_that_failed_in_an_earlier_launch_may_be_claimed(index: Registry) -> None:
    with held(index, plan()) as earlier:
        earlier.claim(CELLS[0])
        index.record(Failed(CELLS[0], ATTEMPT, "It broke.", ""), "first")
    with held(index, plan()) as lease:
        assert lease.claim(CELLS[0]) == "mine"


def test_a_lost_cell_may_be_claimed_again(index: Registry) -> None:
    with held(index, plan()) as lease:
        lease.claim(CELLS[0])
        index.record(Lost(CELLS[0], ATTEMPT, "node", "It went.", ""), "first")
        assert lease.claim(CELLS[0]) == "mine"


def test_a_claim_is_the_attempt_that_then_starts(index: Registry) -> None:
    with held(index, plan()) as lease:
        lease.claim(CELLS[0])
        index.start_attempt(CELLS[0], "first", node="gpu-1", started=ATTEMPT.started)
        (running,) = index.status("first").running
        assert running.node == "gpu-1"
        with index.reading() as session:
            assert session.query(AttemptRow).count() == 1


def test_a_killed_launch_on_this_machine_is_taken_over_at_once(index: Registry) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead = held(index, plan())
    lease = dead.__enter__()
    lease.claim(CELLS[0])
    pretend(index, lease.owner, pid=gone.pid)
    with held(index, plan()) as heir:
        assert heir.left == {CELLS[0].id}
        assert index.states("first")[CELLS[0].id] == "planned"
        assert heir.claim(CELLS[0]) == "mine"
    dead.__exit__(None, None, None)


def test_a_reused_process_id_does_not_keep_a_dead_launch_alive(index: Registry) -> None:
    dead = held(index, plan())
    pretend(index, dead.__enter__().owner, process="long ago")
    with held(index, plan()):
        pass
    dead.__exit__(None, None, None)


class Time:
    """A clock that goes on when somebody waits, and what happens meanwhile."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.now = 0.0
        self.meanwhile = meanwhile

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.meanwhile()

    def watched(self) -> dict[str, Any]:
        return {"watch": Watch(lambda: self.now), "wait": self.wait}


def elsewhere(index: Registry, owner: str, **values: object) -> None:
    """Pretend that a launch runs on another machine."""
    pretend(index, owner, machine="elsewhere", host="elsewhere", **values)


YEARS = [timedelta(days=-4000), timedelta(seconds=-70), timedelta(0), timedelta(seconds=70), timedelta(days=4000)]


@pytest.mark.parametrize("wrong", YEARS)
def test_a_launch_elsewhere_that_does_not_move_is_dead_after_a_minute_whatever_its_clock_says(
    index: Registry, wrong: timedelta
) -> None:
    other = held(index, plan())
    lease = other.__enter__()
    lease.claim(CELLS[0])
    elsewhere(index, lease.owner, seen=datetime.now(UTC) + wrong)
    time = Time()
    said: list[str] = []
    with held(index, plan(), say=said.append, **time.watched()) as heir:
        assert EXPIRY < time.now <= EXPIRY + 2 * leases.LOOK
        assert heir.left == {CELLS[0].id}
        assert "Whether that launch lives is known in at most 60 s" in said[0]
        assert len(said) == 1
    other.__exit__(None, None, None)


@pytest.mark.parametrize("wrong", YEARS)
def test_a_launch_elsewhere_that_renews_its_lease_lives_whatever_its_clock_says(
    index: Registry, wrong: timedelta
) -> None:
    other = held(index, plan())
    owner = other.__enter__().owner
    clock = datetime.now(UTC) + wrong
    elsewhere(index, owner, seen=clock)

    def renew() -> None:
        if time.now >= RENEWAL:
            pretend(index, owner, seen=clock + timedelta(seconds=time.now))

    time = Time(renew)
    with pytest.raises(RequestError, match=r"is under way: launched by"):
        held(index, plan(), **time.watched()).__enter__()
    assert time.now == RENEWAL
    other.__exit__(None, None, None)


def test_a_registry_that_was_away_buries_nobody(index: Registry) -> None:
    with held(index, plan()) as mine, held(index, plan(), join=True) as theirs:
        time = Time()
        mine.watch = Watch(lambda: time.now)
        elsewhere(index, theirs.owner)
        theirs.claim(CELLS[0])
        assert mine.claim(CELLS[0]) == "taken"
        time.now += 10_000  # nobody could renew, or this process stood still
        assert mine.claim(CELLS[0]) == "taken"
        for _ in range(4):
            time.now += RENEWAL
            assert mine.claim(CELLS[0]) == "taken"
        time.now += RENEWAL
        assert mine.claim(CELLS[0]) == "taken"
        time.now += RENEWAL
        assert mine.claim(CELLS[0]) == "mine", "it was seen silent for more than a minute"


def test_no_launch_is_buried_by_one_that_has_nothing_to_do_with_it(index: Registry) -> None:
    far = plan("far")
    far = Plan(far.experiment, (cell(8),))
    with held(index, far) as other:
        other.claim(cell(8))
        elsewhere(index, other.owner)
        time = Time()
        with held(index, plan(), **time.watched()) as mine:
            for _ in range(20):
                time.now += RENEWAL
                mine.renew()
                mine.claim(CELLS[0])
        other.renew()
        assert not other.lost
        assert len(index.status("far").running) == 1


def test_a_stopped_process_of_this_machine_is_watched_and_a_running_one_is_not(index: Registry) -> None:
    sleeper = subprocess.Popen(["sleep", "600"])
    try:
        other = held(index, plan())
        pretend(index, other.__enter__().owner, pid=sleeper.pid, process=processes.began(sleeper.pid))
        time = Time()
        with pytest.raises(RequestError, match="under way"):
            held(index, plan(), **time.watched()).__enter__()
        assert time.now == 0
        sleeper.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, sleeper.pid, os.WSTOPPED)
        with held(index, plan(), **time.watched()):
            assert time.now > EXPIRY
        other.__exit__(None, None, None)
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_launch_that_finds_its_lease_gone_says_so_once_and_takes_cells_again_when_it_is_resumed(
    index: Registry,
) -> None:
    frozen = held(index, plan())
    lease = frozen.__enter__()
    losses: list[bool] = []
    lease.on_loss = lambda: losses.append(True)
    lease.claim(CELLS[0])
    elsewhere(index, lease.owner)
    with held(index, plan(), **Time().watched()) as heir:
        assert heir.claim(CELLS[0]) == "mine"
        lease.renew()
        lease.renew()
        assert lease.lost
        assert losses == [True]
        assert lease.claim(CELLS[1]) == "wait"
        assert lease.resume() is False, "the registry knows all that it knew"
        assert lease.claim(CELLS[0]) == "taken"
        assert lease.claim(CELLS[1]) == "mine"
    frozen.__exit__(None, None, None)


def test_a_claim_finds_that_the_lease_is_gone(index: Registry) -> None:
    frozen = held(index, plan())
    lease = frozen.__enter__()
    elsewhere(index, lease.owner)
    with held(index, plan(), **Time().watched()):
        assert lease.claim(CELLS[0]) == "wait"
        assert lease.lost
    frozen.__exit__(None, None, None)


def test_a_claim_whose_answer_got_lost_is_the_same_attempt(index: Registry) -> None:
    with held(index, plan()) as lease:
        assert [lease.claim(CELLS[0]), lease.claim(CELLS[0])] == ["mine", "mine"]
        with index.reading() as session:
            assert [attempt.outcome for attempt in session.query(AttemptRow)] == ["running"]


def test_an_attempt_that_another_launch_took_over_adds_no_second_result(index: Registry) -> None:
    frozen = held(index, plan())
    lease = frozen.__enter__()
    lease.claim(CELLS[0])
    index.start_attempt(CELLS[0], "first", node="here", started=1.0)
    elsewhere(index, lease.owner)
    with held(index, plan(), **Time().watched()) as heir:
        heir.claim(CELLS[0])
        index.record(Stopped(CELLS[0], Attempt("here", 1.0, 9.0)), "first")  # of the launch that woke
        assert index.states("first")[CELLS[0].id] == "running"
        index.start_attempt(CELLS[0], "first", node="there", started=2.0)
        index.record(Finished(CELLS[0], Attempt("there", 2.0, 5.0), {}), "first")
        index.record(Finished(CELLS[0], Attempt("here", 1.0, 9.0), {}), "first")
        with index.reading() as session:
            attempts = session.query(AttemptRow).order_by(AttemptRow.id)
            assert [attempt.outcome for attempt in attempts] == ["interrupted", "finished"]
    frozen.__exit__(None, None, None)


TABLES = ("events", "artefacts", "attempts", "leases", "experiment_cells", "cells", "experiments", "alembic_version")


def test_a_registry_that_was_replaced_knows_the_experiment_and_the_lease_again(url: str) -> None:
    with Registry.open(url) as index, held(index, plan()) as lease:
        lease.claim(CELLS[0])
        with index.writing() as session:
            for table in TABLES:
                session.execute(text(f"DROP TABLE {table}"))
        with pytest.raises(UnreachableError):
            lease.claim(CELLS[1])
        assert lease.resume() is True
        assert lease.claim(CELLS[1]) == "mine"
        assert index.states("first") == {
            CELLS[0].id: "planned",
            CELLS[1].id: "running",
            CELLS[2].id: "planned",
        }


def test_a_launch_knows_what_others_run_and_where(index: Registry) -> None:
    with held(index, plan()) as mine, held(index, plan(), join=True) as theirs:
        assert mine.claim(cell(0)) == theirs.claim(cell(1)) == theirs.claim(cell(2)) == "mine"
        index.start_attempt(cell(1), "first", node="far", started=1.0)
        assert mine.others() == {cell(1).id: "far", cell(2).id: socket.gethostname()}
        assert theirs.others() == {cell(0).id: socket.gethostname()}
    with held(index, plan()) as mine:
        assert mine.others() == {}


def test_a_lease_is_renewed_while_it_is_held(index: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEWAL", 0.05)
    with held(index, plan()) as lease:
        pretend(index, lease.owner, seen=datetime.fromtimestamp(0, UTC))
        deadline = datetime.now(UTC) + timedelta(seconds=60)
        while datetime.now(UTC) < deadline:
            (launch,) = index.status("first").launches
            if launch.seen.year > 1970:
                return
        pytest.fail("nobody renewed it")


def test_what_a_launch_leaves_open_is_planned_again(index: Registry) -> None:
    with held(index, plan()) as lease:
        lease.claim(CELLS[0])
    assert index.states("first")[CELLS[0].id] == "planned"


def test_many_launches_at_once_share_every_cell_between_them(index: Registry, url: str) -> None:
    won: Counter[str] = Counter()

    def launch() -> None:
        with Registry.open(url) as registry, held(registry, plan(), join=True) as lease:
            barrier.wait()
            for one in CELLS:
                if lease.claim(one) == "mine":
                    won[one.id] += 1
            barrier.wait()

    barrier = threading.Barrier(6)
    threads = [threading.Thread(target=launch) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == dict.fromkeys([one.id for one in CELLS], 1)


def story_of(index: Registry) -> list[tuple[str, str]]:
    return [(event.kind, event.sentence) for event in index.events("first")]


def test_a_launch_is_told_from_its_begin_to_its_end(index: Registry) -> None:
    who = f"process {os.getpid()} on {socket.gethostname()}"
    with held(index, plan()):
        pass
    with pytest.raises(KeyboardInterrupt), held(index, plan()):
        raise KeyboardInterrupt
    begun = ("begun", f"A launch of 3 cells begins by {who}.")
    ended = ("ended", f"The launch by {who} ended.")
    stopped = ("stopped", f"The launch by {who} stopped.")
    assert story_of(index) == [begun, ended, begun, stopped]


def test_a_dead_launch_is_told_once_with_what_it_was_running(index: Registry) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead = held(index, plan())
    lease = dead.__enter__()
    for one in CELLS[:2]:
        lease.claim(one)
    pretend(index, lease.owner, pid=gone.pid)
    with held(index, plan()):
        pass
    with held(index, plan()):
        pass
    told = [sentence for kind, sentence in story_of(index) if kind == "taken_over"]
    assert told == [f"The launch by process {gone.pid} on {socket.gethostname()} is dead; it was running 2 cells."]
    dead.__exit__(None, None, None)


def test_status_is_true_of_a_dead_launch_before_anybody_takes_over(index: Registry) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead = held(index, plan())
    lease = dead.__enter__()
    lease.claim(CELLS[0])
    assert index.status("first").counts["running"] == 1
    pretend(index, lease.owner, pid=gone.pid)
    status = index.status("first")
    assert (status.counts["running"], status.counts["planned"]) == (0, 3)
    assert [launch.pid for launch in status.dead] == [gone.pid]
    assert status.running == status.launches == ()
    dead.__exit__(None, None, None)


def test_a_launch_of_one_cell_is_told_in_the_singular(index: Registry) -> None:
    with held(index, plan(cells=CELLS[:1])):
        pass
    assert story_of(index)[0][1].startswith("A launch of 1 cell begins")


def test_a_cell_taken_from_a_dead_launch_is_told(index: Registry) -> None:
    mine = held(index, plan())
    theirs = held(index, plan("second"))
    lease = mine.__enter__()
    other = theirs.__enter__()
    other.claim(CELLS[0])
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    pretend(index, other.owner, pid=gone.pid)
    assert lease.claim(CELLS[0]) == "mine"
    taken = [(event.cell, event.sentence) for event in index.events("first") if event.kind == "taken_over"]
    assert taken == [(CELLS[0].id, "softmax/resnet8/digits/s0 was left running by a launch that is dead.")]
    for launch in (theirs, mine):
        launch.__exit__(None, None, None)


def test_a_dead_launch_of_this_machine_is_not_shown_as_one_under_way(index: Registry) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with held(index, plan()) as lease:
        assert len(index.status("first").launches) == 1
        pretend(index, lease.owner, pid=gone.pid)
        assert index.status("first").launches == ()
