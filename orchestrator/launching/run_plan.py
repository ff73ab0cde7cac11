"""Find out which cells of a plan remain, run them, record each outcome, and repeat cells that are done."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from orchestrator.decision.evidence import Evidence, evidence
from orchestrator.errors import DamagedFileError, RequestError
from orchestrator.experiment import checks
from orchestrator.experiment.plan import Cell, Plan
from orchestrator.outcome import Adopted, Advanced, Alive, Event, Failed, Lost, Result, Started, Stopped, is_done
from orchestrator.records.files import origin
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.report.wording.decision import provable
from orchestrator.reproduction.verification import TrainedFiles, Verdict, compare
from trainers.datasets import Dataset, Labels, MissingDataError, UnusableDataError
from trainers.weights import MissingWeightsError

if TYPE_CHECKING:  # left out at run time, so that planning starts quickly
    from orchestrator.execution.executor import Executor
    from orchestrator.execution.queue import Queue
    from orchestrator.execution.worker import Worker
    from orchestrator.launching.notes import Notes
    from orchestrator.records.sql.registry import Registry
    from orchestrator.records.tracking.runs import Tracking

NOTED = 1.0
"""Seconds between two progress records of a cell, because epochs may be short."""

State = Literal[Result, "failed", "running", "pending"]


def take_stock(plan: Plan, evaluations: Evaluations, registry: Registry | None) -> dict[str, State]:
    """The state of every cell, by id.

    Only a cell's file decides whether the cell is done. The registry, if there is one, saves
    opening the file, and knows which cells failed or are running.
    """
    # The registry first: another launch may be running, and every cell that is done by now already has its file.
    known = registry.states_of([cell.id for cell in plan.cells]) if registry else {}
    done = evaluations.ids()
    states: dict[str, State] = {}
    for cell in plan.cells:
        state = known.get(cell.id) if cell.data_known else None
        if cell.data_known and cell.id in done:
            states[cell.id] = state if is_done(state) else _state_in_file(cell, evaluations)
        else:
            states[cell.id] = state if state in ("failed", "running") else "pending"
    return states


def _state_in_file(cell: Cell, evaluations: Evaluations) -> State:
    try:
        return evaluations.account(cell).state
    except DamagedFileError:
        return "pending"


def outstanding(
    plan: Plan, evaluations: Evaluations, registry: Registry, *, retry_failed: bool
) -> tuple[Plan, Counter[str]]:
    """Bring the registry of a planned experiment into agreement with the files.

    Returns:
        The cells that have to run, and the number of cells in each final state.
    """
    states = take_stock(plan, evaluations, registry)
    name = plan.experiment.name
    registry.adopt({cell: state for cell, state in states.items() if is_done(state)}, name)
    # A cell whose file was deleted or set aside is trained again, even if the registry calls it done.
    registry.adopt({cell: "planned" for cell, state in states.items() if state == "pending"}, name)
    # A driver may die after a cell has published its file but before recording it.
    cut_short = registry.cut_short(name)
    for cell in plan.cells:
        if cell.id in cut_short and is_done(states[cell.id]):
            with suppress(DamagedFileError):
                registry.restore(evaluations.account(cell).outcome(cell), name)
    ended = {
        cell: state for cell, state in states.items() if is_done(state) or (state == "failed" and not retry_failed)
    }
    return plan.pending(ended), Counter(ended.values())


def enlist(replicas: Sequence[Cell], experiment: str, evaluations: Evaluations, registry: Registry) -> None:
    """Record replicas as planned, including those that the registry calls done but that have no sound file.

    Args:
        replicas: The replicas to train.
        experiment: The name of the experiment, which the registry knows.
        evaluations: The files.
        registry: Where to record them.
    """
    registry.join(experiment, replicas)
    # The registry first, as in `take_stock`.
    known = registry.states_of([cell.id for cell in replicas])
    done = [cell for cell in replicas if is_done(known.get(cell.id))]
    if gone := [cell.id for cell in done if evaluations.origin(cell) is None]:
        registry.adopt(dict.fromkeys(gone, "planned"), experiment)


def prepare(plan: Plan, data_dir: Path, elsewhere: Callable[[Callable[[], None]], None] | None = None) -> list[str]:
    """Find or download every dataset that is still needed, and check its labels, so that nothing fails hours later.

    Returns:
        Warnings about cells that may well fail to learn (`checks.cautions`).

    Args:
        plan: The cells that remain.
        data_dir: The folder that holds or receives the data.
        elsewhere: Does a piece of work on another machine, which may have data that are missing here.

    Raises:
        RequestError: Data are missing or cells cannot be trained; the message has every problem.
    """
    problems: list[str] = []
    for data in {cell.recipe.dataset for cell in plan.cells}:
        try:
            for source in data.sources:
                _prepare(partial(source.prepare, data_dir), elsewhere)
        except MissingDataError as error:
            problems.append(str(error))
    for backbone in {cell.recipe.backbone for cell in plan.cells}:
        try:
            backbone.prepare(data_dir)
        except MissingWeightsError as error:
            problems.append(f"No weights for '{backbone.key}': {error}.")
    labels_of = _labels_of(data_dir)
    problems += [each for each in checks.problems(plan, labels_of) if each not in problems]
    promises = list[Evidence]()
    try:
        promises = evidence(plan, labels_of)
    except (RequestError, UnusableDataError) as error:
        problems += [str(error)] if str(error) not in problems else []
    unknown = {cell.recipe.dataset.key for cell in plan.cells if not cell.data_known}
    if unknown and not problems:
        problems = [f"What the data of '{name}' hold could not be found out." for name in sorted(unknown)]
    if problems:
        raise RequestError("\n".join(problems))
    return [*checks.cautions(plan, labels_of), *(provable(each) for each in promises if not each.suffices)]


def _labels_of(data_dir: Path) -> checks.LabelSource:
    """A function for the labels of prepared datasets, which loads them if there is no quicker way."""
    here = checks.labels_here(data_dir)

    @cache
    def loaded(dataset: Dataset) -> Labels | None:
        try:
            return dataset.load(data_dir).labels
        except MissingDataError:  # already among the problems
            return None

    def labels_of(dataset: Dataset) -> Labels | None:
        return loaded(dataset) if (labels := here(dataset)) is None else labels  # pyright: ignore[reportArgumentType]  # it hashes

    return labels_of


def _prepare(work: Callable[[], None], elsewhere: Callable[[Callable[[], None]], None] | None) -> None:
    try:
        work()
    except MissingDataError:
        if elsewhere is None:
            raise
        elsewhere(work)


def carry_out(
    queue: Queue,
    executor: Executor,
    notes: Notes,
    tracking: Tracking,
    watch: Callable[[Event], None],
) -> Counter[str]:
    """Run every cell of a queue.

    The worker publishes a cell's file before its outcome arrives here, so nothing finished is
    lost if this process dies.

    Args:
        queue: The cells, all of one experiment.
        executor: Where to run them.
        notes: Take every start and outcome to the registry.
        tracking: Closes the run of a process that was killed.
        watch: Called with every event, after the registry.

    Raises:
        KeyboardInterrupt: The user stopped it at once.

    Returns:
        How many cells finished, collapsed, diverged and failed, under these names, and how many `replicas` are done.
    """
    tally: Counter[str] = Counter()
    noted: dict[str, float] = {}

    def hear(event: Event) -> None:
        now = time.monotonic()
        match event:
            case Started():
                notes.started(event)
            case Advanced(cell=cell, epoch=epoch):
                if now - noted.get(cell.id, 0.0) > NOTED:
                    notes.alive(cell, epoch)
                    noted[cell.id] = now
            case Alive(cell=cell):
                notes.alive(cell)
            case Adopted(cell=cell, state=state):
                tally[_tallied(cell, state)] += 1
            case Lost() | Stopped():
                notes.ended(event)
            case _:
                notes.ended(event)
                if isinstance(event, Failed):
                    tracking.settle(event)  # the run of a killed process is still RUNNING
                tally[_tallied(event.cell, type(event).__name__.lower())] += 1
                noted.pop(event.cell.id, None)
        watch(event)

    executor.run(queue, hear)
    return tally


def _tallied(cell: Cell, state: str) -> str:
    """The name under which a cell's end is counted: replicas that are done are counted separately."""
    return "replicas" if cell.environment and state != "failed" else state


