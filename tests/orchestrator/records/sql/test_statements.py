"""What a launch notes of a cell takes a few statements, which find their rows by an index."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, event

from orchestrator.experiment.plan import Cell, Plan, identity
from orchestrator.experiment.resources import Resources
from orchestrator.outcome import Attempt, Finished, Lost
from orchestrator.records.sql.leases import held
from orchestrator.records.sql.registry import Registry
from trainers.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ATTEMPT = Attempt("gpu-1", 1_700_000_000.0, 2.5)

MOST = 6
"""Statements of a note, with the one that begins its transaction."""


def a_plan(cells: int) -> Plan:
    document = {"name": "many", "question": "Which?", "claims": []}
    experiment: Any = SimpleNamespace(name="many", question="Which?", model_dump=lambda *, mode: document)

    def cell(seed: int) -> Cell:
        fields = {"loss": "softmax", "backbone": "resnet8", "dataset": "digits", "seed": seed}
        recipe = Recipe.model_validate(fields)
        return Cell(identity(recipe), "softmax", "resnet8", "digits", seed, recipe, Resources())

    return Plan(experiment, tuple(map(cell, range(cells))))


@contextmanager
def listened() -> Iterator[list[tuple[str, Any]]]:
    """The statements of all engines within, with their parameters."""
    said: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        said.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def notes(registry: Registry, cells: int) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """The statements of each note about one cell, the last of `cells`, whose first attempt is lost."""
    whole = a_plan(cells)
    with held(registry, whole) as lease:
        for cell in whole.cells[:-1]:
            assert lease.claim(cell) == "mine"
            registry.start_attempt(cell, lease.experiment, node="gpu-1", started=1.0)
            registry.record(Finished(cell, ATTEMPT, {}), lease.experiment)
        last = whole.cells[-1]
        works: list[tuple[str, Callable[[], object]]] = [
            ("claim", lambda: lease.claim(last)),
            ("start", lambda: registry.start_attempt(last, lease.experiment, node="gpu-1", started=2.0)),
            ("loss", lambda: registry.record(Lost(last, ATTEMPT, "preempted", "gone", ""), lease.experiment)),
            ("second claim", lambda: lease.claim(last)),
            ("second start", lambda: registry.start_attempt(last, lease.experiment, node="gpu-2", started=3.0)),
            ("end", lambda: registry.record(Finished(last, Attempt("gpu-2", 3.0, 2.5), {}), lease.experiment)),
        ]
        for name, work in works:
            with listened() as said:
                work()
            yield name, said


def test_each_note_takes_few_statements_and_as_many_among_a_hundred_cells_as_alone(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    found: list[dict[str, int]] = []
    for cells in (1, 100):
        with Registry.open(f"sqlite:///{tmp_path_factory.mktemp('registry')}/registry.db") as registry:
            found.append({name: len(said) for name, said in notes(registry, cells)})
    alone, among = found
    assert among == alone
    assert max(alone.values()) <= MOST


def test_no_note_looks_through_the_rows_of_a_table_that_grows_with_the_cells(sqlite_url: str) -> None:
    with Registry.open(sqlite_url) as registry:
        for name, said in notes(registry, 3):
            for statement, parameters in said:
                if statement.startswith(("SELECT", "UPDATE", "DELETE")):
                    with registry.reading() as session:
                        steps = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                        scanned = [row[3] for row in steps if row[3].startswith("SCAN")]
                    assert scanned in ([], ["SCAN leases"]), (name, statement)
