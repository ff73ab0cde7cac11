"""Whether files, registry and MLflow tell the same story. The files are right where they differ."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.diagnosis.finding import Finding, State, several
from orchestrator.errors import DamagedFileError, LostRowsError
from orchestrator.experiment.plan import Plan
from orchestrator.outcome import is_done
from orchestrator.records.files.cell_file import cell_in
from orchestrator.records.files.contents import History
from orchestrator.records.files.earlier import earlier, unreadable
from orchestrator.records.files.evaluations import Account, Evaluations
from orchestrator.records.files.origin import Origin, Origins
from orchestrator.records.files.soundness import check
from orchestrator.records.files.splits import Tested, of_rows, strangers
from orchestrator.records.files.storage import in_parallel
from orchestrator.records.reconciliation import tells_all
from orchestrator.sentences import filled

if TYPE_CHECKING:
    from orchestrator.records.sql.registry import Registry
    from orchestrator.records.tracking.runs import RunSummary, Tracking

REBUILD = "python -m orchestrator rebuild"

FIX = "python -m orchestrator doctor FILE.yaml --fix"

Told = Sequence[tuple[str, "RunSummary"]]
"""Runs, each with the name of its MLflow experiment."""


def agree(
    plan: Plan | None,
    evaluations: Evaluations,
    registry: Registry | None,
    tracking: Callable[[str], Tracking] | None,
) -> list[Finding]:
    """Where the three differ.

    Args:
        plan: Whose cells to look at; all there are without one.
        evaluations: The cells' files.
        registry: Absent where there is none, or none that can be asked.
        tracking: The store by the name of an experiment; absent likewise.
    """
    files = evaluations.ids(replicas=True)
    plan = plan and evaluations.with_replicas(plan)
    names = registry.experiments() if registry else []
    asked = {cell.id for cell in plan.cells} if plan else _cells(registry, names)
    done = files & asked if plan else files
    states = registry.states_of(asked | done) if registry else None
    findings = by_registry(done, states)
    if tracking:
        own = [plan.experiment.name] if plan else names
        told = [(name, run) for name in dict.fromkeys([*names, *own]) for run in tracking(name).runs()]
        findings += by_runs(done & asked, [run for name, run in told if name in own], told)
        findings += by_status(files, states, [run for name, run in told if name in own])
        findings += by_values(_accounts(plan, evaluations, done), told)
        findings += by_spool([tracking(name) for name in own])
    elif done:
        findings += [_differ("warning", done, "done, and there is no tracking store to show them", FIX)]
    findings += by_rows(evaluations, _names(plan, evaluations, done))
    agreed = f"files, registry and MLflow agree on what is done: {len(done)}" if done else "nothing is done yet"
    return findings or [Finding("records", "ok", agreed)]


def _cells(registry: Registry | None, names: Iterable[str]) -> set[str]:
    return {cell for name in names for cell in registry.states(name)} if registry else set()


def by_data(plan: Plan, evaluations: Evaluations, history: History) -> list[Finding]:
    """Cells of the same request that are of other data or of an earlier protocol."""
    remedy = "none is needed: they are pooled with nothing; launch trains the cells of today"
    damaged = [Finding("data", "problem", filled(each), "remove it") for each in unreadable(plan, history)]
    found = [
        Finding("data", "warning", filled(each.sentence()), remedy) for each in earlier(plan, evaluations, history)
    ]
    return [*damaged, *found]


def by_registry(done: Collection[str], states: Mapping[str, str] | None) -> list[Finding]:
    """Where the registry differs from the files of the same cells."""
    if states is None:
        what = "done by their files, and there is no registry that can be asked"
        return [_differ("warning", done, what, f"{REBUILD}; launch also takes them over")] if done else []
    unrecorded = [cell for cell in done if not is_done(states.get(cell))]
    lost = [cell for cell, state in states.items() if is_done(state) and cell not in done]
    running = [cell for cell, state in states.items() if state == "running" and cell not in done]
    cases: list[tuple[State, Collection[str], str, str]] = [
        ("problem", unrecorded, "done by their files, but not in the registry", f"launch again, or {REBUILD}"),
        (
            "problem",
            lost,
            "done in the registry, but their files are gone",
            "launch runs them again; or put the files back",
        ),
        ("warning", running, "running, or were when their launch died", "if no launch is under way, launch again"),
    ]
    return [_differ(*case) for case in cases if case[1]]


def by_runs(done: Collection[str], own: Iterable[RunSummary], told: Told) -> list[Finding]:
    """Where a cell that is done has no run that says so, or a cell has several.

    Args:
        done: Cells by their files.
        own: The runs of the experiments that are looked at.
        told: Those of every experiment, because cells are shared and the run is with whoever ran them.
    """
    statuses: defaultdict[str, set[str]] = defaultdict(set)
    for _, run in told:
        statuses[run.cell_id].add(run.status)
    looked_at = {run.run_id for run in own}
    counts = Counter((name, run.cell_id) for name, run in told if run.run_id in looked_at)
    missing = [cell for cell in done if cell not in statuses]
    # A run that still claims to be running is told by `by_status`.
    untrue = [cell for cell in done if cell in statuses and not statuses[cell] & {"FINISHED", "RUNNING"}]
    doubled = [cell for (_, cell), count in counts.items() if count > 1]
    cases: list[tuple[State, Collection[str], str, str]] = [
        ("problem", missing, "done by their files, but have no MLflow run", FIX),
        ("problem", untrue, "done by their files, but failed or were killed in MLflow", FIX),
        ("problem", doubled, "in MLflow more than once", FIX),
    ]
    return [_differ(*case) for case in cases if case[1]]


def by_status(files: Collection[str], states: Mapping[str, str] | None, runs: Iterable[RunSummary]) -> list[Finding]:
    """Where a run claims what neither files nor registry know."""
    ended = [(run.cell_id, run.status) for run in runs]
    stale = [
        cell
        for cell, status in ended
        if status == "RUNNING" and (cell in files or (states is not None and states.get(cell) != "running"))
    ]
    baseless = [cell for cell, status in ended if status == "FINISHED" and cell not in files]
    cases: list[tuple[State, Collection[str], str, str]] = [
        ("problem", stale, "running in MLflow, though nothing runs them", f"launch again, or {FIX}"),
        (
            "problem",
            baseless,
            "finished in MLflow, but have no file",
            f"launch runs those of the experiment again; {FIX} marks the runs as failed",
        ),
    ]
    return [_differ(*case) for case in cases if case[1]]


def by_values(accounts: Iterable[Account], told: Told) -> list[Finding]:
    """Where runs are finished and none says the same as the cell's file."""
    finished: defaultdict[str, list[RunSummary]] = defaultdict(list)
    for _, run in told:
        if run.status == "FINISHED":
            finished[run.cell_id].append(run)
    differing = [
        account.cell_id
        for account in accounts
        if (runs := finished[account.cell_id]) and not any(tells_all(run, account) for run in runs)
    ]
    what = "finished in MLflow with other values than in their files, or not all of them"
    return [_differ("problem", differing, what, FIX)] if differing else []


