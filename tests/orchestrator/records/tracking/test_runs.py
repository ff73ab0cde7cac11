"""MLflow tells of each cell once and truthfully, and never stands in a cell's way."""

from __future__ import annotations

import importlib
import json
import math
import multiprocessing
import os
import shutil
import signal
import socket
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

import services
from orchestrator.errors import BusyError, UnreachableError
from orchestrator.experiment.plan import PROTOCOL, Cell, identity
from orchestrator.experiment.resources import Resources
from orchestrator.outcome import Attempt, Diverged, Failed, Finished
from orchestrator.records.tracking.experiment_page import ExperimentPage
from orchestrator.records.tracking.mlflow_ui import serve
from orchestrator.records.tracking.names import key
from orchestrator.records.tracking.run import parameters
from orchestrator.records.tracking.runs import CaughtUp, Tracking
from trainers.recipe import Recipe, Training

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from mlflow.entities import Run as StoredRun
    from sqlalchemy import Engine

    from orchestrator.records.tracking.run import Run

# MLflow's own use of SQLAlchemy; an error there would leave its tables unusable for the whole process.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

ATTEMPT = Attempt("here", started=0.0, seconds=1.0)


def a_cell(seed: int = 0) -> Cell:
    """A cell that is small to write down; nothing is trained here."""
    training = Training(epochs=3, augmentation=("crop", "flip"))
    recipe = Recipe.model_validate(
        {
            "loss": "bce_unified",
            "backbone": "resnet8",
            "dataset": "digits",
            "seed": seed,
            "training": training,
        }
    )
    return Cell(identity(recipe), "unified", "resnet8", "digits", seed, recipe, Resources())


@pytest.fixture
def server(mlflow_server: str) -> str:
    """The address of an MLflow server."""
    return mlflow_server


@contextmanager
def a_server(folder: Path) -> Generator[str]:
    """A server on a store of its own in the folder."""
    store = services.put_store(folder)
    with serve(f"sqlite:///{store}", str(folder / "mlartifacts"), folder / "server.log") as address:
        yield address


@pytest.fixture
def local(tmp_path: Path) -> Tracking:
    """A store in a file, ready to be written."""
    store = services.put_store(tmp_path)
    tracking = Tracking(f"sqlite:///{store}", "grid", str(tmp_path / "mlartifacts"))
    tracking.prepare()
    return tracking


@pytest.fixture(scope="session")
def database(postgresql_server: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of a PostgreSQL database with MLflow's tables."""
    import psycopg

    with psycopg.connect(f"{postgresql_server}/postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE mlflow")
    uri = f"{postgresql_server}/mlflow"
    Tracking(uri, "template", str(tmp_path_factory.mktemp("mlartifacts"))).prepare()
    return uri


@pytest.fixture(params=["local", "server", "database"])
def tracking(request: pytest.FixtureRequest, tmp_path: Path) -> Tracking:
    """An experiment of the test's own: in a SQLite file, behind a server, and in PostgreSQL."""
    if request.param == "local":
        return request.getfixturevalue("local")
    artifacts = str(tmp_path / "mlartifacts") if request.param == "database" else None
    tracking = Tracking(request.getfixturevalue(request.param), request.node.name, artifacts)
    tracking.prepare()
    return tracking


def client(tracking: Tracking) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking.uri)


def the_experiment(tracking: Tracking) -> Experiment:
    experiment = client(tracking).get_experiment_by_name(tracking.experiment)
    assert experiment is not None
    return experiment


def left_running(tracking: Tracking, cell: Cell) -> None:
    """What a process that was killed right after it created the cell's run leaves behind."""
    client(tracking).create_run(the_experiment(tracking).experiment_id, tags={"cell_id": cell.id})


def the_run(tracking: Tracking) -> StoredRun:
    """The experiment's only run, as MLflow itself gives it."""
    (summary,) = tracking.runs()
    return client(tracking).get_run(summary.run_id)


def history(tracking: Tracking, metric: str) -> list[tuple[int, float]]:
    entries = client(tracking).get_metric_history(the_run(tracking).info.run_id, metric)
    return [(entry.step, entry.value) for entry in entries]


def test_a_run_bears_the_names_parameters_and_tags_of_the_contract(tracking: Tracking) -> None:
    cell = a_cell(seed=4)
    with tracking.run(cell, commit="c0ffee") as run:
        run.finish({"uniform_accuracy": 0.5})
    stored = the_run(tracking)
    assert run.trouble is None
    assert stored.info.run_id == run.run_id
    assert stored.info.run_name == "unified/resnet8/digits/s4"
    assert stored.data.params == parameters(cell)
    assert {
        "cell_id": cell.id,
        "protocol": str(PROTOCOL),
        "git_commit": "c0ffee",
    }.items() <= stored.data.tags.items()


