"""Empty places for records: databases (SQLite, a PostgreSQL server), storages (a folder, an S3 server)."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import parts
import services
from orchestrator.workspace import Location, Remote

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database; every test that asks for it runs on both kinds."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path / 'registry.db'}"


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a cell waits up to a minute for MLflow, which a busy machine may need."""
    monkeypatch.setattr("orchestrator.records.tracking.background_sender.PATIENCE", 60)


_numbers = itertools.count()
_own = os.environ.get("PYTEST_XDIST_WORKER", "")


@pytest.fixture
def postgresql_url(postgresql_server: str) -> Iterator[str]:
    """The URL of an empty database on the PostgreSQL server."""
    import psycopg
    from psycopg.sql import SQL, Identifier

    name = f"registry{_own}{next(_numbers)}"
    with psycopg.connect(f"{postgresql_server}/postgres", autocommit=True) as server:
        server.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        yield f"{postgresql_server}/{name}"
        server.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@pytest.fixture(scope="session")
def postgresql_server() -> str:
    """The run's PostgreSQL server, as `postgresql://USER:PASSWORD@HOST:PORT`."""
    return services.postgresql(parts.need("PostgreSQL"))


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
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
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
