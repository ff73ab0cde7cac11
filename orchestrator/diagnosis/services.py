"""Whether registry, tracking store and Ray answer. Nothing is created."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version

from orchestrator.diagnosis.finding import CheckResult, refused
from orchestrator.errors import RequestError, UnreachableError
from orchestrator.execution import gpus
from orchestrator.privacy import masked
from orchestrator.records.files.storage import Storage
from orchestrator.sentences import counted


def registry(url: str) -> tuple[CheckResult, bool]:
    """The state of the registry, and whether it can be queried."""
    from orchestrator.records.sql.migrations import HEAD
    from orchestrator.records.sql.registry import Registry, schema

    remedy = "name another with --registry, or leave it out"
    try:
        name, revision = schema(url)
        if revision is None:
            return CheckResult("registry", "ok", f"none yet; a launch creates {name}"), False
        if revision < HEAD:
            found = f"{name} has schema {revision}; {HEAD} is current"
            return CheckResult("registry", "warning", found, "launch and status upgrade it"), False
        with Registry.open(url) as opened:
            count = len(opened.experiments())
    except RequestError as error:
        return refused("registry", error, remedy), False
    return CheckResult("registry", "ok", f"{name} answers, schema {revision}; experiments: {count}"), True


def tracking(uri: str) -> tuple[CheckResult, bool]:
    """The state of the tracking store, and whether it can be queried."""
    from orchestrator.records.tracking import mlflow_store

    name = masked(uri)
    try:
        if not mlflow_store.is_there(uri):
            return CheckResult("tracking", "ok", f"none yet; a launch creates {name}"), False
        count = mlflow_store.answer(uri)
    except UnreachableError as error:
        return refused("tracking", error, "correct --tracking, or leave it out"), False
    return CheckResult("tracking", "ok", f"{name} answers; experiments: {count}"), True


def store(storage: Storage) -> CheckResult:
    """Whether the object store that is the workspace takes files."""
    try:
        storage.probe()
    except RequestError as error:
        return refused("workspace", error, "check address, bucket and credentials")
    return CheckResult("workspace", "ok", f"{storage.root} can be written")


def ray(address: str | None) -> tuple[CheckResult, Sequence[Mapping[str, float]]]:
    """Whether Ray answers, and the machines that it offers; a local Ray is not started."""
    try:
        from orchestrator.execution import ray_cluster

        if address in (None, ray_cluster.LOCAL):
            here = {"CPU": float(ray_cluster.cores()), "GPU": float(gpus.count())}
            offer = f"{counted(here['CPU'], 'CPU')} and {counted(here['GPU'], 'GPU')}"
            found = f"Ray {version('ray')} would find {offer} here; not started"
            return CheckResult("ray", "ok", found), [here]
        nodes = ray_cluster.capacity(address)
    except UnreachableError as error:
        return refused("ray", error, "correct --address or RAY_ADDRESS, or leave both out to use this machine"), []
    except (ImportError, OSError) as error:
        return CheckResult("ray", "problem", f"Ray cannot be imported ({error})", "install ray[tune] again"), []
    cpus = float(sum(node.get("CPU", 0) for node in nodes))
    cards = float(sum(node.get("GPU", 0) for node in nodes))
    offer = f"{counted(cpus, 'CPU')} and {counted(cards, 'GPU')} on {counted(len(nodes), 'node')}"
    found = f"Ray at '{address}' answers: {offer}"
    return CheckResult("ray", "ok", found), nodes
