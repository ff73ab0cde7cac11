"""An experiment to be disturbed, an undisturbed run of it, and what must be equal in the end.

What each test has injected and what it cost is printed as a table in the end, and written
into docs/reliability.md where CHAOS_TABLE names that file (`make chaos` does).
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import psutil
import psycopg
import pyarrow.parquet as pq
import pytest

import faults
import parts
import services

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]

EXPERIMENT = """\
name: chaos
plugins: [misfits]
losses: [softmax, bce_unified, {name: moody, as: moody}]
backbones: [resnet8]
datasets: [{name: dozing, as: digits}]
seeds: 2
recipe: {epochs: 5, batch_size: 100, learning_rate: 0.1}
checkpoint: {epochs: 1}
baseline: softmax
"""

MISFITS = '''
"""A loss that does what a file tells it, once, in the middle of its training.

Every launch imports it before it asks for a lease: so tests set how patient a launch is, and its clock.
"""

import importlib
import json
import os
import time
from datetime import datetime, timedelta
from pathlib import Path

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from trainers.datasets.digits import Digits
from trainers.losses.softmax import Softmax

SQL = "orchestrator.records.sql"  # what a plug-in imports by name counts as its code; this does not

for name, value in json.loads(os.environ.get("SETTINGS", "{}")).items():
    module, _, constant = name.rpartition(".")
    setattr(importlib.import_module(f"orchestrator.{module}"), constant, value)

if "PACE" in os.environ:
    pace = Path(os.environ["PACE"])
    register_optimizer_step_post_hook(lambda *_: time.sleep(float(pace.read_text())))

if "CLOCK" in os.environ:
    leases, processes = (importlib.import_module(f"{SQL}.{name}") for name in ("leases", "processes"))

    class Wrong(datetime):
        """The clock of another machine, which is wrong."""

        @classmethod
        def now(cls, zone=None):
            return datetime.now(zone) + timedelta(seconds=float(os.environ["CLOCK"]))

    leases.datetime = Wrong
    processes.machine = lambda: "another machine"


class Dozing(Digits):
    """Digits of this module, so that every process that trains imports it, and rests where a test says so."""

    name = "dozing"


class Moody(Softmax):
    """Softmax, unless a mood is written down."""

    name = "moody"

    def per_sample(self, logits, labels):
        mood = Path(os.environ.get("MOOD", "/nowhere"))
        if mood.exists() and torch.is_grad_enabled():
            word = mood.read_text()
            try:
                mood.unlink()  # for one cell only
            except FileNotFoundError:
                word = ""
            if word.startswith("raise"):
                raise RuntimeError("the moody loss is in a mood" + os.path.expandvars(word[5:]))
            if word == "hang":
                time.sleep(10_000)
            if word == "devour":
                eaten = []
                while True:
                    eaten.append(torch.ones(2**25))
                    time.sleep(0.02)
        return super().per_sample(logits, labels)
'''

VARYING = {"started", "train_seconds", "images_per_second", "mlflow_run_id", "git_commit", "git_dirty"}
"""Columns of time, host and run, and of what someone does to the checkout meanwhile."""


def hearing() -> None:
    """A shell that starts tests in the background, or nohup, makes them and their children deaf to these."""
    for sent in (signal.SIGINT, signal.SIGHUP):
        signal.signal(sent, signal.SIG_DFL)


@dataclass
class Disturbance:
    """A row of the table."""

    fault: str
    injected: int
    lost: int
    duplicated: int
    identical: bool
    codes: str
    """The exit codes of its launches."""

    extra_seconds: float
    useful_seconds: float


@dataclass
class Scene:
    """A workspace with the experiment, and ways to launch it."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    options: list[str] = field(default_factory=list)
    started: list[subprocess.Popen[str]] = field(default_factory=list)
    tracking: str | None = None
    """Where MLflow's runs are, if not in the workspace."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "chaos.yaml").write_text(EXPERIMENT)
        (self.folder / "misfits.py").write_text(MISFITS)
        services.put_store(self.workspace)

    @property
    def workspace(self) -> Path:
        return self.folder / "runs"

    def set(self, **patience: float) -> None:
        """Change constants of the orchestrator in what starts from now on; `__` stands for the dots of their names."""
        known = json.loads(self.environment.get("SETTINGS", "{}"))
        named = {name.replace("__", "."): value for name, value in patience.items()}
        self.environment["SETTINGS"] = json.dumps(known | named)

    def slow(self, pause: float) -> None:
        """Let cells of what starts from now on rest for some seconds after each of the nine steps of an epoch."""
        pace = self.folder / "pace"
        whole = pace.with_suffix(".new")  # so that nobody reads half of it
        whole.write_text(str(pause))
        whole.replace(pace)
        self.environment["PACE"] = str(pace)

    def hurry(self) -> None:
        """Let all cells rest no more, also those that are at work."""
        self.slow(0)

    def edit(self, before: str, after: str) -> None:
        path = self.folder / "chaos.yaml"
        path.write_text(path.read_text().replace(before, after))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "orchestrator", *(arguments or ("launch", "chaos.yaml", *self.options))]
        path = os.pathsep.join([str(self.folder), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **self.environment}
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=hearing,  # noqa: PLW1509 - the child has one thread
        )
        self.started.append(process)
        return process

    def codes(self) -> str:
        """How its launches ended, each way once, in the order in which they began: `killed, 130, 0`."""
        launches = [process.returncode for process in self.started if "launch" in cast("list[str]", process.args)]
        return ", ".join(dict.fromkeys("killed" if code < 0 else str(code) for code in launches))

    def end(self) -> None:
        """Kill what a test that failed has left running: the machine is needed for the next one."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def launch(self, expect: int = 0) -> str:
        process = self.start()
        out, _ = process.communicate(timeout=280)
        assert process.returncode == expect, out
        assert "Traceback" not in out
        return out

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        if not (self.workspace / "registry.db").exists():
            return []
        with closing(sqlite3.connect(self.workspace / "registry.db", timeout=30)) as database:
            try:
                return database.execute(query).fetchall()
            except sqlite3.OperationalError:  # it is being created
                return []

    def states(self) -> list[str]:
        return [state for (state,) in self.rows("SELECT state FROM cells")]

    def count(self, state: str) -> int:
        return self.states().count(state)

    def until(self, condition: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
        """Wait for a condition, while the process lives."""
        deadline = time.monotonic() + 200
        while not condition():
            if process is not None and process.poll() is not None:
                pytest.fail(f"it ended too early: {process.stdout.read() if process.stdout else ''}")
            assert time.monotonic() < deadline, "in vain"
            time.sleep(0.05)

    def epochs(self) -> int:
        """Epochs that running cells have done."""
        (row,) = self.rows("SELECT coalesce(sum(progress), 0) FROM attempts WHERE outcome = 'running'") or [(0,)]
        return row[0]

    def workers(self, process: subprocess.Popen[str]) -> list[psutil.Process]:
        """The processes of a launch that train cells."""
        return [child for child in psutil.Process(process.pid).children(recursive=True) if _trains(child)]

    def tracked(self) -> dict[str, list[str]]:
        """The states of MLflow's runs by cell."""
        from orchestrator.records.tracking.runs import Tracking

        found: dict[str, list[str]] = {}
        for run in Tracking(self.tracking or f"sqlite:///{self.workspace / 'mlflow.db'}", "chaos").runs():
            found.setdefault(run.cell_id, []).append(run.status)
        return found

    @property
    def files(self) -> dict[str, Path]:
        return {path.stem: path for path in (self.workspace / "evaluations").rglob("*.parquet")}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "scene")
    yield scene
    scene.end()


