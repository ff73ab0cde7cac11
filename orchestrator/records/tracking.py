"""MLflow, a window on the results: one run a cell, however many attempts the cell took.

The driver prepares the store once; then each worker process writes the run of its own
cell. What MLflow says is a copy, so a store that fails costs a cell its window and
never its result. The only door to mlflow, opened when first used: importing it takes
seconds, which listing or planning must not pay.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from orchestrator.errors import UnreachableError
from orchestrator.outcome import Diverged, Failed, Finished, Outcome
from orchestrator.plan import PROTOCOL, Cell

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Metric, RunTag
    from mlflow.entities import Run as StoredRun
    from mlflow.tracking import MlflowClient

PATIENCE = 5
"""Seconds to wait for a store to answer before anything starts."""

STARTUP = 90
"""Seconds to wait for a server of ours: it imports MLflow first, and the machine may be busy."""

Terminal = Literal["FINISHED", "FAILED", "KILLED"]

_REST = 20
"""After a call that failed, rest this many times as long: a dead store costs a cell 5 % at most."""

_SHOWN = 1_000
"""Characters kept of an error; a tag holds 8 000."""

_PAGE = 1_000
"""Runs a request for a list of them."""

_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}

_REMEDY = "correct --tracking, or leave it out to track in the workspace"

_MANNERS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # every error reaches us as an exception too
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # and a request less at the end of each run
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # MLflow's own patience (7 retries of 120 s) would hold a cell up for many minutes.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}
"""MLflow's settings where the user's environment has none."""

_log = logging.getLogger("orchestrator.tracking")


@dataclass(frozen=True)
class RunSummary:
    """What the store says of one run: `RUNNING` or how it ended, and the latest value of each metric."""

    cell_id: str
    run_id: str
    name: str
    status: str
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Tracking:
    """Where runs are written; a plain value, so that it crosses to worker processes."""

    uri: str = field(repr=False)  # it may hold a password
    """`sqlite:///FILE`, another database, or the address of an MLflow server."""
    experiment: str
    artifacts: str | None = None
    """Where a new experiment keeps its artefacts; a server chooses for itself."""

    def __post_init__(self) -> None:
        """Worker processes have working directories of their own."""
        object.__setattr__(self, "uri", _anchored(self.uri))

    def prepare(self) -> None:
        """Check the store, and create its tables and the experiment where they are missing.

        For the driver, before anything starts: workers doing this would race.

        Raises:
            UnreachableError: The store does not answer, refuses us, or is no MLflow store.

        """
        _probe(self.uri)
        with _actionable(self.uri):
            client = _client(self.uri)
            found = client.get_experiment_by_name(self.experiment)
            if found is None:
                client.create_experiment(self.experiment, artifact_location=self.artifacts)
            elif found.lifecycle_stage == "deleted":
                client.restore_experiment(found.experiment_id)

    @contextmanager
    def run(self, cell: Cell, commit: str | None = None) -> Generator[Run]:
        """The cell's one run, open for writing; for the process that trains.

        An exception leaves the run FAILED, an interruption KILLED. The store's own
        errors are never raised.

        Args:
            cell: Whose run; found by its id if there is one, otherwise created.
            commit: The git commit this attempt runs.

        """
        run = Run(self, cell)
        try:
            run.open(commit)
            yield run
        except Exception as error:
            run.fail(error)
            raise
        except BaseException:
            run.interrupt()
            raise
        if not run.ended:
            run.fail("the attempt ended without an outcome")

    def settle(self, outcome: Outcome, commit: str | None = None) -> None:
        """Make the cell's run tell its outcome, where its own process could not.

        For cells whose process was killed, and to rebuild the store from the files.
        """
        with self.run(outcome.cell, commit) as run:
            match outcome:
                case Finished(metrics=metrics):
                    run.finish(metrics)
                case Diverged(epoch=epoch):
                    run.diverged(epoch)
                case Failed(error=error):
                    run.fail(error)

    def interrupt(self, cells: Collection[str]) -> None:
        """End as KILLED the runs of these cells that claim to be running.

        Args:
            cells: Ids of cells of which no process is left.

        Raises:
            UnreachableError: The store does not answer.

        """
        for run in self.runs("attributes.status = 'RUNNING'"):
            if run.cell_id in cells:
                with _actionable(self.uri):
                    _client(self.uri).set_terminated(run.run_id, "KILLED")

    def runs(self, where: str = "") -> list[RunSummary]:
        """The experiment's runs of cells, oldest first; none if there is no such experiment.

        Args:
            where: A filter in MLflow's search syntax.

        Raises:
            UnreachableError: The store does not answer.

        """
        with _actionable(self.uri):
            client = _client(self.uri)
            experiment = client.get_experiment_by_name(self.experiment)
            found = _pages(client, experiment, where) if experiment else []
            return [_summary(run) for run in found if "cell_id" in run.data.tags]


class Run:
    """The run of one cell. Its methods never raise the store's errors; the first is kept in `trouble`.

    Attributes:
        run_id: MLflow's id, or None if the run could not be created.
        trouble: The first error of the store in one line, or None while all went well.
        ended: Whether an outcome was told.

    """

    def __init__(self, tracking: Tracking, cell: Cell) -> None:
        self.run_id: str | None = None
        self.trouble: str | None = None
        self.ended = False
        self._tracking = tracking
        self._cell = cell
        self._rests_until = 0.0
        self._described = False

    def open(self, commit: str | None) -> None:
        """Find the cell's run and mark it running, or create it."""
        self._tell(lambda: self._find_or_create(_tags(self._cell, commit)))
        self._tell(self._describe)

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Write the figures of one epoch; the trainer's observer."""
        if self.run_id is not None:
            self._tell(lambda: self._log(metrics, step=epoch))

    def finish(self, metrics: Mapping[str, float | None]) -> None:
        """The cell is finished; `metrics` are named as in the results table."""
        if self.run_id is not None:
            # At the last step: MLflow shows the value of the highest one, and the epochs share names.
            last = self._cell.recipe.training.epochs
            self._tell(lambda: self._log(metrics, step=last), insist=True)
        self._end("FINISHED")

    def diverged(self, epoch: int) -> None:
        """The loss became NaN or infinite, which is a result: the run is finished, with a tag."""
        self._end("FINISHED", outcome="diverged", diverged_epoch=str(epoch))

    def fail(self, error: BaseException | str) -> None:
        """The attempt broke."""
        said = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        self._end("FAILED", error=said[:_SHOWN])

    def interrupt(self) -> None:
        """The attempt was stopped from outside."""
        self._end("KILLED")

    def _end(self, status: Terminal, **tags: str) -> None:
        self.ended = True
        if self.run_id is None:
            return
        run_id, client = self.run_id, _client(self._tracking.uri)
        if tags:
            self._tell(lambda: client.log_batch(run_id, tags=_run_tags(tags)), insist=True)
        self._tell(lambda: client.set_terminated(run_id, status), insist=True)

    def _tell(self, action: Callable[[], object], *, insist: bool = False) -> None:
        """Call the store. The one place where its errors end.

        A spool that catches up when the store is back would take the action here.

        Args:
            action: The call.
            insist: Call even a store that has just failed: how a run ended must not stay untold.

        """
        started = time.monotonic()
        if started < self._rests_until and not insist:
            return
        try:
            action()
        except Exception as error:  # noqa: BLE001  whatever MLflow or a driver raises, the cell goes on
            now = time.monotonic()
            self._rests_until = now + _REST * (now - started)
            self._note(error)

    def _note(self, error: Exception) -> None:
        if self.trouble is None:
            self.trouble = _sentence(error)
            message = "MLflow's run of %s is incomplete (%s: %s); the cell itself goes on."
            _log.warning(message, self._cell.name, _masked(self._tracking.uri), self.trouble)

    def _find_or_create(self, tags: Mapping[str, str]) -> None:
        client = _client(self._tracking.uri)
        experiment = client.get_experiment_by_name(self._tracking.experiment)
        if experiment is None:
            raise LookupError(f"there is no MLflow experiment '{self._tracking.experiment}'")
        where = f"tags.cell_id = '{self._cell.id}'"
        found = _pages(client, experiment, where)
        if found:
            self._reopen(client, found, tags)
        else:
            run = client.create_run(experiment.experiment_id, tags=dict(tags), run_name=self._cell.name)
            self.run_id = run.info.run_id

    def _reopen(self, client: MlflowClient, found: list[StoredRun], tags: Mapping[str, str]) -> None:
        first, *surplus = found
        self.run_id = run_id = first.info.run_id
        self._described = bool(first.data.params)
        client.update_run(run_id, status="RUNNING", name=self._cell.name)
        client.log_batch(run_id, tags=_run_tags(tags))
        for tag in ("error", "outcome", "diverged_epoch"):  # of the attempt before
            if tag in first.data.tags:
                client.delete_tag(run_id, tag)
        for run in surplus:  # created twice by a request that was repeated after its answer was lost
            client.delete_run(run.info.run_id)

    def _describe(self) -> None:
        """Parameters and recipe, unless an attempt before this one wrote them."""
        from mlflow.entities import Param

        if self.run_id is None or self._described:
            return
        client = _client(self._tracking.uri)
        recipe = self._cell.recipe.model_dump_json(indent=2)
        client.log_text(self.run_id, recipe, "recipe.json")
        # Last, because their presence says that all of this is done.
        client.log_batch(self.run_id, params=[Param(*pair) for pair in parameters(self._cell).items()])

    def _log(self, metrics: Mapping[str, float | None], step: int) -> None:
        if finite := _finite(metrics, step):
            _client(self._tracking.uri).log_batch(self.run_id or "", metrics=finite)


