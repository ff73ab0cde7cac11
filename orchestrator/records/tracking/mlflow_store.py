"""MLflow's store: reached in seconds, quiet, and its errors said in one sentence.

The one place where mlflow is imported for its client.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import socket
import sqlite3
import ssl
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from functools import cache
from http.client import HTTPException
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass, urlopen

from orchestrator.errors import BusyError, OrchestratorError, UnreachableError
from orchestrator.privacy import masked, public
from orchestrator.process.time_limit import within
from orchestrator.workspace import sqlite_url

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

PATIENCE = 5
"""Seconds to wait for a store to answer before anything starts."""

SHOWN = 1_000
"""Characters kept of an error; a tag holds 8 000."""

_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}

_REMEDY = "correct --tracking, or leave it out to track in the workspace"

_BUSY = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_LIMIT_EXCEEDED")
"""MLflow's words for a server that answers, and does not do what it is asked."""

_BUSY_STATUS = (429, 502, 503, 504)
"""HTTP's."""

_MANNERS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # every error reaches us as an exception too
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # and a request less at the end of each run
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # MLflow's own patience (7 retries of 120 s) would hold a cell up for many minutes.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    # A server may ask to be left alone for an hour; what is to be told waits in the spool instead.
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
}
"""MLflow's settings where the user's environment has none."""


class _BusyServerError(OSError):
    """A server answers that it has no time."""


@cache
def connect(uri: str) -> MlflowClient:
    """MLflow's client, one a process, taught to be quiet and not to wait for ever."""
    load(uri)
    from mlflow.tracking import MlflowClient

    if uri.startswith("sqlite"):
        # Imported here, because sqlalchemy takes half a second and a server needs none.
        from orchestrator.records.sql.database import relax_commits

        _make(_file(uri))
        relax_commits(_file(uri))
    return MlflowClient(tracking_uri=uri)


@cache
def load(uri: str) -> None:
    """Import mlflow, which takes seconds, without asking the store anything."""
    for name, value in _MANNERS.items():
        os.environ.setdefault(name, value)
    import_module("mlflow.tracking")
    if not is_server(uri):
        from mlflow.store.db import utils as database

        # No setting for it: 10 attempts, each after twice the wait, make 100 s for a wrong password.
        database.MAX_RETRY_COUNT = 2
    for name in ("mlflow", "alembic"):  # again, in case mlflow was imported before us
        logging.getLogger(name).setLevel(os.environ["MLFLOW_LOGGING_LEVEL"].upper())
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it warns of every retry


def _make(path: Path) -> None:
    """Make a SQLite store's tables where there are none, all at once: MLflow cannot go on from half of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if _has_tables(path):
        return
    from mlflow.store.db import utils as database

    with path.open("rb") as lock, TemporaryDirectory() as folder:
        fcntl.flock(lock, fcntl.LOCK_EX)  # SQLite's own locks are of another kind
        if _has_tables(path):  # another launch was faster
            return
        aside = Path(folder, path.name)
        engine = database.create_sqlalchemy_engine_with_retry(sqlite_url(aside))
        database._initialize_tables(engine)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no public one
        engine.dispose()
        with closing(sqlite3.connect(aside)) as made, closing(sqlite3.connect(path, timeout=PATIENCE)) as store:
            made.backup(store)  # one transaction


def _has_tables(path: Path) -> bool:
    with closing(sqlite3.connect(path, timeout=PATIENCE)) as store:
        return bool(store.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


@contextmanager
def actionable(uri: str) -> Generator[None]:
    """Turn whatever a store raises into one sentence a person can act on."""
    try:
        yield
    except OrchestratorError:  # which is one
        raise
    except Exception as error:
        raise _unreachable(uri, error) from error


def _unreachable(uri: str, error: Exception) -> UnreachableError:
    reason = sentence(error)
    if is_server(uri) and (isinstance(error, _BusyServerError) or getattr(error, "error_code", None) in _BUSY):
        return BusyError(f"The tracking store {masked(uri)} cannot be used at present ({reason}).")
    return UnreachableError(f"The tracking store {masked(uri)} cannot be used ({reason}): {_remedy(uri)}.")


def _remedy(uri: str) -> str:
    """What to do, with the name of the variable that is at fault where one is."""
    if "error" in os.environ.get("PYTHONWARNINGS", ""):
        return "PYTHONWARNINGS makes errors of warnings: unset it"
    host = urlsplit(uri).hostname if is_server(uri) else None
    scheme = uri.partition(":")[0]
    if host and scheme in getproxies() and not proxy_bypass(host):
        return f"{scheme.upper()}_PROXY sends requests to a proxy: correct it, or add {host} to NO_PROXY"
    if os.environ.get("MLFLOW_TRACKING_URI") == uri:
        return "correct MLFLOW_TRACKING_URI, or unset it to track in the workspace"
    return _REMEDY


def sentence(error: BaseException | str) -> str:
    """An error's first line, without credentials."""
    said = getattr(error, "strerror", None) or str(error)
    lines = said.strip().splitlines() or [type(error).__name__]
    return public(lines[0])[:SHOWN].rstrip(".")