def test_parameters_have_plain_names_except_those_of_plug_ins() -> None:
    written = parameters(a_cell(seed=4))
    expected = {
        "loss": "unified",
        "backbone": "resnet8",
        "dataset": "digits",
        "seed": "4",
        "epochs": "3",
        "optimizer": "sgd",
        "learning_rate": "0.01",
        "augmentation": '["crop", "flip"]',
        "loss.bias_init": "prior",
    }
    assert expected.items() <= written.items()
    assert set(Training.model_fields) <= set(written)


def test_texts_are_artefacts(tracking: Tracking) -> None:
    with tracking.run(a_cell()) as run:
        run.artifacts({"environment.json": "{}", "curve.csv": "threshold,accuracy\n"})
        run.finish({})
    names = {file.path for file in client(tracking).list_artifacts(run.run_id or "")}
    assert names == {"recipe.json", "environment.json", "curve.csv"}


def test_the_recipe_is_an_artefact(tracking: Tracking, tmp_path: Path) -> None:
    cell = a_cell()
    with tracking.run(cell) as run:
        run.finish({})
    path = client(tracking).download_artifacts(run.run_id or "", "recipe.json", str(tmp_path))
    assert json.loads(Path(path).read_text()) == cell.recipe.model_dump(mode="json")


def test_epochs_are_steps_and_final_metrics_come_last(tracking: Tracking) -> None:
    with tracking.run(a_cell()) as run:
        for epoch in (1, 2, 3):
            run.epoch(epoch, {"train_loss": 1 / epoch, "learned_bias": float(epoch)})
        run.finish({"uniform_accuracy": 0.75, "learned_bias": 3.5})
    assert history(tracking, "train_loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert tracking.runs()[0].metrics == {"train_loss": 1 / 3, "learned_bias": 3.5, "uniform_accuracy": 0.75}


def test_values_that_break_the_run_page_are_left_out(tracking: Tracking) -> None:
    with tracking.run(a_cell()) as run:
        run.epoch(1, {"train_loss": math.nan, "bound": math.inf, "learning_rate": 0.1})
        run.epoch(2, {"train_loss": -math.inf})
        run.finish({"uniform_accuracy": 0.5, "learned_bias": None, "compactness": math.nan})
    assert run.trouble is None
    assert the_run(tracking).data.metrics == {"learning_rate": 0.1, "uniform_accuracy": 0.5}


def test_the_pages_request_for_a_diverged_run_is_answered(server: str) -> None:
    tracking = Tracking(server, "diverged")
    tracking.prepare()
    with tracking.run(a_cell()) as run:
        run.epoch(1, {"train_loss": math.nan, "learning_rate": 0.1})
        run.diverge(2)
    with urlopen(f"{server}/ajax-api/2.0/mlflow/runs/get?run_id={run.run_id}") as answer:
        page = json.load(answer)["run"]
    assert [metric["key"] for metric in page["data"]["metrics"]] == ["learning_rate"]


def test_two_attempts_share_one_run(tracking: Tracking) -> None:
    cell = a_cell()
    with pytest.raises(MemoryError), tracking.run(cell, commit="old") as first:
        first.epoch(1, {"train_loss": 1.0})
        raise MemoryError("out of memory")
    (failed,) = tracking.runs()
    with tracking.run(cell, commit="new") as second:
        assert second.run_id
        (reopened,) = tracking.runs()
        second.epoch(1, {"train_loss": 1.0})
        second.epoch(2, {"train_loss": 0.5})
        second.finish({})
    assert (failed.status, reopened.status) == ("FAILED", "RUNNING")
    assert second.run_id == first.run_id
    assert history(tracking, "train_loss") == [(1, 1.0), (2, 0.5)]
    stored = the_run(tracking)
    assert stored.info.status == "FINISHED"
    assert stored.data.tags["git_commit"] == "new"
    assert not {"error", "attempt_since"} & set(stored.data.tags)


def test_an_attempt_that_was_overtaken_leaves_the_result_of_the_later_one(local: Tracking) -> None:
    with local.run(a_cell()) as first:
        assert first.run_id
        with local.run(a_cell()) as second:
            second.finish({})
        first.fail("its node was cut off")
    stored = the_run(local)
    assert stored.info.status == "FINISHED"
    assert "error" not in stored.data.tags


def test_an_attempt_that_was_overtaken_does_not_end_the_later_one(local: Tracking) -> None:
    with local.run(a_cell()) as first:
        assert first.run_id
        with local.run(a_cell()) as second:
            assert second.run_id
            first.interrupt()
            assert the_run(local).info.status == "RUNNING"
            second.finish({})
    assert the_run(local).info.status == "FINISHED"


def test_an_attempt_after_a_divergence_does_not_keep_its_tag(local: Tracking) -> None:
    for tell in (lambda run: run.diverge(1), lambda run: run.finish({})):
        with local.run(a_cell()) as run:
            tell(run)
    assert not {"outcome", "diverged_epoch"} & set(the_run(local).data.tags)


def test_what_an_attempt_could_not_describe_the_next_one_does(local: Tracking) -> None:
    cell = a_cell()
    left_running(local, cell)
    with local.run(cell) as run:
        run.finish({})
    assert the_run(local).data.params == parameters(cell)
    assert the_run(local).info.run_name == cell.name


def test_a_run_created_twice_becomes_one(local: Tracking) -> None:
    cell = a_cell()
    left_running(local, cell)
    left_running(local, cell)
    with local.run(cell) as run:
        run.finish({})
    assert [stored.run_id for stored in local.runs()] == [run.run_id]


def test_a_diverged_run_is_finished_and_tagged(tracking: Tracking) -> None:
    with tracking.run(a_cell()) as run:
        run.diverge(2)
    stored = the_run(tracking)
    assert stored.info.status == "FINISHED"
    assert (stored.data.tags["outcome"], stored.data.tags["diverged_epoch"]) == ("diverged", "2")


def test_a_collapsed_run_is_finished_with_its_figures_and_tagged_until_another_attempt(local: Tracking) -> None:
    with local.run(a_cell()) as run:
        run.finish({"uniform_accuracy": 0.1}, "all the same")
    stored = the_run(local)
    assert (stored.info.status, stored.data.metrics["uniform_accuracy"]) == ("FINISHED", 0.1)
    assert (stored.data.tags["outcome"], stored.data.tags["collapse"]) == ("collapsed", "all the same")
    with local.run(a_cell()) as run:
        run.finish({"uniform_accuracy": 0.9})
    assert not {"outcome", "collapse"} & set(the_run(local).data.tags)


def test_a_failed_run_names_its_error(tracking: Tracking) -> None:
    with pytest.raises(ValueError, match="misfit"), tracking.run(a_cell()):
        raise ValueError("misfit" * 10_000)
    stored = the_run(tracking)
    assert stored.info.status == "FAILED"
    assert stored.data.tags["error"].startswith("ValueError: misfit")


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_run_is_killed(local: Tracking, interruption: type[BaseException]) -> None:
    with pytest.raises(interruption), local.run(a_cell()):
        raise interruption
    assert the_run(local).info.status == "KILLED"


def test_what_befalls_a_cell_after_its_end_does_not_change_it(local: Tracking) -> None:
    with pytest.raises(ValueError, match="late"), local.run(a_cell()) as run:
        run.finish({"uniform_accuracy": 0.5})
        run.epoch(9, {"train_loss": 9.0})
        raise ValueError("late")
    assert the_run(local).info.status == "FINISHED"
    assert the_run(local).data.metrics == {"uniform_accuracy": 0.5}


def test_a_run_left_without_an_outcome_is_failed(local: Tracking) -> None:
    with local.run(a_cell()):
        pass
    assert the_run(local).info.status == "FAILED"


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Finished(a_cell(), ATTEMPT, {"uniform_accuracy": 0.5}), "FINISHED"),
        (Diverged(a_cell(), ATTEMPT, epoch=2), "FINISHED"),
        (Failed(a_cell(), ATTEMPT, "the process was killed", ""), "FAILED"),
    ],
)
def test_the_driver_settles_what_a_killed_process_left_running(
    local: Tracking, outcome: Finished | Diverged | Failed, status: str
) -> None:
    left_running(local, outcome.cell)
    local.settle(outcome)
    assert the_run(local).info.status == status