def parameters(cell: Cell) -> dict[str, str]:
    """A cell's parameters, by the names the UI groups runs by.

    The axes and the training fields have their plain names; a plug-in's parameter has
    its axis in front, as in `loss.bias_init`.
    """
    axes = {"loss": cell.loss, "backbone": cell.backbone, "dataset": cell.dataset, "seed": cell.seed}
    recipe = cell.recipe.model_dump(mode="json")
    plugins = {
        f"{axis}.{field}": value
        for axis in ("loss", "backbone", "dataset")
        for field, value in recipe[axis].items()
        if field != "name"  # said by the axis
    }
    values = {**axes, **recipe["training"], **plugins}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}


def _tags(cell: Cell, commit: str | None) -> dict[str, str]:
    tags = {"cell_id": cell.id, "protocol": str(PROTOCOL)}
    return tags if commit is None else {**tags, "git_commit": commit}


def _run_tags(tags: Mapping[str, str]) -> list[RunTag]:
    from mlflow.entities import RunTag

    return [RunTag(*pair) for pair in tags.items()]


def _finite(metrics: Mapping[str, float | None], step: int) -> list[Metric]:
    """As MLflow metrics, without the values that break its run page."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [
        Metric(name, float(value), now, step)
        for name, value in metrics.items()
        if value is not None and math.isfinite(value)
    ]


def _pages(client: MlflowClient, experiment: Experiment, where: str) -> list[StoredRun]:
    """All runs that match, oldest first."""
    found: list[StoredRun] = []
    token: str | None = None
    while True:
        page = client.search_runs(
            [experiment.experiment_id],
            where,
            max_results=_PAGE,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        found += page
        token = page.token
        if not token:
            return found


def _summary(run: StoredRun) -> RunSummary:
    info, data = run.info, run.data
    return RunSummary(data.tags["cell_id"], info.run_id, info.run_name or "", info.status, data.metrics)


@cache
def _client(uri: str) -> MlflowClient:
    """MLflow's client, one a process, taught to be quiet and not to wait for ever."""
    for name, value in _MANNERS.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient

    if not _is_server(uri):
        from mlflow.store.db import utils as database

        # No setting for it: 10 attempts, each after twice the wait, make 100 s for a wrong password.
        database.MAX_RETRY_COUNT = 2
    for name in ("mlflow", "alembic"):  # again, in case mlflow was imported before us
        logging.getLogger(name).setLevel(os.environ["MLFLOW_LOGGING_LEVEL"].upper())
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it warns of every retry
    return MlflowClient(tracking_uri=uri)