@pytest.fixture(scope="session")
def calm_with(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Scene]:
    """The same experiment with some texts in the place of others, undisturbed; launched once for all tests."""

    @cache
    def launched(*edits: tuple[str, str]) -> Scene:
        scene = Scene(tmp_path_factory.mktemp("calm"), options=["--executor", "inline"])
        for before, after in edits:
            scene.edit(before, after)
        scene.launch()
        return scene

    return launched


@pytest.fixture
def edited(scene: Scene, calm_with: Callable[..., Scene]) -> Callable[..., Scene]:
    """Put some texts of the scene's experiment in the place of others, and return the calm one with the same."""

    def edit(*edits: tuple[str, str]) -> Scene:
        for before, after in edits:
            scene.edit(before, after)
        return calm_with(*edits)

    return edit


@pytest.fixture(scope="session")
def postgresql() -> Iterator[services.PostgreSQL]:
    """A server for tests that stop it and start it."""
    with services.a_postgresql(parts.need("PostgreSQL")) as server:
        yield server


@pytest.fixture
def database(
    postgresql: services.PostgreSQL, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> Iterator[services.PostgreSQL]:
    """The registry of the scene is a new database `registry` of the server."""
    url = f"{postgresql.url}/registry"
    made_anew(postgresql)
    scene.options += ["--registry", url]

    def rows(query: str) -> list[tuple[Any, ...]]:
        own = query.replace("(julianday(seen) - julianday(started)) * 86400.0", "EXTRACT(EPOCH FROM seen - started)")
        try:
            with psycopg.connect(url) as registry:
                return registry.execute(own.encode()).fetchall()
        except psycopg.Error:  # it is away, or its tables are being made
            return []

    monkeypatch.setattr(scene, "rows", rows)
    yield postgresql
    with suppress(subprocess.CalledProcessError):  # it is running
        postgresql.start()


def made_anew(server: services.PostgreSQL) -> None:
    with psycopg.connect(f"{server.url}/postgres", autocommit=True) as database:
        database.execute("DROP DATABASE IF EXISTS registry WITH (FORCE)")
        database.execute("CREATE DATABASE registry")


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[faults.MlflowServer]:
    """A server for tests that stop it."""
    server = faults.MlflowServer(tmp_path_factory.mktemp("mlflow"))
    yield server
    server.end()


@pytest.fixture
def tracking(mlflow: faults.MlflowServer, scene: Scene) -> Iterator[faults.Door]:
    """The door to the server that tracks the scene's runs, which has no other ones."""
    from mlflow import MlflowClient

    door = faults.Door(mlflow.port)
    scene.options += ["--tracking", f"http://127.0.0.1:{door.port}"]
    scene.tracking = mlflow.uri
    yield door
    door.refuse()
    for member in mlflow.family:
        member.resume()
    client = MlflowClient(mlflow.uri)
    for experiment in client.search_experiments(filter_string="name = 'chaos'"):
        client.rename_experiment(experiment.experiment_id, secrets.token_hex(4))


@pytest.fixture(scope="session")
def s3() -> Iterator[int]:
    """The port of an S3 server."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


@dataclass
class Bucket:
    """The door to a workspace in an S3 server."""

    door: faults.Door
    place: str

    def copy(self, scene: Scene) -> None:
        """Copy it to where the scene has its workspace."""
        from orchestrator.records.files.storage import Storage
        from orchestrator.workspace import Remote

        storage = Storage(Remote.at(self.place))
        for stored in storage.list():
            path = scene.workspace / stored.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(storage.read(stored.name) or b"")


@pytest.fixture
def bucket(s3: int, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """The workspace is in a bucket of its own; registry and runs stay where the scene has them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "user")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret-key")
    door = faults.Door(s3)
    place = faults.bucket_behind(door, s3, f"chaos-{secrets.token_hex(4)}")
    registry = f"sqlite:///{scene.workspace / 'registry.db'}"
    runs = f"sqlite:///{scene.workspace / 'mlflow.db'}"
    scene.options += ["--workspace", place, "--registry", registry, "--tracking", runs]
    yield Bucket(door, place)
    door.refuse()


