"""What a trained cell leaves: where its numbers come from, what they cost, and the model where it is asked for."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from orchestrator import provenance
from orchestrator.experiment.plan import plan
from orchestrator.experiment.reading import load
from orchestrator.experiment.resources import Resources
from orchestrator.outcome import Attempt
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.soundness import check
from orchestrator.records.recorder import Recorder
from orchestrator.records.tracking.runs import Tracking, Untracked
from orchestrator.reproduction.verification import TrainedFiles, compare
from trainers.data import split
from trainers.datasets import Images, TrainTest
from trainers.evaluation import ALL
from trainers.fit import fit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.experiment.plan import Cell
    from orchestrator.records.files.evaluations import Account
    from trainers.evaluation import Evaluation
    from trainers.fit import Fit

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
    # Of MLflow's own type hints, when its models are imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
    pytest.mark.usefixtures("patient"),
]


@pytest.fixture
def cell(a_cell: Callable[..., Cell]) -> Cell:
    return a_cell("bce_unified", epochs=1)


def trained(recorder: Recorder, cell: Cell, tmp_path: Path, data: TrainTest | None = None) -> Fit:
    """Train and record a cell as a worker does."""
    data = data or cell.recipe.dataset.load(tmp_path)
    with recorder.open(cell) as log:
        found = fit(cell.recipe, data, observer=log.epoch)
        log.finish(found, Attempt("here", time.time(), 2.0))
    return found


def test_provenance_tells_of_device_libraries_switches_and_costs(cell: Cell, tmp_path: Path) -> None:
    recorder = Recorder(Evaluations(tmp_path / "evaluations"), Untracked(), {"git_commit": "abc"})
    trained(recorder, cell, tmp_path)
    told = recorder.evaluations.account(cell).provenance
    assert told["device"] == "cpu"
    assert told["cuda_version"] == torch.version.cuda
    assert told["cudnn_version"] == torch.backends.cudnn.version()
    # As they were while it was trained, and not as they are now.
    assert told["deterministic_algorithms"] is True
    assert torch.are_deterministic_algorithms_enabled() is False
    assert told["tf32_matmul"] is False
    assert told["tf32_convolutions"] is False
    assert told["compiled"] is False
    assert (told["gpu_seconds"], told["gpu_joules"], told["gpu_shared"]) == (0, None, False)
    assert told["gpu_driver"] == provenance.driver(provenance.nvml())
    assert told["cpu_shared"] == (told["cores"] > 1)
    assert (told["git_commit"], told["threads"], told["devices"]) == ("abc", 1, 1)


def test_the_file_holds_the_rows_of_both_splits_and_what_was_fitted(cell: Cell, tmp_path: Path) -> None:
    recorder = Recorder(Evaluations(tmp_path / "evaluations"), Untracked(), {})
    found = trained(recorder, cell, tmp_path)
    account = recorder.evaluations.account(cell)
    rows = recorder.evaluations.validation(cell)
    assert (account.version, account.classes, account.scores) == (3, 10, "all")
    assert account.temperature == found.temperature is not None
    assert rows is not None
    assert found.validation is not None
    np.testing.assert_array_equal(rows.scores, found.validation.scores)
    np.testing.assert_array_equal(rows.sample, found.validation.sample)


LOSSES = [
    "softmax",
    "bce",
    {"name": "bce_fixed", "bias": 1.5},
    "bce_diverse",
    "focal",
    "softmax_calibrated",
    *({"name": "bce_diverse", "decide_by": by} for by in ("probability", "calibrated", "sigmoid")),
]


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_what_a_cell_states_follows_from_its_rows_whatever_decides(
    a_cell: Callable[..., Cell], loss: Any, tmp_path: Path
) -> None:
    cell = a_cell(loss, epochs=1)
    recorder = Recorder(Evaluations(tmp_path / "evaluations"), Untracked(), {})
    found = trained(recorder, cell, tmp_path)
    assert found.metrics["brier_score"] is not None
    check(recorder.evaluations.checked(recorder.evaluations.name(cell)))


def test_of_many_classes_what_the_kept_scores_do_not_tell_is_as_stated(
    a_cell: Callable[..., Cell], tmp_path: Path
) -> None:
    cell = a_cell("bce_diverse", epochs=1)
    recorder = Recorder(Evaluations(tmp_path / "evaluations"), Untracked(), {})
    labels = np.repeat(np.arange(ALL + 1), 3)
    draw = np.random.RandomState(0)
    images = Images(draw.randint(0, 256, (len(labels), 1, 8, 8)).astype(np.uint8), labels)
    found = trained(recorder, cell, tmp_path, TrainTest(images, images, ALL + 1))
    for name in ("brier_score", "brier_score_sigmoid", "sample_wise_accuracy_sigmoid", "calibration_error_sigmoid"):
        assert found.metrics[name] is not None
    assert recorder.evaluations.account(cell).scores == "top"
    check(recorder.evaluations.checked(recorder.evaluations.name(cell)))


SWITCHING = """
import sys, torch
from orchestrator.provenance.torch_state import switches
for step in sys.argv[1:]:
    exec(step)
    print(*(name for name, on in switches().items() if on and name.startswith("tf32")))
