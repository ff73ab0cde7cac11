"""Runs are made to tell what files and registry know, and no point of a curve is drawn twice."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.experiment.plan import Plan, plan
from orchestrator.experiment.reading import load
from orchestrator.outcome import Attempt, Failed
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.reconciliation import NO_FILE, reconcile, tells_all
from orchestrator.records.sql.registry import Registry
from orchestrator.records.tracking.mlflow_store import connect
from orchestrator.records.tracking.run_writer import drawn
from orchestrator.records.tracking.runs import RunSummary, Tracking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mlflow.entities import Run as StoredRun

    from orchestrator.experiment.plan import Cell
    from orchestrator.records.files.evaluations import Account
    from trainers.evaluation import Evaluation

# MLflow's own use of SQLAlchemy; an error there would leave its tables unusable for the whole process.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
    pytest.mark.usefixtures("patient"),
]

ASKED = """\
name: tiny
losses: [softmax, bce_unified]
backbones: [resnet8]
datasets: [digits]
seeds: 2
recipe: {epochs: 3}
baseline: softmax
"""

CURVE = [1.5, 1.0, 0.25]

BEGAN = 1_700_000_000.0


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store for all tests, which takes seconds to create; each has an experiment of its own in it."""
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


@pytest.fixture
def tracking(uri: str, tmp_path: Path, request: pytest.FixtureRequest) -> Tracking:
    tracking = Tracking(uri, request.node.name, (tmp_path / "mlartifacts").as_uri())
    tracking.prepare()
    return tracking


@pytest.fixture
def asked(written: Callable[[str], Path], request: pytest.FixtureRequest) -> Plan:
    """Four cells."""
    found = load(written(ASKED))
    return plan(found.model_copy(update={"name": request.node.name}))


@pytest.fixture
def registry(tmp_path: Path, asked: Plan) -> Iterator[Registry]:
    with Registry.open(f"sqlite:///{tmp_path / 'registry.db'}") as opened:
        opened.plan(asked)
        yield opened


@pytest.fixture
def told(an_account: Callable[..., Account], asked: Plan) -> list[Account]:
    """Two cells finished, and one diverged in its third epoch."""
    history = [{"train_loss": value, "learned_bias": 2.0} for value in CURVE]
    finished = [an_account(cell, started=BEGAN, seconds=30.0, history=history) for cell in asked.cells[:2]]
    finished = [replace(account, metrics={**account.metrics, "learned_bias": 1.0}) for account in finished]
    gone = an_account(asked.cells[2], state="diverged", samples=0, metrics={}, history=history[:2], epochs=2)
    return [*finished, gone]


@pytest.fixture
def files(tmp_path: Path, asked: Plan, told: list[Account], evaluation: Evaluation) -> Evaluations:
    evaluations = Evaluations(tmp_path / "evaluations")
    for cell, account in zip(asked.cells, told, strict=False):
        evaluations.publish(cell.recipe, account, evaluation if account.state == "finished" else None)
    return evaluations


@pytest.fixture
def make_true(
    tracking: Tracking, asked: Plan, files: Evaluations, registry: Registry
) -> Callable[..., dict[str, list[str]]]:
    def make(**changes: Any) -> dict[str, list[str]]:
        return reconcile(tracking, asked.cells, files, registry, **changes)

    return make


def the_run(tracking: Tracking, cell: Cell) -> StoredRun:
    (run,) = [run for run in tracking.runs() if run.cell_id == cell.id]
    return connect(tracking.uri).get_run(run.run_id)


def curve(tracking: Tracking, cell: Cell, metric: str = "train_loss") -> list[tuple[int, float]]:
    points = connect(tracking.uri).get_metric_history(the_run(tracking, cell).info.run_id, metric)
    return [(point.step, point.value) for point in points]


WHOLE = list(enumerate(CURVE, 1))


