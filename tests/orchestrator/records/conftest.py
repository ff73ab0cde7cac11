"""Empty places for records: databases (SQLite, a PostgreSQL server), storages (a folder, an S3 server)."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.workspace import Location, Remote

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD = "s3cret"
"""Of the server below, which asks for it: a test can give a wrong one."""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database; every test that asks for it runs on both kinds."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path / 'registry.db'}"


_numbers = itertools.count()


@pytest.fixture
def postgresql_url(postgresql_server: str) -> Iterator[str]:
    """The URL of an empty database on the PostgreSQL server."""
    import psycopg
    from psycopg.sql import SQL, Identifier

    name = f"registry{next(_numbers)}"
    with psycopg.connect(f"{postgresql_server}/postgres", autocommit=True) as server:
        server.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        yield f"{postgresql_server}/{name}"
        server.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """A PostgreSQL server of our own on a free loopback port, as `postgresql://USER:PASSWORD@HOST:PORT`."""
    pytest.importorskip("psycopg", reason="NOT TESTED ON POSTGRESQL: psycopg is missing", exc_type=ImportError)
    programs = _programs()
    # Not pytest's folder, which is closed to other users: PostgreSQL refuses to run as root.
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    (folder / "password").write_text(PASSWORD)
    _give_away(folder)
    data = folder / "data"
    port = _free_port()
    try:
        _run(programs / "initdb", "--pgdata", data, "--username=owner", "--pwfile", folder / "password",
             "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")  # fmt: skip
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        _run(programs / "pg_ctl", "-D", data, "-l", folder / "log", "-w", "-o", options, "start")
        yield f"postgresql://owner:{PASSWORD}@127.0.0.1:{port}"
    finally:
        if (data / "postmaster.pid").exists():
            _run(programs / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder)


def _programs() -> Path:
    """Where initdb and pg_ctl are; distributions keep them out of PATH."""
    folders = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    if config := shutil.which("pg_config"):
        told = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=True)
        folders.insert(0, Path(told.stdout.strip()))
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    pytest.skip("NOT TESTED ON POSTGRESQL: no initdb and pg_ctl here; install the PostgreSQL server")


def _give_away(folder: Path) -> None:
    if os.geteuid() == 0:
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, "postgres")


def _run(*command: str | Path) -> None:
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    # The server inherits the pipes of pg_ctl, so capturing its output would wait for the server to end.
    subprocess.run([*as_user, *command], check=True, stdout=subprocess.DEVNULL, cwd="/")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest) -> Location:
    """An empty place to store files; every test that asks for it runs on both kinds."""
    return request.getfixturevalue(f"{request.param}_place")


@pytest.fixture
def folder_place(tmp_path: Path) -> Path:
    """A folder that is not there yet."""
    return tmp_path / "workspace"


SECRET = "s3cret-key"
"""Of the S3 server's user: no message and no file may hold it."""


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """An S3 server of our own on a free loopback port, as `HOST:PORT`."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "user")
        environment.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        yield f"{host}:{port}"
    server.stop()


@pytest.fixture
def s3_place(s3_server: str) -> Remote:
    """A prefix in an empty bucket on the S3 server."""
    from pyarrow.fs import S3FileSystem

    bucket = f"bucket{next(_numbers)}"
    S3FileSystem(endpoint_override=s3_server, scheme="http", region="us-east-1", allow_bucket_creation=True).create_dir(
        bucket
    )
    return Remote.at(f"s3://{bucket}/team/runs?endpoint_override={s3_server}&scheme=http&region=us-east-1")
