"""Makes MLflow's runs tell what files and registry know, without drawing any point of a curve twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from orchestrator.errors import DamagedFileError
from orchestrator.experiment.plan import Cell
from orchestrator.outcome import has_figures
from orchestrator.privacy import public
from orchestrator.records.files.evaluations import Account, Evaluations
from orchestrator.records.tracking.artefacts import artefacts
from orchestrator.records.tracking.mlflow_store import SHOWN, actionable, connect, sentence
from orchestrator.records.tracking.run import divergence, ending, finite, opening
from orchestrator.records.tracking.run_writer import Delivery, Point, drawn
from orchestrator.records.tracking.runs import RunSummary, Tracking
from orchestrator.records.tracking.spool import Attached, Entry, Figures, RunEnded

if TYPE_CHECKING:
    from orchestrator.records.sql.registry import Registry
    from trainers.evaluation import Evaluation

NO_FILE = "no file tells of its result"
"""Why a run that claimed to be finished is marked as failed."""


def reconcile(
    tracking: Tracking,
    cells: Iterable[Cell],
    evaluations: Evaluations,
    registry: Registry,
    *,
    elsewhere: Collection[str] = (),
    thorough: bool = False,
    too_late: Callable[[], bool] = lambda: False,
) -> dict[str, list[str]]:
    """Put the runs of one experiment right; doing it again changes nothing.

    Of a cell that is done by its file, one run tells all that the file does; of any other,
    none claims to run or to be finished. Cells that run by the registry are skipped.

    Args:
        tracking: The experiment's window, prepared.
        cells: Its cells, under its labels. Of others, runs only get an end; nothing says how to describe them.
        evaluations: The files.
        registry: Knows what runs and what failed.
        elsewhere: Cells that need no run here, because another experiment has it.
        thorough: Also read the curves of runs that look complete, which takes a request each.
        too_late: Asked before each cell whether to leave it and the others as they are.

    Raises:
        UnreachableError: The store does not answer; what was put right until then stays.

    Returns:
        The cells whose runs were changed, by what was done.
    """
    own = {cell.id: cell for cell in cells}
    runs: defaultdict[str, list[RunSummary]] = defaultdict(list)
    for run in tracking.runs():
        runs[run.cell_id].append(run)
    states = registry.states_of(own.keys() | runs.keys())
    errors = {failure.cell: failure.error for failure in registry.failures(tracking.experiment)}
    files = evaluations.ids(replicas=True)
    changed: defaultdict[str, list[str]] = defaultdict(list)
    for cell_id in [*own, *(runs.keys() - own.keys())]:
        if too_late():
            break
        if states.get(cell_id) == "running":
            continue
        with actionable(tracking.uri):
            account = _account(evaluations, own.get(cell_id)) if cell_id in files else None
            if account and (runs[cell_id] or cell_id not in elsewhere):
                cell = own[cell_id]
                done = _complete(tracking, cell, account, evaluations, runs[cell_id], thorough=thorough)
            else:
                done = _end(tracking, runs[cell_id], errors.get(cell_id), is_done=cell_id in files)
            for what in done:
                changed[what].append(cell_id)
    return dict(changed)


def entries(cell: Cell, account: Account, texts: Mapping[str, str]) -> list[Entry]:
    """All that a run tells of a cell that is done, with the times of the attempt that did it."""
    start, end = (int(1000 * moment) for moment in (account.started, account.started + account.seconds))
    opened, described = opening(cell, account.provenance.get("git_commit"), start)
    pace = (end - start) / max(1, len(account.history))
    history = [
        Figures(start + int(pace * epoch), epoch, finite(figures)) for epoch, figures in enumerate(account.history, 1)
    ]
    told: list[Entry] = [opened, described, *history, Attached(texts)]
    if has_figures(account.state):
        # A millisecond later: of two values at a step, the later one is shown.
        final = Figures(end + 1, cell.recipe.training.epochs, finite(account.shown), final=True)
        tags = ending(account.collapse, account.provenance.get("class_names") or ())
        return [*told, final, RunEnded(end + 1, "FINISHED", tags)]
    # A model may also diverge when it is evaluated, after its last epoch.
    epoch = min(account.epochs + 1, cell.recipe.training.epochs)
    return [*told, RunEnded(end, "FINISHED", divergence(epoch))]


def latest(account: Account) -> dict[str, float]:
    """The value that each metric of a complete run shows."""
    shown: dict[str, float] = {}
    for figures in account.history:
        shown |= finite(figures)
    return shown | (finite(account.shown) if has_figures(account.state) else {})


def tells_all(run: RunSummary, account: Account) -> bool:
    """Whether a run says what the file says, by what a list of runs shows."""
    return (
        run.status == "FINISHED"
        and run.tags.get("outcome", "finished") == account.state
        and bool(run.params)
        and latest(account).items() <= run.metrics.items()
    )


def _account(evaluations: Evaluations, cell: Cell | None) -> Account | None:
    """A planned cell's account; nothing is told by a file that is damaged."""
    try:
        return evaluations.account(cell) if cell else None
    except (DamagedFileError, FileNotFoundError):
        return None


