"""A rehearsal as a user runs it: what it tries, what it says, and what it leaves."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import program
from orchestrator.execution.faults import InterruptionError
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Cell
from orchestrator.experiment.resources import Resources
from orchestrator.launching.measuring import InterruptingStateFile, RehearsalStores
from orchestrator.launching.rehearsal import RehearsalReport, RehearsedKind, State
from orchestrator.pricing.rates import Rates
from orchestrator.records.files.storage import Storage
from orchestrator.workspace import Workspace

GRID = """\
name: grid
losses: [softmax, bce_unified]
backbones: [resnet8, "torchvision:vit_b_16"]
datasets: [digits]
seeds: 2
recipe: {epochs: 10, batch_size: 64, learning_rate: 0.1}
overrides:
  - {where: {loss: bce_unified}, recipe: {learning_rate: 1.0e+20}}
baseline: softmax
"""
"""Of four kinds, one passes, one diverges, and two fail, because the network takes no images this small."""


SMALL = {
    "name": "small",
    "losses": ["softmax"],
    "backbones": ["resnet8"],
    "datasets": ["digits"],
    "baseline": "softmax",
}


class Rehearsed(NamedTuple):
    folder: Path
    code: int
    told: dict[str, Any]
    err: str


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Rehearsed:
    folder = tmp_path_factory.mktemp("rehearsed")
    (folder / "grid.yaml").write_text(GRID)
    uri = f"sqlite:///{folder}/server.db"
    options = ("--executor", "inline", "--format", "json", "--tracking", uri)
    done = program.run("rehearse", "grid.yaml", *options, folder=folder)
    return Rehearsed(folder, done.returncode, json.loads(done.stdout), done.stderr)


def test_a_failing_kind_ends_with_1_and_each_is_named_with_its_reason(rehearsed: Rehearsed) -> None:
    assert rehearsed.code == 1
    states = {(each["loss"], each["backbone"]): each["state"] for each in rehearsed.told["kinds"]}
    network = "torchvision:vit_b_16"
    assert states == {
        ("softmax", "resnet8"): "passed",
        ("bce_unified", "resnet8"): "diverged",
        ("softmax", network): "failed",
        ("bce_unified", network): "failed",
    }
    assert (rehearsed.told["passed"], rehearsed.told["diverged"], rehearsed.told["failed"]) == (1, 1, 2)
    assert all("8x8" in each["why"] for each in rehearsed.told["kinds"] if each["state"] == "failed")
    assert "Traceback" not in rehearsed.err


def test_nothing_of_it_is_left_but_rates(rehearsed: Rehearsed) -> None:
    left = {path.name for path in (rehearsed.folder / "runs").rglob("*")}
    assert left == {"origin.key", "rates.json"}


def test_its_runs_are_deleted_from_a_tracking_store_that_others_use(rehearsed: Rehearsed) -> None:
    with closing(sqlite3.connect(rehearsed.folder / "server.db")) as store:
        found = dict(store.execute("SELECT name, lifecycle_stage FROM experiments"))
        runs = store.execute("SELECT status FROM runs").fetchall()
    assert found["rehearsal-of-grid"] == "deleted"
    assert len(runs) == 4  # they had been there
    assert "grid" not in found


def test_a_smoke_launch_rehearses_and_says_that_nothing_counts(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(GRID)
    options = ("--only", "--loss", "softmax", "--backbone", "resnet8", "--executor", "inline")
    done = program.run("launch", "grid.yaml", "--smoke", *options, folder=tmp_path)
    assert done.returncode == 0
    assert done.stdout.endswith("1 kind passed. Nothing of this counts as a result.\n")
    assert {path.name for path in (tmp_path / "runs").rglob("*")} == {"origin.key", "rates.json"}
    (rate,) = Rates(Workspace.at(str(tmp_path / "runs")).rates).read()
    assert rate.source == "rehearsal"


def test_a_smoke_launch_refuses_what_only_matters_to_records(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(GRID)
    done = program.run("launch", "grid.yaml", "--smoke", "--join", "--notify", "http://x", folder=tmp_path)
    assert done.returncode == 2
    assert "keeps no result: leave out --join, --notify.\n" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_what_passed_has_a_rate_of_the_real_kind(rehearsed: Rehearsed) -> None:
    (rate,) = Rates(Workspace.at(str(rehearsed.folder / "runs")).rates).read()
    assert (rate.backbone, rate.dataset, rate.shape, rate.classes) == ("resnet8", "digits", (1, 8, 8), 10)
    assert (rate.cpus, rate.gpus, rate.batch_size, rate.precision) == (1, 0, 64, "float32")
    assert rate.images_per_second > 0
    assert rate.fixed_seconds >= 0
    assert rate.memory_bytes is not None
    assert rate.memory_bytes > 10**8
    assert rate.source == "rehearsal"


def test_the_size_of_a_cells_file_is_that_with_all_test_images(rehearsed: Rehearsed) -> None:
    (passed,) = [each for each in rehearsed.told["kinds"] if each["state"] == "passed"]
    row = passed["rate"]["row_bytes"]
    assert 40 < row < 120  # ten scores in float32 and a few columns more, compressed
    assert 797 * row < passed["file_bytes"] < 797 * row + 50_000


def test_wrong_requests_end_with_2_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(GRID.replace("resnet8", "resnet9"))
    done = program.run("rehearse", "grid.yaml", "--executor", "inline", folder=tmp_path)
    assert done.returncode == 2
    assert "Did you mean" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_missing_data_are_named_and_nothing_is_left(tmp_path: Path) -> None:
    text = GRID.replace("datasets: [digits]", "datasets: [{name: image_folder, path: mine}]")
    (tmp_path / "grid.yaml").write_text(text)
    done = program.run("rehearse", "grid.yaml", "--executor", "inline", "--stand-in", folder=tmp_path)
    assert done.returncode == 2
    assert "No data for 'image_folder'" in done.stderr
    assert {path.name for path in (tmp_path / "runs").rglob("*")} == {"origin.key"}


def test_the_first_state_of_a_cell_ends_its_attempt_and_later_ones_do_not(tmp_path: Path) -> None:
    shelf = InterruptingStateFile(Storage(tmp_path), "cell")
    with pytest.raises(InterruptionError):
        shelf.write(b"first")
    assert shelf.read() == b"first"
    shelf.write(b"second")
    assert shelf.read() == b"second"


def test_a_cell_of_several_devices_is_not_ended_on_purpose(tmp_path: Path, a_cell: Callable[..., Cell]) -> None:
    states = RehearsalStores(Workspace(tmp_path)).checkpoints(Experiment.model_validate(SMALL), "launch")
    alone = a_cell()
    several = replace(alone, resources=Resources(devices=2))
    assert isinstance(states.shelf(alone), InterruptingStateFile)
    assert not isinstance(states.shelf(several), InterruptingStateFile)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_one_kind_per_backbone_of_the_flagship_passes_on_ray(tmp_path: Path) -> None:
    chosen = ("--only", "--loss", "softmax", "--dataset", "cifar10")
    done = program.run("rehearse", "experiments/full.yaml", "--stand-in", "--format", "json", *chosen, folder=tmp_path,
                       timeout=1700)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    kinds = json.loads(done.stdout)["kinds"]
    assert [(each["backbone"], each["state"]) for each in kinds] == [
        (name, "passed") for name in ("resnet18", "resnet50", "densenet121")
    ]


@pytest.mark.parametrize(
    ("states", "is_good"),
    [
        (["passed"], True),
        (["passed", "diverged"], True),
        (["passed", "failed"], False),
        (["passed", "not tried"], False),
    ],
)
def test_a_rehearsal_is_good_only_if_each_kind_was_tried_and_none_failed(states: list[State], is_good: bool) -> None:
    tried = tuple(RehearsedKind("softmax", "resnet8", "digits", state, 64, 64, 1, 0) for state in states)
    assert RehearsalReport("grid", tried, ()).is_good is is_good
