"""Every check, one after the other; what one of them meets keeps no other from being made."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.diagnosis import agreement, machine, request, services
from orchestrator.diagnosis.finding import Finding, refused
from orchestrator.errors import OrchestratorError, masked
from orchestrator.experiment.plan import Plan
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
) -> list[Finding]:
    """All findings.

    Args:
        ask: Reads the experiment file, where one is given.
        root: The workspace.
        evaluations: The folder of the cells' files.
        registry: Its URL.
        tracking: The store by the name of an experiment.
        address: Of a Ray cluster.
        data_dir: The folder that holds or receives datasets; None for the usual one, or where a launch had them.
        older: Says which finished cells of a plan are of another environment or of other code.
        edited: Says which claims were stated or edited after cells of a plan had run.
    """
    findings: list[Finding] = []
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
        findings += _made("disk", lambda: [machine.disk(folder)])
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
    if not ask or plan:  # of cells that cannot be known, nothing is said
        findings += _made("records", lambda: _records(plan, evaluations, registry, tracking))
    return findings


def _made(subject: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What a check finds, up to whatever breaks it."""
    findings: list[Finding] = []
    try:
        findings.extend(check())
    except OrchestratorError as error:
        findings.append(refused(subject, error, "see the message"))
    except Exception as error:  # noqa: BLE001  a sick machine raises anything; the other checks tell why
        found = f"the check itself broke ({type(error).__name__}: {masked(str(error))})"
        findings.append(Finding(subject, "problem", found, "report it, with what the other checks say"))
    return findings


def _ray(address: str | None, plan: Plan | None) -> Iterable[Finding]:
    finding, nodes = services.ray(address)
    yield finding
    if plan and nodes:
        yield request.room(plan, nodes)


def _records(
    plan: Plan | None, evaluations: Location, registry: str, tracking: Callable[[str], Tracking]
) -> Iterable[Finding]:
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