def test_runs_that_are_missing_are_put_back_with_curves_times_and_artefacts(
    make_true: Callable[..., dict[str, list[str]]], tracking: Tracking, asked: Plan, told: list[Account]
) -> None:
    done = [cell.id for cell in asked.cells[:3]]
    assert make_true() == {"without a run: put back": done}
    finished, _, diverged, missing = asked.cells
    stored = the_run(tracking, finished)
    assert (stored.info.status, stored.info.run_name) == ("FINISHED", finished.name)
    assert (stored.info.start_time, stored.info.end_time) == (BEGAN * 1000, (BEGAN + 30) * 1000 + 1)
    assert curve(tracking, finished) == WHOLE
    assert stored.data.metrics["learned_bias"] == 1.0  # the final one, not the last epoch's
    assert stored.data.tags["git_commit"] == "abc"
    names = {file.path for file in connect(tracking.uri).list_artifacts(stored.info.run_id)}
    assert names == {"recipe.json", "environment.json", "accuracy_curve.csv", "accuracy_curve.svg"}
    assert the_run(tracking, diverged).data.tags["diverged_epoch"] == "3"
    assert missing.id not in {run.cell_id for run in tracking.runs()}
    runs = {run.cell_id: run for run in tracking.runs()}
    assert all(tells_all(runs[account.cell_id], account) for account in told)


def test_doing_it_again_changes_nothing(make_true: Callable[..., dict[str, list[str]]], tracking: Tracking) -> None:
    make_true()
    before = tracking.runs()
    assert make_true() == make_true(thorough=True) == {}
    assert tracking.runs() == before


def test_a_cell_whose_run_is_elsewhere_needs_none_here(
    make_true: Callable[..., dict[str, list[str]]], tracking: Tracking, asked: Plan
) -> None:
    make_true(elsewhere={asked.cells[0].id})
    assert {run.cell_id for run in tracking.runs()} == {cell.id for cell in asked.cells[1:3]}


def test_a_partial_run_is_completed_and_no_point_drawn_twice(
    make_true: Callable[..., dict[str, list[str]]], tracking: Tracking, asked: Plan
) -> None:
    cell = asked.cells[0]
    with pytest.raises(KeyboardInterrupt), tracking.run(cell) as run:
        run.epoch(1, {"train_loss": CURVE[0]})
        run.epoch(3, {"train_loss": CURVE[2]})
        raise KeyboardInterrupt
    assert make_true()["with a run that did not tell all: completed"] == [cell.id]
    assert the_run(tracking, cell).info.run_id == run.run_id
    assert sorted(curve(tracking, cell)) == WHOLE
    assert the_run(tracking, cell).info.status == "FINISHED"


def ended(tracking: Tracking, cell: Cell, points: list[tuple[int, float]]) -> None:
    """A finished run with points that no run of ours would draw."""
    from mlflow.entities import Metric

    with tracking.run(cell) as run:
        run.finish({})
    metrics = [Metric("train_loss", value, when, step) for when, (step, value) in enumerate(points)]
    connect(tracking.uri).log_batch(run.run_id or "", metrics)


@pytest.mark.parametrize("points", [[*WHOLE, WHOLE[1]], [(1, 9.0)], [*WHOLE, (4, 0.1)]])
def test_a_run_that_contradicts_the_file_is_replaced(
    make_true: Callable[..., dict[str, list[str]]], tracking: Tracking, asked: Plan, points: list[tuple[int, float]]
) -> None:
    cell = asked.cells[0]
    ended(tracking, cell, points)
    assert make_true()["with a run that contradicted the file: replaced"] == [cell.id]
    assert curve(tracking, cell) == WHOLE


def test_a_doubled_point_in_a_run_that_looks_complete_is_found_by_a_thorough_look(
    make_true: Callable[..., dict[str, list[str]]], tracking: Tracking, asked: Plan
) -> None:
    from mlflow.entities import Metric

    cell = asked.cells[0]
    make_true()
    connect(tracking.uri).log_batch(the_run(tracking, cell).info.run_id, [Metric("train_loss", CURVE[0], 7, 1)])
    assert make_true() == {}
    assert make_true(thorough=True) == {"with a run that contradicted the file: replaced": [cell.id]}
    assert curve(tracking, cell) == WHOLE


def stray(tracking: Tracking, cell: Cell, status: str) -> str:
    client = connect(tracking.uri)
    experiment = client.get_experiment_by_name(tracking.experiment)
    assert experiment is not None
    run = client.create_run(experiment.experiment_id, tags={"cell_id": cell.id})
    client.update_run(run.info.run_id, status=status)
    return run.info.run_id


def test_of_several_runs_the_one_that_tells_all_is_kept(
    make_true: Callable[..., dict[str, list[str]]], tracking: Tracking, asked: Plan
) -> None:
    cell = asked.cells[0]
    make_true()
    whole = the_run(tracking, cell).info.run_id
    stray(tracking, cell, "RUNNING")
    stray(tracking, cell, "FINISHED")
    assert make_true() == {"in MLflow more than once: one run kept": [cell.id]}
    assert the_run(tracking, cell).info.run_id == whole


