"""Registry and storage may go away while cells run: what happens is noted later, and no cell begins meanwhile."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete

from orchestrator.errors import OutageError, RequestError, UnreachableError
from orchestrator.execution.queue import Queue
from orchestrator.experiment.plan import Cell, Plan
from orchestrator.launching import outages
from orchestrator.launching.admission import STRIKES, Admission
from orchestrator.launching.notes import Notes
from orchestrator.launching.outages import Outage, patiently
from orchestrator.outcome import Adopted, Attempt, Failed, Finished, Lost, Started, Stopped
from orchestrator.records.files.checkpoints import Checkpoints
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.storage import Storage
from orchestrator.records.sql.leases import Watch, held
from orchestrator.records.sql.registry import Registry
from orchestrator.records.sql.schema import AttemptRow, LeaseRow
from orchestrator.workspace import Workspace
from orchestrator.workspace.store_errors import StoreUnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy.orm import Session

    from orchestrator.records.files.evaluations import Account
    from trainers.evaluation import Evaluation


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Services are asked again soon."""
    monkeypatch.setattr(outages, "PAUSE", 0.01)


class Flaky(Registry):
    """A registry whose database may be away."""

    away = False

    @contextmanager
    def writing(self) -> Iterator[Session]:
        self._ask()
        with super().writing() as session:
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        self._ask()
        with super().reading() as session:
            yield session

    def mend(self) -> None:
        self._ask()
        super().mend()

    def _ask(self) -> None:
        if self.away:
            raise UnreachableError("The registry does not answer.")


@dataclass
class Desk:
    """A launch of three cells, without executors."""

    folder: Path
    cells: list[Cell]
    publish: Callable[[Cell, float], None]
    said: list[str] = field(default_factory=list)
    clock: list[float] = field(default_factory=lambda: [0.0])

    def open(self, stack: ExitStack) -> None:
        document = {"name": "grid", "question": "Which?", "claims": []}
        experiment: Any = SimpleNamespace(name="grid", question="Which?", model_dump=lambda *, mode: document)
        self.registry = stack.enter_context(Flaky.open(f"sqlite:///{self.folder / 'registry.db'}"))
        self.lease = stack.enter_context(held(self.registry, Plan(experiment, tuple(self.cells))))
        self.notes = Notes(
            self.lease, Evaluations(self.folder / "evaluations"), self.folder / "spool", self.said.append
        )
        self.notes.outage = Outage("The registry", self.notes._catch_up, self.said.append, lambda: self.clock[0])
        self.states = Checkpoints(self.folder / "checkpoints", self.lease.owner)
        self.admission = Admission(self.notes, Workspace(self.folder), self.states, self.said.append)
        self.adopted: list[Adopted | Failed] = []
        self.queue = Queue(
            self.cells, claim=self.admission.claim, adopted=self.adopted.append, clock=lambda: self.clock[0]
        )
        self.admission.admit(self.queue)

    def take(self) -> Cell | None:
        """Hand out a cell after all pauses, and note that it has begun."""
        self.clock[0] += 100
        if (ticket := self.queue.take()) is None:
            return None
        self.notes.started(Started(ticket.cell, "node", 1.0 + self.clock[0]))
        return ticket.cell

    def end(self, cell: Cell, kind: str = "finished") -> None:
        """Let a cell that was handed out last end."""
        attempt = Attempt("node", 1.0 + self.clock[0], 2.0)
        if kind == "finished":
            self.publish(cell, attempt.started)
        endings: dict[str, Any] = {
            "finished": lambda: Finished(cell, attempt, {}),
            "failed": lambda: Failed(cell, attempt, "It broke.", "story"),
            "lost": lambda: Lost(cell, attempt, "storage", "It went.", "story"),
            "stopped": lambda: Stopped(cell, attempt),
        }
        ending = self.queue.ended(endings[kind]())
        self.notes.ended(ending)
        self.admission.heard(ending)

    def attempts(self) -> list[tuple[str, str, str | None]]:
        with self.registry.reading() as session:
            found = session.query(AttemptRow).order_by(AttemptRow.cell, AttemptRow.number)
            return [(attempt.cell, attempt.outcome, attempt.fault) for attempt in found]

    def back(self) -> None:
        self.registry.away = False
        until(lambda: not self.notes.outage.is_on)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)


@pytest.fixture
def desk(
    tmp_path: Path, a_cell: Callable[..., Cell], an_account: Callable[..., Account], evaluation: Evaluation
) -> Iterator[Desk]:
    files = Evaluations(tmp_path / "evaluations")

    def publish(cell: Cell, started: float) -> None:
        files.publish(cell.recipe, an_account(cell, started=started, seconds=2.0), evaluation)

    desk = Desk(tmp_path, [a_cell(seed=seed) for seed in range(3)], publish)
    with ExitStack() as stack:
        desk.open(stack)
        yield desk
        desk.notes.outage.close()
        desk.admission.store.close()


# The registry


