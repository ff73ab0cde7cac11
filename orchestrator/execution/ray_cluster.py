"""The Ray cluster: start or join it, and ask what its machines have."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import warnings
from collections.abc import Callable, Collection, Generator, Iterable
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import ray
from ray._private import services, worker
from ray._private import utils as ray_utils
from ray._private.authentication import authentication_token_setup as tokens
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.errors import RequestError, UnreachableError
from orchestrator.execution.placement import MachineKind, Node, Placement, told
from orchestrator.execution.queue import Places
from orchestrator.experiment.plan import Cell
from orchestrator.experiment.resources import shortage
from orchestrator.privacy import masked
from orchestrator.process import scratch
from orchestrator.process.signals import heard_as_before

Result = TypeVar("Result")

NODE = "ray.io/node-id"
"""The label by which Ray knows a machine."""

LOOK = 3.0
"""Seconds between two checks of which machines are there."""

ANSWER_WITHIN = 60.0
"""Seconds that a machine has to say what kind it is."""

LOCAL = "local"
"""The address that stands for a Ray started on this machine, which ends with the launch."""

STARTS = 3
"""How often in a row Ray is started on this machine before whoever needs it hears of the failure. A launch asks twice:
ahead, while it plans, and for its cells. Ray waits half a minute each time."""

OBJECTS = 512 * 2**20
"""Bytes for Ray's objects on a local Ray. Events and recipes are small, and a container's /dev/shm may be, too."""

_connecting = threading.Lock()
"""Held while Ray is started or joined: a process can be connected to one Ray only."""


@contextmanager
def cluster(address: str) -> Generator[None]:
    """Connect to Ray, without its output; leave it at the end, if this call was the one that connected.

    Raises:
        UnreachableError: No Ray answers at that address.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with ExitStack() as ours:
            with heard_as_before(), _connecting:
                if not ray.is_initialized():
                    _connect(address, ours)
            yield


def _connect(address: str, ours: ExitStack) -> None:
    """Start or join Ray; what has to be done at the end is added to `ours`."""
    try:
        if address == LOCAL:
            folder = ours.enter_context(_home()) / "r"
            ours.enter_context(_started(folder))
        else:
            _probe(address)
            ours.callback(ray.shutdown)
            _join(address)
    except UnreachableError:
        raise
    except Exception as error:  # Ray also raises plain ones
        raise UnreachableError(_told(address, error)) from error
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    # Ray would report each dead process on the terminal at length; the launch says it in one line.
    worker._worker_logs_enabled = False  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no public switch


def _join(address: str, **options: Any) -> None:
    with _in_groups_of_their_own(), _without_secrets():
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, **options)


@contextmanager
def _started(folder: Path) -> Generator[None]:
    """A Ray that ends with the block; started again where a busy machine took longer than Ray waits.

    Linux ends Ray's processes with the thread that started them, so each attempt has one of its own.
    """
    over = threading.Event()

    def hold(outcome: Future[None]) -> None:
        try:
            _join(LOCAL, include_dashboard=False, _temp_dir=str(folder), object_store_memory=OBJECTS)
        except BaseException as error:  # noqa: BLE001 - raised by whoever waits
            ray.shutdown()
            outcome.set_exception(error)
        else:
            outcome.set_result(None)
            over.wait()

    try:
        for left in reversed(range(STARTS)):
            outcome: Future[None] = Future()
            threading.Thread(target=hold, args=(outcome,), daemon=True).start()
            try:
                outcome.result()
            except Exception:
                if not left:
                    raise
            else:
                break
        yield
    finally:
        ray.shutdown()
        over.set()


def _told(address: str, error: Exception) -> str:
    reason = str(error).strip().rstrip(".")
    if address == LOCAL:
        return f"Ray cannot be started on this machine: {reason}. '--executor inline' runs cells without it."
    return f"Ray at '{address}' cannot be joined: {reason}. If it asks for a token, set RAY_AUTH_MODE=token here, too."


@contextmanager
def _home() -> Generator[Path]:
    """A private folder for a Ray of this launch, with a token that only its processes know; no other home is needed.

    Ray opens its own folder to everybody, so that one lies inside.
    """
    with scratch.folder(scratch.LONGEST) as folder:
        if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
            yield folder
            return
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32), encoding="utf-8")
        before = {name: os.environ.pop(name, None) for name in _AUTH}
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        _read_token_again()
        try:
            yield folder
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
            _read_token_again()


_AUTH = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


def _read_token_again() -> None:
    tokens.Config.initialize("")  # pyright: ignore[reportPrivateImportUsage]  # no public door
    tokens.AuthenticationTokenLoader.instance().reset_cache()  # pyright: ignore[reportPrivateImportUsage]  # as above


