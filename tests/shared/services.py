"""Servers that all tests of a run share, whatever process they are in: the first that needs one starts it.

What the processes of a run know in common lies in one folder, which `begin` makes and `end` removes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from filelock import FileLock

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

FOLDER = "TESTS_SHARE"
"""The environment variable that names the folder; the processes of a run inherit it."""

PATIENCE = 10
"""Seconds for a server to end."""


def begin() -> None:
    """Make the folder, in the process that started the run. Other users may enter: PostgreSQL does not run as root."""
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-tests-"))
    folder.chmod(0o711)
    os.environ[FOLDER] = str(folder)


def end() -> None:
    """End the servers and remove the folder."""
    folder = Path(os.environ.pop(FOLDER))
    for file in folder.glob("*.json"):
        _end(**json.loads(file.read_text())["process"])
    shutil.rmtree(folder)


def shared(name: str, make: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """What `make` returned, which is called once a run.

    Args:
        name: Of what is made; one word.
        make: Given an empty folder, returns what is to be known of it, as JSON takes it. An entry `process` is the
            id of a server's process, which the run ends.
    """
    folder = Path(os.environ[FOLDER])
    state = folder / f"{name}.json"
    with FileLock(folder / f"{name}.lock"):
        if not state.exists():
            place = folder / name
            place.mkdir()
            made = make(place)
            made["process"] = _known(made.get("process"))
            state.write_text(json.dumps(made))
        return json.loads(state.read_text())


def _known(process: int | None) -> dict[str, Any]:
    """A process by its id and its birth, since ids are given again."""
    return {"pid": process, "born": psutil.Process(process).create_time() if process else None}


def _end(pid: int | None, born: float | None) -> None:
    if pid is None:
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        server = psutil.Process(pid)
        if server.create_time() != born:
            return
        family = [server, *server.children(recursive=True)]
        server.send_signal(signal.SIGINT)
        _, left = psutil.wait_procs(family, PATIENCE)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def free_port() -> int:
    """A port of the loopback device at which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


PASSWORD = "s3cret"
"""Of the PostgreSQL server, which asks for it: a test can give a wrong one."""


@dataclass(frozen=True)
class PostgreSQL:
    """A server on a loopback port, which may be stopped and started.

    Args:
        programs: The folder of initdb and pg_ctl.
        folder: An empty one below `FOLDER`, which the user of the server may enter, as in `tmp_path` it may not.
    """

    programs: Path
    folder: Path
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        """`postgresql://USER:PASSWORD@HOST:PORT`."""
        return f"postgresql://owner:{PASSWORD}@127.0.0.1:{self.port}"

    @property
    def process(self) -> int:
        """The id of its process."""
        return int((self._data / "postmaster.pid").read_text().split()[0])

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def make(self) -> None:
        """Make its files, and start it."""
        (self.folder / "password").write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (self.folder, *self.folder.iterdir()):
                shutil.chown(path, "postgres")
        self._call("initdb", "--username=owner", "--pwfile", self.folder / "password", "--auth=scram-sha-256",
                   "--encoding=UTF8", "--locale=C", "--no-sync")  # fmt: skip
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off"
        self._call("pg_ctl", "-l", self.folder / "log", "-w", "-o", options, "start")

    def stop(self) -> None:
        """Stop it at once, as a machine that falls does."""
        self._call("pg_ctl", "-m", "immediate", "-w", "stop")

    def _call(self, program: str, *words: object) -> None:
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*as_user, self.programs / program, "-D", self._data, *words]
        # The server inherits the pipes of pg_ctl, so capturing its output would wait for the server to end.
        subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL, cwd="/")


def postgresql(programs: Path) -> str:
    """The run's PostgreSQL server, on a free loopback port, as `postgresql://USER:PASSWORD@HOST:PORT`.

    Args:
        programs: The folder of initdb and pg_ctl.
    """

    def make(folder: Path) -> dict[str, Any]:
        server = PostgreSQL(programs, folder)
        server.make()
        return {"url": server.url, "process": server.process}

    return shared("postgresql", make)["url"]


@contextmanager
def a_postgresql(programs: Path) -> Generator[PostgreSQL]:
    """A server for whoever stops and starts it, which `postgresql` must not be."""
    with tempfile.TemporaryDirectory(dir=os.environ[FOLDER]) as folder:
        server = PostgreSQL(programs, Path(folder))
        server.make()
        try:
            yield server
        finally:
            with contextlib.suppress(subprocess.CalledProcessError):  # it is stopped
                server.stop()


def mlflow_store() -> Path:
    """An empty MLflow store, which takes seconds to make: `put_store` puts copies of it where a launch looks."""

    def make(folder: Path) -> dict[str, Any]:
        from orchestrator.records.tracking.runs import Tracking

        Tracking(f"sqlite:///{folder / 'mlflow.db'}", "template", folder.as_uri()).prepare()
        return {"path": str(folder / "mlflow.db")}

    return Path(shared("mlflow", make)["path"])


def put_store(workspace: Path) -> Path:
    """Put an empty MLflow store into a workspace, which may not be there yet; returns its path."""
    workspace.mkdir(parents=True, exist_ok=True)
    path = workspace / "mlflow.db"
    with closing(sqlite3.connect(mlflow_store())) as source, closing(sqlite3.connect(path)) as target:
        source.backup(target)  # with what is not in the main file yet
    return path
