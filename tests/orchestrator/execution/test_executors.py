"""Two places to run cells, one behaviour. One launch on Ray serves most of these tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from subprocess import PIPE
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
from ray.util import debug

from orchestrator.errors import RequestError, UnreachableError
from orchestrator.execution import ray_tune
from orchestrator.execution.inline import Inline
from orchestrator.execution.queue import RETRIES, Queue
from orchestrator.execution.ray_cluster import LOCAL, STARTS, cluster
from orchestrator.execution.ray_tune import RayTune
from orchestrator.execution.worker import Worker
from orchestrator.experiment.plan import Cell, identity
from orchestrator.experiment.resources import Resources
from orchestrator.outcome import Advanced, Diverged, Event, Failed, Finished, Lost, Started
from orchestrator.records.files.checkpoints import Checkpoints
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.recorder import Recorder
from orchestrator.records.tracking.runs import Tracking
from trainers.datasets import fingerprint
from trainers.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.execution.executor import Executor

# MLflow's own use of SQLAlchemy; an error there would leave its tables unusable for the whole process.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

SLOTS = 2


def a_cell(loss: str, seed: int, dataset: str = "digits", resources: Resources | None = None, **training: Any) -> Cell:
    fields = {"epochs": 2, "batch_size": 100, "learning_rate": 0.1, **training}
    document = {"loss": loss, "backbone": "resnet8", "dataset": dataset, "seed": seed, "training": fields}
    recipe = Recipe.model_validate(document)
    return Cell(identity(recipe), loss, "resnet8", dataset, seed, recipe, resources or Resources())


SOUND = [a_cell(loss, seed) for loss in ("softmax", "bce_unified") for seed in range(2)]


@dataclass
class Launch:
    """What came of some cells."""

    events: list[Event]
    evaluations: Evaluations
    tracking: Tracking
    notes: Path
    raised: BaseException | None = None

    def of(self, cell: Cell) -> list[Event]:
        return [event for event in self.events if event.cell.id == cell.id]

    def outcome(self, cell: Cell) -> Finished | Diverged | Failed:
        (outcome,) = [event for event in self.of(cell) if isinstance(event, (Finished, Diverged, Failed))]
        return outcome

    def processes(self) -> set[str]:
        return {note.read_text() for note in self.notes.iterdir()}


class Place:
    """Records for an executor, and a way to launch cells with it."""

    def __init__(self, folder: Path, misfits: Any) -> None:
        self.evaluations = Evaluations(folder / "evaluations")
        store = f"sqlite:///{folder / 'mlflow.db'}"
        self.tracking = Tracking(store, "executors", (folder / "mlartifacts").as_uri(), spool=folder / "spool")
        self.tracking.prepare()
        self.notes = folder / "notes"
        self.notes.mkdir()
        recorder = misfits.Witness(Recorder(self.evaluations, self.tracking, {"git_commit": "abc"}), self.notes)
        self.checkpoints = Checkpoints(folder / "checkpoints", "launch", every_epochs=1)
        self.worker = Worker(recorder, folder / "data", self.checkpoints)

    def launch(self, executor: Executor, cells: Sequence[Cell], most: int | None = None) -> Launch:
        events: list[Event] = []
        executor.run(Queue(cells, most=most), events.append)
        # On a busy machine, MLflow may take longer than the end of a cell waits; a launch catches up, too.
        assert self.tracking.catch_up().troubles == ()
        return Launch(events, self.evaluations, self.tracking, self.notes)


@pytest.fixture(scope="module")
def strange(misfits: Any) -> dict[str, Cell]:
    """Cells that do not finish."""
    return {
        "raising": a_cell("softmax", 0, "absent"),
        "diverging": a_cell("bce_unified", 0, learning_rate=1e9),
        "deadly": a_cell("deadly", 0),
        "unreduced": a_cell("unreduced", 0),
    }


@pytest.fixture(scope="module")
def on_ray(tmp_path_factory: pytest.TempPathFactory, misfits: Any, strange: dict[str, Cell]) -> Launch:
    place = Place(tmp_path_factory.mktemp("ray"), misfits)
    cells = [strange["raising"], strange["deadly"], strange["diverging"], strange["unreduced"], *SOUND]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RETRIES, "process", 1)  # pyright: ignore[reportArgumentType]  # each costs a process
        return place.launch(RayTune(place.worker), cells, most=SLOTS)


@pytest.fixture(scope="module")
def inline(tmp_path_factory: pytest.TempPathFactory, misfits: Any, strange: dict[str, Cell]) -> Launch:
    place = Place(tmp_path_factory.mktemp("inline"), misfits)
    return place.launch(Inline(place.worker), [strange["raising"], strange["diverging"], strange["unreduced"], *SOUND])


@pytest.fixture(params=["inline", "on_ray"])
def launch(request: pytest.FixtureRequest) -> Launch:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("cell", SOUND, ids=lambda cell: cell.name)
def test_both_places_give_the_same_file_bit_for_bit(inline: Launch, on_ray: Launch, cell: Cell) -> None:
    tables = [
        pq.read_table(launch.evaluations.path(cell.recipe, cell.id), partitioning=None) for launch in (inline, on_ray)
    ]
    assert tables[0].replace_schema_metadata(None).equals(tables[1].replace_schema_metadata(None))
    accounts = [launch.evaluations.account(cell) for launch in (inline, on_ray)]
    for field in ("metrics", "learned_bias", "history", "recipe", "epochs", "samples", "parameters"):
        assert getattr(accounts[0], field) == getattr(accounts[1], field)


@pytest.mark.parametrize("cell", SOUND, ids=lambda cell: cell.name)
def test_a_sound_cell_starts_advances_and_finishes(launch: Launch, cell: Cell) -> None:
    started, *advanced, finished = launch.of(cell)
    assert isinstance(started, Started)
    assert [event.epoch for event in advanced if isinstance(event, Advanced)] == [1, 2]
    assert isinstance(finished, Finished)
    assert finished.metrics == launch.evaluations.account(cell).metrics
    assert finished.attempt.seconds > 0


@pytest.mark.parametrize("cell", SOUND[:1], ids=lambda cell: cell.name)
def test_a_file_says_where_its_result_comes_from(launch: Launch, cell: Cell) -> None:
    provenance = launch.evaluations.account(cell).provenance
    assert provenance["git_commit"] == "abc"  # the driver's, whatever the worker's folder is
    assert provenance["threads"] == cell.resources.cpus
    assert provenance["torch_version"] == version("torch")
    assert provenance["data_fingerprint"] == fingerprint(cell.recipe.dataset.load(Path()))


def test_the_file_is_there_for_sound_and_diverged_cells_only(launch: Launch, strange: dict[str, Cell]) -> None:
    assert launch.evaluations.ids() == {cell.id for cell in [*SOUND, strange["diverging"]]}


def test_a_cell_that_raises_is_failed_with_its_traceback(launch: Launch, strange: dict[str, Cell]) -> None:
    outcome = launch.outcome(strange["raising"])
    assert isinstance(outcome, Failed)
    assert outcome.error == "OSError: the images [of] the 3rd floor are gone"
    assert "misfits.py" in outcome.traceback
    assert "and so is the lift" in outcome.traceback


def test_a_loss_of_the_wrong_shape_fails_its_cell_once_and_says_what_is_needed(
    launch: Launch, strange: dict[str, Cell]
) -> None:
    assert len([event for event in launch.of(strange["unreduced"]) if isinstance(event, Started)]) == 1
    error = launch.outcome(strange["unreduced"])
    assert isinstance(error, Failed)
    sentence = "one number per sample, shape (100,), is needed: sum over classes."
    assert error.error == f"TypeError: Loss 'unreduced' returned shape (100, 10); {sentence}"


def test_a_cell_whose_loss_explodes_is_diverged(launch: Launch, strange: dict[str, Cell]) -> None:
    outcome = launch.outcome(strange["diverging"])
    assert isinstance(outcome, Diverged)
    assert outcome.epoch in (1, 2)
    account = launch.evaluations.account(strange["diverging"])
    assert (account.state, account.samples, account.metrics) == ("diverged", 0, {})
    assert account.epochs == outcome.epoch - 1


def test_a_process_that_dies_costs_its_own_cell_only(on_ray: Launch, strange: dict[str, Cell]) -> None:
    lost = [event for event in on_ray.of(strange["deadly"]) if isinstance(event, Lost)]
    assert [event.fault for event in lost] == ["process"]
    outcome = on_ray.outcome(strange["deadly"])
    assert isinstance(outcome, Failed)
    assert outcome.error.startswith("The worker process died")
    assert "\n" not in outcome.error
    assert outcome.traceback
    assert outcome.attempt.node
    assert all(isinstance(on_ray.outcome(cell), Finished) for cell in SOUND)


def test_processes_are_reused(on_ray: Launch) -> None:
    # One is replaced after each death, and one after each cell that raised in it.
    assert len(on_ray.processes()) <= SLOTS + 2 + 2


def test_tune_remembers_nothing_of_the_trials_for_good(on_ray: Launch) -> None:
    assert on_ray.events
    assert not [entry for entry in debug._logged if "Cell(" in entry]


def test_after_ray_later_tests_still_run_the_program_as_a_copy_of_a_warm_process(
    on_ray: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    import program  # which workers, that import this module, have not

    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.delitem(program.BEFORE, "PYTHONPATH", raising=False)
    assert on_ray.events
    assert program.is_calm(["plan"], program.variables())


def test_cells_ran_elsewhere(on_ray: Launch, inline: Launch) -> None:
    assert len(inline.processes()) == 1
    assert not inline.processes() & on_ray.processes()


def test_mlflow_tells_the_same_ends(launch: Launch, strange: dict[str, Cell]) -> None:
    statuses = {run.cell_id: run.status for run in launch.tracking.runs() if run.cell_id != strange["deadly"].id}
    assert statuses == {
        **{cell.id: "FINISHED" for cell in [*SOUND, strange["diverging"]]},
        strange["raising"].id: "FAILED",
        strange["unreduced"].id: "FAILED",
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, misfits: Any) -> Place:
    return Place(tmp_path_factory.mktemp("elsewhere"), misfits)


def test_a_cell_that_explodes_in_its_last_step_is_diverged_too(place: Place) -> None:
    cell = a_cell("bce_unified", 0, epochs=1, batch_size=900, learning_rate=1e9)
    assert isinstance(place.launch(Inline(place.worker), [cell]).outcome(cell), Diverged)


TOLERANCE = 2e-5
"""Of scores of about 4: means of means round differently."""


@pytest.mark.slow
def test_a_cell_on_two_devices_learns_what_one_would_teach_it(place: Place) -> None:
    alone = a_cell("bce_unified", 0, batch_size=100)
    document = alone.recipe.model_dump(mode="json") | {"backbone": {"name": "vit_mini"}}  # without batch statistics
    recipe = Recipe.model_validate(document)
    alone = replace(alone, id=identity(recipe), backbone="vit_mini", recipe=recipe)
    together = replace(alone, resources=Resources(devices=2))
    assert isinstance(place.launch(Inline(place.worker), [alone]).outcome(alone), Finished)
    single = place.evaluations.evaluation(alone)
    place.evaluations.path(recipe, alone.id).unlink()
    launched = place.launch(RayTune(place.worker), [together])
    assert isinstance(launched.outcome(together), Finished)
    assert [event.epoch for event in launched.of(together) if isinstance(event, Advanced)] == [1, 2]
    double = place.evaluations.evaluation(together)
    assert place.evaluations.account(together).provenance["devices"] == 2
    np.testing.assert_allclose(double.positive, single.positive, atol=TOLERANCE)
    np.testing.assert_allclose(double.rival, single.rival, atol=TOLERANCE)


def test_more_devices_than_there_are_is_told_at_once(place: Place) -> None:
    with pytest.raises(RequestError, match="A cell needs 64 devices with 1 CPU and 0 GPUs each, but Ray has room for"):
        place.launch(RayTune(place.worker), [a_cell("softmax", 6, resources=Resources(devices=64))])


def test_a_launch_that_is_being_stopped_begins_no_further_tune_run(tmp_path: Path) -> None:
    queue = Queue(SOUND)
    runs = ray_tune._Runs(Unknown(), queue, SimpleQueue(), tmp_path)  # pyright: ignore[reportArgumentType]
    assert queue.take() is not None
    assert runs.need_another
    queue.close()
    assert not queue.over, "what runs has not ended"
    assert not runs.need_another


# What cannot run at all


class Unknown:
    """A worker that can do nothing."""

    checkpoints = None


@pytest.mark.slow
def test_processes_that_cannot_begin_end_the_launch_with_the_reason(place: Place) -> None:
    with pytest.raises(RequestError, match=r"before they begin a cell \(AttributeError: .*'run'\): nothing was run"):
        RayTune(Unknown()).run(Queue(SOUND), lambda event: None)  # pyright: ignore[reportArgumentType]


def test_cells_no_node_has_room_for_are_refused_before_anything_starts(place: Place) -> None:
    cells = [SOUND[0], a_cell("softmax", 5, resources=Resources(cpus=64))]
    with pytest.raises(RequestError, match="A cell needs 64 CPUs"):
        place.launch(RayTune(place.worker), cells)
    assert not {cell.id for cell in cells} & {note.name for note in place.notes.iterdir()}


def test_ray_client_is_refused_with_a_remedy(place: Place) -> None:
    with pytest.raises(UnreachableError, match="ray job submit"):
        place.launch(RayTune(place.worker, "ray://127.0.0.1:9"), SOUND)


@pytest.mark.parametrize("address", ["127.0.0.1:9", "no-such-host.invalid:6379"])
def test_an_address_without_ray_is_told_and_not_waited_for(place: Place, address: str) -> None:
    began = time.monotonic()
    with pytest.raises(UnreachableError, match="No Ray answers"):
        place.launch(RayTune(place.worker, address), SOUND)
    assert time.monotonic() - began < 60


# A head start


@pytest.mark.slow
def test_cells_run_on_the_ray_that_was_started_before_and_it_goes_on_until_the_end(place: Place) -> None:
    cells = [a_cell("softmax", seed) for seed in (7, 8)]
    sessions = set[str]()
    runner = RayTune(place.worker)
    with runner.starting():
        for cell in cells:  # anchors run so, before the cells themselves
            assert isinstance(place.launch(runner, [cell]).outcome(cell), Finished)
            sessions.add(ray.get_runtime_context().get_job_id() + str(ray.nodes()[0]["NodeID"]))
    assert len(sessions) == 1
    assert not ray.is_initialized()


def test_a_head_start_that_fails_is_told_by_the_run(place: Place) -> None:
    runner = RayTune(place.worker, "127.0.0.1:9")
    with runner.starting(), pytest.raises(UnreachableError, match="No Ray answers"):
        place.launch(runner, SOUND)


def test_a_head_start_without_a_run_leaves_no_ray() -> None:
    with RayTune(Unknown()).starting():  # pyright: ignore[reportArgumentType]
        pass
    assert not ray.is_initialized()


def test_a_driver_that_runs_cells_on_ray_needs_no_torch() -> None:
    code = """