def by_rows(evaluations: Evaluations, names: Sequence[str]) -> list[Finding]:
    """Which files are not what they say they are, all that they hold being read, and which are unverified."""
    work = partial(_looked_at, evaluations, Origins.of(evaluations.folder.parent))
    told = list(in_parallel(work, names, evaluations.storage.readers))
    remedy = "gc --remove --cells ID removes such a cell, and launch trains it again"
    wrong = [str(found) for found in told if isinstance(found, DamagedFileError)]
    tested = [found for found in told if isinstance(found, Tested)]
    wrong += [f"{evaluations.folder / each.tested.name} {each.why}." for each in strangers(tested)]
    findings = [Finding("records", "problem", found, remedy) for found in wrong]
    origins = [found.origin if isinstance(found, Tested) else found for found in told]
    if unverified := [name for name, found in zip(names, origins, strict=True) if found == "unverified"]:
        cells = [cell for name in unverified if (cell := cell_in(name))]
        what = "not trained here, and no sample was rerun with the same numbers: unverified"
        findings.append(_differ("warning", cells, what, "verify FILE.yaml --sample N reruns some of them"))
    return findings


def _names(plan: Plan | None, evaluations: Evaluations, done: Collection[str]) -> list[str]:
    if plan is None:
        return evaluations.names()
    return [evaluations.name(cell) for cell in plan.cells if cell.id in done]


def _looked_at(evaluations: Evaluations, origins: Origins, name: str) -> DamagedFileError | Tested | Origin | None:
    try:
        check(whole := evaluations.checked(name))
    except LostRowsError as error:
        return _damage(evaluations, name) or error
    except DamagedFileError as error:
        return error
    except FileNotFoundError:  # somebody has just set it aside
        return None
    origin = origins.origin(whole.footer.seal, whole.footer.signed)
    content = whole.footer.content
    return (
        Tested(name, content["recipe"], origin, content["samples"], of_rows(whole.rows))
        if content["samples"]
        else origin
    )


def _damage(evaluations: Evaluations, name: str) -> DamagedFileError | None:
    """What is wrong with a cell's own file."""
    try:
        check(evaluations.checked(name, validation=False))
    except DamagedFileError as error:
        return error
    return None


def by_spool(windows: Iterable[Tracking]) -> list[Finding]:
    """What MLflow was not told when it should have been."""
    left = sum(len(window.waiting()) for window in windows)
    found = f"attempts with news that MLflow did not take in time, wait in the spool: {left}"
    return [Finding("records", "warning", found, f"launch again, or {FIX}")] if left else []


def _accounts(plan: Plan | None, evaluations: Evaluations, done: Collection[str]) -> Iterator[Account]:
    """Of the cells that are looked at; who reads a damaged file says so."""
    if plan is None:
        yield from (account for _, account in evaluations.accounts() if isinstance(account, Account))
        return
    for cell in plan.cells:
        if cell.id in done:
            with suppress(DamagedFileError, FileNotFoundError):
                yield evaluations.account(cell)


def _differ(state: State, cells: Collection[str], what: str, remedy: str) -> Finding:
    return Finding("records", state, f"{several(sorted(set(cells)))}: {what}", remedy)
