"""Every check, one after the other; an error in one does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.diagnosis import agreement, machine, request, services
from orchestrator.diagnosis.finding import CheckResult, refused
from orchestrator.errors import OrchestratorError
from orchestrator.experiment.plan import Plan
from orchestrator.pricing.price import NO_DISK, Disk
from orchestrator.privacy import public
from orchestrator.records.files.contents import DATA, History
from orchestrator.records.files.contents import folder as folder_of
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.storage import Storage
from orchestrator.workspace import Location

if TYPE_CHECKING:
    from orchestrator.records.tracking.runs import Tracking


def examine(
    ask: Callable[[], Plan] | None,
    *,
    root: Location,
    evaluations: Location,
    registry: str,
    tracking: Callable[[str], Tracking],
    address: str | None,
    data_dir: Path | None,
    older: Callable[[Plan], Iterable[str]] = lambda _: (),
    edited: Callable[[Plan], Iterable[str]] = lambda _: (),
    space: Callable[[Plan], Disk] = lambda _: NO_DISK,
) -> list[CheckResult]:
    """All findings.

    Args:
        ask: Reads the experiment file; None if none is given.
        root: The workspace.
        evaluations: The folder of the cells' files.
        registry: The registry's URL.
        tracking: Returns the store of an experiment, by name.
        address: The address of a Ray cluster.
        data_dir: The folder that holds or receives datasets; None for that of the last launch, or the default.
        older: Returns sentences about finished cells of a plan with another environment or other code.
        edited: Returns sentences about claims that were stated or edited after cells of a plan had run.
        space: Returns the disk that the waiting cells of a plan need.
    """
    findings: list[CheckResult] = []
    plan = None
    if ask:
        found, plan = request.experiment(ask)
        findings += found
    findings += _made("packages", lambda: [machine.packages()])
    findings += _made("machine", lambda: [machine.memory()])
    findings += _made("devices", lambda: [machine.devices()])
    findings += _made("ray", lambda: _ray(address, plan))
    if isinstance(root, Path):
        folder = root
        findings += _made("workspace", lambda: [machine.workspace(folder)])
        findings += _made("disk", lambda: _disk(folder, data_dir or DATA, space(plan) if plan else NO_DISK))
    else:
        findings += _made("workspace", lambda: [services.store(Storage(root))])
    states = History(root / "data")
    findings += _made(
        "data", lambda: request.data(plan, data_dir or (folder_of(plan.experiment, states) if plan else DATA))
    )
    if asked := plan:
        findings += _made("data", lambda: agreement.by_data(asked, Evaluations(evaluations), states))
        findings += _made("environments", lambda: request.environments(older(asked)))
        findings += _made("claims", lambda: request.claims(edited(asked)))
    if not ask or plan:  # without a valid file, the cells are unknown
        findings += _made("records", lambda: _records(plan, evaluations, registry, tracking))
    return findings


def _made(subject: str, check: Callable[[], Iterable[CheckResult]]) -> list[CheckResult]:
    """What a check finds before it ends or breaks."""
    findings: list[CheckResult] = []
    try:
        findings.extend(check())
    except OrchestratorError as error:
        findings.append(refused(subject, error, "see the message"))
    except Exception as error:  # noqa: BLE001  a broken machine may raise anything; the other checks may say why
        found = f"the check itself broke ({type(error).__name__}: {public(str(error))})"
        findings.append(
            CheckResult(subject, "problem", found, "report this as a bug, with the findings of the other checks")
        )
    return findings


def _disk(folder: Path, data_dir: Path, needed: Disk) -> list[CheckResult]:
    return [machine.disk(folder, needed.results + needed.states), *machine.decoded(data_dir, needed.decoded)]


def _ray(address: str | None, plan: Plan | None) -> Iterable[CheckResult]:
    finding, nodes = services.ray(address)
    yield finding
    if plan and nodes:
        yield request.room(plan, nodes)


def _records(
    plan: Plan | None, evaluations: Location, registry: str, tracking: Callable[[str], Tracking]
) -> Iterable[CheckResult]:
    from orchestrator.records.sql.registry import Registry

    finding, known = services.registry(registry)
    yield finding
    finding, tracked = services.tracking(tracking("").uri)
    yield finding
    opened = Registry.open(registry) if known else None
    try:
        yield from agreement.agree(plan, Evaluations(evaluations), opened, tracking if tracked else None)
    finally:
        if opened:
            opened.close()
