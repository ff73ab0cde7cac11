"""What was left is found again: after a launch by the registry, and by whoever asks for a status."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from orchestrator.experiment.plan import Plan, plan
from orchestrator.experiment.reading import load
from orchestrator.outcome import Attempt, Finished, Lost
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.storage import Storage
from orchestrator.records.inventory import documents, take_inventory
from orchestrator.records.sql.registry import Registry
from orchestrator.report.terminal.status import status_json, statuses
from orchestrator.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orchestrator.records.files.evaluations import Account
    from orchestrator.workspace import Location
    from trainers.evaluation import Evaluation

ATTEMPT = Attempt("gpu-1", 1_700_000_000.0, 2.5)


@pytest.fixture
def asked(tiny: str, written: Callable[[str], Path]) -> Plan:
    return plan(load(written(tiny)))


@pytest.fixture
def registry(sqlite_url: str, asked: Plan) -> Iterator[Registry]:
    with Registry.open(sqlite_url) as opened:
        opened.plan(asked)
        yield opened


def test_an_inventory_finds_what_lies_in_folders_and_object_stores(
    place: Location, registry: Registry, asked: Plan, an_account: Callable[..., Account], evaluation: Evaluation
) -> None:
    workspace = Workspace(place)
    cell = asked.cells[0]
    Evaluations(workspace.evaluations).publish(cell.recipe, an_account(cell), evaluation, evaluation)
    Storage(workspace.root).write("results/tiny.parquet", b"table")
    take_inventory(registry, asked, workspace, {cell.id: "1", asked.cells[1].id: "2"})
    left = {one.kind: one for one in registry.artefacts("tiny")}
    assert set(left) == {"evaluation", "validation", "run", "table"}  # a run without a file is no result's
    assert left["evaluation"].uri == Evaluations(workspace.evaluations).path(cell.recipe, cell.id).as_uri()
    assert left["validation"].uri == left["evaluation"].uri.replace("/evaluations/", "/validation/")
    assert left["run"].uri == "runs:/1"
    assert (left["table"].bytes, left["table"].experiment) == (5, "tiny")


def test_a_report_written_later_is_added(registry: Registry, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert list(documents(workspace, "tiny")) == []
    Storage(tmp_path).write("reports/tiny/index.html", b"<html>")
    registry.note_artefacts(documents(workspace, "tiny"))
    assert [one.uri for one in registry.status("tiny").documents] == [workspace.report("tiny").as_uri()]


def test_a_status_shows_what_is_out_of_the_ordinary_and_where_the_report_is(
    registry: Registry, asked: Plan, tmp_path: Path
) -> None:
    for ending in (
        Lost(asked.cells[0], ATTEMPT, "node", "The [machine] went.", ""),
        Finished(asked.cells[0], ATTEMPT, {}),
    ):
        registry.start_attempt(asked.cells[0], "tiny", node="gpu-1", started=ATTEMPT.started)
        registry.record(ending, "tiny")
    Storage(tmp_path).write("reports/tiny/index.html", b"<html>")
    registry.note_artefacts(documents(Workspace(tmp_path), "tiny"))
    status = registry.status("tiny")
    screen = Console(file=io.StringIO(), width=300)
    screen.print(statuses([status], "nothing"))
    shown = screen.file.getvalue().splitlines()[1:]  # pyright: ignore[reportAttributeAccessIssue]
    assert ["The [machine] went." in shown[0], "attempt 2" in shown[1], "report: file:///" in shown[2]] == [True] * 3
    assert len(shown) == 3
    told = json.loads(json.dumps(status_json(status)))
    assert [event["kind"] for event in told["events"]] == ["started", "lost", "retried", "finished"]
    assert told["documents"][0]["bytes"] == 6
