"""What can go from a workspace, and what never does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.errors import WorkspaceError
from orchestrator.records.files.checkpoints import Checkpoints
from orchestrator.records.files.evaluations import Evaluations, set_aside
from orchestrator.records.files.garbage import DAY, Item, garbage, remove
from orchestrator.records.files.storage import Storage, Stored
from orchestrator.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.experiment.plan import Cell
    from orchestrator.records.files.evaluations import Account
    from orchestrator.workspace import Location
    from trainers.evaluation import Evaluation

NOW = 2e9
CELL = "evaluations/dataset=d/backbone=b/loss=l"
EXPERIMENTS = {"known": {"done", "waiting"}}


def told(*names: str, age: float = 2 * DAY, experiments: Any = EXPERIMENTS, cells: Any = ()) -> list[str]:
    """Which of the files can go, beside the files of two cells that are done."""
    files = [Stored(name, 7, NOW - age) for name in (f"{CELL}/done.parquet", f"{CELL}/strange.parquet", *names)]
    return [item.name for item in garbage(files, experiments, NOW, cells)]


@pytest.mark.parametrize(
    "name",
    [
        "checkpoints/done/state",
        "checkpoints/done/last-words.txt",
        "checkpoints/strange/state",
        "checkpoints/nobodys/state",
        "checkpoints/waiting/unusable-1234",
        "checkpoints/waiting/state.4711",
        "checkpoints/.stop-launch",
        f"{CELL}/_other.damaged",
        f"{CELL}/other.damaged",
        f"{CELL}/.waiting.parquet.4711",
        f"{CELL}/.waiting.parquet.0a1b2c3d",
        "evaluations/notes.txt",
        "results/unknown.parquet",
        "results/.known.parquet.0a1b2c3d",
        "reports/unknown/index.html",
        "compacted/unknown/dataset=d/part-00000.parquet",
        "summaries/dataset=d/backbone=b/loss=l/waiting.parquet",
        "models/waiting.safetensors",
        "models/dataset=d/backbone=b/loss=l/waiting.onnx",
        "logs/nobodys.txt",
        ".probe.0a1b2c3d",
        ".probe-4711",
        "rehearsals/0a1b2c3d/evaluations/dataset=d/backbone=b/loss=l/waiting.parquet",
        "rehearsals/0a1b2c3d/mlflow.db",
    ],
)
def test_it_can_go(name: str) -> None:
    assert told(name) == [name]


@pytest.mark.parametrize(
    "name",
    [
        f"{CELL}/waiting.parquet",
        "summaries/dataset=d/backbone=b/loss=l/done.parquet",
        "models/done.safetensors",
        "models/dataset=d/backbone=b/loss=l/done.onnx",
        "logs/done.txt",
        "logs/waiting.txt",
        "logs/strange.txt",
        "checkpoints/waiting/state",
        "checkpoints/waiting/last-words.txt",
        "results/known.parquet",
        "reports/known/index.html",
        "compacted/known/dataset=d/part-00000.parquet",
        "spool/run.jsonl",
        "registry.db",
        "registry.db-wal",
        "mlflow.db",
        "mlflow-ui.log",
        "mlartifacts/1/run/.part.0a1b2c3d",
        "something/of/the/users.txt",
    ],
)
def test_it_stays(name: str) -> None:
    assert told(name) == []


def test_what_may_still_be_written_stays() -> None:
    names = [f"{CELL}/.waiting.parquet.0a1b2c3d", "checkpoints/waiting/state.4711", "checkpoints/.stop-launch"]
    assert told(*names, age=DAY / 2) == []


def test_without_a_registry_nothing_goes_for_lack_of_an_experiment() -> None:
    names = ["checkpoints/nobodys/state", "results/unknown.parquet", "reports/unknown/index.html", "evaluations/notes"]
    assert told(*names, "logs/nobodys.txt", "checkpoints/done/state", experiments=None) == ["checkpoints/done/state"]


def test_a_finished_cell_goes_only_by_its_id() -> None:
    assert told() == []
    assert told(cells={"strange"}) == [f"{CELL}/strange.parquet"]
    assert told(experiments={}) == []


def test_each_item_tells_its_size_and_reason() -> None:
    (item,) = garbage([Stored("results/x.parquet", 123, NOW)], {}, NOW)
    assert item == Item("results/x.parquet", 123, "of no experiment in the registry")


ROWS = "validation/dataset=d/backbone=b/loss=l"


def test_validation_rows_go_with_their_cell_and_where_an_attempt_left_them() -> None:
    names = (f"{ROWS}/done.parquet", f"{ROWS}/waiting.parquet", f"{ROWS}/strange.parquet", f"{ROWS}/notes.txt")
    assert told(*names) == [f"{ROWS}/waiting.parquet", f"{ROWS}/notes.txt"]
    assert told(*names, experiments=None) == [f"{ROWS}/waiting.parquet", f"{ROWS}/notes.txt"]
    assert told(*names, age=60.0) == []  # an attempt may be about to write the cell's file
    assert told(*names, age=60.0, cells={"done"}) == [f"{CELL}/done.parquet", f"{ROWS}/done.parquet"]


def test_what_a_command_printed_and_left_goes_with_its_cell() -> None:
    names = ("logs/done.txt", "logs/strange.txt", "models/dataset=d/backbone=b/loss=l/done.onnx")
    assert told(*names, cells={"done"}) == [f"{CELL}/done.parquet", names[0], names[2]]


def test_what_is_removed_is_gone_and_cells_are_not(
    place: Location, a_cell: Callable[..., Cell], an_account: Callable[..., Account], evaluation: Evaluation
) -> None:
    workspace = Workspace(place)
    cells = [a_cell(seed=seed) for seed in range(3)]
    evaluations = Evaluations(workspace.evaluations)
    storage = Storage(place)
    for cell in cells:
        evaluations.publish(cell.recipe, an_account(cell), evaluation, evaluation)
        storage.write(f"checkpoints/{cell.id}/state", b"12345")
    set_aside(evaluations.path(cells[0].recipe, cells[0].id))
    asked = {"known": {cell.id for cell in cells}}
    items = garbage(storage.list(), asked, NOW)
    assert len(items) == 4  # validation rows of a cell that is not done are among them
    freed = remove(workspace, items)
    assert freed == sum(item.size for item in items) > 10
    assert evaluations.ids() == {cell.id for cell in cells[1:]}
    assert [file.name for file in storage.list("checkpoints")] == [f"checkpoints/{cells[0].id}/state"]
    assert garbage(storage.list(), asked, NOW) == []
    remove(workspace, garbage(storage.list(), asked, NOW, cells={cells[1].id}))
    assert evaluations.ids() == {cells[2].id}
    assert [file.name for file in evaluations.validations.list()] == [evaluations.name(cells[2])]


def test_a_state_that_was_set_aside_can_go(place: Location, a_cell: Callable[..., Cell]) -> None:
    cell = a_cell()
    shelf = Checkpoints(Workspace(place).checkpoints, "launch").shelf(cell)
    shelf.write(b"state")
    shelf.set_aside()
    (item,) = garbage(Storage(place).list(), {"known": {cell.id}}, NOW)
    assert item.reason == "set aside, because it could not be used"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder outside of the workspace, with a file that looks like garbage."""
    found = tmp_path / "outside"
    (found / "nobodys").mkdir(parents=True)
    (found / "nobodys" / "state").write_text("precious")
    return found


