"""Run cells on a Ray cluster, scheduled by Ray Tune. The only door to ray.

A Tune run is disposable: it schedules and tells, and nothing is ever read back from it.
What is done, and what is left, is decided by the cells' files.
"""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import time
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

# Read when ray is imported, so set before: no telemetry, no loggers and progress output
# of Tune's own, workers stay in the directory they were started in, and a user's Ctrl-C
# reaches us.
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # snapshots grow with every trial, and are never read
}

import ray
from ray import tune
from ray.tune.error import TuneError
from ray.tune.experiment import Trial

from orchestrator.cluster import shortage
from orchestrator.errors import RequestError, UnreachableError
from orchestrator.execution.executor import Listener
from orchestrator.execution.worker import Worker
from orchestrator.outcome import Advanced, Attempt, Event, Failed, Started
from orchestrator.plan import Cell

LOCAL = "local"
"""The address of a Ray that is started for this launch and ends with it."""


@dataclass(frozen=True)
class RayTune:
    """Runs cells as Tune trials, as many at once as their resources and `max_concurrent` allow."""

    worker: Worker
    address: str = LOCAL
    max_concurrent: int | None = None

    def run(self, cells: Sequence[Cell], listen: Listener) -> None:
        """Run all cells, on a Ray of our own or the cluster at `address`."""
        with _cluster(self.address), tempfile.TemporaryDirectory(prefix="tune-") as folder:
            _check_room(cells)
            teller = _Teller(listen)
            tuner = tune.Tuner(
                tune.with_resources(_trial(self.worker), _resources),
                param_space={"cell": tune.grid_search(list(cells))},
                tune_config=tune.TuneConfig(
                    reuse_actors=True,  # else every cell imports torch anew: 3.8 s against 0.03 s
                    max_concurrent_trials=self.max_concurrent,
                    trial_dirname_creator=lambda trial: trial.trial_id,
                ),
                run_config=tune.RunConfig(storage_path=folder, name="cells", verbose=0, callbacks=[teller]),
            )
            try:
                tuner.fit()
            except TuneError:
                raise teller.trouble or RuntimeError("Ray Tune stopped for a reason of its own") from None


def _trial(worker: Worker) -> Any:
    def run_cell(config: dict[str, Any]) -> None:
        """One Tune trial: one cell. Every event is a Tune result."""
        logging.getLogger("ray.tune").setLevel(logging.ERROR)
        cell: Cell = config["cell"]
        outcome = worker.run(cell, lambda event: tune.report({"event": event}))
        tune.report({"event": outcome})

    return run_cell


def _resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    wanted = config["cell"].resources
    return tune.PlacementGroupFactory([{"CPU": wanted.cpus, "GPU": wanted.gpus}])


class _Teller(tune.Callback):
    """Passes on what trials report, and speaks for those that died without a word."""

    def __init__(self, listen: Listener) -> None:
        self._listen = listen
        self._started: dict[str, Started] = {}
        self.trouble: Exception | None = None
        """What the listener raised; Tune would pass on its text only."""

    def _tell(self, event: Event) -> None:
        try:
            self._listen(event)
        except Exception as error:
            self.trouble = error
            raise

    def __reduce__(self) -> tuple[type, tuple[Listener]]:
        # Tune pickles its callbacks into snapshots, which are never read: what a listener
        # holds (a database, a terminal) need not and cannot go there.
        return _Teller, (print,)

    def on_trial_result(self, *_: Any, result: dict[str, Any], trial: Trial, **__: Any) -> None:
        """A trial reported an event."""
        event: Event | None = result.get("event")
        match event:
            case None:  # Tune's own last word, which repeats the last result without its content
                return
            case Started():
                self._started[trial.trial_id] = event
            case Advanced():
                pass
            case _:
                self._started.pop(trial.trial_id, None)
        self._tell(event)

    def on_trial_error(self, *_: Any, trial: Trial, **__: Any) -> None:
        """A trial's process died; whatever our own code raises has become an outcome before."""
        now = time.time()
        started = self._started.pop(trial.trial_id, None)
        attempt = Attempt(started.node, started.started, now - started.started) if started else Attempt("", now, 0.0)
        error = trial.get_error()
        sentence = f"The worker process died: {type(error).__name__}: {error}".partition("\n")[0]
        self._tell(Failed((trial.config or {})["cell"], attempt, sentence, str(error)))


@contextmanager
def _cluster(address: str) -> Generator[None]:
    """Connected to Ray, quietly; a Ray of our own ends with us.

    Raises:
        UnreachableError: There is no Ray at that address.
    """
    if address != LOCAL:
        _probe(address)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ray.init(
                address=address,
                include_dashboard=False if address == LOCAL else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise UnreachableError(f"Ray at '{address}' cannot be joined: {error}") from None
        logging.getLogger("ray").setLevel(logging.ERROR)
        try:
            yield
        finally:
            ray.shutdown()


def _probe(address: str) -> None:
    """Fail within seconds where Ray itself would try for minutes."""
    if address == "auto":
        return
    parts = urlsplit(address if "://" in address else f"ray-node://{address}")
    try:
        socket.create_connection((parts.hostname or "", parts.port or 10001), timeout=5).close()
    except (OSError, ValueError) as error:
        raise UnreachableError(
            f"No Ray answers at '{address}' ({error}). Start one with 'ray start --head', correct --address or "
            f"RAY_ADDRESS, or leave both out to use this machine alone."
        ) from None


def _check_room(cells: Sequence[Cell]) -> None:
    """Fail at once where a cell would wait for ever for a machine that is large enough.

    Raises:
        RequestError: No node that is alive has the resources of some cell.
    """
    if problem := shortage((cell.resources for cell in cells), _nodes()):
        raise RequestError(problem)


def _nodes() -> list[dict[str, float]]:
    """The resources of each machine of the cluster that is alive."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def capacity(address: str) -> list[dict[str, float]]:
    """The resources of each machine of the cluster at an address.

    Raises:
        UnreachableError: There is no Ray at that address.
    """
    with _cluster(address):
        return _nodes()


def cores() -> int:
    """The cores that a Ray of our own would find here: in a container, those it may use."""
    from ray._private.utils import get_num_cpus

    return int(get_num_cpus(override_docker_cpu_warning=True))
