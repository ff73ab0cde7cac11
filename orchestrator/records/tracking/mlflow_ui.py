"""MLflow's UI on a store, served to this machine only."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

from orchestrator.errors import RequestError, UnreachableError
from orchestrator.privacy import masked
from orchestrator.records.tracking import saved_view, warden
from orchestrator.records.tracking.mlflow_store import (
    actionable,
    connect,
    is_server,
    is_there,
    probe,
    probe_server,
    sentence,
)

STARTUP = 90
"""Seconds to wait for a server of ours: it imports MLflow first, and the machine may be busy."""


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
    probe(uri)
    if is_server(uri):
        yield masked(uri)
        return
    if not is_there(uri):
        with actionable(uri):
            connect(uri)  # makes the tables, which two processes must not make at once
    port = _free_port(port)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", warden.__file__, *_server_command(port, artifacts)],
            env=_server_environment(uri),
            stdin=subprocess.PIPE,  # closes when this process ends, and then the warden ends the server
            stdout=file,
            stderr=file,
            start_new_session=True,  # a group of its own, ended as a whole
        )
    try:
        address = f"http://127.0.0.1:{port}"
        with actionable(uri):
            connect(uri)  # while the server starts; a problem is told here, not in its log
        _await_health(process, address, log)
        yield address
    finally:
        _end_group(process)
        if process.stdin:
            process.stdin.close()


def link(uri: str, address: str, experiment: str) -> str:
    """Where the UI shows an experiment's runs, with the view that its launches save if the UI is known to read it.

    Args:
        uri: The store.
        address: The UI's.
        experiment: The experiment's name; if empty, the link is to the list of all.

    Raises:
        RequestError: It has not been launched yet.
        UnreachableError: The store does not answer.

    """
    if not experiment:
        return saved_view.experiments_page(address)
    with actionable(uri):
        found = connect(uri).get_experiment_by_name(experiment)
    if found is None or found.lifecycle_stage == "deleted":
        raise RequestError(f"MLflow knows no experiment '{experiment}': launch it first.")
    is_known = _version(address).startswith(f"{saved_view.VERIFIED}.")
    return saved_view.runs_page(address, found.experiment_id, with_view=is_known and saved_view.TAG in found.tags)


def _version(address: str) -> str:
    """The version of a server, empty where it does not tell."""
    try:
        return probe_server(address)
    except (OSError, HTTPException):
        return ""


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
            reason = sentence(error)
            raise UnreachableError(f"Port {wanted} cannot be used ({reason}): choose another.") from error
        return listener.getsockname()[1]


def _await_health(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + STARTUP
    while process.poll() is None and time.monotonic() < deadline:
        if _version(address):
            return
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