_table: list[Disturbance] = []


@pytest.fixture
def as_if_nothing_had_happened(calm_with: Callable[..., Scene]) -> Callable[..., None]:
    """Check that a disturbed scene has come to the same end, and note the disturbance for the table."""

    def check(scene: Scene, fault: str, injected: int = 1, calm: Scene | None = None) -> None:
        calm = calm or calm_with()
        ended = scene.rows(
            "SELECT cell, outcome, seconds, (julianday(seen) - julianday(started)) * 86400.0 FROM attempts"
        )
        finished = [cell for cell, outcome, *_ in ended if outcome in ("finished", "diverged")]
        lost = set(calm.files) - set(scene.files)
        identical = not lost and not _differences(scene, calm)
        extra = sum(
            float(seconds or seen or 0)
            for _, outcome, seconds, seen in ended
            if outcome not in ("finished", "diverged")
        )
        useful = sum(float(seconds) for _, outcome, seconds, _ in ended if outcome == "finished")
        doubled = len(finished) - len(set(finished))
        _table.append(Disturbance(fault, injected, len(lost), doubled, identical, scene.codes(), extra, useful))
        assert not lost
        assert _differences(scene, calm) == []
        assert sorted(finished) == sorted(calm.files), "every cell finishes exactly once"
        assert set(scene.states()) == {"finished"}
        assert scene.rows("SELECT * FROM leases") == []
        assert scene.tracked() == {cell: ["FINISHED"] for cell in calm.files}
        assert not [path for path in (scene.workspace / "checkpoints").glob("*") if any(path.glob("state"))]
        assert not list((scene.workspace / "checkpoints").glob(".stop-*"))

    return check


