"""Where each kind of file lies, in a folder or in an object store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import RequestError, WorkspaceError
from orchestrator.workspace import Remote, Workspace

URI = "s3://bucket/team/runs?endpoint_override=127.0.0.1:9000&scheme=http"


@pytest.fixture(params=["/somewhere/runs", URI])
def workspace(request: pytest.FixtureRequest) -> Workspace:
    return Workspace.at(request.param)


def test_the_layout_is_that_of_the_contract(workspace: Workspace) -> None:
    places = [
        workspace.evaluations,
        workspace.results("asked"),
        workspace.checkpoints,
        workspace.report("asked"),
        workspace.compacted("asked"),
        workspace.spool,
    ]
    assert [str(place).partition("?")[0].partition("/runs/")[2] for place in places] == [
        "evaluations",
        "results/asked.parquet",
        "checkpoints",
        "reports/asked/index.html",
        "compacted/asked",
        "spool",
    ]


def test_a_folder_becomes_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Workspace.at("runs").root == tmp_path / "runs"


def test_a_query_stays_at_the_end_of_a_uri() -> None:
    below = Remote.at(URI) / "results" / "a b%3A.parquet"
    assert str(below) == URI.replace("runs?", "runs/results/a%20b%253A.parquet?")
    assert below.name == "a b%3A.parquet"
    assert below.parent.parent == Remote.at(URI)
    assert Remote.at(URI.replace("runs?", "runs//?")) == Remote.at(URI)


def test_a_bucket_alone_is_a_place() -> None:
    assert str(Remote.at("gs://bucket") / "results") == "gs://bucket/results"


def test_a_local_workspace_has_databases_of_its_own(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert workspace.registry == f"sqlite:///{tmp_path}/registry.db"
    assert workspace.tracking == f"sqlite:///{tmp_path}/mlflow.db"


def test_an_object_store_asks_for_databases_that_all_reach() -> None:
    workspace = Workspace.at(URI)
    assert not workspace.has_registry()
    for ask in (lambda: workspace.registry, lambda: workspace.tracking):
        with pytest.raises(RequestError, match="pass --registry and --tracking") as refused:
            ask()
        assert str(refused.value).count(". ") == 0


@pytest.mark.parametrize(
    "uri",
    [
        "s3://AKIA:hush-hush@bucket/runs",
        "s3://AKIA@bucket/hush-hush",
        "s3://bucket/runs?secret_key=hush-hush",
        "s3://bucket/runs?region=x&sessionToken=hush-hush",
        "abfs://bucket/runs?sas_token=hush-hush",
        "gs://bucket/runs?access_token=hush-hush",
        "s3://bucket/runs?endpoint_override=user:hush-hush@host",
    ],
)
def test_credentials_in_a_uri_are_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(WorkspaceError, match="set them in the environment") as refused:
        Workspace.at(uri)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("uri", ["https://bucket/runs", "s3:///runs", "s3://bucket/runs#part", "://"])
def test_what_is_no_place_is_refused(uri: str) -> None:
    with pytest.raises(WorkspaceError, match=r"s3://"):
        Workspace.at(uri)


def test_a_folder_is_made_or_said_to_be_unwritable(tmp_path: Path) -> None:
    Workspace(tmp_path / "a" / "b").create()
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(WorkspaceError, match="cannot be written"):
        Workspace(tmp_path / "file" / "runs").create()


def test_it_needs_no_pyarrow() -> None:
    program = "import sys, orchestrator.workspace; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