def _evaluation(evaluations: Evaluations, cell: Cell) -> Evaluation | None:
    """What a curve is drawn from; a run may have none."""
    try:
        return evaluations.evaluation(cell, scores=False)
    except (DamagedFileError, FileNotFoundError):
        return None


def _complete(
    tracking: Tracking,
    cell: Cell,
    account: Account,
    evaluations: Evaluations,
    runs: list[RunSummary],
    *,
    thorough: bool,
) -> Iterable[str]:
    """Leave the cell one run that tells all; say what that took."""
    client = connect(tracking.uri)
    kept = min(runs, key=lambda run: not tells_all(run, account), default=None)
    for run in runs:
        if run is not kept:
            client.delete_run(run.run_id)
    if len(runs) > 1:
        yield "in MLflow more than once: one run kept"
    if kept and tells_all(kept, account) and not (thorough and _contradicts(tracking, kept, cell, account)):
        return
    if kept is None:
        yield "without a run: put back"
    elif _contradicts(tracking, kept, cell, account):
        client.delete_run(kept.run_id)
        yield "with a run that contradicted the file: replaced"
    else:
        yield "with a run that did not tell all: completed"
    delivery = Delivery(tracking.uri, tracking.experiment)
    delivery.deliver(entries(cell, account, artefacts(account.provenance, _evaluation(evaluations, cell))))
    if delivery.refused:
        yield f"with a run that MLflow does not take in full ({sentence(delivery.refused)})"


def _contradicts(tracking: Tracking, run: RunSummary, cell: Cell, account: Account) -> bool:
    """Whether a curve has a point that the file does not know, or one twice."""
    known: defaultdict[Point, list[float]] = defaultdict(list)
    for epoch, figures in enumerate(account.history, 1):
        for name, value in finite(figures).items():
            known[name, epoch].append(value)
    if has_figures(account.state):
        for name, value in finite(account.shown).items():
            known[name, cell.recipe.training.epochs].append(value)
    names = {name for name, _ in known}
    client = connect(tracking.uri)
    points = drawn(client, client.get_run(run.run_id))
    return any(
        place[0] in names and any(values.count(value) > known[place].count(value) for value in values)
        for place, values in points.items()
    )


def _end(tracking: Tracking, runs: Iterable[RunSummary], error: str | None, *, is_done: bool) -> Iterable[str]:
    """Give runs that claim too much the end that is known; say what that was."""
    client = connect(tracking.uri)
    for run in runs:
        if run.status == "RUNNING" and is_done:
            client.set_terminated(run.run_id, "FINISHED")
            yield "running in MLflow, but done: marked as finished"
        elif run.status == "RUNNING" and error is None:
            client.set_terminated(run.run_id, "KILLED")
            yield "running in MLflow, though nothing runs them: marked as killed"
        elif run.status in ("RUNNING", "FINISHED") and not is_done:
            client.set_tag(run.run_id, "error", public(error or NO_FILE)[:SHOWN])
            client.set_terminated(run.run_id, "FAILED")
            yield "running or finished in MLflow, without a file: marked as failed"
