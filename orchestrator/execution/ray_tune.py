"""Run cells on a Ray cluster, scheduled by Ray Tune.

A Tune run is disposable: it schedules and reports, and nothing is ever read back from it.
The cells' files decide what is done and what is left. Because Tune keeps every trial of a
run in memory, the cells are divided into runs of at most `WAVE` trials. The next run begins
when the last cell of the run before has been handed out, so that the two overlap and no
core is idle in between. Tune runs in threads of its own; all its reports go through one
inbox to the thread that called, which also receives the user's Ctrl-C.
"""

from __future__ import annotations

import ctypes
import math
import os
import threading
import time
import traceback
import warnings
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import ray
from ray import tune
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import OutOfMemoryError
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial

from orchestrator.errors import RequestError
from orchestrator.execution.executor import Listener
from orchestrator.execution.faults import reason_in
from orchestrator.execution.queue import Queue
from orchestrator.execution.ray_callbacks import (
    WAVE,
    Brake,
    MemoryRanOutError,
    Message,
    Reporter,
    RunEnd,
    Scheduler,
    Supplier,
)
from orchestrator.execution.ray_cluster import (
    LOCAL,
    check_room,
    cluster,
    is_alive,
    watched,
)
from orchestrator.execution.ray_trial import resources, trial
from orchestrator.execution.worker import Worker
from orchestrator.outcome import Attempt, Diverged, Event, Failed, Finished, Lost, Started, Stopped
from orchestrator.process import scratch

MOST_PENDING = 64
"""The most trials that may wait for a process at once: a large cluster starts several at a time."""

ABORT_PATIENCE = 30.0
"""Seconds for a Tune run to end after it was aborted; it takes about 5."""

MOST_EARLY_DEATHS = 3
"""Worker processes that may die before any of them has begun a cell."""

MOST_BROKEN_RUNS = 3
"""Tune runs that may break in a row, with no cell finished in between."""