def test_what_a_dead_process_left_running_ends_as_the_registry_knows(
    make_true: Callable[..., dict[str, list[str]]], tracking: Tracking, asked: Plan, registry: Registry
) -> None:
    cell = asked.cells[3]
    stray(tracking, cell, "RUNNING")
    make_true()
    assert the_run(tracking, cell).info.status == "KILLED"
    stray(tracking, asked.cells[3], "FINISHED")
    attempt = Attempt("here", 0.0, 1.0)
    registry.record(Failed(cell, attempt, "Broke at postgresql://ann:s3cret@host.", ""), asked.experiment.name)
    make_true()
    statuses = [run.status for run in tracking.runs() if run.cell_id == cell.id]
    assert statuses == ["KILLED", "FAILED"]
    (failed,) = [run for run in tracking.runs() if run.status == "FAILED"]
    assert failed.tags["error"] == "Broke at postgresql://***@host."


def test_a_finished_run_without_a_file_is_marked_as_failed(
    make_true: Callable[..., dict[str, list[str]]], tracking: Tracking, asked: Plan
) -> None:
    cell = asked.cells[3]
    stray(tracking, cell, "FINISHED")
    make_true()
    stored = the_run(tracking, cell)
    assert (stored.info.status, stored.data.tags["error"]) == ("FAILED", NO_FILE)
    assert make_true() == {}


def test_what_runs_by_the_registry_is_left_alone(
    make_true: Callable[..., dict[str, list[str]]], tracking: Tracking, asked: Plan, registry: Registry
) -> None:
    cell = asked.cells[3]
    stray(tracking, cell, "RUNNING")
    registry.start_attempt(cell, asked.experiment.name, node="here", started=BEGAN)
    make_true()
    assert the_run(tracking, cell).info.status == "RUNNING"


def test_a_damaged_file_tells_nothing(
    make_true: Callable[..., dict[str, list[str]]], tracking: Tracking, asked: Plan, files: Evaluations
) -> None:
    cell = asked.cells[0]
    path = files.folder / files.path(cell.recipe, cell.id)
    path.write_bytes(path.read_bytes()[:-10])
    make_true()
    assert cell.id not in {run.cell_id for run in tracking.runs()}


def test_what_an_earlier_attempt_drew_twice_is_seen_as_two_points(tracking: Tracking, asked: Plan) -> None:
    ended(tracking, asked.cells[0], [(1, 2.0), (1, 2.0)])
    run = the_run(tracking, asked.cells[0])
    assert drawn(connect(tracking.uri), run) == {("train_loss", 1): [2.0, 2.0]}


def test_the_run_of_a_collapsed_cell_is_put_back_with_its_figures_and_its_reason(
    make_true: Callable[..., dict[str, list[str]]],
    tracking: Tracking,
    asked: Plan,
    told: list[Account],
    files: Evaluations,
) -> None:
    evaluation = files.evaluation(asked.cells[0])
    collapsed = replace(told[0], state="collapsed", collapse="all the same")
    files.publish(asked.cells[0].recipe, collapsed, evaluation)
    make_true()
    stored = the_run(tracking, asked.cells[0])
    assert (stored.data.tags["outcome"], stored.data.tags["collapse"]) == ("collapsed", "all the same")
    assert stored.data.metrics["learned_bias"] == 1.0
    (run,) = [run for run in tracking.runs() if run.cell_id == collapsed.cell_id]
    assert tells_all(run, collapsed)
    assert not tells_all(run, told[0])
    assert make_true() == {}


def test_a_list_of_runs_shows_whether_one_tells_all(told: list[Account]) -> None:
    finished, _, diverged = told
    values = {"train_loss": 0.25, **{name: value for name, value in finished.shown.items() if value is not None}}
    whole = RunSummary(finished.cell_id, "run", "name", "FINISHED", values, {}, {"loss": "softmax"})
    assert tells_all(whole, finished)
    assert not tells_all(replace(whole, status="RUNNING"), finished)
    assert not tells_all(replace(whole, metrics={**values, "train_loss": 1.0}), finished)
    assert not tells_all(replace(whole, params={}), finished)
    assert not tells_all(replace(whole, tags={"outcome": "diverged"}), finished)
    assert not tells_all(whole, diverged)
