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
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from filelock import FileLock

if TYPE_CHECKING:
    from collections.abc import Callable

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


def postgresql(programs: Path) -> str:
    """The run's PostgreSQL server, on a free loopback port, as `postgresql://USER:PASSWORD@HOST:PORT`.

    Args:
        programs: The folder of initdb and pg_ctl.
    """

    def make(folder: Path) -> dict[str, Any]:
        (folder / "password").write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, "postgres")
        data = folder / "data"
        port = free_port()
        _as_user(programs / "initdb", "--pgdata", data, "--username=owner", "--pwfile", folder / "password",
                 "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")  # fmt: skip
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        _as_user(programs / "pg_ctl", "-D", data, "-l", folder / "log", "-w", "-o", options, "start")
        process = int((data / "postmaster.pid").read_text().split()[0])
        return {"url": f"postgresql://owner:{PASSWORD}@127.0.0.1:{port}", "process": process}

    return shared("postgresql", make)["url"]


def _as_user(*command: str | Path) -> None:
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    # The server inherits the pipes of pg_ctl, so capturing its output would wait for the server to end.
    subprocess.run([*as_user, *command], check=True, stdout=subprocess.DEVNULL, cwd="/")


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