@dataclass(frozen=True)
class RayTune:
    """Runs cells as Tune trials, as many at once as their resources and the queue allow."""

    worker: Worker
    address: str = LOCAL

    @contextmanager
    def starting(self) -> Generator[None]:
        """Start or join Ray in the background while the block runs; `run` waits for it, and raises what went wrong."""
        over = threading.Event()

        def start() -> None:
            with suppress(Exception), cluster(self.address):
                over.wait()

        thread = threading.Thread(target=start, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def run(self, queue: Queue, listen: Listener) -> None:
        """Run the cells on a local Ray or on the cluster at `address`."""
        with (
            cluster(self.address),
            watched(queue.places, self.address),
            _count_memory_deaths_as_deaths(),
            _without_snapshots(),
            _without_credentials(),
            scratch.folder() as folder,
        ):
            check_room(queue.waiting())
            inbox: SimpleQueue[Message | RunEnd] = SimpleQueue()
            queue.adopted = lambda adopted: inbox.put(Message(adopted, ""))
            runs = _Runs(self.worker, queue, inbox, folder)
            runs.begin()
            try:
                while runs.under_way:
                    match inbox.get():
                        case Message(event, node):
                            runs.check(event)
                            _hear(event, node, queue, listen)
                        case RunEnd() as end:
                            for lost in runs.ended(end):
                                listen(queue.ended(lost))
                    if runs.need_another:
                        runs.begin()
            except BaseException:
                runs.abort()
                raise


def _hear(event: Event, node: str, queue: Queue, listen: Listener) -> None:
    match event:
        case Lost(fault="process") if node and not is_alive(node):
            listen(queue.ended(Lost(event.cell, event.attempt, "node", event.error, event.traceback)))
        case Finished() | Diverged() | Failed() | Stopped() | Lost():
            listen(queue.ended(event))
        case Started(cell=cell):
            queue.started(cell)
            listen(event)
        case _:
            listen(event)


@contextmanager
def _count_memory_deaths_as_deaths() -> Generator[None]:
    """Make Tune treat a process that Ray ended for lack of memory as one that died.

    Tune does not expect this error: its whole run would end, with every cell in it (Ray 2.60).
    """
    known = RayActorManager._actor_task_failed  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    def failed(self: RayActorManager, tracked_actor_task: Any, exception: Exception) -> None:
        ran_out = isinstance(exception, OutOfMemoryError)
        known(self, tracked_actor_task, MemoryRanOutError(str(exception)) if ran_out else exception)

    RayActorManager._actor_task_failed = failed  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    try:
        yield
    finally:
        RayActorManager._actor_task_failed = known  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


@contextmanager
def _without_credentials() -> Generator[None]:
    """Keep Tune from copying AWS_* into each trial's environment, which Ray writes to its logs (Ray 2.60).

    The processes of a node have the node's own credentials.
    """
    known = class_cache.ENV_VARS_TO_PROPAGATE
    class_cache.ENV_VARS_TO_PROPAGATE = {name for name in known if not name.startswith("AWS_")}
    try:
        yield
    finally:
        class_cache.ENV_VARS_TO_PROPAGATE = known


@contextmanager
def _without_snapshots() -> Generator[None]:
    """Leave trials out of Tune's snapshots, which are never read.

    Writing them took most of the driver's time per trial. Tune also remembers for good each value that JSON cannot
    hold, to warn of it only once: 3 KiB per cell (Ray 2.60).
    """
    known = Trial.get_json_state
    Trial.get_json_state = lambda self: ("{}", "{}")  # noqa: ARG005 - the same for every trial
    try:
        yield
    finally:
        Trial.get_json_state = known


class _Runs:
    """The Tune runs of one launch, each in a thread: one takes cells, in the others the last cells still run."""

    def __init__(self, worker: Worker, queue: Queue, inbox: SimpleQueue[Message | RunEnd], folder: Path) -> None:
        self._worker = worker
        self._queue = queue
        self._inbox = inbox
        self._folder = folder
        self._suppliers: list[Supplier] = []
        self._threads: list[threading.Thread] = []
        self._brake = Brake()
        self._early_deaths = 0.0
        self._broken = 0
        self.under_way = 0

    @property
    def need_another(self) -> bool:
        """Whether cells wait, or may still be added, and no run takes them."""
        done = self._queue.over or self._queue.is_closed
        return not done and not any(supplier.takes for supplier in self._suppliers)

    def begin(self) -> None:
        """Start another run."""
        supplier = Supplier(self._queue)
        reporter = Reporter(self._inbox, self._worker)
        self._suppliers = [*(other for other in self._suppliers if other.takes), supplier]
        tuner = tune.Tuner(
            tune.with_resources(trial(self._worker), resources),
            tune_config=tune.TuneConfig(
                search_alg=supplier,
                scheduler=Scheduler(self._queue.places),
                num_samples=WAVE,
                reuse_actors=True,  # otherwise each cell imports torch again: 3.8 s instead of 0.03 s
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                storage_path=str(self._folder), verbose=0, callbacks=[reporter], stop=self._brake
            ),
        )
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(
            max(1, min(MOST_PENDING, int(ray.cluster_resources().get("CPU", 1))))
        )
        self.under_way += 1
        thread = threading.Thread(target=self._fit, args=(tuner, supplier), daemon=True)
        self._threads = [*(other for other in self._threads if other.is_alive()), thread]
        thread.start()

    def ended(self, over: RunEnd) -> list[Lost]:
        """Record that a run has ended; return the attempts that were lost with it.

        Raises:
            BaseException: The error that broke the run, if runs keep breaking.
        """
        self.under_way -= 1
        _give_back_memory()
        if over.error is None:
            return []
        self._broken += 1
        if self._broken == MOST_BROKEN_RUNS or not isinstance(over.error, Exception):
            raise over.error
        story = "".join(traceback.format_exception(over.error))
        error = f"Ray Tune broke: {type(over.error).__name__}: {over.error}".partition("\n")[0]
        nowhere = Attempt("", time.time(), 0.0)
        lost = [cell for cell in over.supplier.given.values() if cell.id in self._queue.running()]
        return [Lost(cell, nowhere, "process", error, story) for cell in lost]

    def check(self, event: Event) -> None:
        """Give up if no worker process lives long enough to begin a cell.

        Raises:
            RequestError: `MOST_EARLY_DEATHS` processes died, and none had begun a cell.
        """
        if isinstance(event, Finished):
            self._broken = 0
        match event:
            case Lost(attempt=Attempt(node=""), fault="node"):
                return  # no process was ever started for it
            case Lost(attempt=Attempt(node=""), traceback=story) | Failed(attempt=Attempt(node=""), traceback=story):
                self._early_deaths += 1
            case _:
                self._early_deaths = -math.inf
                return
        if self._early_deaths >= MOST_EARLY_DEATHS:
            raise RequestError(f"Worker processes end before they begin a cell ({reason_in(story)}): nothing was run.")

    def abort(self) -> None:
        """End all runs and their cells before Ray ends: a Tune thread that loses Ray ends the whole program."""
        self._brake.pulled = True
        for thread in self._threads:
            thread.join(timeout=ABORT_PATIENCE)

    def _fit(self, tuner: tune.Tuner, supplier: Supplier) -> None:
        error = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tuner.fit()
        except BaseException as raised:  # noqa: BLE001 - raised again by `ended`
            error = raised
        supplier.takes = False
        self._inbox.put(RunEnd(supplier, error))


def _give_back_memory() -> None:
    """Return freed memory to the system after a Tune run: glibc would keep 30 KiB per cell."""
    with suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