@contextmanager
def _in_groups_of_their_own() -> Generator[None]:
    """Start Ray's processes in process groups of their own.

    A terminal that closes and `timeout` signal to the whole group of the launch: Ray would end before cells have saved
    their state.
    """
    known = services.ConsolePopen
    services.ConsolePopen = partial(known, process_group=0)  # pyright: ignore[reportAttributeAccessIssue]  # no public switch
    try:
        yield
    finally:
        services.ConsolePopen = known


@contextmanager
def _without_secrets() -> Generator[None]:
    """Let Ray record the command line of this process without credentials: every user of a cluster can read it."""
    known = ray_utils.get_entrypoint_name
    ray_utils.get_entrypoint_name = lambda: masked(known())
    try:
        yield
    finally:
        ray_utils.get_entrypoint_name = known


def _probe(address: str) -> None:
    """Fail within seconds if nothing answers; Ray itself would try for minutes."""
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


def check_room(cells: Iterable[Cell]) -> None:
    """Fail at once if a cell would wait for ever for a machine that is large enough.

    Raises:
        RequestError: Some cell needs more than any live node has.
    """
    if problem := shortage({cell.resources for cell in cells}, nodes()):
        raise RequestError(problem)


def nodes(which: Collection[str] = ()) -> list[dict[str, float]]:
    """The resources of each live machine of the cluster, or only of those with these ids."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    return [node["Resources"] for node in alive if not which or node["NodeID"] in which]


def labels(nodes: Collection[str]) -> dict[str, str]:
    """The label selector by which Ray keeps a trial on these machines."""
    return {NODE: f"in({','.join(nodes)})"} if nodes else {}


def is_alive(node: str) -> bool:
    """Whether a node answers. It is asked directly, because Ray takes many seconds to declare a node dead."""
    for known in ray.nodes():
        if known["NodeID"] == node and known["Alive"]:
            try:
                socket.create_connection((known["NodeManagerAddress"], known["NodeManagerPort"]), timeout=2).close()
            except OSError:
                return False
            return True
    return False


@contextmanager
def watched(places: Places, address: str) -> Generator[None]:
    """Keep a placement informed of the machines of the cluster; a local Ray has only this machine, always the same."""
    if not isinstance(places, Placement) or address == LOCAL:
        yield
        return
    lookout = _Lookout(places)
    over = threading.Event()
    lookout.look()

    def watch() -> None:
        while not over.wait(LOOK):
            with suppress(Exception):  # the head node may not answer for a while
                lookout.look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class _Lookout:
    """Sees which machines are there, and asks each new one what kind it is."""

    def __init__(self, places: Placement) -> None:
        self._places = places
        self._kinds: dict[str, MachineKind] = {}

    def look(self) -> None:
        """Give the placement the machines of this moment; one that does not answer does not count."""
        alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
        asked = {_asked(node): node for node in alive if node not in self._kinds}
        answers, _ = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_WITHIN) if asked else ([], [])
        for answer in answers:
            with suppress(RayError):
                self._kinds[asked[answer]] = ray.get(answer)
        self._places.found(
            Node(name, node["Resources"], self._kinds[name], node["NodeManagerHostname"])
            for name, node in alive.items()
            if name in self._kinds
        )


def _asked(node: str) -> Any:
    """Ask a machine what kind it is; the answer comes later."""
    pinned = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(told).options(num_cpus=0, max_retries=0, scheduling_strategy=pinned).remote()


def survey(places: Placement, address: str) -> None:
    """Give a placement the machines of the cluster at an address.

    Raises:
        UnreachableError: No Ray answers at that address.
    """
    with cluster(address):
        _Lookout(places).look()


def call(address: str, work: Callable[[], Result]) -> Result:
    """Do a piece of work in a worker process of the cluster at an address; return or raise what it does.

    Raises:
        UnreachableError: No Ray answers at that address.
    """
    with cluster(address):
        try:
            return ray.get(ray.remote(_work).remote(work))
        except RayTaskError as error:
            raise error.cause from None


def _work(work: Callable[[], Result]) -> Result:
    return work()


def capacity(address: str) -> list[dict[str, float]]:
    """The resources of each machine of the cluster at an address.

    Raises:
        UnreachableError: No Ray answers at that address.
    """
    with cluster(address):
        return nodes()


def cores() -> int:
    """The cores that a local Ray would find here: in a container, those that it may use."""
    from ray._private.utils import get_num_cpus

    return int(get_num_cpus(override_docker_cpu_warning=True))