@contextmanager
def _actionable(uri: str) -> Generator[None]:
    """Turn whatever a store raises into one sentence a person can act on."""
    try:
        yield
    except Exception as error:
        raise _unreachable(uri, _sentence(error)) from error


def _unreachable(uri: str, reason: str) -> UnreachableError:
    return UnreachableError(f"The tracking store {_masked(uri)} cannot be used ({reason}): {_REMEDY}.")


def _sentence(error: BaseException | str) -> str:
    """An error's first line, without credentials."""
    said = getattr(error, "strerror", None) or str(error)
    lines = said.strip().splitlines() or [type(error).__name__]
    return _masked(lines[0][:_SHOWN]).rstrip(".")


def _masked(text: str) -> str:
    """Hide user and password of the URLs in a text, and passwords in their queries."""
    return re.sub(r"(password|token)=[^&\s]+", r"\1=***", re.sub(r"://\S*@", "://***@", text))


def _is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def _anchored(uri: str) -> str:
    """The URI, with the path of a SQLite file made absolute."""
    scheme, found, path = uri.partition(":///")
    return f"{scheme}:///{Path(path).absolute()}" if found and scheme.startswith("sqlite") else uri


def _probe(uri: str) -> None:
    """Whether a store answers, in seconds: MLflow itself retries for minutes."""
    kind = uri.partition(":")[0].partition("+")[0]
    try:
        if _is_server(uri):
            _probe_server(uri)
        elif kind == "sqlite":
            _probe_file(Path(uri.partition(":///")[2].partition("?")[0]))
        elif kind in _PORTS:
            _probe_port(uri, _PORTS[kind])
    except (OSError, ValueError, HTTPException, sqlite3.Error) as error:
        raise _unreachable(uri, _sentence(error)) from error


