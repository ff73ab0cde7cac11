"""Services go away while a grid runs, and come back: the end is as if nothing had happened.

Databases, object store, MLflow server and webhook are real servers of this machine; what is between them and the
launch is a door that shuts in several ways.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import parts
import services

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Check = Callable[..., None]
    Scene = Any

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
    pytest.mark.timeout(900),
]

INLINE = ["--executor", "inline"]

LENS = '''

import os
from datetime import datetime, timedelta

from orchestrator.launching import outages
from orchestrator.records.sql import leases, processes

if "PATIENCE" in os.environ:
    outages.PATIENCE = float(os.environ["PATIENCE"])

if "CLOCK" in os.environ:

    class Wrong(datetime):
        """The clock of another machine, which is wrong."""

        @classmethod
        def now(cls, zone=None):
            return datetime.now(zone) + timedelta(seconds=float(os.environ["CLOCK"]))

    leases.datetime = Wrong
    processes.machine = lambda: "another machine"
'''
"""Added to the plug-in of the experiment, which every launch imports before it asks for a lease."""


def end(process: subprocess.Popen[str], expect: int = 0) -> str:
    out, _ = process.communicate(timeout=600)
    assert process.returncode == expect, out
    assert "Traceback" not in out
    assert "Unexpected" not in out
    return out


class Door:
    """A port that passes connections on to a server, or answers in its own way."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._answer: Callable[[socket.socket], None] | None = None
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def shut(self, answer: Callable[[socket.socket], None]) -> None:
        """Answer so from now on, and cut what is under way."""
        self._answer = answer
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        self._answer = None

    def close(self) -> None:
        self._listener.close()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            if self._answer:
                connection.recv(65536)
                self._answer(connection)
                return
            with socket.create_connection(("127.0.0.1", self._server)) as inside:
                pair = {connection, inside}
                self._open |= pair
                back = threading.Thread(target=self._pipe, args=(inside, connection), daemon=True)
                back.start()
                self._pipe(connection, inside)
                back.join()
                self._open -= pair

    @staticmethod
    def _pipe(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(65536):
                target.sendall(content)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def says(status: str, *headers: str) -> Callable[[socket.socket], None]:
    lines = [f"HTTP/1.1 {status}", "Content-Length: 0", "Connection: close", *headers, "", ""]
    return lambda connection: connection.sendall("\r\n".join(lines).encode())


def drips(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(400):
        connection.sendall(b"x")
        time.sleep(0.5)


def drops(connection: socket.socket) -> None:
    """Hangs up."""


# The registry in PostgreSQL


class Server:
    """PostgreSQL, which may be stopped and started."""

    def __init__(self, folder: Path) -> None:
        self.programs = parts.need("PostgreSQL")
        self.folder = folder
        folder.mkdir()
        self.port = services.free_port()
        if os.geteuid() == 0:
            for path in (folder, *folder.parents[:2]):
                path.chmod(0o755)
            shutil.chown(folder, "postgres")
        self._call("initdb", "--username=owner", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        self.start()
        with psycopg.connect(f"postgresql://owner@127.0.0.1:{self.port}/postgres", autocommit=True) as server:
            server.execute("CREATE DATABASE registry")
        self.url = f"postgresql://owner@127.0.0.1:{self.port}/registry"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off"
        self._call("pg_ctl", "-l", self.folder / "log", "-w", "-o", options, "start")

    def stop(self) -> None:
        self._call("pg_ctl", "-m", "immediate", "-w", "stop")

    def _call(self, program: str, *words: object) -> None:
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*as_user, self.programs / program, "-D", self.folder / "data", *words]
        subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL, cwd="/")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        own = query.replace("(julianday(seen) - julianday(started)) * 86400.0", "EXTRACT(EPOCH FROM seen - started)")
        try:
            with psycopg.connect(self.url) as database:
                return database.execute(own.encode()).fetchall()
        except psycopg.Error:  # it is away, or its tables are being made
            return []


@pytest.fixture
def server(tmp_path: Path, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server(tmp_path / "postgresql")
    monkeypatch.setattr(scene, "rows", server.rows)
    scene.options += ["--registry", server.url]
    yield server
    with suppress(subprocess.CalledProcessError):
        server.stop()


def test_a_database_that_is_restarted(scene: Scene, server: Server, as_if_nothing_had_happened: Check) -> None:
    process = scene.start()
    scene.until(lambda: scene.epochs() >= 2, process)
    server.stop()
    time.sleep(2)
    server.start()
    end(process)
    as_if_nothing_had_happened(scene, "database restarted")


def test_a_database_that_is_away_for_a_minute(scene: Scene, server: Server, as_if_nothing_had_happened: Check) -> None:
    process = scene.start()
    scene.until(lambda: scene.epochs() >= 2, process)
    server.stop()
    time.sleep(65)
    server.start()
    out = end(process)
    assert out.count("others wait until it answers") == 1
    assert out.count("The registry answers again.") == 1
    as_if_nothing_had_happened(scene, "database away for 65 s")


def test_a_database_that_is_replaced_by_an_empty_one(
    scene: Scene, server: Server, as_if_nothing_had_happened: Check
) -> None:
    process = scene.start()
    scene.until(lambda: scene.count("finished") >= 1 and scene.epochs() >= 2, process)
    with psycopg.connect(server.url.replace("/registry", "/postgres"), autocommit=True) as database:
        database.execute("DROP DATABASE registry WITH (FORCE)")
        database.execute("CREATE DATABASE registry")
    end(process)
    as_if_nothing_had_happened(scene, "database replaced by an empty one")


# The registry in a file


def test_a_registry_that_is_deleted(scene: Scene, as_if_nothing_had_happened: Check) -> None:
    scene.options += INLINE
    process = scene.start()
    scene.until(lambda: scene.count("finished") >= 1 and scene.epochs() >= 1, process)
    for file in scene.workspace.glob("registry.db*"):
        file.unlink()
    end(process)
    as_if_nothing_had_happened(scene, "registry deleted")


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("only root can mount a small disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this platform lets nobody mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(2**12))
    return ballast


@pytest.mark.parametrize("stays", [False, True], ids=["for a while", "for good"])
def test_a_disk_of_the_registry_that_is_full(
    scene: Scene, as_if_nothing_had_happened: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stays: bool
) -> None:
    import sqlite3
    from contextlib import closing

    with small_disk(tmp_path / "small") as disk:
        path = disk / "registry.db"

        def rows(query: str) -> list[tuple[Any, ...]]:
            try:
                with closing(sqlite3.connect(path, timeout=30)) as database:
                    return database.execute(query).fetchall()
            except sqlite3.Error:
                return []

        monkeypatch.setattr(scene, "rows", rows)
        with (scene.folder / "misfits.py").open("a") as file:
            file.write(LENS)
        scene.options += [*INLINE, "--registry", f"sqlite:///{path}"]
        scene.environment["PATIENCE"] = "20" if stays else "600"
        process = scene.start()
        scene.until(lambda: scene.count("finished") >= 1 and scene.epochs() >= 1, process)
        ballast = fill(disk)
        if stays:
            out = end(process, expect=1)
            assert "stayed away, so the launch stopped" in out
            ballast.unlink()
            scene.launch()
        else:
            time.sleep(25)
            ballast.unlink()
            end(process)
        as_if_nothing_had_happened(scene, f"disk of the registry full {'for good' if stays else 'for 25 s'}")


# The object store


@pytest.fixture
def bucket(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    """The workspace is in an S3 server behind a door; at the end it is copied to where the scene has it."""
    from moto.server import ThreadedMotoServer
    from pyarrow.fs import S3FileSystem

    from orchestrator.records.files.storage import Storage
    from orchestrator.workspace import Remote

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "user")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret-key")
    store = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    store.start()
    _, port = store.get_host_and_port()
    door = Door(port)
    S3FileSystem(
        endpoint_override=f"127.0.0.1:{port}", scheme="http", region="us-east-1", allow_bucket_creation=True
    ).create_dir("chaos")
    place = f"s3://chaos/runs?endpoint_override=127.0.0.1:{door.port}&scheme=http&region=us-east-1"
    registry = f"sqlite:///{scene.workspace / 'registry.db'}"
    tracking = f"sqlite:///{scene.workspace / 'mlflow.db'}"
    scene.options += ["--workspace", place, "--registry", registry, "--tracking", tracking]

    def copied() -> None:
        storage = Storage(Remote.at(place))
        for stored in storage.list():
            path = scene.workspace / stored.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(storage.read(stored.name) or b"")

    door.copied = copied  # pyright: ignore[reportAttributeAccessIssue]
    yield door
    door.close()
    store.stop()


WAYS = {
    "answers 503": (says("503 Slow Down"), 20),
    "drops connections": (drops, 20),
    "drips": (drips, 70),
    "refuses (403)": (says("403 Forbidden"), 20),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_object_store(scene: Scene, bucket: Any, as_if_nothing_had_happened: Check, way: str) -> None:
    answer, seconds = WAYS[way]
    process = scene.start()
    scene.until(lambda: scene.count("finished") >= 1 and scene.epochs() >= 1, process)
    bucket.shut(answer)
    time.sleep(seconds)
    bucket.open()
    end(process)
    bucket.copied()
    as_if_nothing_had_happened(scene, f"object store {way} for {seconds} s")


# Leases


def test_a_driver_that_is_stopped_past_its_lease(
    scene: Scene, as_if_nothing_had_happened: Check, tmp_path: Path
) -> None:
    calm = type(scene)(tmp_path / "calm", options=INLINE)
    for one in (scene, calm):  # a cell that lasts
        one.edit("epochs: 5", "epochs: 15")
    calm.launch()
    scene.options += INLINE
    first = scene.start()
    scene.until(lambda: scene.epochs() >= 2, first)
    first.send_signal(signal.SIGSTOP)
    out = scene.launch()
    assert "Whether that launch lives is known" in out
    first.send_signal(signal.SIGCONT)
    end(first)
    as_if_nothing_had_happened(scene, "driver stopped past its lease", calm=calm)


def test_clocks_that_are_70_s_apart(scene: Scene, as_if_nothing_had_happened: Check, tmp_path: Path) -> None:
    calm = type(scene)(tmp_path / "calm", options=INLINE)
    for one in (scene, calm):
        one.edit("epochs: 5", "epochs: 15")
    calm.launch()
    with (scene.folder / "misfits.py").open("a") as file:
        file.write(LENS)
    scene.options += INLINE
    first = scene.start()
    scene.until(lambda: scene.epochs() >= 1, first)
    scene.environment["CLOCK"] = "70"
    assert "is under way" in end(scene.start(), expect=2)
    scene.environment["CLOCK"] = "-70"
    end(scene.start("launch", "chaos.yaml", "--join", *INLINE))
    end(first)
    as_if_nothing_had_happened(scene, "clocks 70 s apart", injected=2, calm=calm)


# What is optional


HOOKS = {
    "drips": drips,
    "redirects": says("302 Found", "Location: http://127.0.0.1:9/s3cret"),
    "lies": lambda connection: connection.sendall(b"no HTTP at all\r\n\r\n"),
}


@pytest.mark.parametrize("way", HOOKS)
def test_a_webhook(scene: Scene, as_if_nothing_had_happened: Check, tmp_path: Path, way: str) -> None:
    mood = tmp_path / "mood"
    mood.write_text("raise")
    scene.environment["MOOD"] = str(mood)
    door = Door(0)
    door.shut(HOOKS[way])
    scene.options += [*INLINE, "--notify", f"http://127.0.0.1:{door.port}/s3cret"]
    out = end(scene.start(), expect=1)
    assert out.count("The webhook of --notify was not reached") == 1
    assert "s3cret" not in out
    scene.options.append("--retry-failed")
    scene.launch()
    door.close()
    as_if_nothing_had_happened(scene, f"webhook {way}")


def test_a_tracking_server_that_wants_to_be_left_alone_for_an_hour(
    scene: Scene, as_if_nothing_had_happened: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.records.tracking.mlflow_ui import serve
    from orchestrator.records.tracking.runs import Tracking

    store = services.put_store(tmp_path / "server")
    with serve(f"sqlite:///{store}", str(tmp_path / "a"), tmp_path / "server.log") as address:
        door = Door(int(address.rpartition(":")[2]))
        door.shut(says("429 Too Many Requests", "Retry-After: 3600"))
        scene.options += [*INLINE, "--tracking", f"http://127.0.0.1:{door.port}"]
        began = time.monotonic()
        out = end(scene.start())
        assert time.monotonic() - began < 300
        assert "MLflow is not up to date" in out
        assert "MLflow lacks 6 attempts; the next launch tells it." in out
        door.open()
        scene.launch()

        def tracked() -> dict[str, list[str]]:
            found: dict[str, list[str]] = {}
            for run in Tracking(address, "chaos").runs():
                found.setdefault(run.cell_id, []).append(run.status)
            return found

        monkeypatch.setattr(scene, "tracked", tracked)
        as_if_nothing_had_happened(scene, "tracking server answers 429 for the whole launch")
        door.close()
