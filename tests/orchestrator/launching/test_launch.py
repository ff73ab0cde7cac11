"""A launch with a tuning stage: both stages in all records, killed and resumed, and never mixed."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import program
import services
from orchestrator.outcome import RESULTS
from orchestrator.stores import Stores
from orchestrator.study import Study
from orchestrator.workspace import Workspace

if TYPE_CHECKING:
    from orchestrator.adaptive.trials import Trials

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

TUNED = """\
name: tuned
losses: [softmax, bce_unified]
backbones: [resnet8]
datasets: [digits]
seeds: 2
recipe: {epochs: 1, batch_size: 64}
tuning: {space: {learning_rate: "loguniform(1e-2, 1)", bias_init: "uniform(-3, 3)"}, trials: 3, on: validation}
baseline: softmax
claims:
  - {id: P1, metric: uniform_accuracy, challenger: bce_unified, baseline: softmax, direction: higher, margin: 0.005}
"""


class Bench:
    """A folder with the experiment, and the program."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "tuned.yaml"
        self.file.write_text(TUNED)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return program.start(*arguments, folder=self.folder)

    def run(self, *arguments: str, expect: int = 0) -> str:
        done = program.run(*arguments, folder=self.folder)
        assert done.returncode == expect, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        return done.stdout

    def launch(self, *options: str) -> str:
        return self.run("launch", self.file.name, "--executor", "inline", *options)

    @property
    def trials(self) -> Trials:
        found = Study.of_file(self.file, Stores.at(str(self.folder / "runs"))).trials
        assert found is not None
        return found

    @property
    def files(self) -> set[str]:
        found = (self.folder / "runs" / "evaluations").glob("*/*/*/*")
        return {path.stem.removeprefix("_") for path in found if path.suffix in {".parquet", ".trial"}}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """An experiment that was tuned and launched."""
    bench = Bench(tmp_path_factory.mktemp("tuned"))
    services.put_store(bench.folder / "runs")
    bench.launch()
    return bench


def test_an_experiment_that_is_not_tuned_yet_has_trials_to_run_and_no_cells(tmp_path: Path) -> None:
    planned = json.loads(Bench(tmp_path).run("plan", "tuned.yaml", "--json"))
    assert (planned["total"], planned["pending"], planned["cells"]) == (4, 4, [])
    assert (planned["tuning"]["total"], planned["tuning"]["done"]) == (6, 0)
    process = Bench(tmp_path).start("compare", "tuned.yaml")
    _, told = process.communicate(timeout=60)
    assert process.returncode == 2
    assert told.startswith("'tuned' is still being tuned: 0 of 2 recipes are found")


@pytest.mark.parametrize("searcher", ["random", "asha", "optuna"])
def test_planning_trials_imports_neither_torch_nor_ray(
    searcher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path)
    bench.file.write_text(TUNED.replace("on: validation", f"searcher: {searcher}"))
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    _, told = bench.start("plan", "tuned.yaml").communicate(timeout=60)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in told.splitlines() if "|" in line}
    assert "orchestrator" in imported
    assert ("optuna" in imported) is (searcher == "optuna")
    assert not imported & {"torch", "ray", "mlflow"}


MOODY = """\
import os
from trainers.losses.softmax import Softmax


class Moody(Softmax):
    '''A loss that works where MOOD is good.'''

    name = "moody"

    def per_sample(self, logits, labels):
        if os.environ.get("MOOD") != "good":
            raise RuntimeError("not today")
        return super().per_sample(logits, labels)
"""


def test_a_trial_that_fails_keeps_the_final_cells_waiting_until_it_is_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path)
    services.put_store(tmp_path / "runs")
    (tmp_path / "moods.py").write_text(MOODY)
    bench.file.write_text(f"plugins: [moods]\n{TUNED.replace('losses: [softmax,', 'losses: [softmax, moody,')}")
    launch = ("launch", "tuned.yaml", "--executor", "inline")
    told = bench.run(*launch, expect=1)
    assert "Not every recipe is found, so no final cell was begun: --retry-failed" in told
    assert len(bench.files) == 6
    bench.run(*launch, expect=1)  # failed trials are left alone …
    assert len(bench.files) == 6
    monkeypatch.setenv("MOOD", "good")
    counts = json.loads(bench.run(*launch, "--retry-failed", "--json").splitlines()[-1])  # … until they are asked for
    assert (counts["total"], counts["done"]) == (6, 6)
    assert len(bench.files) == 9 + 6


def test_a_tuned_experiment_is_planned_with_the_recipes_that_won(tuned: Bench) -> None:
    planned = json.loads(tuned.run("plan", "tuned.yaml", "--json"))
    assert (planned["total"], planned["done"], planned["pending"]) == (4, 4, 0)
    assert {cell["id"] for cell in planned["cells"]} | {cell.id for cell in tuned.trials.plan.cells} == tuned.files