"""


@pytest.mark.parametrize(
    "steps",
    [
        {
            "torch.backends.cudnn.allow_tf32 = False": "",
            "torch.backends.cuda.matmul.allow_tf32 = True": "tf32_matmul",
            "torch.set_float32_matmul_precision('highest')": "",
        },
        {
            "torch.backends.fp32_precision = 'ieee'": "",
            "torch.backends.cudnn.conv.fp32_precision = 'tf32'": "tf32_convolutions",
            "torch.backends.fp32_precision = 'tf32'": "tf32_matmul tf32_convolutions",
        },
    ],
)
def test_tf32_is_told_however_it_is_switched_on(steps: dict[str, str]) -> None:
    told = subprocess.run([sys.executable, "-c", SWITCHING, *steps], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == list(steps.values())


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        (Resources(gpus=1), (10.0, False, 5.0, 7.0)),
        (Resources(gpus=0.25), (2.5, True, 5.0, 7.0)),
        (Resources(gpus=1, devices=4), (40.0, False, None, None)),
    ],
)
def test_gpu_seconds_are_those_of_the_share_and_energy_says_whose_it_is(
    cell: Cell, tmp_path: Path, resources: Resources, expected: tuple[Any, ...]
) -> None:
    class Metered:
        def joules(self) -> dict[str, float | None]:
            return {"gpu_joules": 5.0, "cpu_joules": 7.0}

    recorder = Recorder(Evaluations(tmp_path), Untracked(), {})
    meter = Metered()
    with recorder.open(cell) as log:
        costs = replace(log, cell=replace(cell, resources=resources), meter=meter)._costs(10.0)
    assert tuple(costs[name] for name in ("gpu_seconds", "gpu_shared", "gpu_joules", "cpu_joules")) == expected


def test_a_cell_that_diverges_at_once_has_its_provenance_too(cell: Cell, tmp_path: Path) -> None:
    recorder = Recorder(Evaluations(tmp_path), Untracked(), {"git_commit": "abc"})
    with recorder.open(cell) as log:
        log.diverge(1, Attempt("here", time.time(), 2.0))
    told = recorder.evaluations.account(cell).provenance
    assert (told["git_commit"], told["device"], told["gpu_seconds"]) == ("abc", "cpu", 0)


def test_a_resumed_cell_has_the_history_of_both_attempts(cell: Cell, tmp_path: Path) -> None:
    recorder = Recorder(Evaluations(tmp_path), Untracked(), {})
    with recorder.open(cell) as log:
        log.resumed([{"loss": 4.0}, {"loss": 3.0}])
        log.epoch(3, {"loss": 2.0})
        log.diverge(4, Attempt("here", time.time(), 2.0))
    account = recorder.evaluations.account(cell)
    assert [figures["loss"] for figures in account.history] == [4, 3, 2]
    assert account.epochs == 3


@pytest.mark.parametrize(("cpus", "is_shared"), [(1, True), (3, True), (4, False), (5, False)])
def test_processors_are_shared_where_a_cell_does_not_need_all(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpus: int, *, is_shared: bool
) -> None:
    recorder = Recorder(Evaluations(tmp_path), Untracked(), {})
    with recorder.open(cell) as log:
        monkeypatch.setattr("os.cpu_count", lambda: 4)
        costs = replace(log, cell=replace(cell, resources=Resources(cpus=cpus)))._costs(10.0)
    assert costs["cpu_shared"] == is_shared


def test_what_a_cell_took_is_no_difference_to_verify(
    cell: Cell, an_account: Callable[..., Account], evaluation: Evaluation
) -> None:
    costs = dict.fromkeys(provenance.COSTS, 1.0)
    then, now = ({"git_commit": commit, **spent} for commit, spent in (("abc", costs), ("def", {})))
    verdict = compare(*(TrainedFiles(an_account(cell, provenance=told), evaluation) for told in (then, now)))
    assert verdict.provenance == {"git_commit": ("abc", "def")}


def test_a_library_that_fails_has_no_driver() -> None:
    class Broken:
        class NVMLError(Exception):
            """As pynvml names it."""

        def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802 - named by NVIDIA
            raise self.NVMLError("uninitialised")

    class Sound(Broken):
        def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802 - likewise
            return "580.1"

    assert [provenance.driver(nvml) for nvml in (None, Broken(), Sound())] == [None, None, "580.1"]


def test_the_driver_tells_of_its_machine_without_torch() -> None:
    script = (
        "import sys; import orchestrator.records.recorder as r; r.provenance.machine(); print('torch' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"


@pytest.fixture
def tracking(tmp_path: Path) -> Tracking:
    store = Tracking(
        f"sqlite:///{tmp_path / 'mlflow.db'}", "grid", (tmp_path / "mlartifacts").as_uri(), spool=tmp_path / "spool"
    )
    store.prepare()
    return store


def test_a_finished_run_keeps_where_it_comes_from_and_its_curve(cell: Cell, tracking: Tracking, tmp_path: Path) -> None:
    recorder = Recorder(Evaluations(tmp_path / "evaluations"), tracking, {"git_commit": "abc"})
    found = trained(recorder, cell, tmp_path)
    kept = {path.name: path for path in (tmp_path / "mlartifacts").rglob("*") if path.is_file()}
    assert kept.keys() == {"recipe.json", "environment.json", "accuracy_curve.csv", "accuracy_curve.svg"}
    assert json.loads(kept["environment.json"].read_text())["git_commit"] == "abc"
    _, *rows = kept["accuracy_curve.csv"].read_text().splitlines()
    best = max(float(row.split(",")[1]) for row in rows)
    assert best == pytest.approx(found.metrics["uniform_accuracy"])
    (run,) = tracking.runs()
    assert run.metrics["uniform_accuracy"] == found.metrics["uniform_accuracy"]


def test_a_run_that_diverged_says_in_which_epoch_and_keeps_where_it_comes_from(
    cell: Cell, tracking: Tracking, tmp_path: Path
) -> None:
    recorder = Recorder(Evaluations(tmp_path / "evaluations"), tracking, {"git_commit": "abc"})
    with recorder.open(cell) as log:
        log.epoch(1, {"loss": 2.5})
        log.diverge(2, Attempt("here", time.time(), 2.0))
    (run,) = tracking.runs()
    assert (run.tags["outcome"], run.tags["diverged_epoch"], run.metrics["loss"]) == ("diverged", "2", 2.5)
    kept = {path.name: path for path in (tmp_path / "mlartifacts").rglob("*") if path.is_file()}
    assert kept.keys() == {"recipe.json", "environment.json"}
    assert json.loads(kept["environment.json"].read_text())["git_commit"] == "abc"


def test_a_kept_model_gives_the_scores_of_the_cells_file(
    cell: Cell, tracking: Tracking, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    recorder = Recorder(Evaluations(tmp_path / "evaluations"), tracking, {}, log_models=True)
    trained(recorder, cell, tmp_path)
    assert [record.getMessage() for record in caplog.records if record.name == "orchestrator.tracking"] == []
    (run,) = tracking.runs()
    assert run.status == "FINISHED"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.uri)  # mlflow.set_tracking_uri would set it for good
    uri = f"runs:/{run.run_id}/model"
    told = mlflow.models.get_model_info(uri).signature
    assert told is not None
    assert (told.inputs.inputs[0].shape, told.outputs.inputs[0].shape) == ((-1, 1, 8, 8), (-1, 10))
    images = split(cell.recipe.dataset.load(tmp_path), cell.recipe, torch.device("cpu")).test.images(slice(None))
    rows = recorder.evaluations.evaluation(cell)
    with torch.inference_mode():
        scores = mlflow.pytorch.load_model(uri)(images).numpy()
    own = scores[np.arange(len(scores)), rows.label]
    np.testing.assert_allclose(own, rows.positive, rtol=1e-5, atol=1e-5)
    assert (scores.argmax(axis=1) == rows.prediction).mean() > 0.99  # a tie may fall the other way
    served = mlflow.pyfunc.load_model(uri).predict(images[:3].contiguous().numpy())
    np.testing.assert_allclose(served, scores[:3], rtol=1e-5, atol=1e-5)


def test_a_kept_model_holds_no_pickle(cell: Cell, tracking: Tracking, tmp_path: Path) -> None:
    recorder = Recorder(Evaluations(tmp_path / "evaluations"), tracking, {}, log_models=True)
    trained(recorder, cell, tmp_path)
    kept = {path.name for path in (tmp_path / "mlartifacts").rglob("model/data/*")}
    assert kept == {"model.pt2"}
    assert list((tmp_path / "spool").rglob("*.model")) == []


def test_a_model_is_kept_only_where_that_is_asked_for(cell: Cell, tracking: Tracking, tmp_path: Path) -> None:
    trained(Recorder(Evaluations(tmp_path / "evaluations"), tracking, {}), cell, tmp_path)
    assert list((tmp_path / "mlartifacts").rglob("MLmodel")) == []


def test_keeping_models_makes_no_other_cells(tiny: str, written: Callable[[str], Path]) -> None:
    plain, kept = (plan(load(written(text))) for text in (tiny, f"{tiny}log_models: true\n"))
    assert (plain.experiment.log_models, kept.experiment.log_models) == (False, True)
    assert plain.cells == kept.cells


def test_a_model_that_cannot_be_exported_costs_the_cell_nothing(
    cell: Cell, tracking: Tracking, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(Evaluations(tmp_path / "evaluations"), tracking, {}, log_models=True)
    found: Any = fit(cell.recipe, cell.recipe.dataset.load(tmp_path))
    odd = replace(found, example=found.example[:, :, :, :3])  # too narrow for the model
    with recorder.open(cell) as log:
        log.finish(replace(odd, model=torch.nn.Identity()), Attempt("here", time.time(), 2.0))
    assert recorder.evaluations.account(cell).state == "finished"
    assert [run.status for run in tracking.runs()] == ["FINISHED"]
    assert "incomplete" in caplog.text
