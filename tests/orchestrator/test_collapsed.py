"""A model that is no better than a guess on its own training images: named everywhere, and counted as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import program
import services
from orchestrator.records.tracking.runs import Tracking

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

GRID = """\
name: grid
losses: [softmax, blind]
backbones: [resnet8]
datasets: [digits]
seeds: 2
plugins: [blind]
recipe: {epochs: 1, batch_size: 64, learning_rate: 0.1}
baseline: softmax
claims:
  - {id: uniform, metric: uniform_accuracy, challenger: blind, baseline: softmax, direction: lower}
"""

BLIND = """\
from torch.nn.functional import softplus

from trainers.losses import Loss


class Blind(Loss):
    '''A loss that looks at no label: class 3 is always right.'''

    name = "blind"

    def per_sample(self, logits, labels):
        return softplus(-logits[:, 3]) + softplus(logits).sum(1) - softplus(logits[:, 3])
"""


class Desk:
    """A folder with the experiment, and the program."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "grid.yaml").write_text(GRID)
        (folder / "blind.py").write_text(BLIND)
        services.put_store(folder / "runs")

    def run(self, *arguments: str) -> str:
        done = program.run(*arguments, folder=self.folder)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def results(self) -> list[dict[str, Any]]:
        return pq.read_table(self.folder / "runs" / "results" / "grid.parquet").to_pylist()


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Desk, str]:
    """A launch of which half the cells collapse, and what it printed."""
    desk = Desk(tmp_path_factory.mktemp("collapsed"))
    return desk, desk.run("launch", "grid.yaml", "--executor", "inline", "--json")


REASON = "all 900 training images looked at are predicted as class 3"


def test_a_launch_tells_of_it_and_counts_it_as_done(launched: tuple[Desk, str]) -> None:
    desk, told = launched
    counts = next(json.loads(line) for line in told.splitlines() if line.startswith("{"))
    assert [counts[name] for name in ("total", "done", "pending", "failed", "diverged", "collapsed")] == [
        4,
        4,
        0,
        0,
        0,
        2,
    ]
    assert told.count(f"collapsed: {REASON}") == 2
    assert "all 4 cells are already done" in desk.run("launch", "grid.yaml", "--executor", "inline")


def test_the_results_table_has_its_state_and_its_figures(launched: tuple[Desk, str]) -> None:
    rows = {(row["loss"], row["seed"]): row for row in launched[0].results()}
    assert {key: row["state"] for key, row in rows.items()} == {
        ("softmax", 0): "finished", ("softmax", 1): "finished", ("blind", 0): "collapsed", ("blind", 1): "collapsed",
    }  # fmt: skip
    for seed in (0, 1):
        assert rows["blind", seed]["sample_wise_accuracy"] == pytest.approx(0.1, abs=0.02)
        assert rows["blind", seed]["samples"] == 797


def test_plan_and_status_count_it(launched: tuple[Desk, str]) -> None:
    desk, _ = launched
    assert "4 in all, 4 done, 0 to run (2 collapsed)" in desk.run("plan", "grid.yaml")
    plan = json.loads(desk.run("plan", "grid.yaml", "--json"))
    assert (plan["done"], sorted(cell["state"] for cell in plan["cells"])) == (4, ["collapsed"] * 2 + ["finished"] * 2)
    assert "2 finished, 2 collapsed" in desk.run("status")
    (status,) = json.loads(desk.run("status", "--json"))
    assert status["counts"]["collapsed"] == 2
    assert (
        sum("collapsed after" in event["sentence"] and REASON in event["sentence"] for event in status["events"]) == 2
    )


def test_the_comparison_names_it_beside_the_figures_and_the_claim(launched: tuple[Desk, str]) -> None:
    shown = launched[0].run("compare", "grid.yaml")
    assert "2 (2 collapsed)" in shown
    assert "2 of 4 cells collapsed" in shown


def test_its_mlflow_run_is_finished_and_says_why_it_counts_as_collapsed(launched: tuple[Desk, str]) -> None:
    runs = Tracking(f"sqlite:///{launched[0].folder / 'runs' / 'mlflow.db'}", "grid").runs()
    collapsed = [run for run in runs if run.tags.get("outcome") == "collapsed"]
    assert {run.params["loss"] for run in collapsed} == {"blind"}
    assert {run.status for run in runs} == {"FINISHED"}
    assert {run.tags["collapse"] for run in collapsed} == {REASON}
    assert all("uniform_accuracy" in run.metrics for run in collapsed)


@pytest.mark.slow
def test_doctor_agrees_and_verify_finds_it_again(launched: tuple[Desk, str]) -> None:
    desk, _ = launched
    assert "files, registry and MLflow agree on 4 finished cells" in desk.run("doctor", "grid.yaml")
    cell = next(row["cell_id"] for row in desk.results() if row["loss"] == "blind")
    assert "identical  blind/resnet8/digits/s" in desk.run("verify", "grid.yaml", "--cells", cell[:16])


@pytest.mark.slow
def test_a_rebuilt_registry_and_an_export_say_the_same(launched: tuple[Desk, str]) -> None:
    desk, _ = launched
    (desk.folder / "runs" / "registry.db").unlink()
    desk.run("rebuild", "grid.yaml")
    assert "2 finished, 2 collapsed" in desk.run("status")
    desk.run("export", "grid.yaml", "out")
    assert "2 finished, 2 collapsed, 0 diverged" in next(desk.folder.glob("out/**/README.md")).read_text()