def test_launched_again_nothing_runs(tuned: Bench) -> None:
    assert "all 4 cells are already done; nothing is rerun" in tuned.launch()
    assert len(tuned.files) == 6 + 4


def test_both_stages_are_in_the_registry_and_apart(tuned: Bench) -> None:
    states = {entry["experiment"]: entry["counts"] for entry in json.loads(tuned.run("status", "--json"))}
    assert states["tuned"]["finished"] == 4
    assert sum(states["tuned.tuning"][state] for state in RESULTS) == 6, "a trial may collapse"


def test_both_stages_are_in_mlflow_and_trials_are_marked(tuned: Bench) -> None:
    place = Workspace.at(str(tuned.folder / "runs"))
    trials, cells = (Stores(place).tracking(name).runs() for name in ("tuned.tuning", "tuned"))
    assert len(trials) == 6
    assert {run.tags["stage"] for run in trials} == {"tuning"}
    assert sorted(run.tags["trial"] for run in trials) == ["0", "0", "1", "1", "2", "2"]
    assert len(cells) == 4
    assert not any("stage" in run.tags for run in cells)


def test_trials_have_a_table_of_their_own_with_what_was_tried(tuned: Bench) -> None:
    trials, cells = (
        pq.read_table(tuned.folder / "runs" / "results" / f"{name}.parquet") for name in ("tuned.tuning", "tuned")
    )
    assert trials.num_rows == 6
    assert set(trials["trial"].to_pylist()) == {0, 1, 2}
    tried = {cell.id: cell.recipe for cell in tuned.trials.plan.cells}
    for row in trials.to_pylist():
        recipe = tried[row["cell_id"]]
        assert row["learning_rate"] == recipe.training.learning_rate
        assert row["bias_init"] == getattr(recipe.loss, "bias_init", None)
    assert "trial" not in cells.column_names
    assert not {*trials["cell_id"].to_pylist()} & {*cells["cell_id"].to_pylist()}


def test_no_reader_of_the_whole_folder_meets_a_trial(tuned: Bench) -> None:
    folder = tuned.folder / "runs" / "evaluations"
    final = {path.stem for path in folder.rglob("*.parquet")}
    assert len(final) == 4
    samples = sum(pq.read_metadata(path).num_rows for path in folder.rglob("*.parquet"))
    assert ds.dataset(folder, partitioning="hive").count_rows() == samples
    glob = f"{folder}/**/*.parquet"
    assert pl.scan_parquet(glob, hive_partitioning=True).select(pl.len()).collect().item() == samples
    assert duckdb.sql(f"select count(*) from read_parquet('{glob}', hive_partitioning=true)").fetchall() == [(samples,)]
    assert len(pd.read_parquet(folder)) == samples


def test_what_is_exported_counts_as_done_and_tuned_elsewhere(tuned: Bench, tmp_path: Path) -> None:
    tuned.run("export", "tuned.yaml", str(tmp_path / "public"))
    other = Bench(tmp_path)
    other.run("import", "public")
    assert other.trials.tuned == tuned.trials.tuned
    assert json.loads(other.run("plan", "tuned.yaml", "--json"))["pending"] == 0
    assert json.loads(other.run("plan", "public/experiment.yaml", "--json"))["pending"] == 0


def test_no_trial_is_in_the_comparison(tuned: Bench) -> None:
    compared = json.loads(tuned.run("compare", "tuned.yaml", "--format", "json"))
    assert {line["finished"] for line in compared["lines"]} == {2}
    assert {line["planned"] for line in compared["lines"]} == {2}


def test_the_winners_are_those_of_their_files_scores(tuned: Bench) -> None:
    rows = pq.read_table(tuned.folder / "runs" / "results" / "tuned.tuning.parquet").to_pylist()
    for found in tuned.trials.tuned:
        own = [row for row in rows if row["loss"] == found.competitor.loss]
        assert found.winner is not None
        assert found.winner.number == max(own, key=lambda row: (row["uniform_accuracy"], -row["trial"]))["trial"]


@pytest.mark.slow
def test_killed_while_tuning_and_launched_again_the_same_recipes_win(tuned: Bench, tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    services.put_store(tmp_path / "runs")
    process = bench.start("launch", "tuned.yaml", "--executor", "inline")
    deadline = time.monotonic() + 120
    while len(bench.files) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert 2 <= len(bench.files) < 6, "it was to be killed while tuning"
    bench.launch()
    assert bench.trials.tuned == tuned.trials.tuned
    assert bench.files == tuned.files


def test_one_more_loss_is_tuned_alone(tuned: Bench) -> None:
    before = tuned.files
    text = tuned.run("launch", "tuned.yaml", "--executor", "inline", "--loss", "bce", "--json")
    assert json.loads(text.splitlines()[-1])["done"] == 6
    assert len(tuned.files - before) == 3 + 2
