"""A cell that was trained again has a file, a run and a row of its own, and counts as no further cell."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from orchestrator.diagnosis.agreement import agree
from orchestrator.errors import DamagedFileError
from orchestrator.execution.environments import environment, origin
from orchestrator.experiment.plan import Plan, plan
from orchestrator.experiment.reading import load
from orchestrator.launching.old_cells import replicas
from orchestrator.launching.run_plan import enlist, take_stock
from orchestrator.outcome import Attempt, Finished
from orchestrator.provenance.environment import Environment
from orchestrator.records.files import cell_rows, results
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.garbage import garbage
from orchestrator.records.files.import_cells import import_
from orchestrator.records.files.publication import export
from orchestrator.records.files.storage import Storage
from orchestrator.records.rebuild import rebuild
from orchestrator.records.sql.leases import held
from orchestrator.records.sql.registry import Registry
from orchestrator.records.tracking.run import opening
from orchestrator.records.tracking.runs import Tracking
from orchestrator.reproduction.finished_cells import recorded
from orchestrator.reproduction.verification import choose
from orchestrator.stores import Stores
from orchestrator.study import Study
from orchestrator.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.experiment.plan import Cell
    from orchestrator.records.files.evaluations import Account
    from trainers.evaluation import Evaluation

# MLflow's own use of SQLAlchemy; an error there would leave its tables unusable for the whole process.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
    pytest.mark.usefixtures("patient"),
]

RECORDED = {"git_commit": "abc", "threads": 1, "torch_version": "new"}
THERE = Environment.of(RECORDED).id


@pytest.fixture
def asked(written: Callable[[str], Path], tiny: str) -> Plan:
    """Two losses and a seed."""
    return plan(load(written(tiny + "seeds: 1\nrecipe: {epochs: 3}\n")))


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    made = Workspace.at(str(tmp_path / "runs"))
    made.create()
    return made


@pytest.fixture
def evaluations(
    place: Workspace, asked: Plan, an_account: Callable[..., Account], evaluation: Evaluation
) -> Evaluations:
    """Both cells, and a replica of the first."""
    files = Evaluations(place.evaluations)
    for cell in (*asked.cells, asked.cells[0].again_in(THERE)):
        provenance = RECORDED if cell.environment else {**RECORDED, "torch_version": "old"}
        files.publish(cell.recipe, an_account(cell, provenance=provenance), evaluation)
    return files


@pytest.fixture
def replica(asked: Plan) -> Cell:
    return asked.cells[0].again_in(THERE)


def test_its_file_is_beside_the_cells_and_holds_the_same_recipe(evaluations: Evaluations, replica: Cell) -> None:
    assert evaluations.name(replica).endswith(f"/loss=softmax/{replica.id}.parquet")
    assert evaluations.account(replica).cell_id == replica.id
    assert not [told for _, told in evaluations.accounts() if isinstance(told, DamagedFileError)]


def test_a_replica_of_another_environment_than_its_name_says_is_damaged(
    place: Workspace, asked: Plan, an_account: Callable[..., Account], evaluation: Evaluation
) -> None:
    files = Evaluations(place.evaluations)
    forged = asked.cells[0].again_in("0a1b2c3d")
    files.publish(forged.recipe, an_account(forged, provenance=RECORDED), evaluation)
    said = f"named after environment 0a1b2c3d, but was trained in {THERE}"
    with pytest.raises(DamagedFileError, match=said):
        files.checked(files.name(forged))
    with pytest.raises(DamagedFileError, match=said):
        files.account(forged)


def test_it_is_done_apart_from_the_cells(evaluations: Evaluations, asked: Plan, replica: Cell) -> None:
    assert evaluations.ids() == {cell.id for cell in asked.cells}
    assert evaluations.ids(replicas=True) == {*evaluations.ids(), replica.id}
    assert evaluations.replicas(asked.cells) == [replica]
    assert evaluations.replicas(asked.cells[1:]) == []
    assert evaluations.with_replicas(asked).cells == (*asked.cells, replica)


def test_a_replica_of_a_cell_that_is_gone_counts_nowhere(evaluations: Evaluations, asked: Plan) -> None:
    (evaluations.path(asked.cells[0].recipe, asked.cells[0].id)).unlink()  # pyright: ignore[reportAttributeAccessIssue]
    assert evaluations.replicas(asked.cells) == []
    assert results.aggregate(asked, evaluations).replica_rows() == []


def test_the_results_table_has_a_row_a_cell_and_replicas_have_their_own(
    evaluations: Evaluations, asked: Plan, place: Workspace, replica: Cell
) -> None:
    found = results.aggregate(asked, evaluations)
    assert [row["cell_id"] for row in found.rows()] == [cell.id for cell in asked.cells]
    (row,) = found.replica_rows()
    assert (row["cell_id"], row["loss"], row["seed"]) == (replica.id, "softmax", 0)
    assert row["environment"] != found.rows()[0]["environment"]
    table = place.results(asked.experiment.name)
    results.write(found, table)
    written = Storage(table.parent)
    assert [file.name for file in written.list()] == ["tiny.parquet", "tiny.replicas.parquet"]
    again = pq.read_table(str(table.parent / "tiny.replicas.parquet"))
    assert again.schema.names == cell_rows.SCHEMA.names
    assert results.environments(table) == {each["cell_id"]: each["environment"] for each in found.all_rows()}
    evaluations.storage.delete(evaluations.name(replica))
    results.write(results.aggregate(asked, evaluations), table)
    assert [file.name for file in written.list()] == ["tiny.parquet"], "there is no table of nothing"


def test_a_damaged_one_is_set_aside_and_its_cell_stays(evaluations: Evaluations, asked: Plan, replica: Cell) -> None:
    evaluations.storage.write(evaluations.name(replica), b"nothing")
    found = results.aggregate(asked, evaluations)
    assert len(found.damaged) == 1
    assert (len(found.rows()), found.replica_rows(), found.missing) == (2, [], ())


def test_mlflow_knows_it_by_a_name_of_its_own_and_a_tag(replica: Cell) -> None:
    opened, described = opening(replica, None, 0)
    assert (opened.cell_id, opened.name) == (replica.id, f"softmax/resnet8/digits/s0@{THERE}")
    assert opened.tags["replica"] == THERE
    assert described.params["loss"] == "softmax"
    plain, _ = opening(replace(replica, id="0" * 64), None, 0)
    assert "replica" not in plain.tags


def test_the_registry_counts_it_apart(url: str, asked: Plan, replica: Cell) -> None:
    with Registry.open(url) as registry:
        registry.plan(asked)
        registry.join("tiny", [replica])
        registry.start_attempt(replica, "tiny", node="n", started=1.0)
        assert registry.status("tiny").running[0].name == replica.name
        registry.record(Finished(replica, Attempt("n", 1.0, 2.0), {}), "tiny")
        status = registry.status("tiny")
        assert (status.counts["planned"], status.counts["finished"], status.replicas) == (2, 0, 1)
        assert registry.states("tiny")[replica.id] == "finished"


def test_a_registry_is_rebuilt_with_it_and_all_agree(
    evaluations: Evaluations, asked: Plan, place: Workspace, replica: Cell
) -> None:
    window = Tracking(f"sqlite:///{place.root}/mlflow.db", "tiny", (place.root / "mlartifacts").as_uri())
    window.prepare()
    with Registry.open(place.registry) as registry:
        rebuild(evaluations, registry, [asked], {"tiny": window}, pytest.fail)
        status = registry.status("tiny")
        assert (status.counts["finished"], status.replicas) == (2, 1)
        runs = {run.cell_id: run for run in window.runs()}
        assert runs[replica.id].name == replica.name
        assert runs[replica.id].tags["replica"] == THERE
        found = agree(asked, evaluations, registry, lambda _: window)
        assert [finding.state for finding in found] == ["ok"]
        everything = agree(None, evaluations, registry, lambda _: window)
        assert [finding.state for finding in everything] == ["ok"]
        held = [left.uri for left in registry.artefacts("tiny") if left.kind == "evaluation"]
        assert len(held) == 3


def test_a_replica_of_a_known_cell_is_no_garbage_and_goes_with_it(evaluations: Evaluations, asked: Plan) -> None:
    root = evaluations.folder.parent
    results.write(results.aggregate(asked, evaluations), root / "results" / "tiny.parquet")
    files = list(Storage(root).list())
    known = {"tiny": {cell.id for cell in asked.cells}}
    assert garbage(files, known, time.time()) == []
    gone = garbage(files, known, time.time(), [asked.cells[0].id])
    kinds = sorted(item.name.partition("/")[0] for item in gone)
    assert kinds == ["evaluations", "evaluations", "summaries", "summaries"]
    assert all(asked.cells[0].id in item.name for item in gone)


def test_it_travels_with_the_cells(
    evaluations: Evaluations, asked: Plan, place: Workspace, tmp_path: Path, replica: Cell
) -> None:
    made = export(asked, place, tmp_path / "out")
    assert made.cells == 2
    assert (tmp_path / "out" / "results.replicas.parquet").exists()
    theirs = Evaluations(tmp_path / "theirs" / "evaluations")
    taken = import_(tmp_path / "out", theirs)
    assert set(taken.taken) == evaluations.ids(replicas=True)
    assert theirs.replicas(asked.cells) == [replica]


@pytest.mark.parametrize(("prefix", "is_replica"), [(slice(0, 12), False), (slice(None), True), (slice(0, 70), True)])
def test_it_is_verified_by_its_name_only(asked: Plan, replica: Cell, prefix: slice, is_replica: bool) -> None:
    full = Plan(asked.experiment, (*asked.cells, replica))
    (chosen,) = choose(full, {cell.id for cell in full.cells}, [replica.id[prefix]], None).cells
    assert (chosen == replica) is is_replica
    sample = choose(full, {cell.id for cell in full.cells}, [], 10)
    assert not any(cell.environment for cell in sample.cells)


def test_a_file_under_another_cells_name_is_none(
    evaluations: Evaluations, asked: Plan, replica: Cell, an_account: Callable[..., Any], evaluation: Evaluation
) -> None:
    content = evaluations.storage.read(evaluations.name(replica))
    assert content is not None
    other = asked.cells[0].again_in("ffffffff")
    evaluations.storage.write(evaluations.name(other), content)
    with pytest.raises(DamagedFileError, match="another cell"):
        evaluations.account(other)
    with pytest.raises(DamagedFileError, match="named after"):
        evaluations.checked(evaluations.name(other))


@pytest.mark.parametrize("left", [None, b"nothing"])
def test_one_that_is_asked_for_is_trained_again_where_its_file_is_gone_or_damaged(
    left: bytes | None, evaluations: Evaluations, asked: Plan, replica: Cell, place: Workspace
) -> None:
    with Registry.open(place.registry) as registry, held(registry, asked) as lease:
        enlist([replica], "tiny", evaluations, registry)
        registry.adopt({replica.id: "finished"})
        enlist([replica], "tiny", evaluations, registry)
        assert lease.claim(replica) == "finished", "its file is sound"
        if left is None:
            evaluations.storage.delete(evaluations.name(replica))
        else:
            evaluations.storage.write(evaluations.name(replica), left)
        enlist([replica], "tiny", evaluations, registry)
        assert lease.claim(replica) == "mine"
        enlist([replica], "tiny", evaluations, registry)
        assert registry.states_of([replica.id]) == {replica.id: "running"}, "it is being trained already"


def test_a_plan_foresees_a_replica_of_a_cell_that_is_not_trained_yet(
    place: Workspace,
    written: Callable[[str], Path],
    tiny: str,
    an_account: Callable[..., Account],
    evaluation: Evaluation,
) -> None:
    wider = "overrides: [{where: {loss: softmax}, resources: {cpus: 2}}]\n"
    study = Study.of_file(written(f"{tiny}seeds: 1\n{wider}"), Stores(place))
    asked = study.plan
    files = Evaluations(place.evaluations)
    cells = {cell.loss: cell for cell in asked.cells}
    done = cells["bce_unified"]
    files.publish(done.recipe, an_account(done, provenance=origin(done)), evaluation)
    (again,), why = replicas(study, asked, take_stock(asked, files, None))
    assert again == replace(cells["softmax"], resources=done.resources).again_in(environment(done).id)
    assert why == "threads 2 → 1"


def test_of_a_file_that_is_younger_than_the_results_table_the_file_itself_is_asked(
    evaluations: Evaluations, asked: Plan, place: Workspace, an_account: Callable[..., Account], evaluation: Evaluation
) -> None:
    table = Path(str(place.results(asked.experiment.name)))
    now = time.time()
    results.write(results.aggregate(asked, evaluations), table)
    os.utime(table, (now + 60, now + 60))
    assert [row["torch_version"] for row in recorded(asked, evaluations, table)] == ["old", "old"]
    first = asked.cells[0]
    provenance = {"git_commit": "abc", "threads": 1, "torch_version": "newest"}
    evaluations.publish(first.recipe, an_account(first, provenance=provenance), evaluation)
    assert recorded(asked, evaluations, table)[0]["torch_version"] == "old", "the table is said to be younger"
    os.utime(table, (now - 60, now - 60))
    rows = {row["cell_id"]: row["torch_version"] for row in recorded(asked, evaluations, table)}
    assert rows == {first.id: "newest", asked.cells[1].id: "old"}
