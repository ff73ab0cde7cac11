"""Whether files, registry and MLflow agree. Where they differ, the files are right."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.diagnosis.finding import CheckResult, State, several
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
from orchestrator.records.tracking.experiment_page import ExperimentPage
from orchestrator.sentences import counted, filled

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
) -> list[CheckResult]:
    """Where the three differ.

    Args:
        plan: The plan whose cells are checked; without one, all cells.
        evaluations: The cells' files.
        registry: None if there is none, or it does not answer.
        tracking: Returns the store of an experiment, by name; None if there is none, or it does not answer.
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
        findings += by_comparisons([tracking(name) for name in own])
    elif done:
        findings += [_differ("warning", done, "done, but there is no tracking store to show them", FIX)]
    findings += by_rows(evaluations, _names(plan, evaluations, done))
    agreed = (
        f"files, registry and MLflow agree on {counted(len(done), 'finished cell')}" if done else "nothing is done yet"
    )
    return findings or [CheckResult("records", "ok", agreed)]


def _cells(registry: Registry | None, names: Iterable[str]) -> set[str]:
    return {cell for name in names for cell in registry.states(name)} if registry else set()


def by_data(plan: Plan, evaluations: Evaluations, history: History) -> list[CheckResult]:
    """Cells of the same experiment with different data or an earlier protocol."""
    remedy = "nothing to do: they are never pooled with others; launch trains the current cells"
    damaged = [CheckResult("data", "problem", filled(each), "remove it") for each in unreadable(plan, history)]
    found = [
        CheckResult("data", "warning", filled(each.sentence()), remedy) for each in earlier(plan, evaluations, history)
    ]
    return [*damaged, *found]


def by_registry(done: Collection[str], states: Mapping[str, str] | None) -> list[CheckResult]:
    """Where the registry differs from the files of the same cells."""
    if states is None:
        what = "done by their files, but no registry answers"
        return [_differ("warning", done, what, f"{REBUILD}; launch also records them")] if done else []
    unrecorded = [cell for cell in done if not is_done(states.get(cell))]
    lost = [cell for cell, state in states.items() if is_done(state) and cell not in done]
    running = [cell for cell, state in states.items() if state == "running" and cell not in done]
    cases: list[tuple[State, Collection[str], str, str]] = [
        ("problem", unrecorded, "done by their files, but not in the registry", f"launch again, or {REBUILD}"),
        (
            "problem",
            lost,
            "done in the registry, but their files are gone",
            "launch runs the cells again, unless you restore the files",
        ),
        (
            "warning",
            running,
            "running, or were running when their launch died",
            "if no launch is running, launch again",
        ),
    ]
    return [_differ(*case) for case in cases if case[1]]


def by_runs(done: Collection[str], own: Iterable[RunSummary], told: Told) -> list[CheckResult]:
    """Cells that are done without a run that says so, and cells with several runs.

    Args:
        done: The ids of cells that have a file.
        own: The runs of the experiments that are checked.
        told: The runs of every experiment: cells are shared, and a run belongs to the experiment that trained its cell.
    """
    statuses: defaultdict[str, set[str]] = defaultdict(set)
    for _, run in told:
        statuses[run.cell_id].add(run.status)
    looked_at = {run.run_id for run in own}
    counts = Counter((name, run.cell_id) for name, run in told if run.run_id in looked_at)
    missing = [cell for cell in done if cell not in statuses]
    # `by_status` reports runs that still claim to be running.
    untrue = [cell for cell in done if cell in statuses and not statuses[cell] & {"FINISHED", "RUNNING"}]
    doubled = [cell for (_, cell), count in counts.items() if count > 1]
    cases: list[tuple[State, Collection[str], str, str]] = [
        ("problem", missing, "done by their files, but have no MLflow run", FIX),
        ("problem", untrue, "done by their files, but failed or were killed in MLflow", FIX),
        ("problem", doubled, "in MLflow more than once", FIX),
    ]
    return [_differ(*case) for case in cases if case[1]]