def test_what_happens_while_the_registry_is_away_is_noted_when_it_is_back(desk: Desk) -> None:
    first = desk.take()
    assert first
    desk.registry.away = True
    desk.end(first, "lost")
    assert desk.take() is None, "no cell begins meanwhile"
    desk.clock[0] += 1
    assert len(desk.said) == 1
    assert desk.said[0] == "The registry does not answer. Cells that run go on; others wait until it answers."
    desk.back()
    assert desk.said[1:] == ["The registry answers again."]
    assert desk.attempts() == [(first.id, "lost", "storage")]
    for _ in desk.cells:
        cell = desk.take()
        assert cell
        desk.end(cell)
    assert desk.notes.settle(patient=True)
    assert set(desk.registry.states("grid").values()) == {"finished"}
    assert not list(desk.folder.glob("spool/attempts/*/*")), "what the registry has is in no spool"


def test_an_ending_that_the_registry_took_although_it_did_not_say_so_is_noted_once(desk: Desk) -> None:
    cell = desk.take()
    assert cell
    ending = Failed(cell, Attempt("node", 1.0 + desk.clock[0], 2.0), "It broke.", "")
    for _ in range(2):
        desk.registry.record(ending, "grid")
    assert desk.attempts() == [(cell.id, "failed", None)]


def test_a_registry_that_is_deleted_hears_all_again(desk: Desk) -> None:
    lost, failed, running = [desk.take() for _ in range(3)]
    assert lost
    assert failed
    assert running
    desk.end(failed, "failed")
    desk.end(lost, "lost")
    again = desk.take()
    assert again == lost
    desk.end(lost)
    for file in desk.folder.glob("registry.db*"):
        file.unlink()
    desk.notes.alive(running, 3)
    until(lambda: not desk.notes.outage.is_on)
    expected = {(lost.id, "lost"), (lost.id, "finished"), (failed.id, "failed"), (running.id, "running")}
    assert {(cell, outcome) for cell, outcome, _ in desk.attempts()} == expected
    assert len(desk.attempts()) == 4
    assert desk.registry.failures("grid")[0].error == "It broke."
    desk.end(running)
    assert set(desk.registry.states("grid").values()) == {"finished", "failed"}
    assert len(desk.registry.status("grid").launches) == 1


def test_what_was_lost_while_the_registry_was_replaced_is_told_at_the_end(desk: Desk) -> None:
    done, running, _ = [desk.take() for _ in range(3)]
    assert done
    assert running
    desk.end(done)
    for file in desk.folder.glob("registry.db*"):
        file.unlink()
    desk.notes.alive(running, 3)
    until(lambda: not desk.notes.outage.is_on)
    desk.registry.adopt({done.id: "planned"})  # as if its end had been written to the file that is gone
    desk.end(running)
    assert desk.registry.states("grid")[done.id] == "planned"
    assert desk.notes.settle(patient=True)
    assert desk.registry.states("grid")[done.id] == "finished"
    assert desk.attempts().count((done.id, "finished", None)) == 1


def test_a_launch_that_dies_while_the_registry_is_away_leaves_its_failures_to_the_next(
    desk: Desk, tmp_path: Path
) -> None:
    cell = desk.take()
    assert cell
    desk.registry.away = True
    desk.end(cell, "failed")
    assert not desk.notes.settle(patient=False)
    desk.registry.away = False
    with desk.registry.writing() as session:
        session.execute(delete(LeaseRow))
    with ExitStack() as stack:
        heir = Desk(tmp_path, desk.cells, desk.publish)
        heir.open(stack)
        heir.notes.take_over()
        assert [(failure.cell, failure.error) for failure in heir.registry.failures("grid")] == [(cell.id, "It broke.")]
        assert not list(tmp_path.glob("spool/attempts/*/*"))


def test_a_registry_that_stays_away_stops_the_launch_politely(desk: Desk) -> None:
    desk.take()
    desk.registry.away = True
    desk.clock[0] += 1
    assert desk.take() is None
    assert not desk.queue.is_closed
    desk.clock[0] += outages.PATIENCE
    assert desk.take() is None
    assert desk.queue.is_closed
    assert desk.states.is_stopping()
    with pytest.raises(OutageError, match="stayed away, so the launch stopped: The registry does not answer") as raised:
        desk.admission.close()
    assert not isinstance(raised.value, RequestError), "which would be exit code 2"
    desk.registry.away = False


# The storage


