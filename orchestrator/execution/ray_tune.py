"""Run cells on a Ray cluster, scheduled by Ray Tune. The only door to ray.

A Tune run is disposable: it schedules and tells, and nothing is ever read back from it.
What is done, and what is left, is decided by the cells' files. Because Tune keeps every
trial of a run in memory, the cells are shared out to runs of at most `WAVE` trials; the
next run begins when the last cell of the one before has been handed out, so that the two
overlap and no core is idle in between. Tune runs in threads of its own; all that it tells
goes through one inbox to the thread that called, where the user's Ctrl-C arrives, too.
"""

from __future__ import annotations

import ctypes
import logging
import math
import os
import socket
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Collection, Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar
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
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # snapshots grow with every trial, and are never read
}

import ray
from ray import cloudpickle, tune
from ray._private import worker
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.errors import RequestError, UnreachableError
from orchestrator.execution.executor import Listener
from orchestrator.execution.placement import Kind, Node, Placement, told
from orchestrator.execution.queue import Places, Queue, Ticket
from orchestrator.execution.worker import Worker
from orchestrator.experiment.plan import Cell
from orchestrator.experiment.resources import shortage
from orchestrator.outcome import Attempt, Diverged, Ending, Event, Failed, Fault, Finished, Lost, Started, Stopped

Result = TypeVar("Result")

NODE = "ray.io/node-id"
"""The label by which Ray knows a machine."""

LOOK = 3.0
"""Seconds between two looks at which machines there are."""

ANSWER = 60.0
"""Seconds in which a machine has to tell what it is."""

LOCAL = "local"
"""The address of a Ray that is started for this launch and ends with it."""

WAVE = 1000
"""Trials of one Tune run. A trial costs the driver some 50 kB until its run has ended."""

EAGER = 64
"""Trials that may wait for a process at once, at most: a large cluster starts several at a time."""

ABORTED = 30.0
"""Seconds for a Tune run to end after it was aborted; it takes about 5."""

STILLBORN = 3
"""Worker processes that may die before any has begun a cell."""

HOARDED = 2**30
"""Bytes by which a worker process may have grown before it is replaced."""

BROKEN = 3
"""Tune runs that may break, one after the other and without a cell finished in between."""