def make_true(
    plan: Plan, evaluations: Evaluations, registry: Registry, tracking: Tracking, too_late: Callable[[], bool]
) -> None:
    """Update MLflow with the cells that a dead launch left running, and with what it missed while it was down.

    Args:
        plan: What is launched.
        evaluations: The cells' files.
        registry: Knows what runs and what failed.
        tracking: The runs.
        too_late: Whether cells have begun meanwhile, whose runs are not to be touched.

    Raises:
        UnreachableError: The store does not answer.
    """
    from orchestrator.records.reconciliation import reconcile

    tracking.prepare()
    tracking.catch_up()
    reconcile(tracking, evaluations.with_replicas(plan).cells, evaluations, registry, too_late=too_late)


def note_rerun(cell: Cell, evaluations: Evaluations, verdict: Verdict | str) -> None:
    """Record whether a rerun gave the same numbers, which is the only evidence for an imported cell."""
    if not isinstance(verdict, str) and (seal := evaluations.footer(cell).seal):
        found = origin.identical if verdict.identical else origin.different
        found(evaluations.folder.parent).add([seal])


def repeat(cell: Cell, evaluations: Evaluations, worker: Worker, copies: Evaluations) -> Verdict | str:
    """Train a finished cell once more on this machine, and compare the result with its file.

    Args:
        cell: A cell whose file is in `evaluations`; the file is not changed.
        evaluations: The files.
        worker: Trains the cell and records it in `copies`.
        copies: Another folder of files.

    Returns:
        How they compare, or why they cannot be compared.
    """
    try:
        then = TrainedFiles.of(cell, evaluations)
    except DamagedFileError as error:
        return str(error)
    # With the same number of threads, because sums split differently among threads round differently.
    threads = then.account.provenance.get("threads") or cell.resources.cpus
    resources = cell.resources.model_copy(update={"cpus": threads})
    outcome = worker.run(replace(cell, resources=resources), lambda event: None)  # noqa: ARG005 - nobody watches
    if isinstance(outcome, (Failed, Lost)):
        return f"It failed: {outcome.error}"
    return compare(then, TrainedFiles.of(cell, copies))