def _probe_server(uri: str) -> None:
    """Ask for the version, as anyone may: no credentials are sent, so no certificate is checked."""
    parts = urlsplit(uri)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], path=parts.path.rstrip("/") + "/version")
    unchecked = ssl.create_default_context()
    unchecked.check_hostname = False
    unchecked.verify_mode = ssl.CERT_NONE
    try:
        with urlopen(bare.geturl(), timeout=PATIENCE, context=unchecked) as answer:  # noqa: S310  http(s) only
            version = answer.read(100).decode("utf-8", "replace")
    except HTTPError as error:
        if error.code in (401, 403):  # only whoever has credentials may ask
            return
        raise OSError(f"what answers there is no MLflow server: HTTP {error.code}") from error
    except URLError as error:
        raise OSError(_sentence(error.reason)) from error
    if not re.match(r"\d+\.\d+", version):
        raise OSError("what answers there is no MLflow server")


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


@contextmanager
def serve(uri: str, artifacts: str | None, log: Path, port: int | None = None) -> Generator[str]:
    """MLflow's UI on a store, on this machine only, for as long as the context lasts.

    Args:
        uri: The store. A server has its own UI: then nothing is started.
        artifacts: Where artefacts of experiments created in the UI go.
        log: The file that gets what the server says.
        port: Where to listen; any free port if None.

    Yields:
        The UI's address.

    Raises:
        UnreachableError: The store cannot be used, the port is taken, or the server does not start.

    """
    _probe(uri)
    if _is_server(uri):
        yield _masked(uri)
        return
    with _actionable(uri):
        _client(uri)  # the tables, made here so that a problem is told here
    port = _free_port(port)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        process = subprocess.Popen(
            _server_command(port, artifacts),
            env=_server_environment(uri),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,  # a group of its own: ended as a whole, and only by us
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _await_health(process, address, log)
        yield address
    finally:
        _end_group(process)


def _server_command(port: int, artifacts: str | None) -> list[str]:
    # Other names for this address are how a web page would reach it from the user's browser.
    hosts = f"127.0.0.1:{port},localhost:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--allowed-hosts", hosts]
    return command if artifacts is None else [*command, "--artifacts-destination", artifacts]


def _server_environment(uri: str) -> dict[str, str]:
    return {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": uri,  # not an argument: every user of the machine can read those
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "INFO",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # it would start more processes, for LLM judges
    }


def _free_port(wanted: int | None) -> int:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", wanted or 0))
        except OSError as error:
            reason = _sentence(error)
            raise UnreachableError(f"Port {wanted} cannot be used ({reason}): choose another.") from error
        return listener.getsockname()[1]


def _await_health(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + STARTUP
    while process.poll() is None and time.monotonic() < deadline:
        try:
            return _probe_server(address)
        except (OSError, HTTPException):
            time.sleep(0.1)
    raise UnreachableError(f"MLflow's server did not start: {log} says why.")


def _end_group(process: subprocess.Popen[bytes]) -> None:
    for blow in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, blow)
            process.wait(timeout=10)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