def by_status(
    files: Collection[str], states: Mapping[str, str] | None, runs: Iterable[RunSummary]
) -> list[CheckResult]:
    """Runs whose status neither the files nor the registry confirm."""
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


def by_values(accounts: Iterable[Account], told: Told) -> list[CheckResult]:
    """Cells of which no finished run has the same values as the file."""
    finished: defaultdict[str, list[RunSummary]] = defaultdict(list)
    for _, run in told:
        if run.status == "FINISHED":
            finished[run.cell_id].append(run)
    differing = [
        account.cell_id
        for account in accounts
        if (runs := finished[account.cell_id]) and not any(tells_all(run, account) for run in runs)
    ]
    what = "finished in MLflow with values that differ from their files or are incomplete"
    return [_differ("problem", differing, what, FIX)] if differing else []


def by_rows(evaluations: Evaluations, names: Sequence[str]) -> list[CheckResult]:
    """Which files contradict themselves, after reading them whole, and which are unverified."""
    work = partial(_looked_at, evaluations, Origins.of(evaluations.folder.parent))
    told = list(in_parallel(work, names, evaluations.storage.readers))
    remedy = "gc --remove --cells ID removes such a cell, and launch trains it again"
    wrong = [str(found) for found in told if isinstance(found, DamagedFileError)]
    tested = [found for found in told if isinstance(found, Tested)]
    wrong += [f"{evaluations.folder / each.tested.name} {each.why}." for each in strangers(tested)]
    findings = [CheckResult("records", "problem", found, remedy) for found in wrong]
    origins = [found.origin if isinstance(found, Tested) else found for found in told]
    if unverified := [name for name, found in zip(names, origins, strict=True) if found == "unverified"]:
        cells = [cell for name in unverified if (cell := cell_in(name))]
        what = "unverified: not trained here, and no rerun of a sample has given the same numbers"
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
    except FileNotFoundError:  # another process has just set it aside
        return None
    origin = origins.origin(whole.footer.seal, whole.footer.signed)
    content = whole.footer.content
    return (
        Tested(name, content["recipe"], origin, content["samples"], of_rows(whole.rows))
        if content["samples"]
        else origin
    )


def _damage(evaluations: Evaluations, name: str) -> DamagedFileError | None:
    """What is wrong with a cell's own file, without its validation rows; None if nothing is."""
    try:
        check(evaluations.checked(name, validation=False))
    except DamagedFileError as error:
        return error
    return None


def by_spool(windows: Iterable[Tracking]) -> list[CheckResult]:
    """Attempts that MLflow has not recorded yet."""
    left = sum(len(window.waiting()) for window in windows)
    found = f"{counted(left, 'attempt')} in the spool with updates that MLflow did not accept in time"
    return [CheckResult("records", "warning", found, f"launch again, or {FIX}")] if left else []


def by_comparisons(windows: Iterable[Tracking]) -> list[CheckResult]:
    """Runs of comparisons that a launch began to write, and did not finish."""
    left = [window.experiment for window in windows if ExperimentPage(window.uri, window.experiment).unfinished()]
    found = f"the run of the comparison is unfinished in MLflow: {', '.join(left)}"
    return [CheckResult("records", "warning", found, f"launch again, or {FIX}")] if left else []


def _accounts(plan: Plan | None, evaluations: Evaluations, done: Collection[str]) -> Iterator[Account]:
    """The accounts of the cells that are checked; damaged files are skipped, because `by_rows` reports them."""
    if plan is None:
        yield from (account for _, account in evaluations.accounts() if isinstance(account, Account))
        return
    for cell in plan.cells:
        if cell.id in done:
            with suppress(DamagedFileError, FileNotFoundError):
                yield evaluations.account(cell)


def _differ(state: State, cells: Collection[str], what: str, remedy: str) -> CheckResult:
    return CheckResult("records", state, f"{several(sorted(set(cells)))}: {what}", remedy)
