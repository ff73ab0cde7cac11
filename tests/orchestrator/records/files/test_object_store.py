"""A workspace in an object store, by the commands a user gives, against one in a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import program
import services
from orchestrator.records.files.storage import Storage

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.workspace import Location, Remote

GRID = """\
name: grid
losses: [softmax, bce_unified]
backbones: [resnet8]
datasets: [digits]
seeds: 1
recipe: {epochs: 1, batch_size: 64, learning_rate: 0.1}
checkpoint: {epochs: 1}
baseline: softmax
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "grid.yaml").write_text(GRID)
    return tmp_path


def run(folder: Path, verb: str, place: Location, *options: str, expect: int = 0) -> str:
    done = program.run(verb, *options, "--workspace", place, folder=folder)
    told = done.stdout + done.stderr
    assert done.returncode == expect, told
    assert "Traceback" not in told
    return told


def elsewhere(folder: Path) -> list[str]:
    store = services.put_store(folder / "elsewhere")
    return ["--registry", f"sqlite:///{folder}/elsewhere.db", "--tracking", f"sqlite:///{store}"]


def scores(place: Location) -> dict[str, bytes]:
    """Every cell's rows, without the account, which tells times."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    storage = Storage(place)
    found: dict[str, bytes] = {}
    for stored in storage.list("evaluations"):
        table = pq.read_table(pa.BufferReader(storage.read(stored.name)))
        found[stored.name] = table.replace_schema_metadata(None).to_pandas().to_csv().encode()
    return found


def test_a_launch_into_an_object_store_is_as_one_into_a_folder(folder: Path, s3_place: Remote) -> None:
    told = run(folder, "launch", s3_place, "grid.yaml", "--executor", "inline", *elsewhere(folder))
    assert "2 cells, 0 already done, 2 to run" in told
    services.put_store(folder / "runs")
    run(folder, "launch", folder / "runs", "grid.yaml", "--executor", "inline")
    assert scores(s3_place) == scores(folder / "runs")
    names = {stored.name.partition("/")[0] for stored in Storage(s3_place).list()}
    assert names == {"data", "evaluations", "experiments", "validation", "results", "summaries", "origin.key"}, (
        "neither states nor wishes are left"
    )
    again = run(folder, "launch", s3_place, "grid.yaml", "--executor", "inline", *elsewhere(folder))
    assert "all 2 cells are already done" in again
    assert "report.html" not in again
    assert "Report: s3://" in run(folder, "report", s3_place, "grid.yaml")
    assert "2 of 2 cells are in" in run(folder, "export", s3_place, "grid.yaml", "published")
    assert "Cells taken: 2" in run(folder, "import", folder / "colleague", "published")
    assert "all 2 cells are already done" in run(folder, "launch", folder / "colleague", "grid.yaml")


def test_an_object_store_needs_services_elsewhere(folder: Path, s3_place: Remote) -> None:
    told = run(folder, "launch", s3_place, "grid.yaml", expect=2)
    assert "--registry" in told
    assert "Unexpected" not in told


def test_a_bucket_that_is_not_there_is_told_before_anything_runs(folder: Path, s3_place: Remote) -> None:
    absent = str(s3_place).replace("bucket", "no-such-bucket")
    told = run(folder, "launch", absent, "grid.yaml", *elsewhere(folder), expect=2)  # pyright: ignore[reportArgumentType]
    assert "cannot be written" in told
