"""A grid of one instruction set, and a loss that comes later under another: pairs meet, and everything is recorded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

import program
import services
from orchestrator.provenance import processor
from orchestrator.records.tracking.runs import Tracking

if TYPE_CHECKING:
    from pathlib import Path

# MLflow's own use of SQLAlchemy; an error there would leave its tables unusable for the whole process.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

GRID = """\
name: grid
losses: [softmax, bce_unified]
backbones: [resnet8]
datasets: [digits]
seeds: 1
recipe: {epochs: 1, batch_size: 64, learning_rate: 0.1}
baseline: softmax
"""

LESS = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}


def run(folder: Path, *arguments: str, **environment: str) -> str:
    done = program.run(*arguments, folder=folder, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(processor.instruction_set() in (None, "DEFAULT"), reason="this processor has one set only")
def test_a_loss_that_comes_later_is_compared_with_the_baseline_of_its_own_environment(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(GRID)
    services.put_store(tmp_path / "runs")
    run(tmp_path, "launch", "grid.yaml", "--executor", "inline", **LESS)
    (tmp_path / "grid.yaml").write_text(GRID.replace("bce_unified", "bce_unified, focal"))
    planned = json.loads(run(tmp_path, "plan", "grid.yaml", "--json"))
    (foreseen,) = planned["replicas"]
    assert (planned["total"], planned["pending"], foreseen["loss"]) == (3, 1, "softmax")
    told = run(tmp_path, "plan", "grid.yaml")
    assert "1 cell is trained again beside partners of another environment (instruction set DEFAULT" in told
    assert not json.loads(run(tmp_path, "plan", "grid.yaml", "--json", **LESS))["replicas"], "where the old cells are"

    run(tmp_path, "launch", "grid.yaml", "--executor", "inline")
    cells = pq.read_table(tmp_path / "runs" / "results" / "grid.parquet").to_pylist()
    (replica,) = pq.read_table(tmp_path / "runs" / "results" / "grid.replicas.parquet").to_pylist()
    assert replica["cell_id"] == foreseen["id"]
    found = {row["loss"]: row["environment"] for row in cells}
    assert len(cells) == 3
    assert found["softmax"] == found["bce_unified"] != found["focal"] == replica["environment"]
    runs = {run.name: run for run in Tracking(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}", "grid").runs()}
    again = runs[f"softmax/resnet8/digits/s0@{replica['environment']}"]
    assert (len(runs), again.tags["replica"], again.params["loss"]) == (4, replica["environment"], "softmax")
    compared = json.loads(run(tmp_path, "compare", "grid.yaml", "--format", "json"))
    differences = {line["loss"]: line["differences"] for line in compared["lines"] if line["differences"]}
    late = {row["loss"]: row["uniform_accuracy"] for row in cells}["focal"] - replica["uniform_accuracy"]
    assert differences["focal"]["uniform_accuracy"]["estimate"] == pytest.approx(late)
    assert compared["unpaired"] == 0
    assert run(tmp_path, "launch", "grid.yaml", "--executor", "inline").count("nothing is rerun") == 1
    assert json.loads(run(tmp_path, "status", "--json"))[0]["replicas"] == 1