def test_only_running_runs_of_the_given_cells_are_interrupted(local: Tracking) -> None:
    stopped, elsewhere, finished = (a_cell(seed) for seed in range(3))
    left_running(local, stopped)
    left_running(local, elsewhere)
    local.settle(Finished(finished, ATTEMPT, {}))
    local.interrupt({stopped.id, finished.id})
    statuses = {run.cell_id: run.status for run in local.runs()}
    assert statuses == {stopped.id: "KILLED", elsewhere.id: "RUNNING", finished.id: "FINISHED"}


def test_preparing_again_changes_nothing_and_restores_what_was_deleted(tracking: Tracking) -> None:
    with tracking.run(a_cell()) as run:
        run.finish({})
    tracking.prepare()
    experiment = the_experiment(tracking)
    client(tracking).delete_experiment(experiment.experiment_id)
    tracking.prepare()
    assert the_experiment(tracking).lifecycle_stage == "active"
    assert [stored.run_id for stored in tracking.runs()] == [run.run_id]


def test_a_store_whose_making_was_cut_short_is_made_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.store.db import utils

    def cut_short(engine: Engine) -> NoReturn:
        utils.InitialBase.metadata.create_all(engine)
        raise KeyboardInterrupt

    tracking = Tracking(f"sqlite:///{tmp_path}/mlflow.db", "unlucky", tmp_path.as_uri())
    with monkeypatch.context() as patch:
        patch.setattr(utils, "_initialize_tables", cut_short)
        with pytest.raises(KeyboardInterrupt):
            tracking.prepare()
    tracking.prepare()
    assert tracking.runs() == []
    assert [file.name for file in tmp_path.iterdir() if not file.name.startswith("mlflow.db")] == []


def test_a_password_is_not_in_the_representation() -> None:
    assert "s3cret" not in repr(Tracking("postgresql://ann:s3cret@host/mlflow", "grid"))