import sys
from orchestrator.execution.ray_cluster import LOCAL, cluster
from orchestrator.execution.ray_tune import RayTune
from orchestrator.execution.ray_trial import trial
with cluster(LOCAL):
    trial(None)
print("torch" in sys.modules)
"""
    told = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_a_ray_that_a_busy_machine_starts_too_slowly_is_started_again(
    monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    tried = count(1)

    def init(**_: Any) -> None:
        if next(tried) <= failures:
            raise Exception("The current node timed out during startup.")  # noqa: TRY002 - as Ray does

    monkeypatch.setattr(ray, "init", init)
    inside = cluster(LOCAL)
    if failures == STARTS:
        with (
            pytest.raises(UnreachableError, match=r"cannot be started on this machine: .* timed out .* inline"),
            inside,
        ):
            pass
    else:
        with inside:
            pass
    assert next(tried) == min(failures + 1, STARTS) + 1


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_to_all_processes_of_a_terminal_leaves_ray_to_the_launch(sent: signal.Signals) -> None:
    code = """
import ray, signal, sys
from orchestrator.execution.ray_cluster import LOCAL, cluster
from orchestrator.process import signals
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run under nohup
signals.listen(signals.interrupt)
with cluster(LOCAL):
    try:
        print("up", flush=True)
        sys.stdin.read()
    except KeyboardInterrupt:
        print(ray.get(ray.remote(lambda: "alive").remote(), timeout=60))
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    # As a terminal and `timeout` do, the signal goes to the group of the launch.
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True, process_group=0) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        os.killpg(process.pid, sent)
        assert process.communicate(timeout=120) == ("alive\n", "")


class DiskFullError(Exception):
    """Raised by a listener."""


def refuse(_: Event) -> NoReturn:
    raise DiskFullError("no room for another row")


@pytest.mark.parametrize("kind", [Inline, pytest.param(RayTune, marks=pytest.mark.slow)])
def test_what_a_listener_raises_reaches_the_caller_as_it_is(place: Place, kind: Any) -> None:
    with pytest.raises(DiskFullError, match="no room"):
        kind(place.worker).run(Queue(SOUND[:1]), refuse)


def test_the_users_interruption_is_no_failure(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(event: Event) -> None:
        if isinstance(event, Advanced):
            raise KeyboardInterrupt

    cell = replace(a_cell("softmax", 9))
    with pytest.raises(KeyboardInterrupt):
        Inline(place.worker).run(Queue([cell]), interrupted)
    assert cell.id not in place.evaluations.ids()
    assert {run.status for run in place.tracking.runs() if run.cell_id == cell.id} == {"KILLED"}
