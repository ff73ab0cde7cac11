"""The connection to a registry's database: URL, engine, and errors a person can act on."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    DisconnectionError,
    InterfaceError,
    NoResultFound,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from orchestrator.errors import UnreachableError

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
    from sqlalchemy.pool import ConnectionPoolEntry

PATIENCE = 5
"""Seconds to wait for a database to answer when it is opened."""

_LIMITS = {
    # A connection that nobody answers any more is found dead in half a minute, and not after hours.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "4",
    "tcp_user_timeout": "30000",
}
"""Settings of libpq where the URL has none."""

_REMEDY = {
    "sqlite": "check that its folder exists and can be written, and that the file is a SQLite database",
    "postgresql": "check that PostgreSQL runs there and that user, password and database are right, "
    "or leave out --registry to keep the registry in the workspace",
}


def address(url: str) -> URL:
    """A registry's URL, checked, with the driver it needs.

    Raises:
        UnreachableError: It is malformed, or of a database we do not support.
    """
    try:
        found = make_url(url)
    except (ArgumentError, ValueError):
        found = None
    # An unescaped @ leaves a part of the password in the host, which messages show.
    if found is None or "@" in (found.host or ""):
        raise UnreachableError(
            "The registry's URL is malformed (withheld, for it may hold a password): write sqlite:///FILE or "
            "postgresql://USER:PASSWORD@HOST/DATABASE, with special characters of the password as %XX."
        ) from None
    if found.drivername in {"postgresql", "postgres"}:
        return found.set(drivername="postgresql+psycopg")
    if found.drivername not in {"sqlite", "postgresql+psycopg"}:
        raise UnreachableError(
            f"The registry {shown(found)} is neither SQLite nor PostgreSQL: "
            "write sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE."
        )
    return found


def shown(address: URL) -> str:
    """The URL as messages may show it."""
    # libpq takes a password as a query parameter, too, so none is shown.
    return address.set(query={}).render_as_string(hide_password=True)


def is_absent(address: URL) -> bool:
    """Whether it is a SQLite file that is not there yet: connecting would create it."""
    file = address.database if address.get_backend_name() == "sqlite" else None
    return file is not None and file != ":memory:" and not Path(file).exists()


def engine(address: URL) -> Engine:
    """An engine set up for many short transactions by several processes.

    Raises:
        UnreachableError: The database's driver is not installed.
    """
    if address.get_backend_name() == "sqlite":
        if file := _only_readable(address):
            return create_engine(address, creator=partial(_reader, file))
        sqlite = create_engine(address)
        event.listen(sqlite, "connect", _configure_sqlite)
        event.listen(sqlite, "begin", _begin_sqlite)
        event.listen(sqlite, "checkout", _check_file)
        return sqlite
    patient = address.set(query={"connect_timeout": str(PATIENCE), **_LIMITS, **address.query})
    try:
        # Pinged before each use, because a campaign outlives a connection.
        return create_engine(patient, pool_pre_ping=True)
    except ImportError as error:
        problem = f"The registry {shown(address)} needs a PostgreSQL driver ({error})"
        raise UnreachableError(f"{problem}: pip install 'psycopg[binary]'.") from error


def _only_readable(address: URL) -> Path | None:
    """The file of a registry of somebody else's, which this user may read but not change; else None."""
    file = Path(address.database or "")
    can_write = os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)
    return file if file.is_file() and os.access(file, os.R_OK) and not can_write else None


def _reader(file: Path) -> sqlite3.Connection:
    """A connection that changes nothing, not even a lock or a journal beside the file."""
    # With a journal there, somebody has the registry open, and his shared memory says what counts.
    is_idle = not file.with_name(f"{file.name}-wal").exists()
    uri = f"file:{quote(str(file.absolute()))}?mode=ro{'&immutable=1' if is_idle else ''}"
    return sqlite3.connect(uri, uri=True, check_same_thread=False)


def _configure_sqlite(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    # Transactions are begun by `_begin_sqlite`; the driver would begin them only at the first change.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout = 30000")
    cursor.execute("PRAGMA foreign_keys = ON")
    _write_ahead(cursor)
    # A power cut may cost the last transactions, never the database; the files know them still.
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()
    record.info["file"] = _identity(connection)


def _check_file(connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: object) -> None:
    """Connect anew where the file was removed or replaced: SQLite would go on writing to the one that has no name."""
    if record.info.get("file") != _identity(connection):
        raise DisconnectionError("the file was replaced")


def _identity(connection: DBAPIConnection) -> tuple[int, int] | None:
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA database_list")
        path = cursor.fetchall()[0][2]
        state = Path(path).stat() if path else None
    except FileNotFoundError:
        return None
    finally:
        cursor.close()
    return state and (state.st_dev, state.st_ino)


def _write_ahead(cursor: DBAPICursor) -> None:
    """Choose the journal with which readers and the writer do not wait for each other."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            # The one statement for which SQLite does not wait itself when two open a new file at once.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later fails, without waiting, if another wrote in between.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def relax_commits(path: Path) -> None:
    """Let commits to a SQLite file return before they reach the disk, in every engine of this process.

    A power cut may then lose the last commits but never damages the file. MLflow's store holds copies of the cells'
    files, so that is no loss there, and each commit is several times quicker.
    """

    # Every engine is listened to, because MLflow offers no way to its own.
    @event.listens_for(Engine, "connect")
    def relax(connection: object, _record: object) -> None:  # pyright: ignore[reportUnusedFunction]
        if isinstance(connection, sqlite3.Connection):
            databases = connection.execute("PRAGMA database_list").fetchall()
            if any(file and Path(file).resolve() == path.resolve() for _, _, file in databases):
                connection.execute("PRAGMA synchronous = NORMAL")


def has_table(url: str, name: str) -> bool:
    """Whether any database that SQLAlchemy knows, not only a registry, has a table of that name."""
    database = create_engine(url)
    try:
        return inspect(database).has_table(name)
    finally:
        database.dispose()


@contextmanager
def answering(address: URL) -> Generator[None]:
    """Turn the database's own errors, and the lack of what was noted there, into a sentence with a remedy."""
    try:
        yield
    except (DBAPIError, NoResultFound, PoolTimeoutError) as error:
        reason = " ".join(str(getattr(error, "orig", error)).split())
        if isinstance(error, (OperationalError, InterfaceError, PoolTimeoutError)):
            raise UnreachableError(
                f"The registry {shown(address)} does not answer ({reason}): {_remedy(address, reason)}."
            ) from error
        raise UnreachableError(
            f"The registry {shown(address)} is not as it was left ({reason}): was it replaced?"
        ) from error


def _remedy(address: URL, reason: str) -> str:
    if "full" in reason:
        return "free some space there"
    return _REMEDY[address.get_backend_name()]