def _differences(scene: Scene, calm: Scene) -> list[str]:
    found = [cell for cell in calm.files if cell in scene.files and _told(scene, cell) != _told(calm, cell)]
    here, there = (_rows(where) for where in (scene, calm))
    found += [f"{cell} in one results table only" for cell in here.keys() ^ there.keys()]
    columns = (
        (cell, name, here[cell][name], value)
        for cell in here.keys() & there.keys()
        for name, value in there[cell].items()
        if name not in VARYING
    )
    return [*found, *(f"{cell}: {name} {own!r}, not {value!r}" for cell, name, own, value in columns if own != value)]


def _rows(scene: Scene) -> dict[str, dict[str, Any]]:
    table = pq.read_table(scene.workspace / "results" / "chaos.parquet").to_pylist()
    rows = {row["cell_id"]: row for row in table}
    assert len(rows) == len(table)
    return rows


def _told(scene: Scene, cell: str) -> tuple[Any, ...]:
    table = pq.read_table(scene.files[cell], partitioning=None)
    account = json.loads((table.schema.metadata or {})[b"cell"])
    kept = ("cell_id", "state", "recipe", "epochs", "metrics", "learned_bias", "history", "samples")
    return table.replace_schema_metadata(None).to_pydict(), {name: account[name] for name in kept}


def _trains(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return any("ImplicitFunc" in word for word in process.cmdline())
    return False


HEAD = [
    "| fault | injected | cells lost | cells doubled | table identical | exit codes | extra compute |",
    "|---|---:|---:|---:|---|---|---:|",
]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not _table:
        return
    rows = {row.fault: _line(row) for row in _table}
    terminalreporter.write_line("\n".join(["", *HEAD, *rows.values()]))
    if page := os.environ.get("CHAOS_TABLE"):
        path = Path(page)
        before, told, after = re.split(
            r"(?s)(?<=<!-- table -->\n)(.*)(?=<!-- end -->)", path.read_text(encoding="utf-8")
        )
        earlier = {line.split("|")[1].strip(): line for line in told.splitlines() if line not in HEAD}
        table = "\n".join([*HEAD, *(earlier | rows).values()])
        path.write_text(f"{before}{table}\n{after}", encoding="utf-8")


def _line(row: Disturbance) -> str:
    extra = 100 * row.extra_seconds / max(row.useful_seconds, 1e-9)
    identical = "yes" if row.identical else "NO"
    columns = (row.fault, row.injected, row.lost, row.duplicated, identical, row.codes, f"{extra:.0f} %")
    return f"| {' | '.join(map(str, columns))} |"
