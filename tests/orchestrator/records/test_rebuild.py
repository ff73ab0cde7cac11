"""Registry and tracking store come back from the files alone."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.experiment.plan import Plan, plan
from orchestrator.experiment.reading import load
from orchestrator.outcome import Attempt, Failed
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.rebuild import rebuild
from orchestrator.records.sql.registry import Registry
from orchestrator.records.tracking.runs import Tracking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orchestrator.records.files.evaluations import Account
    from trainers.evaluation import Evaluation

# MLflow's own use of SQLAlchemy; an error there would leave its tables unusable for the whole process.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
    pytest.mark.usefixtures("patient"),
]


ASKED = """\
name: tiny
losses: [{name: softmax, as: plain}, bce_unified]
backbones: [resnet8]
datasets: [digits]
seeds: 2
recipe: {epochs: 3}
baseline: plain
"""


@pytest.fixture
def asked(written: Callable[[str], Path]) -> Plan:
    """Four cells."""
    return plan(load(written(ASKED)))


@pytest.fixture
def files(
    tmp_path: Path, asked: Plan, an_account: Callable[..., Account], evaluation: Evaluation
) -> tuple[Evaluations, list[Path]]:
    """Of the four, two finished, one diverged when it was evaluated, one is missing."""
    evaluations = Evaluations(tmp_path / "evaluations")
    accounts = [an_account(cell, started=1_700_000_000.0 + number) for number, cell in enumerate(asked.cells[:3])]
    history = [{"train_loss": 1.5}] * 3
    accounts[2] = replace(accounts[2], state="diverged", samples=0, metrics={}, history=history)
    rows = [evaluation, evaluation, None]
    published = zip(asked.cells, accounts, rows, strict=False)
    return evaluations, [evaluations.publish(cell.recipe, account, some) for cell, account, some in published]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry.open(f"sqlite:///{tmp_path / 'registry.db'}") as opened:
        yield opened


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "registry.db")) as database:
        return database.execute(query).fetchall()


ATTEMPTS = "SELECT cell, experiment, number, node, seconds, outcome, epoch FROM attempts ORDER BY cell"


def complained(sentence: str) -> None:
    pytest.fail(sentence)


def test_an_experiments_cells_get_back_labels_states_and_attempts(
    files: tuple[Evaluations, list[Path]], registry: Registry, asked: Plan, tmp_path: Path
) -> None:
    evaluations, _ = files
    assert rebuild(evaluations, registry, [asked], {}, complained) == (3, 0)
    first, second, third, fourth = (cell.id for cell in asked.cells)
    assert registry.states("tiny") == {first: "finished", second: "finished", third: "diverged", fourth: "planned"}
    finished = [(cell, "tiny", 1, "?", 3.0, "finished", None) for cell in (first, second)]
    assert rows(tmp_path, ATTEMPTS) == sorted([*finished, (third, "tiny", 1, "?", 3.0, "diverged", 3)])
    labels = rows(tmp_path, "SELECT cell, loss, backbone, dataset FROM experiment_cells")
    assert sorted(labels) == sorted((cell.id, cell.loss, cell.backbone, cell.dataset) for cell in asked.cells)
    assert {label for _, label, _, _ in labels} == {"plain", "bce_unified"}


def test_rebuilding_again_adds_nothing(
    files: tuple[Evaluations, list[Path]], registry: Registry, asked: Plan, tmp_path: Path
) -> None:
    for _ in range(2):
        rebuild(files[0], registry, [asked], {}, complained)
    assert len(rows(tmp_path, ATTEMPTS)) == 3


def test_a_file_outweighs_what_the_registry_says(
    files: tuple[Evaluations, list[Path]], registry: Registry, asked: Plan, tmp_path: Path
) -> None:
    registry.plan(asked)
    registry.record(Failed(asked.cells[0], Attempt("here", 0.0, 1.0), "Broke.", ""), "tiny")
    rebuild(files[0], registry, [asked], {}, complained)
    assert registry.states("tiny")[asked.cells[0].id] == "finished"
    assert ("failed",) in rows(tmp_path, "SELECT outcome FROM attempts")


def test_without_an_experiment_cells_come_back_under_the_catalogues_names(
    files: tuple[Evaluations, list[Path]], registry: Registry, asked: Plan, tmp_path: Path
) -> None:
    assert rebuild(files[0], registry, [], {}, complained) == (3, 0)
    assert registry.experiments() == rows(tmp_path, ATTEMPTS) == []
    cells = asked.cells[:3]
    states = ["finished", "finished", "diverged"]
    kept = rows(tmp_path, "SELECT id, state, loss, backbone, dataset, seed, recipe FROM cells")
    assert sorted((*row[:6], json.loads(row[6])) for row in kept) == sorted(
        (cell.id, state, cell.recipe.loss.key, "resnet8", "digits", cell.seed, cell.recipe.model_dump(mode="json"))
        for cell, state in zip(cells, states, strict=True)
    )
    registry.plan(asked)
    assert list(registry.states("tiny").values()).count("planned") == 1


def test_damaged_and_misnamed_files_are_named_and_passed_over(
    files: tuple[Evaluations, list[Path]], registry: Registry, asked: Plan
) -> None:
    evaluations, (cut, _, misnamed) = files
    cut.write_bytes(cut.read_bytes()[:-10])
    misnamed.rename(misnamed.with_name("f" * 64 + ".parquet"))
    told: list[str] = []
    assert rebuild(evaluations, registry, [asked], {}, told.append) == (1, 2)
    assert cut.name in "".join(told)
    assert "does not hold the recipe and account of the cell it is named after" in "".join(told)
    assert list(registry.states("tiny").values()).count("finished") == 1


def test_a_recipe_that_was_altered_is_damage(
    files: tuple[Evaluations, list[Path]], an_account: Callable[..., Account], asked: Plan, evaluation: Evaluation
) -> None:
    cell = asked.cells[0]
    evaluations, (path, *_) = files
    account = an_account(cell, recipe={**cell.recipe.model_dump(mode="json"), "seed": 9})
    evaluations.publish(cell.recipe, account, evaluation)
    assert "named after" in str(dict(evaluations.accounts())[path])


def test_runs_come_back_once_with_curves_and_ends(
    files: tuple[Evaluations, list[Path]], registry: Registry, asked: Plan, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    tracking = Tracking(f"sqlite:///{tmp_path / 'mlflow.db'}", "tiny", (tmp_path / "mlartifacts").as_uri())
    tracking.prepare()
    for _ in range(2):
        rebuild(files[0], registry, [asked], {"tiny": tracking}, complained)
    runs = {run.cell_id: run for run in tracking.runs()}
    assert len(tracking.runs()) == len(runs) == 3
    assert {run.status for run in runs.values()} == {"FINISHED"}
    client = MlflowClient(tracking.uri)
    finished, diverged = (runs[cell.id].run_id for cell in asked.cells[1:3])
    curve = [(point.step, point.value) for point in client.get_metric_history(finished, "train_loss")]
    assert curve == [(1, 1.5), (2, 0.25)]
    stored = client.get_run(finished).data
    assert (stored.metrics["compactness"], stored.metrics["parameters"]) == (0.5, 1000)
    assert stored.tags["git_commit"] == "abc"
    assert client.get_run(diverged).data.tags["diverged_epoch"] == "3"


def test_what_was_left_comes_back_with_the_runs_as_they_are_now(
    files: tuple[Evaluations, list[Path]], registry: Registry, asked: Plan, tmp_path: Path
) -> None:
    for name in ("results/tiny.parquet", "reports/tiny/index.html"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"content")
    rebuild(files[0], registry, [asked], {}, complained)
    left = registry.artefacts("tiny")
    assert [(one.cell, one.uri, one.bytes) for one in left if one.kind == "evaluation"] == sorted(
        ((cell.id, path.as_uri(), path.stat().st_size) for cell, path in zip(asked.cells, files[1], strict=False)),
        key=lambda row: row[1],
    )
    digest = hashlib.sha256(b"content").hexdigest()
    documents = {one.kind: (one.uri, one.sha256, one.bytes) for one in registry.status("tiny").documents}
    table = tmp_path / "results" / "tiny.parquet"
    report = tmp_path / "reports" / "tiny" / "index.html"
    assert documents == {"table": (table.as_uri(), digest, 7), "report": (report.as_uri(), digest, 7)}
    assert {one.uri for one in left if one.kind == "run"} == {"runs:/run"}
    tracking = Tracking(f"sqlite:///{tmp_path / 'mlflow.db'}", "tiny", (tmp_path / "mlartifacts").as_uri())
    tracking.prepare()
    for windows in ({"tiny": tracking}, {}):  # the second time, the files' ids are known to be the old ones
        rebuild(files[0], registry, [asked], windows, complained)
        runs = {one.cell: one.uri for one in registry.artefacts("tiny") if one.kind == "run"}
        assert runs == {run.cell_id: f"runs:/{run.run_id}" for run in tracking.runs()}


def test_a_file_that_is_gone_is_no_longer_left(
    files: tuple[Evaluations, list[Path]], registry: Registry, asked: Plan
) -> None:
    rebuild(files[0], registry, [asked], {}, complained)
    files[1][0].unlink()
    rebuild(files[0], registry, [asked], {}, complained)
    assert {one.cell for one in registry.artefacts("tiny")} == {cell.id for cell in asked.cells[1:3]}


def test_a_rebuild_is_told_once(files: tuple[Evaluations, list[Path]], registry: Registry, asked: Plan) -> None:
    for _ in range(2):
        rebuild(files[0], registry, [asked], {}, complained)
    told = [(event.kind, event.sentence) for event in registry.events("tiny")]
    assert told == [("rebuilt", "3 cells are put back from their files.")]