def test_a_relative_path_means_the_drivers_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Tracking("sqlite:///runs/mlflow.db", "grid").uri == f"sqlite:///{tmp_path}/runs/mlflow.db"


def test_all_runs_are_listed_however_many_pages_they_fill(tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.records.tracking.run_writer._PAGE", 2)
    cells = [a_cell(seed) for seed in range(5)]
    for cell in cells:
        left_running(tracking, cell)
    assert [run.cell_id for run in tracking.runs()] == [cell.id for cell in cells]


def test_an_experiment_nobody_prepared_has_no_runs(local: Tracking) -> None:
    assert Tracking(local.uri, "never prepared").runs() == []


# What does not answer


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def refused() -> str:
    return f"http://ann:s3cret@127.0.0.1:{closed_port()}"


def database_down() -> str:
    return f"postgresql://ann:s3cret@127.0.0.1:{closed_port()}/mlflow"


def password_in_the_query() -> str:
    return f"postgresql://127.0.0.1:{closed_port()}/mlflow?user=ann&password=s3cret"


@pytest.mark.parametrize("address", [refused, database_down, password_in_the_query])
def test_a_store_that_is_down_is_told_at_once_and_without_the_password(address: Callable[[], str]) -> None:
    started = time.monotonic()
    with pytest.raises(UnreachableError, match=r"refused.*--tracking") as caught:
        Tracking(address(), "grid").prepare()
    assert time.monotonic() - started < 60
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 200 OK\r\n\r\n<html>", b"HTTP/1.1 404 No\r\n\r\n"]
)
def test_another_service_at_the_address_is_told(answer: bytes) -> None:
    with listening(answer) as port, pytest.raises(UnreachableError):
        Tracking(f"http://127.0.0.1:{port}", "grid").prepare()


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.records.tracking.mlflow_store.PATIENCE", 1)
    started = time.monotonic()
    with listening(None) as port, pytest.raises(UnreachableError, match="timed out"):
        Tracking(f"http://127.0.0.1:{port}", "grid").prepare()
    assert time.monotonic() - started < 60


@contextmanager
def listening(answer: bytes | None) -> Generator[int]:
    """A port where one connection gets this answer, or none at all."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve_one() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer or b"")

        thread = threading.Thread(target=serve_one)
        if answer is not None:
            thread.start()
        yield listener.getsockname()[1]
        if answer is not None:
            thread.join()


@pytest.mark.parametrize("kind", ["no database", "folder", "unsupported", "unknown"])
def test_an_unusable_store_is_told(tmp_path: Path, kind: str) -> None:
    (tmp_path / "no database").write_text("A diary.\n" * 100)
    (tmp_path / "folder").mkdir()
    uris = {"unsupported": f"file://{tmp_path}/mlruns", "unknown": "smoke://signals"}
    started = time.monotonic()
    with pytest.raises(UnreachableError, match="--tracking"):
        Tracking(uris.get(kind, f"sqlite:///{tmp_path / kind}"), "grid").prepare()
    assert time.monotonic() - started < 60


def test_a_server_that_dies_does_not_stop_a_cell(
    door: Door, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    tracking = Tracking(door.uri, request.node.name)
    tracking.prepare()
    with tracking.run(a_cell()) as run:
        run.epoch(1, {"train_loss": 1.0})
        assert run.run_id
        assert run.trouble is None
        door.shutdown()
        door.server_close()
        started = time.monotonic()
        for epoch in range(2, 100):
            run.epoch(epoch, {"train_loss": 1.0})
        run.finish({"uniform_accuracy": 0.5})
    assert time.monotonic() - started < 60
    assert run.trouble
    assert [record.name for record in caplog.records] == ["orchestrator.tracking"]
    assert "s3cret" not in caplog.text


def test_a_run_that_could_not_be_created_has_no_id_and_raises_nothing(
    local: Tracking, caplog: pytest.LogCaptureFixture
) -> None:
    with Tracking(local.uri, "never prepared").run(a_cell()) as run:
        run.epoch(1, {"train_loss": 1.0})
        run.finish({})
    assert run.run_id is None
    assert "never prepared" in (run.trouble or "")
    assert len(caplog.records) == 1


def test_a_store_that_fails_for_a_while_is_told_everything_in_the_end(
    local: Tracking, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with local.run(a_cell()) as run:
        assert run.run_id
        with monkeypatch.context() as broken:
            broken.setattr("mlflow.MlflowClient.log_batch", failure)
            run.epoch(1, {"train_loss": 1.0})
            until(lambda: run.trouble)
        run.epoch(2, {"train_loss": 0.5})
        run.finish({"uniform_accuracy": 0.5})
    assert run.trouble == "database is locked"
    assert caplog.records == []
    assert the_run(local).info.status == "FINISHED"
    assert history(local, "train_loss") == [(1, 1.0), (2, 0.5)]
    assert the_run(local).data.params == parameters(a_cell())


def failure(*_: object, **__: object) -> None:
    raise OSError("database is locked")


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_the_store_will_never_take_does_not_hold_up_the_rest(
    tracking: Tracking, caplog: pytest.LogCaptureFixture
) -> None:
    with tracking.run(a_cell()) as run:
        run.epoch(1, {"odd?name": 1.0})
        until(lambda: run.trouble)
        run.epoch(2, {"train_loss": 0.5})
        run.finish({"uniform_accuracy": 0.5})
    assert "odd?name" in (run.trouble or "")
    assert len(caplog.records) == 1
    assert the_run(tracking).info.status == "FINISHED"
    assert history(tracking, "train_loss") == [(2, 0.5)]


# The spool


class Door(ThreadingHTTPServer):
    """Stands before a server: lets through, or does what a sick server does."""

    daemon_threads = True

    def __init__(self, server: str) -> None:
        super().__init__(("127.0.0.1", 0), Visitor)
        self.server = urlsplit(server).netloc
        self.mood = "well"
        self.recovered = threading.Event()

    @property
    def uri(self) -> str:
        return f"http://ann:s3cret@127.0.0.1:{self.server_address[1]}"

    def recover(self) -> None:
        self.mood = "well"
        self.recovered.set()

    def handle_error(self, *_: object) -> None:
        """Who hangs up on it is no news."""


class Visitor(BaseHTTPRequestHandler):
    server: Door

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        mood = self.server.mood
        if mood == "silent":
            self.server.recovered.wait(100)
            return  # hangs up
        if mood.isdecimal():
            self.send_response(int(mood))
            self.send_header("Retry-After", "3600")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        inside = HTTPConnection(self.server.server)
        headers = {name: value for name, value in self.headers.items() if name not in ("Host", "Authorization")}
        inside.request(self.command, self.path, body, headers)
        answer = inside.getresponse()
        content = answer.read()
        inside.close()
        if mood == "forgetful" and self.command == "POST":
            return  # did as it was told, and hangs up
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers.get("Content-Type", "text/plain"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - named by http.server

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def door(server: str) -> Generator[Door]:
    with Door(server) as door:
        thread = threading.Thread(target=door.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield door
        door.recover()
        door.shutdown()
        thread.join()


@pytest.fixture
def behind(door: Door, request: pytest.FixtureRequest, tmp_path: Path) -> Tracking:
    """An experiment of the test's own behind the door, with a spool."""
    tracking = Tracking(door.uri, request.node.name, spool=tmp_path / "spool")
    tracking.prepare()
    return tracking