def is_server(uri: str) -> bool:
    """Whether the store is an MLflow server, and not a database."""
    return uri.startswith(("http://", "https://"))


def anchored(uri: str) -> str:
    """The URI, with the path of a SQLite file made absolute."""
    scheme, found, path = uri.partition(":///")
    return f"{scheme}:///{Path(path).absolute()}" if found and scheme.startswith("sqlite") else uri


def _file(uri: str) -> Path:
    """The file of a SQLite URI, or what a URI without a scheme names."""
    _, _, path = uri.rpartition(":///")
    return Path(unquote(path.partition("?")[0]))


def is_there(uri: str) -> bool:
    """Whether there is a store to ask: connecting to a database creates its tables, and asking must not.

    Raises:
        UnreachableError: What should have it does not answer.
    """
    if is_server(uri):
        probe(uri)
        return True
    is_sqlite = uri.startswith("sqlite")
    # The file of SQLite, or the folder of MLflow's older store; other databases have a port.
    if (is_sqlite or "://" not in uri) and not _file(uri).exists():
        return False
    if "://" not in uri:
        return True
    if not is_sqlite:
        probe(uri)
    with actionable(uri):
        from orchestrator.records.sql.database import has_table

        return has_table(uri, "runs")


def answer(uri: str) -> int:
    """How many experiments a store has: whether it lets us ask and is of MLflow's present schema.

    Raises:
        UnreachableError: It does not or is not.
    """
    probe(uri)
    with actionable(uri):
        return len(connect(uri).search_experiments())


def probe(uri: str) -> None:
    """Whether a store answers, in seconds: MLflow itself retries for minutes."""
    kind = uri.partition(":")[0].partition("+")[0]
    try:
        if is_server(uri):
            within(2 * PATIENCE, lambda: probe_server(uri))
        elif kind == "sqlite":
            _probe_file(_file(uri))
        elif kind in _PORTS:
            _probe_port(uri, _PORTS[kind])
    except (OSError, ValueError, HTTPException, sqlite3.Error) as error:
        raise _unreachable(uri, error) from error


def probe_server(uri: str) -> str:
    """The version, as anyone may ask for: no credentials are sent, so no certificate is checked. Empty if refused."""
    parts = urlsplit(uri)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], path=parts.path.rstrip("/") + "/version")
    unchecked = ssl.create_default_context()
    unchecked.check_hostname = False
    unchecked.verify_mode = ssl.CERT_NONE
    try:
        with urlopen(bare.geturl(), timeout=PATIENCE, context=unchecked) as answer:  # noqa: S310  http(s) only
            version = answer.read(100).decode("utf-8", "replace")
    except HTTPError as error:
        error.close()
        if error.code in (401, 403):  # only whoever has credentials may ask
            return ""
        if error.code in _BUSY_STATUS:
            raise _BusyServerError(f"HTTP {error.code}") from error
        raise OSError(f"what answers there is no MLflow server: HTTP {error.code}") from error
    except URLError as error:
        raise OSError(sentence(error.reason)) from error
    if not re.match(r"\d+\.\d+", version):
        raise OSError("what answers there is no MLflow server")
    return version


def _probe_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=PATIENCE)) as database:
        with suppress(sqlite3.OperationalError):  # in use, or read-only: which the next line tells better
            database.execute("PRAGMA journal_mode = WAL")  # stays with the file; a run costs half the time
        database.execute("BEGIN IMMEDIATE")  # fails where it can be read but not written
        database.execute("SELECT count(*) FROM sqlite_master")


def _probe_port(uri: str, default: int) -> None:
    parts = urlsplit(uri)
    address = (parts.hostname or "localhost", parts.port or default)
    socket.create_connection(address, timeout=PATIENCE).close()