@dataclass(frozen=True)
class RayTune:
    """Runs cells as Tune trials, as many at once as their resources and the queue allow."""

    worker: Worker
    address: str = LOCAL

    @contextmanager
    def starting(self) -> Generator[None]:
        """Within: Ray starts, or is joined, beside what the caller does; `run` waits for it, and fails if it failed."""
        over = threading.Event()

        def start() -> None:
            with suppress(Exception), _cluster(self.address):
                over.wait()  # here, because Linux ends Ray's processes with the thread that started them

        thread = threading.Thread(target=start, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def run(self, queue: Queue, listen: Listener) -> None:
        """Run the cells, on a Ray of our own or the cluster at `address`."""
        with (
            _cluster(self.address),
            _watched(queue.places, self.address),
            _told_of_memory(),
            _without_snapshots(),
            tempfile.TemporaryDirectory(prefix="tune-", ignore_cleanup_errors=True) as folder,
        ):
            _check_room(queue.waiting())
            inbox: SimpleQueue[Told | Over] = SimpleQueue()
            queue.adopted = lambda adopted: inbox.put(Told(adopted, ""))
            runs = _Runs(self.worker, queue, inbox, Path(folder))
            runs.begin()
            try:
                while runs.under_way:
                    match inbox.get():
                        case Told(event, node):
                            runs.check(event)
                            _hear(event, node, queue, listen)
                        case Over() as over:
                            for lost in runs.ended(over):
                                listen(queue.ended(lost))
                    if runs.need_another:
                        runs.begin()
            except BaseException:
                runs.abort()
                raise


class Told(NamedTuple):
    """An event, and the Ray node it comes from."""

    event: Event
    node: str


class Over(NamedTuple):
    """A Tune run has ended, and why, if before its time."""

    supplier: _Supplier
    error: BaseException | None


def _hear(event: Event, node: str, queue: Queue, listen: Listener) -> None:
    match event:
        case Lost(fault="process") if node and not _is_alive(node):
            listen(queue.ended(Lost(event.cell, event.attempt, "node", event.error, event.traceback)))
        case Finished() | Diverged() | Failed() | Stopped() | Lost():
            listen(queue.ended(event))
        case Started(cell=cell):
            queue.started(cell)
            listen(event)
        case _:
            listen(event)


class _MemoryRanOutError(RayActorError):
    """Ray ended a process because the machine's memory ran out."""

    def __init__(self, story: str) -> None:
        super().__init__(error_msg=story)


class _MachineGoneError(RayActorError):
    """No machine is left of those that a trial might have begun on."""


@contextmanager
def _told_of_memory() -> Generator[None]:
    """Within: Tune takes a process that Ray ended for lack of memory for one that died.

    It knows no other kind of death, and its run would end with all that is in it (Ray 2.60).
    """
    known = RayActorManager._actor_task_failed  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    def failed(self: RayActorManager, tracked_actor_task: Any, exception: Exception) -> None:
        ran_out = isinstance(exception, OutOfMemoryError)
        known(self, tracked_actor_task, _MemoryRanOutError(str(exception)) if ran_out else exception)

    RayActorManager._actor_task_failed = failed  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    try:
        yield
    finally:
        RayActorManager._actor_task_failed = known  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


@contextmanager
def _without_snapshots() -> Generator[None]:
    """Within: Tune's snapshots say nothing of trials. They are never read.

    Writing them took most of the driver's time for a trial, and for everything that JSON does not
    know Tune remembers for good that it said so once (Ray 2.60): 3 KiB a cell.
    """
    known = Trial.get_json_state
    Trial.get_json_state = lambda self: ("{}", "{}")  # noqa: ARG005 - there is nothing to say of any
    try:
        yield
    finally:
        Trial.get_json_state = known


class _Runs:
    """The Tune runs of one launch, each in a thread: one that takes cells, and those whose last cells still run."""

    def __init__(self, worker: Worker, queue: Queue, inbox: SimpleQueue[Told | Over], folder: Path) -> None:
        self._worker = worker
        self._queue = queue
        self._inbox = inbox
        self._folder = folder
        self._suppliers: list[_Supplier] = []
        self._threads: list[threading.Thread] = []
        self._brake = _Brake()
        self._stillborn = 0.0
        self._broken = 0
        self.under_way = 0

    @property
    def need_another(self) -> bool:
        """Whether no run takes cells although some are or may come to be handed out."""
        done = self._queue.over or self._queue.is_closed
        return not done and not any(supplier.takes for supplier in self._suppliers)

    def begin(self) -> None:
        """Start another run."""
        supplier = _Supplier(self._queue)
        teller = _Teller(self._inbox, self._worker)
        self._suppliers = [*(other for other in self._suppliers if other.takes), supplier]
        tuner = tune.Tuner(
            tune.with_resources(_trial(self._worker), _resources),
            tune_config=tune.TuneConfig(
                search_alg=supplier,
                scheduler=_Scheduler(self._queue.places),
                num_samples=WAVE,
                reuse_actors=True,  # else every cell imports torch anew: 3.8 s against 0.03 s
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(storage_path=str(self._folder), verbose=0, callbacks=[teller], stop=self._brake),
        )
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(max(1, min(EAGER, int(ray.cluster_resources().get("CPU", 1)))))
        self.under_way += 1
        thread = threading.Thread(target=self._fit, args=(tuner, supplier), daemon=True)
        self._threads = [*(other for other in self._threads if other.is_alive()), thread]
        thread.start()

    def ended(self, over: Over) -> list[Lost]:
        """Take note of a run's end; return the attempts that were lost with it.

        Raises:
            BaseException: What ended runs before their time, again and again.
        """
        self.under_way -= 1
        _give_back_memory()
        if over.error is None:
            return []
        self._broken += 1
        if self._broken == BROKEN or not isinstance(over.error, Exception):
            raise over.error
        story = "".join(traceback.format_exception(over.error))
        error = f"Ray Tune broke: {type(over.error).__name__}: {over.error}".partition("\n")[0]
        nowhere = Attempt("", time.time(), 0.0)
        lost = [cell for cell in over.supplier.given.values() if cell.id in self._queue.running()]
        return [Lost(cell, nowhere, "process", error, story) for cell in lost]

    def check(self, event: Event) -> None:
        """Give up where no worker process lives long enough to begin a cell.

        Raises:
            RequestError: So many died, and none began.
        """
        if isinstance(event, Finished):
            self._broken = 0
        match event:
            case Lost(attempt=Attempt(node=""), fault="node"):
                return  # it never had a process
            case Lost(attempt=Attempt(node=""), traceback=story) | Failed(attempt=Attempt(node=""), traceback=story):
                self._stillborn += 1
            case _:
                self._stillborn = -math.inf
                return
        if self._stillborn >= STILLBORN:
            reason = [line for line in story.splitlines() if line.strip()][-1].strip()
            raise RequestError(f"Worker processes end before they begin a cell ({reason}): nothing was run.")

    def abort(self) -> None:
        """End all runs and what they run, before Ray ends: a thread that loses it ends the whole program."""
        self._brake.pulled = True
        for thread in self._threads:
            thread.join(timeout=ABORTED)

    def _fit(self, tuner: tune.Tuner, supplier: _Supplier) -> None:
        error = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tuner.fit()
        except BaseException as raised:  # noqa: BLE001 - raised again in the thread that waits
            error = raised
        supplier.takes = False
        self._inbox.put(Over(supplier, error))


def _give_back_memory() -> None:
    """Let the system have what a Tune run has used and freed: glibc keeps it, 30 KiB a cell."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


class _Brake(tune.Stopper):
    """Stops a Tune run as a whole."""

    pulled = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is stopped for what it reports."""
        del trial_id, result
        return False

    def stop_all(self) -> bool:
        """Whether to stop now."""
        return self.pulled


class _Scheduler(FIFOScheduler):
    """Starts trials in their order, and gives up those whose machines are gone: Tune would wait for ever."""

    def __init__(self, places: Places | None) -> None:
        super().__init__()
        self._places = places

    def __reduce__(self) -> tuple[type, tuple[None]]:
        # As for the supplier.
        return _Scheduler, (None,)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The first trial that waits."""
        if isinstance(self._places, Placement):
            controller = tune_controller._tune_controller  # noqa: SLF001 - its public face cannot end what waits
            alive = self._places.alive
            for trial in tune_controller.get_trials():
                nodes = trial.config["ticket"].nodes
                if trial.status == Trial.PENDING and nodes and alive.isdisjoint(nodes):
                    _give_up(controller, trial)
        return super().choose_trial_to_run(tune_controller)


def _give_up(controller: Any, trial: Trial) -> None:
    """End a trial that waits, as Tune does where its process could not be started."""
    actor = controller._trial_to_actor.get(trial)  # noqa: SLF001
    if actor is not None:
        controller._actor_failed(actor, _MachineGoneError(error_msg="The machines that it was to run on are gone."))  # noqa: SLF001


class _Supplier(Searcher):
    """Gives a Tune run its cells one by one, as there is room, instead of all at once."""

    def __init__(self, queue: Queue | None) -> None:
        super().__init__()
        self._queue = queue
        self._number = 0
        self.takes = True
        self.given: dict[str, Cell] = {}
        """The cells whose trials have not ended."""

    def __reduce__(self) -> tuple[type, tuple[None]]:
        # Tune pickles it into a snapshot, which is never read: a queue need not and cannot go there.
        return _Supplier, (None,)

    def suggest(self, trial_id: str) -> Any:
        """The next cell's ticket; None to be asked again; FINISHED when there will be none."""
        assert self._queue is not None  # noqa: S101 - only a copy that was pickled has none
        if self._queue.over or self._queue.is_closed or self._number == WAVE:
            self.takes = False
            return Searcher.FINISHED
        if (ticket := self._queue.take()) is None:
            return None
        self._number += 1
        self.takes = self._number < WAVE
        self.given[trial_id] = ticket.cell
        return {"ticket": ticket}

    def on_trial_complete(self, trial_id: str, *_: Any, **__: Any) -> None:
        """A trial has ended; how, its events tell."""
        self.given.pop(trial_id, None)

    def save(self, checkpoint_path: str) -> None:
        """Nothing is ever restored."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing is ever restored."""


class _RecycleError(Exception):
    """The process is not to be used again; its cell has told its ending."""


def _trial(runner: Worker) -> Any:
    def run_cell(config: dict[str, Any]) -> None:
        """One Tune trial: one attempt at a cell. Every event is a Tune result."""
        import torch  # noqa: F401  # pyright: ignore[reportUnusedImport]  # so that it is in no cell's time

        logging.getLogger("ray.tune").setLevel(logging.ERROR)
        ticket: Ticket = config["ticket"]
        node = ray.get_runtime_context().get_node_id()
        size = _resident()
        words = runner.checkpoints.last_words(ticket.cell) if runner.checkpoints else None
        with _watchdog().watching(ticket.time_limit, words):
            ending = _runs(runner, ticket)(ticket.cell, lambda event: tune.report({"event": event, "ray_node": node}))
        tune.report({"event": ending, "ray_node": node})
        if isinstance(ending, (Failed, Lost)) or _resident() - size > HOARDED:
            raise _RecycleError

    return run_cell


def _runs(runner: Worker, ticket: Ticket) -> Callable[[Cell, Callable[[Event], None]], Ending]:
    """What runs a cell: this process, or several together."""
    if ticket.cell.resources.devices == 1:
        return runner.run
    from orchestrator.execution.ray_train import run_together  # it imports torch, which the driver does without

    return partial(run_together, runner, labels=_labels(ticket.nodes))


@cache
def _watchdog() -> Any:
    from orchestrator.execution.watchdog import Watchdog

    return Watchdog()


def _resident() -> int:
    """The memory of this process in bytes; 0 where the platform does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    ticket: Ticket = config["ticket"]
    wanted = ticket.cell.resources
    if wanted.devices > 1:  # its processes ask for themselves; Tune wants a trial to need something
        return tune.PlacementGroupFactory([{"CPU": 0, "memory": 1}])
    cpus = float(wanted.cpus)
    gpus = float(wanted.gpus)
    if ticket.alone:
        there = _nodes(ticket.nodes)
        fitting = [node for node in there if node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus]
        roomy = max(fitting, key=lambda node: node.get("memory", 0), default={"CPU": cpus})
        cpus = roomy["CPU"]
        gpus = float(max(1.0, gpus) if gpus else 0)
    bundles = [{"CPU": cpus, "GPU": gpus}]
    if not ticket.nodes:
        return tune.PlacementGroupFactory(bundles)
    return tune.PlacementGroupFactory(bundles, bundle_label_selector=[_labels(ticket.nodes)])


def _labels(nodes: Collection[str]) -> dict[str, str]:
    """Which machines will do, as Ray selects them."""
    return {NODE: f"in({','.join(nodes)})"} if nodes else {}


class _Teller(tune.Callback):
    """Passes on what trials report, and speaks for those that died without a word."""

    def __init__(self, inbox: SimpleQueue[Told | Over] | None, worker: Worker | None) -> None:
        self._inbox = inbox
        self._worker = worker
        self._started: dict[str, tuple[Started, str]] = {}
        self._ended: set[str] = set()

    def __reduce__(self) -> tuple[type, tuple[None, None]]:
        # As for the supplier: Tune's snapshots are never read.
        return _Teller, (None, None)

    def _tell(self, event: Event, node: str) -> None:
        assert self._inbox is not None  # noqa: S101 - only a copy that was pickled has none
        self._inbox.put(Told(event, node))

    def on_trial_result(self, *_: Any, result: dict[str, Any], trial: Trial, **__: Any) -> None:
        """A trial reported an event."""
        event: Event | None = result.get("event")
        if event is None:  # Tune's own last word, which repeats the last result without its content
            return
        match event:
            case Started():
                self._started[trial.trial_id] = event, result["ray_node"]
            case Finished() | Diverged() | Failed() | Lost() | Stopped():
                self._ended.add(trial.trial_id)
            case _:
                pass
        self._tell(event, result["ray_node"])

    def on_trial_error(self, *_: Any, trial: Trial, **__: Any) -> None:
        """A trial's process died, unless it only ends because it is not to be used again."""
        if trial.trial_id in self._ended:
            return
        ticket: Ticket = (trial.config or {})["ticket"]
        now = time.time()
        started, node = self._started.pop(trial.trial_id, (None, ""))
        attempt = Attempt(started.node, started.started, now - started.started) if started else Attempt("", now, 0.0)
        self._tell(_ending(ticket, attempt, _error(trial), self._words(ticket.cell)), node)

    def _words(self, cell: Cell) -> str | None:
        """What a watchdog wrote about the process that it ended."""
        checkpoints = self._worker and self._worker.checkpoints
        path = checkpoints.last_words(cell) if checkpoints else None
        if path is None or not path.exists():
            return None
        told = path.read_text(encoding="utf-8", errors="replace")
        path.unlink(missing_ok=True)
        return told


def _error(trial: Trial) -> BaseException:
    """What ended a trial's process, as Tune has just noted it in this process's own folder."""
    path = trial.pickled_error_file
    if path is None or not Path(path).exists():
        return RuntimeError("Ray does not say why")
    return cloudpickle.loads(Path(path).read_bytes())


def _ending(ticket: Ticket, attempt: Attempt, error: BaseException, words: str | None) -> Lost | Failed:
    """How an attempt ended whose process told nothing."""
    limit = ticket.time_limit
    cell = ticket.cell
    if words or (limit is not None and attempt.seconds >= limit):
        reason = words.partition("\n")[0] if words else f"longer than its limit of {limit:g} s"
        return Lost(cell, attempt, "hang", f"Its process was ended: {reason}", words or str(error))
    sentence = f"{type(error).__name__}: {error}".partition("\n")[0]
    if isinstance(error, RayTaskError) and not isinstance(error, RayActorError):
        # It could not even begin: a plug-in cannot be imported there, say.
        return Failed(cell, attempt, sentence, str(error))
    return Lost(cell, attempt, _fault(error), f"The worker process died: {sentence}", str(error))


def _fault(error: BaseException) -> Fault:
    if isinstance(error, (_MemoryRanOutError, OutOfMemoryError)):
        return "memory"
    preempted = isinstance(error, RayActorError) and error.preempted
    return "node" if preempted or isinstance(error, _MachineGoneError) else "process"


def _is_alive(node: str) -> bool:
    """Whether a node is there; Ray itself needs many seconds to be sure that one is gone."""
    for known in ray.nodes():
        if known["NodeID"] == node and known["Alive"]:
            try:
                socket.create_connection((known["NodeManagerAddress"], known["NodeManagerPort"]), timeout=2).close()
            except OSError:
                return False
            return True
    return False


_connecting = threading.Lock()
"""Held while Ray is started or joined: a process has one."""


@contextmanager
def _cluster(address: str) -> Generator[None]:
    """Connected to Ray, quietly; one that we started or joined ends with us.

    Raises:
        UnreachableError: There is no Ray at that address.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _connecting:
            if ours := not ray.is_initialized():
                _connect(address)
        try:
            yield
        finally:
            if ours:
                ray.shutdown()


def _connect(address: str) -> None:
    if address != LOCAL:
        _probe(address)
    try:
        ray.init(
            address=address,
            include_dashboard=False if address == LOCAL else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise UnreachableError(
            f"Ray at '{address}' cannot be joined: {error} If it asks for a token, set RAY_AUTH_MODE=token here, too."
        ) from None
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    # Every process that dies would be reported on the user's terminal; we tell it in one line.
    worker._worker_logs_enabled = False  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no public switch


def _probe(address: str) -> None:
    """Fail within seconds where Ray itself would try for minutes."""
    if address == "auto":
        return
    if address.startswith("ray://"):
        raise UnreachableError(
            "A launch must run on a machine of the cluster, not through Ray Client (ray://): start it there with "
            "'ray job submit', or pass HOST:PORT."
        )
    parts = urlsplit(address if "://" in address else f"ray-node://{address}")
    try:
        socket.create_connection((parts.hostname or "", parts.port or 10001), timeout=5).close()
    except (OSError, ValueError) as error:
        raise UnreachableError(
            f"No Ray answers at '{address}' ({error}). Start one with 'ray start --head', correct --address or "
            f"RAY_ADDRESS, or leave both out to use this machine alone."
        ) from None


def _check_room(cells: Iterable[Cell]) -> None:
    """Fail at once where a cell would wait for ever for a machine that is large enough.

    Raises:
        RequestError: No node that is alive has the resources of some cell.
    """
    if problem := shortage({cell.resources for cell in cells}, _nodes()):
        raise RequestError(problem)


def _nodes(which: Collection[str] = ()) -> list[dict[str, float]]:
    """The resources of each machine of the cluster that is alive, or only of these."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    return [node["Resources"] for node in alive if not which or node["NodeID"] in which]


@contextmanager
def _watched(places: Places, address: str) -> Generator[None]:
    """Within: a placement knows the machines of the cluster at an address; a local Ray has this machine alone."""
    if not isinstance(places, Placement) or address == LOCAL:
        yield
        return
    lookout = _Lookout(places)
    over = threading.Event()
    lookout.look()

    def watch() -> None:
        while not over.wait(LOOK):
            with suppress(Exception):  # Ray's head may not answer for a while
                lookout.look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class _Lookout:
    """Sees which machines there are, and asks each new one of what kind it is."""

    def __init__(self, places: Placement) -> None:
        self._places = places
        self._kinds: dict[str, Kind] = {}

    def look(self) -> None:
        """Tell the placement what is there now; a machine that does not answer is not there."""
        alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
        asked = {_asked(node): node for node in alive if node not in self._kinds}
        answers, _ = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER) if asked else ([], [])
        for answer in answers:
            with suppress(RayError):
                self._kinds[asked[answer]] = ray.get(answer)
        self._places.found(
            Node(name, node["Resources"], self._kinds[name], node["NodeManagerHostname"])
            for name, node in alive.items()
            if name in self._kinds
        )


def _asked(node: str) -> Any:
    """What a machine will tell of itself."""
    pinned = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(told).options(num_cpus=0, max_retries=0, scheduling_strategy=pinned).remote()


def survey(places: Placement, address: str) -> None:
    """Let a placement know the machines of the cluster at an address.

    Raises:
        UnreachableError: There is no Ray at that address.
    """
    with _cluster(address):
        _Lookout(places).look()


def call(address: str, work: Callable[[], Result]) -> Result:
    """What a piece of work returns, or raises, in a worker process of the cluster at an address.

    Raises:
        UnreachableError: There is no Ray at that address.
    """
    with _cluster(address):
        try:
            return ray.get(ray.remote(_work).remote(work))
        except RayTaskError as error:
            raise error.cause from None


def _work(work: Callable[[], Result]) -> Result:
    return work()


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
