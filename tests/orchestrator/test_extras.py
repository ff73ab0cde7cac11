"""A light install: the verbs that need more say which line adds it, and the others read files alone."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

import orchestrator
from orchestrator import cli, extras
from orchestrator.errors import RequestError
from orchestrator.experiment import checks
from orchestrator.launching import old_cells
from orchestrator.records.files import contents
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.reproduction.replicas_due import owed
from orchestrator.stores import Stores
from trainers.datasets import MissingDataError
from trainers.datasets.parquet import Parquet

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.records.files.evaluations import Account
    from trainers.evaluation import Evaluation

QUICKSTART = Path("experiments") / "quickstart.yaml"


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no package of `train` were installed."""
    find_spec = importlib.util.find_spec
    left_out = {*extras.TRAIN, "pandas"}
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name in left_out else find_spec(name))


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["launch", "no-such.yaml"], "launch needs alembic, mlflow, ray, sqlalchemy, torch and torchvision, which are"),
        (["verify", "no-such.yaml"], "verify needs alembic, mlflow, ray, sqlalchemy, torch and torchvision, which are"),
        (["doctor"], "doctor needs alembic, mlflow, ray, sqlalchemy, torch and torchvision, which are"),
        (["rebuild"], "rebuild needs alembic, sqlalchemy and mlflow, which are"),
        (
            ["deploy", "no-such.yaml", "--out", "x"],
            "deploy needs alembic, mlflow, ray, sqlalchemy, torch and torchvision, which are",
        ),
        (["status"], "status needs alembic and sqlalchemy, which are"),
        (["ui"], "ui needs mlflow, which is"),
        (
            ["plan", str(QUICKSTART), "--registry", "sqlite:///x.db"],
            "--registry needs alembic and sqlalchemy, which are",
        ),
    ],
)
def test_a_verb_that_needs_more_says_which_line_adds_it_before_it_does_anything(
    words: list[str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_WORKSPACE", str(tmp_path / "runs"))
    error = CliRunner().invoke(cli.app, words).exception
    assert isinstance(error, RequestError)  # which ends with exit code 2
    extra = "train,deploy" if words[0] == "deploy" else "train"
    assert str(error) == f"{named} not installed: pip install 'loss-orchestrator[{extra}]'"
    assert list(tmp_path.iterdir()) == []


def test_check_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    error = CliRunner().invoke(cli.app, ["check", str(tmp_path), str(tmp_path)]).exception
    assert str(error) == (
        "check needs onnxruntime and PIL, which are not installed: pip install 'loss-orchestrator[deploy]'"
    )


def test_an_import_that_fails_for_want_of_an_extra_is_told_like_that_and_no_other() -> None:
    told = extras.told(ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn"))
    assert str(told) == "This needs torch, which is not installed: pip install 'loss-orchestrator[train]'"
    assert extras.told(ModuleNotFoundError("No module named 'mine'", name="mine")) is None
    assert extras.told(ImportError("cannot import name 'x' from 'torch'", name="torch")) is None


@pytest.fixture
def workspace(tmp_path: Path, an_account: Callable[..., Account], evaluation: Evaluation) -> Path:
    """All cells of the quickstart but one, and a registry that nobody can open."""
    for cell in orchestrator.results(tmp_path, "quickstart").plan.cells[1:]:
        Evaluations(tmp_path / "evaluations").publish(cell.recipe, an_account(cell), evaluation)
    (tmp_path / "registry.db").write_bytes(b"no database")
    return tmp_path


@pytest.mark.usefixtures("light")
def test_a_registry_that_cannot_be_read_is_said_to_be_and_files_tell_the_rest(workspace: Path) -> None:
    found = CliRunner().invoke(cli.app, ["plan", str(QUICKSTART), "--workspace", str(workspace)])
    said = " ".join(found.output.split())
    assert found.exception is None
    assert "40 in all, 39 done, 1 to run" in said
    assert "caution The registry is not read, as SQLAlchemy is not installed; which cells failed" in said
    for verb in ("aggregate", "report"):
        assert CliRunner().invoke(cli.app, [verb, str(QUICKSTART), "--workspace", str(workspace)]).exception is None


def test_a_workspace_without_registry_has_nothing_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    assert Stores.at(str(tmp_path)).unread() == []


def test_without_torch_no_plan_tells_what_would_be_trained_again(
    workspace: Path, request: pytest.FixtureRequest
) -> None:
    def told() -> tuple[Any, ...]:
        study = orchestrator.results(workspace, QUICKSTART)
        plan = study.plan
        states = {cell.id: "pending" if place == 0 else "finished" for place, cell in enumerate(plan.cells)}
        again, _ = old_cells.replicas(study, plan, states)
        outlook = old_cells.outlook(study, plan, plan.cells[:1])
        return bool(again), bool(outlook), len(owed(plan, study.results)), old_cells.changed(study, plan)

    (workspace / "registry.db").unlink()
    again, outlook, _, changed = told()
    assert outlook
    assert any("than a launch here would use" in sentence for sentence in changed)
    request.getfixturevalue("light")
    again, outlook, due, changed = told()
    assert (again, outlook, due) == (False, False, 0)
    assert not any("than a launch here would use" in sentence for sentence in changed)
    assert changed[-1].startswith("Torch is not installed here, so this plan does not tell which finished cells")


@pytest.mark.usefixtures("light")
def test_a_data_frame_says_what_it_needs_and_what_does_without(workspace: Path) -> None:
    study = orchestrator.results(workspace, QUICKSTART)
    with pytest.raises(
        RequestError, match=r"to_pandas needs pandas, which is not installed: pip install pandas\. `rows`"
    ):
        study.to_pandas()
    assert len(study.rows) == 39


def test_data_that_need_a_package_which_is_not_installed_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ModuleNotFoundError("No module named 'pandas'", name="pandas")

    monkeypatch.setattr(Parquet, "labels", fail)
    monkeypatch.setattr(Parquet, "manifest", fail)
    dataset = Parquet(path="mine")
    assert checks.labels_here(tmp_path)(dataset) is None
    with pytest.raises(MissingDataError, match="The data of 'parquet' need pandas, which is not installed"):
        contents._content(dataset, tmp_path)