@pytest.fixture
def spooled(local: Tracking, tmp_path: Path) -> Tracking:
    """A store in a file, and a spool."""
    return replace(local, spool=tmp_path / "spool")


CURVE = [(1, 1.0), (2, 0.5), (3, 1 / 3)]


def tell(run: Run, epochs: Iterable[int] = (1, 2, 3)) -> None:
    for epoch in epochs:
        run.epoch(epoch, {"train_loss": 1 / epoch})


def contents(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def settled(tracking: Tracking) -> bool:
    """Whether nothing waits; a request that hung may still be told to another."""
    tracking.catch_up()
    return not list((tracking.outbox or Path()).iterdir())


@pytest.mark.parametrize("mood", ["500", "403", "503", "silent"])
def test_what_a_sick_server_does_not_take_is_caught_up_once(
    mood: str, door: Door, behind: Tracking, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.records.tracking.background_sender.PATIENCE", 0.5)
    door.mood = mood
    started = time.monotonic()
    with behind.run(a_cell(), commit="c0ffee") as run:
        tell(run)
        run.artifacts({"note.txt": "Told late."})
        run.finish({"uniform_accuracy": 0.5})
    assert time.monotonic() - started < 60
    assert run.trouble
    assert len(caplog.records) == 1
    assert "s3cret" not in caplog.text
    assert b"s3cret" not in contents(behind.spool or Path())
    door.recover()
    until(lambda: settled(behind))
    assert history(behind, "train_loss") == CURVE
    stored = the_run(behind)
    assert (stored.info.status, stored.data.metrics["uniform_accuracy"]) == ("FINISHED", 0.5)
    assert stored.data.params == parameters(a_cell())
    assert {file.path for file in client(behind).list_artifacts(stored.info.run_id)} == {"note.txt", "recipe.json"}
    assert behind.catch_up() == CaughtUp(0, 0, ())


@pytest.mark.parametrize("mood", ["429", "503"])
def test_a_server_that_asks_to_be_left_alone_for_an_hour_is_busy_and_not_waited_for(
    mood: str, door: Door, behind: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    door.mood = mood
    started = time.monotonic()
    with pytest.raises(BusyError, match=mood):
        behind.prepare()
    with pytest.raises(BusyError):
        behind.runs()
    monkeypatch.setattr("orchestrator.records.tracking.runs.probe", lambda uri: None)
    with pytest.raises(BusyError):
        behind.prepare()
    assert time.monotonic() - started < 60


def test_a_server_that_drips_its_version_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.records.tracking.mlflow_store.PATIENCE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                for _ in range(40):
                    connection.sendall(b"3")
                    time.sleep(0.1)

        thread = threading.Thread(target=drip)
        thread.start()
        with pytest.raises(UnreachableError, match="no answer within"):
            Tracking(f"http://127.0.0.1:{listener.getsockname()[1]}", "grid").prepare()
        thread.join()


def test_a_server_that_recovers_is_told_by_the_same_cell(
    door: Door, behind: Tracking, caplog: pytest.LogCaptureFixture
) -> None:
    door.mood = "500"
    with behind.run(a_cell()) as run:
        tell(run, [1, 2])
        until(lambda: run.trouble)
        assert behind.waiting() == []  # its writer lives
        door.recover()
        tell(run, [3])
        run.finish({"uniform_accuracy": 0.5})
    assert caplog.records == []
    assert history(behind, "train_loss") == CURVE
    assert contents(behind.spool or Path()) == b""


def test_an_answer_that_is_lost_doubles_neither_run_nor_point(door: Door, behind: Tracking) -> None:
    with behind.run(a_cell()) as run:
        door.mood = "forgetful"
        tell(run, [1, 2])
        until(lambda: run.trouble)
        time.sleep(1.5)  # for another request
        door.recover()
        tell(run, [3])
        run.finish({"uniform_accuracy": 0.5})
    assert history(behind, "train_loss") == CURVE


def test_telling_an_epoch_waits_for_no_store(door: Door, behind: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    patience = "orchestrator.records.tracking.background_sender.PATIENCE"
    monkeypatch.setattr(patience, 1.0)
    door.mood = "silent"
    with behind.run(a_cell()) as run:
        monkeypatch.setattr(patience, 100.0)
        started = time.monotonic()
        tell(run, range(1, 501))
        assert time.monotonic() - started < 60, "not even once as long as a cell waits"
        monkeypatch.setattr(patience, 1.0)
        run.finish({})
    monkeypatch.setattr(patience, 100.0)
    started = time.monotonic()
    with behind.run(a_cell(1)) as run:  # while the first one's request hangs
        run.finish({})
    assert time.monotonic() - started < 60, "it has been waited for once"


def die_after(tracking: Tracking, epochs: int) -> None:
    """A process that is killed while it trains, when all it told is still in the spool."""
    with tracking.run(a_cell()) as run:
        tell(run, range(1, epochs + 1))
        until(lambda: run.trouble)
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def killed(door: Door, behind: Tracking) -> Tracking:
    """A store that is well again, and a spool in which a process left two epochs."""
    door.mood = "500"
    assert in_processes(die_after, (behind, 2)) == [-signal.SIGKILL]
    door.recover()
    assert len(behind.waiting()) == 1
    return behind


def test_what_a_killed_process_left_is_told_and_its_run_killed(killed: Tracking) -> None:
    assert killed.catch_up().told == 1
    assert the_run(killed).info.status == "KILLED"
    assert history(killed, "train_loss") == CURVE[:2]
    with killed.run(a_cell()) as run:
        tell(run)
        run.finish({})
    assert history(killed, "train_loss") == CURVE


def test_an_older_attempt_told_late_changes_no_outcome_and_doubles_no_point(killed: Tracking) -> None:
    with killed.run(a_cell(), commit="new") as run:
        tell(run, [2, 3])
        run.finish({})
    assert killed.catch_up().told == 1
    stored = the_run(killed)
    assert (stored.info.status, stored.data.tags["git_commit"]) == ("FINISHED", "new")
    assert sorted(history(killed, "train_loss")) == CURVE


def test_an_older_attempt_told_late_does_not_end_the_one_under_way(killed: Tracking) -> None:
    killed.settle(Failed(a_cell(), ATTEMPT, "the process was killed", ""))
    with killed.run(a_cell()) as run:
        tell(run, [3])
        assert run.run_id
        assert killed.catch_up().told == 1
        assert the_run(killed).info.status == "RUNNING"
        run.finish({})
    assert sorted(history(killed, "train_loss")) == CURVE


def write_model(folder: Path) -> None:
    """A model, as far as whoever carries it can tell."""
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors: {}\n")
    (folder / "data").mkdir()
    (folder / "data" / "model.pt2").write_bytes(b"graph")


def kept(tracking: Tracking) -> set[str]:
    """The files of the model that the only run keeps."""
    run_id = the_run(tracking).info.run_id
    return {file.path for folder in ("model", "model/data") for file in client(tracking).list_artifacts(run_id, folder)}


MODEL = {"model/MLmodel", "model/data", "model/data/model.pt2"}


def test_a_model_is_kept_with_its_run_and_nowhere_else(
    tracking: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.records.tracking.background_sender.PATIENCE", 20)
    spooled = replace(tracking, spool=tmp_path / "spool")
    with spooled.run(a_cell()) as run:
        run.model(write_model)
        run.finish({})
    assert run.trouble is None
    assert kept(spooled) == MODEL
    assert list((spooled.outbox or Path()).iterdir()) == []


def test_a_model_that_a_sick_server_does_not_take_waits_and_is_caught_up(door: Door, behind: Tracking) -> None:
    with behind.run(a_cell()) as run:
        assert run.run_id
        door.mood = "500"
        run.model(write_model)
        run.finish({"uniform_accuracy": 0.5})
    assert len(list((behind.outbox or Path()).glob("*.model/data/model.pt2"))) == 1
    door.recover()
    until(lambda: settled(behind))
    assert kept(behind) == MODEL
    assert the_run(behind).data.metrics["uniform_accuracy"] == 0.5


def test_a_model_that_cannot_be_written_costs_a_run_nothing_else(
    spooled: Tracking, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down(folder: Path) -> None:
        folder.mkdir()
        raise RuntimeError("this operation has no graph")

    with spooled.run(a_cell()) as run:
        run.model(break_down)
        run.finish({"uniform_accuracy": 0.5})
    assert run.trouble == "this operation has no graph"
    assert len(caplog.records) == 1
    assert the_run(spooled).info.status == "FINISHED"
    assert kept(spooled) == set()
    assert list((spooled.outbox or Path()).iterdir()) == []


def test_a_model_that_is_gone_does_not_hold_up_the_rest(door: Door, behind: Tracking) -> None:
    with behind.run(a_cell()) as run:
        assert run.run_id
        door.mood = "500"
        run.model(write_model)
        run.finish({"uniform_accuracy": 0.5})
    (waiting,) = (behind.outbox or Path()).glob("*.model")
    until(behind.waiting)
    shutil.rmtree(waiting)
    door.recover()
    told = behind.catch_up()
    assert (told.told, told.left) == (1, 0)
    assert "is gone" in told.troubles[0]
    assert (the_run(behind).info.status, kept(behind)) == ("FINISHED", set())


def test_without_a_spool_no_model_is_kept(local: Tracking) -> None:
    with local.run(a_cell()) as run:
        run.model(lambda folder: pytest.fail("it was written"))
        run.finish({})
    assert kept(local) == set()


def write_badly(tracking: Tracking, seeds: range) -> None:
    """Cells at a time when the store's experiment is not to be found."""
    for seed in seeds:
        with replace(tracking, experiment="later").run(a_cell(seed)) as run:
            tell(run)
            run.finish({})


def catch_up(tracking: Tracking) -> None:
    replace(tracking, experiment="later").catch_up()


@pytest.mark.slow
def test_several_processes_fill_and_empty_one_spool(spooled: Tracking) -> None:
    seeds = [range(number, number + 4) for number in (0, 4)]
    assert in_processes(write_badly, *((spooled, each) for each in seeds)) == [0, 0]
    later = replace(spooled, experiment="later")
    assert len(later.waiting()) == 8
    later.prepare()
    assert in_processes(catch_up, (spooled,), (spooled,)) == [0, 0]
    assert later.waiting() == []
    runs = later.runs()
    assert {run.cell_id for run in runs} == {a_cell(seed).id for seed in range(8)}
    assert [(run.status, run.metrics) for run in runs] == [("FINISHED", {"train_loss": 1 / 3})] * 8


def test_a_damaged_file_is_told_as_far_as_it_goes_and_set_aside(spooled: Tracking) -> None:
    write_badly(spooled, range(2))
    later = replace(spooled, experiment="later")
    first, second = later.waiting()
    lines = first.read_bytes().splitlines(keepends=True)
    first.write_bytes(b"".join([*lines[:3], b"{not json}\n", *lines[4:]]))
    second.write_bytes(second.read_bytes()[:20])
    later.prepare()
    told = later.catch_up()
    assert (told.told, told.left) == (0, 0)
    assert [first.name in told.troubles[0], second.name in told.troubles[1]] == [True, True]
    assert sorted(path.suffix for path in first.parent.iterdir()) == [".damaged", ".damaged"]
    assert (the_run(later).info.status, history(later, "train_loss")) == ("KILLED", [(1, 1.0)])


def test_a_store_that_stays_down_is_asked_a_few_times_only(spooled: Tracking) -> None:
    write_badly(spooled, range(5))
    told = replace(spooled, experiment="later").catch_up()
    assert (told.told, told.left, len(told.troubles)) == (0, 5, 3)


def test_a_spool_that_cannot_be_written_stops_no_cell(spooled: Tracking, tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("not a folder")
    with spooled.run(a_cell()) as run:
        tell(run)
        run.finish({})
    assert run.trouble
    assert history(spooled, "train_loss") == CURVE


def test_a_password_in_an_error_is_told_to_nobody(spooled: Tracking) -> None:
    later = replace(spooled, experiment="later")
    with pytest.raises(OSError, match="s3cret"), later.run(a_cell()):
        raise OSError("cannot reach postgresql://ann:s3cret@host/x")
    assert b"s3cret" not in contents(spooled.spool or Path())
    later.prepare()
    later.catch_up()
    assert the_run(later).data.tags["error"] == "OSError: cannot reach postgresql://***@host/x"


def test_an_interruption_is_noted_when_the_store_is_down(caplog: pytest.LogCaptureFixture) -> None:
    Tracking(refused(), "grid").interrupt({a_cell().id})
    assert len(caplog.records) == 1
    assert "s3cret" not in caplog.text


# The experiment as a whole


def test_a_comparison_replaces_the_one_before(tracking: Tracking, tmp_path: Path) -> None:
    page = ExperimentPage(tracking.uri, tracking.experiment)
    first = page.write_comparison("# A", {"verdict": "open"}, {"a.md": "# A"})
    same = page.write_comparison("# A", {"verdict": "open"}, {"a.md": "# A"})
    second = page.write_comparison("# B", {"verdict": "clear"}, {"a.md": "# B"})
    assert first == same != second
    experiment = the_experiment(tracking).experiment_id
    (stored,) = client(tracking).search_runs([experiment])
    run_id = stored.info.run_id
    assert second == f"#/experiments/{experiment}/runs/{run_id}"
    assert (stored.info.run_name, stored.info.status) == ("comparison", "FINISHED")
    assert (stored.data.tags["verdict"], stored.data.tags["mlflow.note.content"]) == ("clear", "# B")
    assert Path(client(tracking).download_artifacts(run_id, "a.md", str(tmp_path))).read_text() == "# B"
    assert tracking.runs() == []


def test_the_longest_labels_fit(tracking: Tracking) -> None:
    loss, backbone, dataset = (100 * letter for letter in "lbd")
    with tracking.run(replace(a_cell(), loss=loss, backbone=backbone, dataset=dataset)) as run:
        run.finish({"uniform_accuracy": 0.5})
    stored = the_run(tracking)
    assert stored.info.run_name is not None
    assert stored.info.run_name.endswith("/s0")
    assert stored.data.params["loss"] == loss
    ExperimentPage(tracking.uri, tracking.experiment).write_comparison("", {key(loss, backbone, dataset): "open"}, {})
    found = client(tracking).search_runs([the_experiment(tracking).experiment_id])
    assert {each.info.status for each in found} == {"FINISHED"}


# Other processes


def write_cells(tracking: Tracking, seeds: range) -> None:
    for seed in seeds:
        with tracking.run(a_cell(seed)) as run:
            for epoch in (1, 2, 3):
                run.epoch(epoch, {f"metric{number}": float(epoch) for number in range(10)})
            run.finish({"uniform_accuracy": 0.5})


def prepare_and_write(tracking: Tracking) -> None:
    importlib.import_module("mlflow")  # as a plug-in of the user's may have done: MLflow talks by then
    tracking.prepare()
    write_cells(tracking, range(1))


def in_processes(target: Callable[..., None], *arguments: tuple[object, ...]) -> list[int | None]:
    """Run the target once for each tuple of arguments, all at once, each in a fresh process."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=target, args=each) for each in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


@pytest.mark.parametrize(
    "tracking",
    [pytest.param("local", marks=pytest.mark.slow), pytest.param("server", marks=pytest.mark.slow), "database"],
    indirect=True,
)
def test_two_processes_writing_at_once_lose_and_print_nothing(
    tracking: Tracking, capfd: pytest.CaptureFixture[str]
) -> None:
    assert in_processes(write_cells, (tracking, range(5)), (tracking, range(5, 10))) == [0, 0]
    assert capfd.readouterr() == ("", "")
    runs = tracking.runs()
    assert {run.cell_id for run in runs} == {a_cell(seed).id for seed in range(10)}
    assert [run.status for run in runs] == ["FINISHED"] * 10
    whole = {**{f"metric{number}": 3.0 for number in range(10)}, "uniform_accuracy": 0.5}
    assert [run.metrics for run in runs] == [whole] * 10
    histories = [client(tracking).get_metric_history(run.run_id, "metric0") for run in runs]
    assert [[entry.step for entry in entries] for entries in histories] == [[1, 2, 3]] * 10


def test_creating_a_store_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tracking = Tracking(f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}", "grid", str(tmp_path / "mlartifacts"))
    assert in_processes(prepare_and_write, (tracking,)) == [0]
    assert capfd.readouterr() == ("", "")
    assert [run.status for run in tracking.runs()] == ["FINISHED"]


# The UI


def test_the_ui_shows_a_store_on_this_machine_only(server: str) -> None:
    with urlopen(server) as page:
        assert b"MLflow" in page.read()
    request = Request(f"{server}/ajax-api/2.0/mlflow/experiments/search?max_results=1")
    request.add_header("Host", "attacker.example")
    with pytest.raises(OSError, match="403"):
        urlopen(request)


def test_a_servers_ui_is_the_server_itself(server: str, tmp_path: Path) -> None:
    with serve(server, None, tmp_path / "ui.log") as address:
        assert address == server


def test_a_taken_port_is_told(local: Tracking, server: str, tmp_path: Path) -> None:
    taken = int(server.rpartition(":")[2])
    with (
        pytest.raises(UnreachableError, match=str(taken)),
        serve(local.uri, None, tmp_path / "ui.log", taken),
    ):
        pass
