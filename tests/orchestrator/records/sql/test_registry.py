"""The registry on SQLite and on PostgreSQL: what it keeps, and what it refuses to open."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from orchestrator.errors import UnreachableError, WorkspaceError
from orchestrator.experiment.plan import Cell, Plan, identity
from orchestrator.experiment.resources import Resources
from orchestrator.outcome import Attempt, Collapsed, Diverged, Failed, Finished, Lost, Stopped
from orchestrator.records.sql import database, migrations
from orchestrator.records.sql.registry import Registry
from orchestrator.records.sql.schema import Row
from orchestrator.records.sql.status import Artefact, Failure, Running, seconds_left
from trainers.backbones import Backbone, Extractor, InputShape
from trainers.datasets import Dataset, TrainTest
from trainers.losses import Loss
from trainers.losses.softmax import Softmax
from trainers.recipe import Recipe, Training

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Connection


STARTED = 1_700_000_000.25
MOMENT = datetime.fromtimestamp(STARTED, UTC)
ATTEMPT = Attempt(node="gpu-1", started=STARTED, seconds=2.5)


class Tiny(Backbone):
    """A backbone that is never built."""

    name = "tiny"

    def build(self, shape: InputShape) -> Extractor:
        """Not here."""
        raise NotImplementedError


class Toy(Dataset):
    """A dataset that is never read."""

    name = "toy"

    def load(self, data_dir: Path) -> TrainTest:
        """Not here."""
        raise NotImplementedError

    def prepare(self, data_dir: Path) -> None:
        """Nothing to do."""


class Other(Softmax):
    """A second loss."""

    name = "other"


def cell(seed: int = 0, *, loss: Loss | None = None, label: str | None = None) -> Cell:
    """A cell of a recipe that differs by its seed and loss."""
    loss = loss or Softmax()
    recipe = Recipe.model_construct(loss=loss, backbone=Tiny(), dataset=Toy(), seed=seed, training=Training(epochs=3))
    return Cell(identity(recipe), label or loss.name, "tiny", "toy", seed, recipe, Resources())


def plan(cells: Sequence[Cell], name: str = "first", *, claims: Sequence[str] = ()) -> Plan:
    """A plan of these cells."""
    document = {"name": name, "question": "Which?", "claims": list(claims)}
    experiment: Any = SimpleNamespace(name=name, question="Which?", model_dump=lambda *, mode: document)
    return Plan(experiment, tuple(cells))


def failed(which: Cell, error: str = "Out of memory.", story: str = "Traceback: …") -> Failed:
    """The outcome of a cell that broke."""
    return Failed(which, ATTEMPT, error, story)


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """A look at a database without the registry's help; changes are committed at the end."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    """The answer to a query."""
    with connected(url) as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def content(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table."""
    return {table: sorted(rows(url, f"SELECT * FROM {table}"), key=repr) for table in Row.metadata.tables}


@pytest.fixture
def index(url: str) -> Iterator[Registry]:
    """An open, empty registry."""
    with Registry.open(url) as opened:
        yield opened


# What is kept


def test_a_planned_cell_is_planned(index: Registry) -> None:
    cells = [cell(seed) for seed in range(3)]
    index.plan(plan(cells))
    assert index.states("first") == {one.id: "planned" for one in cells}


def test_a_plan_recorded_twice_changes_nothing(index: Registry, url: str) -> None:
    index.plan(plan([cell(0), cell(1)]))
    index.record(failed(cell(0)), "first")
    before = content(url)
    index.plan(plan([cell(0), cell(1)]))
    assert content(url) == before


def test_planning_again_keeps_the_states(index: Registry) -> None:
    index.plan(plan([cell(0)]))
    index.record(Finished(cell(0), ATTEMPT, {}), "first")
    index.plan(plan([cell(0), cell(1)]))
    assert index.states("first") == {cell(0).id: "finished", cell(1).id: "planned"}


def test_a_cell_that_is_no_longer_asked_for_leaves_its_experiment_but_not_the_registry(
    index: Registry,
) -> None:
    index.plan(plan([cell(0), cell(1)], "first"))
    index.plan(plan([cell(0), cell(1)], "second"))
    index.plan(plan([cell(0)], "first"))
    assert set(index.states("first")) == {cell(0).id}
    assert set(index.states("second")) == {cell(0).id, cell(1).id}


def test_the_claims_of_the_first_launch_are_remembered(index: Registry, url: str) -> None:
    query = "SELECT claims_hash, first_launched FROM experiments"
    index.plan(plan([cell(0)], claims=["before"]))
    stated = rows(url, query)
    index.plan(plan([cell(0)], claims=["after"]))
    assert rows(url, query) == stated


def test_experiments_are_listed_in_the_order_of_their_first_launch(index: Registry) -> None:
    for name in ("zebra", "ape", "zebra"):
        index.plan(plan([cell(0)], name))
    assert index.experiments() == ["zebra", "ape"]


def test_labels_of_two_experiments_sharing_a_cell_stay_apart(index: Registry) -> None:
    index.plan(plan([cell(0, label="plain")], "first"))
    index.plan(plan([cell(0, label="ours")], "second"))
    index.record(failed(cell(0)), "first")
    assert [failure.name for failure in index.failures("first")] == ["plain/tiny/toy/s0"]
    assert [failure.name for failure in index.failures("second")] == ["ours/tiny/toy/s0"]


def test_a_label_follows_the_experiment_file(index: Registry) -> None:
    index.plan(plan([cell(0, label="plain")]))
    index.plan(plan([cell(0, label="renamed")]))
    index.record(failed(cell(0)), "first")
    assert [failure.name for failure in index.failures("first")] == ["renamed/tiny/toy/s0"]


def test_a_started_cell_runs_since_then(index: Registry) -> None:
    index.plan(plan([cell(0), cell(1)]))
    index.start_attempt(cell(1), "first", node="gpu-1", started=STARTED)
    status = index.status("first")
    (running,) = status.running
    assert running == Running(cell(1).id, "softmax/tiny/toy/s1", "gpu-1", MOMENT, running.seen, 0, running.epochs)
    assert status.counts == {"planned": 1, "running": 1, "finished": 0, "collapsed": 0, "diverged": 0, "failed": 0}


def test_an_outcome_closes_its_attempt(index: Registry, url: str) -> None:
    index.plan(plan([cell(0)]))
    index.start_attempt(cell(0), "first", node="?", started=STARTED - 60)
    index.record(Finished(cell(0), ATTEMPT, {"uniform_accuracy": 0.5}), "first")
    assert rows(url, "SELECT number, node, seconds, outcome FROM attempts") == [(1, "gpu-1", 2.5, "finished")]
    assert index.status("first").running == ()


def test_an_outcome_without_a_start_is_an_attempt_all_the_same(index: Registry, url: str) -> None:
    index.plan(plan([cell(0)]))
    index.record(Diverged(cell(0), ATTEMPT, epoch=7), "first")
    assert rows(url, "SELECT number, outcome, epoch FROM attempts") == [(1, "diverged", 7)]
    assert index.states("first") == {cell(0).id: "diverged"}


def test_a_collapsed_cell_is_a_result_with_its_reason_and_its_time_counts(index: Registry, url: str) -> None:
    index.plan(plan([cell(0)]))
    index.record(Collapsed(cell(0), ATTEMPT, {}, "all 9 images are class 0"), "first")
    assert rows(url, "SELECT outcome, error FROM attempts") == [("collapsed", "all 9 images are class 0")]
    assert index.states("first") == {cell(0).id: "collapsed"}
    assert index.status("first").counts["collapsed"] == 1
    assert index.failures("first") == []
    assert [sum(seconds) for seconds in index.durations().values()] == [2.5]
    index.record(failed(cell(0)), "first")
    assert index.states("first") == {cell(0).id: "collapsed"}
    assert not index.restore(Collapsed(cell(0), ATTEMPT, {}, "all 9 images are class 0"), "first")
    sentence = "softmax/tiny/toy/s0, attempt 1 on gpu-1, collapsed after 2.5 s: all 9 images are class 0."
    assert story_of(index)[0] == ("collapsed", sentence)


def test_a_failed_cell_keeps_its_reason_and_traceback(index: Registry) -> None:
    index.plan(plan([cell(0)]))
    index.record(failed(cell(0), "Out of memory.", "Traceback: …"), "first")
    when = datetime.fromtimestamp(STARTED + 2.5, UTC)
    reason = Failure(cell(0).id, "softmax/tiny/toy/s0", "Out of memory.", "Traceback: …", when)
    assert index.failures("first") == [reason]
    assert index.status("first").failures == (reason,)


def test_an_error_that_no_database_stores_is_kept_legibly(index: Registry) -> None:
    index.plan(plan([cell(0)]))
    index.record(failed(cell(0), "bad\0byte \ud800"), "first")
    assert index.failures("first")[0].error == r"bad\x00byte \ud800"


def test_every_attempt_stays_a_row(index: Registry, url: str) -> None:
    index.plan(plan([cell(0)]))
    index.record(failed(cell(0), "First."), "first")
    index.record(failed(cell(0), "Second."), "first")
    assert [failure.error for failure in index.failures("first")] == ["Second."]
    index.record(Finished(cell(0), ATTEMPT, {}), "first")
    kept = rows(url, "SELECT number, outcome, error FROM attempts ORDER BY number")
    assert kept == [(1, "failed", "First."), (2, "failed", "Second."), (3, "finished", None)]
    assert index.failures("first") == []


def test_a_cell_started_again_closes_the_attempt_before(index: Registry, url: str) -> None:
    index.plan(plan([cell(0)]))
    index.start_attempt(cell(0), "first", node="gpu-1", started=STARTED)
    index.start_attempt(cell(0), "first", node="gpu-2", started=STARTED + 60)
    kept = rows(url, "SELECT number, node, outcome FROM attempts ORDER BY number")
    assert kept == [(1, "gpu-1", "interrupted"), (2, "gpu-2", "running")]
    assert [running.node for running in index.status("first").running] == ["gpu-2"]


def test_a_failure_does_not_undo_a_result(index: Registry) -> None:
    for experiment in ("first", "second"):
        index.plan(plan([cell(0)], experiment))
        index.start_attempt(cell(0), experiment, node="gpu-1", started=STARTED)
    index.record(Finished(cell(0), ATTEMPT, {}), "first")
    index.record(failed(cell(0)), "second")
    assert index.states("second") == {cell(0).id: "finished"}


@pytest.mark.parametrize("ended", [failed(cell(0)), Stopped(cell(0), ATTEMPT)], ids=["failed", "stopped"])
def test_a_cell_that_another_experiment_is_at_goes_on_running_whatever_becomes_of_the_first(
    index: Registry, ended: Failed | Stopped
) -> None:
    for number, experiment in enumerate(("first", "second")):
        index.plan(plan([cell(0)], experiment))
        index.start_attempt(cell(0), experiment, node="gpu-1", started=STARTED + number)
    index.record(ended, "first")
    assert index.states("second") == {cell(0).id: "running"}
    index.record(replace(ended, attempt=replace(ATTEMPT, started=STARTED + 1)), "second")
    assert index.states("second") == {cell(0).id: "failed" if isinstance(ended, Failed) else "planned"}


def test_a_lost_attempt_keeps_its_fault_and_its_cell_is_planned_again(index: Registry, url: str) -> None:
    index.plan(plan([cell(0)]))
    index.start_attempt(cell(0), "first", node="gpu-1", started=STARTED)
    index.record(Lost(cell(0), ATTEMPT, "node", "The machine went.", "Traceback: …"), "first")
    kept = rows(url, "SELECT outcome, fault, error, node, seconds FROM attempts")
    assert kept == [("lost", "node", "The machine went.", "gpu-1", 2.5)]
    assert index.states("first") == {cell(0).id: "planned"}
    assert index.failures("first") == []


def test_a_stopped_attempt_is_interrupted(index: Registry, url: str) -> None:
    index.plan(plan([cell(0)]))
    index.start_attempt(cell(0), "first", node="gpu-1", started=STARTED)
    index.record(Stopped(cell(0), ATTEMPT), "first")
    assert rows(url, "SELECT outcome FROM attempts") == [("interrupted",)]
    assert index.states("first") == {cell(0).id: "planned"}


def test_an_attempt_that_was_cut_short_and_had_finished_is_one_attempt_that_finished(index: Registry, url: str) -> None:
    index.plan(plan([cell(0), cell(1)]))
    for one in (cell(0), cell(1)):
        index.start_attempt(one, "first", node="gpu-1", started=ATTEMPT.started)
        index.record(Stopped(one, ATTEMPT), "first")
    assert index.cut_short("first") == {cell(0).id, cell(1).id}
    assert index.restore(Finished(cell(0), ATTEMPT, {}), "first")
    index.start_attempt(cell(1), "first", node="gpu-1", started=ATTEMPT.started + 60)
    index.record(Finished(cell(1), replace(ATTEMPT, started=ATTEMPT.started + 60), {}), "first")
    kept = rows(url, "SELECT cell, number, outcome FROM attempts ORDER BY cell, number")
    ended = [(cell(0).id, 1, "finished"), (cell(1).id, 1, "interrupted"), (cell(1).id, 2, "finished")]
    assert kept == sorted(ended)
    assert index.cut_short("first") == set()


def test_a_running_cell_shows_how_far_it_is_and_when_it_was_heard_of(index: Registry) -> None:
    index.plan(plan([cell(0)]))
    index.start_attempt(cell(0), "first", node="gpu-1", started=STARTED)
    index.note_alive(cell(0), "first", 2)
    index.note_alive(cell(0), "first")
    (running,) = index.status("first").running
    assert running.progress == 2
    assert running.seen is not None
    assert (datetime.now(UTC) - running.seen).total_seconds() < 60


def test_time_left_follows_from_cells_that_ended_and_from_those_that_run() -> None:
    now = datetime.fromtimestamp(STARTED + 10, UTC)
    one = Running("a", "a", "gpu-1", MOMENT, None, progress=2, epochs=8)
    other = Running("b", "b", "gpu-1", MOMENT, None, progress=0, epochs=8)
    kind = ("softmax", "tiny", "toy")
    assert seconds_left([], {kind: 3}, {kind: [20.0]}, now) is None
    assert seconds_left([other], {kind: 3}, {}, now) is None
    assert seconds_left([one], {}, {}, now) == pytest.approx(30)
    assert seconds_left([one, other], {kind: 3}, {kind: [10.0, 30.0]}, now) == pytest.approx((3 * 20 + 30 + 10) / 2)
    assert seconds_left([one], {("hinge", "tiny", "toy"): 2}, {}, now) == pytest.approx(2 * 40 + 30)


def test_the_attempts_at_a_cell_are_told_with_where_it_failed(index: Registry) -> None:
    index.plan(plan([cell(0), cell(1)]))
    for one in (cell(0), cell(1)):
        index.start_attempt(one, "first", node="gpu-1", started=STARTED)
        index.record(Failed(one, ATTEMPT, "ValueError: no", "the trace"), "first")
    (tried,) = index.tried(cell(0).id[:12])
    assert (tried.cell, tried.name, tried.number, tried.outcome) == (cell(0).id, "softmax/tiny/toy/s0", 1, "failed")
    assert (tried.error, tried.traceback) == ("ValueError: no", "the trace")
    assert index.tried("%") == index.tried(cell(0).id, "second") == []


def test_the_registry_follows_the_files(index: Registry) -> None:
    index.plan(plan([cell(0), cell(1), cell(2)]))
    index.adopt({cell(0).id: "finished", cell(1).id: "diverged", cell(9).id: "finished"})
    expected = {cell(0).id: "finished", cell(1).id: "diverged", cell(2).id: "planned"}
    assert index.states("first") == expected
    assert index.states_of([one.id for one in (cell(0), cell(1), cell(2), cell(9))]) == expected
    index.adopt({})
    assert index.states("first") == expected


# What happened, and what was left


def story_of(index: Registry, experiment: str = "first") -> list[tuple[str, str]]:
    return [(event.kind, event.sentence) for event in index.events(experiment)]


def test_the_story_of_a_cell_is_told_in_sentences(index: Registry) -> None:
    index.plan(plan([cell(0)]))
    index.start_attempt(cell(0), "first", node="gpu-1", started=STARTED)
    index.record(Lost(cell(0), ATTEMPT, "node", "The machine went.", "Traceback: …"), "first")
    index.start_attempt(cell(0), "first", node="gpu-2", started=STARTED + 60)
    index.record(Stopped(cell(0), Attempt("gpu-2", STARTED + 60, 1.0)), "first")
    index.record(failed(cell(0), "Broke at postgresql://ann:s3cret@host."), "first")
    index.record(Diverged(cell(0), ATTEMPT, epoch=7), "first")
    index.record(Finished(cell(0), ATTEMPT, {}), "first")
    name = "softmax/tiny/toy/s0"
    assert story_of(index) == [
        ("started", f"{name} begins on gpu-1."),
        ("lost", f"{name}, attempt 1 on gpu-1, was lost (node) and is to be tried again: The machine went."),
        ("retried", f"{name} begins on gpu-2, attempt 2."),
        ("interrupted", f"{name}, attempt 2 on gpu-2, was stopped."),
        ("failed", f"{name}, attempt 3 on gpu-1, failed: Broke at postgresql://***@host."),
        ("diverged", f"{name}, attempt 4 on gpu-1, diverged in epoch 7."),
        ("finished", f"{name}, attempt 5 on gpu-1, finished after 2.5 s."),
    ]
    assert {event.cell for event in index.events("first")} == {cell(0).id}


def test_no_password_of_a_url_is_stored(index: Registry, url: str) -> None:
    index.plan(plan([cell(0)]))
    trace = "Traceback: postgresql://ann:s3cret@host"
    index.record(failed(cell(0), "Broke at postgresql://ann:s3cret@host.", trace), "first")
    assert "s3cret" not in str(content(url))


def test_what_could_not_be_noted_is_not_told(index: Registry, url: str) -> None:
    index.plan(plan([cell(0)]))
    with pytest.raises(UnreachableError, match="is not as it was left"):
        index.record(Finished(cell(0), ATTEMPT, {}), "nobody")
    assert rows(url, "SELECT * FROM events") == []


def test_many_cells_adopted_at_once_are_told_once_and_only_where_that_was_news(index: Registry) -> None:
    cells = [cell(seed) for seed in range(5)]
    index.plan(plan(cells))
    for _ in range(2):
        index.adopt({one.id: "finished" for one in cells}, "first")
    index.adopt({cell(0).id: "planned"}, "first")
    assert story_of(index) == [
        ("adopted", "5 cells are done by their files."),
        ("adopted", "1 cell that has no file is planned again."),
    ]


def test_a_status_ends_with_the_last_events_in_their_order(index: Registry) -> None:
    index.plan(plan([cell(0)], "first"))
    index.plan(plan([cell(0)], "second"))
    for number in range(12):
        index.tell("rebuilt", str(number), "first")
        index.tell("rebuilt", "another's", "second")
    assert [event.sentence for event in index.status("first").events] == [str(number) for number in range(2, 12)]
    assert [event.sentence for event in index.events("first", 1)] == ["11"]


def test_what_was_left_is_found_by_its_experiment_and_by_those_that_share_a_cell(index: Registry) -> None:
    index.plan(plan([cell(0)], "first"))
    index.plan(plan([cell(0)], "second"))
    file = Artefact("file:///a", "evaluation", cell(0).id, bytes=2**40, created=MOMENT)
    run = Artefact("runs:/1", "run", cell(0).id, "first")
    table = Artefact("file:///t", "table", None, "first", "0" * 64)
    index.note_artefacts([file, run, table])
    assert index.artefacts("first") == [file, table, run]
    assert index.artefacts("second") == [file]
    assert index.status("first").documents == (table,)
    assert index.status("second").documents == ()


def test_what_is_left_is_brought_up_to_date_and_forgotten_where_all_is_told(index: Registry) -> None:
    index.plan(plan([cell(0)]))
    old, new = (Artefact("file:///a", "evaluation", cell(0).id, bytes=size) for size in (1, 2))
    run, other = (Artefact(f"runs:/{number}", "run", cell(0).id, "first") for number in range(2))
    index.note_artefacts([old, run])
    index.note_artefacts([new])
    assert index.artefacts("first") == [new, run]
    index.note_artefacts([new, other], all_of="first")
    assert index.artefacts("first") == [new, other]
    index.note_artefacts([], all_of="first")
    assert index.artefacts("first") == []


def test_durations_are_those_of_finished_attempts_by_kind(index: Registry) -> None:
    other = cell(0, loss=Other(), label="anything")
    index.plan(plan([cell(0), cell(1), other], "first"))
    index.plan(plan([cell(0)], "second"))
    for seed in range(2):
        index.record(Finished(cell(seed), Attempt("gpu-1", STARTED, 10.0 + seed), {}), "first")
    index.record(failed(other), "first")
    index.record(Finished(other, ATTEMPT, {}), "first")
    softmax = ("softmax", "tiny", "toy")
    assert index.durations() == {softmax: [10.0, 11.0], ("other", "tiny", "toy"): [2.5]}
    assert index.durations("first") == index.durations()
    assert index.durations("second") == {softmax: [10.0]}


def test_an_unknown_experiment_has_nothing(index: Registry) -> None:
    status = index.status("nobody")
    assert set(status.counts.values()) == {0}
    assert index.states("nobody") == {}


def test_an_attempt_on_behalf_of_no_known_experiment_is_refused(index: Registry) -> None:
    index.plan(plan([cell(0)]))
    with pytest.raises(UnreachableError, match="is not as it was left"):
        index.record(Finished(cell(0), ATTEMPT, {}), "nobody")
    assert index.states("first") == {cell(0).id: "planned"}


def test_what_is_recorded_outlives_the_registry(url: str) -> None:
    with Registry.open(url) as index:
        index.plan(plan([cell(0)]))
        index.record(Finished(cell(0), ATTEMPT, {}), "first")
    with Registry.open(url) as index:
        assert index.states("first") == {cell(0).id: "finished"}


# Opening


def test_migrating_an_empty_database_gives_the_schema_of_the_metadata(url: str) -> None:
    Registry.open(url).close()
    with connected(url) as connection:
        # SQLite minds no length, so its columns keep the one that they were created with.
        types = connection.dialect.name != "sqlite"
        found = MigrationContext.configure(connection, opts={"compare_type": types})
        assert compare_metadata(found, Row.metadata) == []


REVISIONS = [script.revision for script in ScriptDirectory(str(migrations.__path__[0])).walk_revisions()]


@pytest.mark.parametrize("revision", sorted(REVISIONS))
def test_a_registry_of_every_revision_is_migrated_with_what_it_holds(url: str, revision: str) -> None:
    with connected(url) as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", "orchestrator.records.sql:migrations")
        config.set_main_option("path_separator", "os")
        command.upgrade(config, revision)
    when = "2026-01-02 03:04:05"
    recipe = json.dumps(cell(0).recipe.model_dump(mode="json"))
    with connected(url) as connection:
        for statement, values in {
            "INSERT INTO experiments VALUES ('first', 'Which?', :hash, '{}', :when)": {"hash": "0" * 64},
            "INSERT INTO cells VALUES (:id, 'softmax', 'tiny', 'toy', 0, :recipe, 'failed', :when)": {"recipe": recipe},
            "INSERT INTO experiment_cells VALUES ('first', :id, 'softmax', 'tiny', 'toy')": {},
            "INSERT INTO attempts (cell, experiment, number, node, started, seconds, outcome, error, traceback) "
            "VALUES (:id, 'first', 1, 'gpu-1', :when, 2.5, 'failed', 'It broke.', 'Traceback: …')": {},
        }.items():
            connection.execute(text(statement), {"id": cell(0).id, "when": when, **values})
        for since, statement in {
            "0002": "INSERT INTO leases VALUES ('me', 'first', 'here', 'this', 1, 'long ago', :when, :when)",
            "0003": "INSERT INTO events (time, experiment, cell, kind, sentence) "
            "VALUES (:when, 'first', :id, 'failed', 'It broke.')",
        }.items():
            if revision >= since:
                connection.execute(text(statement), {"id": cell(0).id, "when": when})
    with Registry.open(url) as index:
        assert len(index.status("first").launches) == (revision >= "0002")
        assert [event.sentence for event in index.events("first")] == ["It broke."] * (revision >= "0003")
        assert index.states("first") == {cell(0).id: "failed"}
        (failure,) = index.failures("first")
        assert (failure.error, failure.traceback) == ("It broke.", "Traceback: …")
        index.record(Finished(cell(0), ATTEMPT, {}), "first")
        assert index.states("first") == {cell(0).id: "finished"}
        assert index.events("first")[-1].kind == "finished"


def test_head_is_the_newest_revision() -> None:
    assert ScriptDirectory(str(migrations.__path__[0])).get_heads() == [migrations.HEAD]


def test_a_newer_schema_is_refused(url: str) -> None:
    Registry.open(url).close()
    with connected(url) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(WorkspaceError, match=r"has schema 9999, newer than \d{4}.*upgrade the orchestrator") as caught:
        Registry.open(url)
    assert "s3cret" not in story(caught.value)


OPENER = """
import pathlib, sys, time
from orchestrator.records.sql.registry import Registry
url, folder, name = sys.argv[1:]
pathlib.Path(folder, name).touch()
while not pathlib.Path(folder, "go").exists():
    time.sleep(0.001)
Registry.open(url).close()
print("alembic" in sys.modules)
"""


def opener(url: str, folder: Path, name: str, *, first: str = "") -> subprocess.Popen[str]:
    """Another process that opens a registry as soon as the file `go` is there."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", first + OPENER, url, str(folder), name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_openers_of_a_fresh_database_at_once_all_succeed(url: str, tmp_path: Path) -> None:
    names = [f"opener{number}" for number in range(4)]
    # With Alembic imported beforehand, all of them migrate within the same milliseconds.
    openers = [opener(url, tmp_path, name, first="import alembic.command\n") for name in names]
    while not all((tmp_path / name).exists() for name in names):
        assert all(process.poll() is None for process in openers)
        time.sleep(0.01)
    (tmp_path / "go").touch()
    errors = [process.communicate(timeout=60)[1] for process in openers]
    assert [process.returncode for process in openers] == [0, 0, 0, 0], errors


def test_a_current_registry_opens_without_alembic(url: str, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    imported = [opener(url, tmp_path, name).communicate(timeout=60)[0].strip() for name in ("fresh", "current")]
    assert imported == ["True", "False"]


def story(error: BaseException) -> str:
    """All that a user may see of an error, with `--debug` or without."""
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://owner:s3cret@127.0.0.1:1/registry",
        "postgres://owner:s3cret@127.0.0.1:1/registry",
        "postgresql://127.0.0.1:1/registry?user=owner&password=s3cret",
        "postgresql://owner:@s3cret@127.0.0.1:1/registry",
        "postgresql://owner:s3cret@127.0.0.1:port/registry",
        "postgresql://owner:x:s3cret:y@127.0.0.1:1/registry",
        "mysql://owner:s3cret@127.0.0.1:1/registry",
        "postgresql+nodriver://owner:s3cret@127.0.0.1:1/registry",
        "owner:s3cret",
        "",
    ],
)
def test_passwords_never_appear_in_errors(url: str) -> None:
    with pytest.raises(UnreachableError) as caught:
        Registry.open(url)
    assert "s3cret" not in story(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_password_is_refused_without_showing_it(postgresql_url: str) -> None:
    wrong = "s3cret"[::-1]
    with pytest.raises(UnreachableError, match="password authentication failed") as caught:
        Registry.open(postgresql_url.replace("s3cret", wrong))
    assert wrong not in story(caught.value)


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PATIENCE", 2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        with pytest.raises(UnreachableError, match="check that PostgreSQL runs there"):
            Registry.open(f"postgresql://owner:s3cret@127.0.0.1:{silent.getsockname()[1]}/registry")
    assert time.monotonic() - began < 60


def test_a_database_that_goes_away_is_unreachable(postgresql_server: str, postgresql_url: str) -> None:
    name = postgresql_url.rpartition("/")[2]
    with Registry.open(postgresql_url) as index:
        with connected(f"{postgresql_server}/postgres") as server:
            server.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
            server.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"))
        with pytest.raises(UnreachableError, match=f"{name} does not answer"):
            index.experiments()


def test_a_dropped_connection_is_replaced(postgresql_server: str, postgresql_url: str) -> None:
    name = postgresql_url.rpartition("/")[2]
    with Registry.open(postgresql_url) as index:
        with connected(f"{postgresql_server}/postgres") as server:
            server.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"))
        assert index.experiments() == []


def test_a_missing_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UnreachableError, match=r"pip install 'psycopg\[binary\]'"):
        Registry.open("postgresql://owner@127.0.0.1/registry")