def test_nothing_behind_a_link_is_listed_or_removed(tmp_path: Path, outside: Path) -> None:
    root = tmp_path / "runs"
    (root / "checkpoints").mkdir(parents=True)
    (root / "checkpoints" / "linked").symlink_to(outside)
    (root / "checkpoints" / "x").symlink_to(outside / "nobodys" / "state")
    (root / "results").symlink_to(outside)
    (root / "checkpoints" / "loop").symlink_to("loop")
    (root / "checkpoints" / "up").symlink_to("..")
    assert list(Storage(root).list()) == []
    assert list(Storage(root).list("results")) == []
    assert list(Storage(root).list("../outside")) == []
    remove(Workspace(root), [Item("results/nobodys/state", 1, ""), Item("checkpoints/x", 1, "")][1:])
    with pytest.raises(WorkspaceError, match="leads out of"):
        remove(Workspace(root), [Item("results/nobodys/state", 1, "")])
    assert (outside / "nobodys" / "state").read_text() == "precious"


def test_a_cell_behind_a_link_keeps_its_validation_rows() -> None:
    name = f"{ROWS}/linked.parquet"
    assert told(name) == [name]
    assert garbage([Stored(name, 7, NOW - 2 * DAY)], EXPERIMENTS, NOW, done={"linked"}) == []