def test_after_several_attempts_that_storage_ended_no_cell_begins_until_it_answers(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = Storage.write
    is_away = [True]

    def write(self: Storage, name: str, content: bytes) -> None:
        if is_away[0]:
            raise StoreUnreachableError("It does not answer.")
        true(self, name, content)

    monkeypatch.setattr(Storage, "write", write)
    for _ in range(STRIKES):
        cell = desk.take()
        assert cell
        desk.end(cell, "lost")
    assert desk.take() is None
    assert desk.said == [
        "3 attempts in a row ended because storage did not answer. Cells that run go on; others wait until it answers."
    ]
    is_away[0] = False
    until(lambda: not desk.admission.store.is_on)
    assert desk.take()
    assert not [path for path in desk.folder.rglob(".probe*") if path.is_file()]


def test_attempts_that_end_well_between_are_not_in_a_row(desk: Desk) -> None:
    cell = desk.take()
    assert cell
    for _ in range(STRIKES - 1):
        desk.end(cell, "lost")
        cell = desk.take()
        assert cell
    desk.end(cell)
    cell = desk.take()
    assert cell
    desk.end(cell, "lost")
    assert not desk.admission.store.is_on


def test_a_cell_whose_file_is_there_although_its_attempt_was_lost_is_not_run_again(desk: Desk) -> None:
    cell = desk.take()
    assert cell
    desk.publish(cell, 1.0 + desk.clock[0])
    desk.end(cell, "lost")
    others = {desk.take(), desk.take()}
    assert cell not in others
    assert desk.take() is None
    assert [(event.cell, event.state) for event in desk.adopted if isinstance(event, Adopted)] == [(cell, "finished")]
    assert [outcome for one, outcome, _ in desk.attempts() if one == cell.id] == ["lost", "finished"]


# The lease


def test_a_launch_that_stood_still_asks_what_is_done_and_goes_on_with_the_rest(desk: Desk) -> None:
    mine = [desk.take(), desk.take()]
    assert mine[0]
    assert mine[1]
    with desk.registry.writing() as session:
        session.query(LeaseRow).update({"machine": "elsewhere"})
    now = [0.0]

    def wait(seconds: float) -> None:
        now[0] += seconds

    heir = held(desk.registry, Plan(desk.lease.asked, tuple(desk.cells)), watch=Watch(lambda: now[0]), wait=wait)
    other = heir.__enter__()
    assert other.claim(mine[0]) == "mine"
    desk.registry.start_attempt(mine[0], "grid", node="there", started=7.0)
    desk.publish(mine[0], 7.0)
    desk.registry.record(Finished(mine[0], Attempt("there", 7.0, 2.0), {}), "grid")
    heir.__exit__(None, None, None)

    desk.lease.renew()
    assert desk.states.is_stopping(), "running cells save their state"
    assert len(desk.said) == 1
    assert desk.take() is None, "not before they have stopped"
    for cell in mine:
        assert cell
        desk.end(cell, "stopped")
    left = [desk.take(), desk.take(), desk.take()]
    assert not desk.states.is_stopping()
    assert {cell.id for cell in left if cell} == {cell.id for cell in desk.cells} - {mine[0].id}
    assert [event.cell for event in desk.adopted] == [mine[0]]
    for cell in left:
        if cell:
            desk.end(cell)
    finished = [cell for cell, outcome, _ in desk.attempts() if outcome == "finished"]
    assert sorted(finished) == sorted(cell.id for cell in desk.cells), "every cell finishes once"


# Waiting


def test_an_outage_is_said_once_and_ends_when_the_service_answers() -> None:
    said: list[str] = []
    asked: list[int] = []

    def cure() -> None:
        asked.append(1)
        if len(asked) < 3:
            raise ValueError

    outage = Outage("It", cure, said.append)
    outage.begin("It is gone.")
    outage.begin("It is gone, too.")
    until(lambda: not outage.is_on)
    assert len(asked) == 3
    assert said == ["It is gone. Cells that run go on; others wait until it answers.", "It answers again."]


@pytest.mark.parametrize(("later", "is_same"), [(29.0, True), (31.0, False)])
def test_an_outage_that_begins_anew_at_once_is_the_same_one(later: float, is_same: bool) -> None:
    now = [0.0]
    said: list[str] = []
    outage = Outage("It", lambda: None, said.append, lambda: now[0])
    outage.begin("It is full.")
    now[0] = outages.PATIENCE - 10
    until(lambda: not outage.is_on)
    now[0] += later
    outage.begin("It is full.")
    assert outage.is_too_long == is_same
    outage.close()


def test_work_that_needs_a_service_is_done_as_soon_as_that_answers() -> None:
    now = [0.0]
    answers = iter([StoreUnreachableError("Away."), UnreachableError("Away."), "done"])
    said: list[str] = []

    def work() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def wait(seconds: float) -> None:
        now[0] += seconds

    assert patiently(work, said.append, wait, lambda: now[0]) == "done"
    assert said == ["Away. The launch waits until it answers."]


def test_work_is_not_tried_for_ever_and_not_again_after_another_error() -> None:
    now = [0.0]

    def wait(seconds: float) -> None:
        now[0] += seconds

    def away() -> None:
        raise UnreachableError("Away.")

    def wrong() -> None:
        raise ValueError("wrong")

    with pytest.raises(OutageError, match=r"^Away\. Everything finished so far is kept"):
        patiently(away, lambda _: None, wait, lambda: now[0])
    assert outages.PATIENCE < now[0] < outages.PATIENCE + outages.LONGEST_PAUSE + 1
    with pytest.raises(ValueError, match="wrong"):
        patiently(wrong, lambda _: None, wait, lambda: now[0])