def test_a_file_in_a_missing_folder_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match=r"unable to open database file.*check that its folder exists"):
        Registry.open(f"sqlite:///{tmp_path}/nowhere/registry.db")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "registry.db").write_text("This is no database. " * 100)
    with pytest.raises(UnreachableError, match="file is not a database"):
        Registry.open(f"sqlite:///{tmp_path / 'registry.db'}")


def test_a_sqlite_registry_is_read_while_it_is_written(sqlite_url: str) -> None:
    with Registry.open(sqlite_url) as index:
        index.plan(plan([cell(0)]))
        assert rows(sqlite_url, "PRAGMA journal_mode") == [("wal",)]
        with connected(sqlite_url) as writer:
            writer.execute(text("UPDATE cells SET state = 'running'"))
            assert index.states("first") == {cell(0).id: "planned"}
        assert index.states("first") == {cell(0).id: "running"}


def test_a_sqlite_file_that_is_in_use_while_it_is_opened_is_waited_for(sqlite_url: str) -> None:
    user = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), check_same_thread=False, isolation_level=None)
    user.execute("CREATE TABLE anything (x)")
    user.execute("BEGIN")
    user.execute("INSERT INTO anything VALUES (1)")
    release = threading.Timer(0.3, user.execute, ["ROLLBACK"])
    release.start()
    with Registry.open(sqlite_url) as index:
        assert index.experiments() == []
    release.join()
    user.close()


@pytest.mark.parametrize("is_open", [False, True], ids=["idle", "open elsewhere"])
def test_a_registry_that_may_only_be_read_is_read_and_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_open: bool
) -> None:
    url = f"sqlite:///{tmp_path / 'registry.db'}"
    theirs = Registry.open(url)
    theirs.plan(plan([cell()], "study"))
    if not is_open:
        theirs.close()
    before = sorted(path.name for path in tmp_path.iterdir())
    assert len(before) == (3 if is_open else 1)
    known = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and known(path, mode))
    with Registry.open(url) as registry:
        assert registry.experiments() == ["study"]
        with pytest.raises(UnreachableError, match="readonly"):
            registry.plan(plan([cell(1)], "other"))
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    theirs.close()
