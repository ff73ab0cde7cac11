"""Take stock of a plan, carry out what is left, recording each outcome as it lands, and repeat what is done."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from orchestrator.errors import DamagedFileError, RequestError
from orchestrator.experiment import checks
from orchestrator.experiment.plan import Cell, Plan
from orchestrator.outcome import Adopted, Advanced, Alive, Event, Failed, Lost, Result, Started, Stopped, is_done
from orchestrator.records.files import origin
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.reproduction.verification import Left, Verdict, compare
from trainers.datasets import Dataset, Labels, MissingDataError

if TYPE_CHECKING:  # a plan does without them, and is there the sooner
    from orchestrator.execution.executor import Executor
    from orchestrator.execution.queue import Queue
    from orchestrator.execution.worker import Worker
    from orchestrator.records.sql.leases import Lease
    from orchestrator.records.sql.registry import Registry
    from orchestrator.records.tracking.runs import Tracking

NOTED = 1.0
"""Seconds between two notes of how far a cell is: epochs may be many and short."""

State = Literal[Result, "failed", "running", "pending"]


def take_stock(plan: Plan, evaluations: Evaluations, registry: Registry | None) -> dict[str, State]:
    """The state of every cell, by id.

    Whether a cell is done is decided by its file alone; the registry, where there is one,
    saves opening the file, and knows what failed or runs.
    """
    # The registry first: what it calls done by now has its file, also where another launch goes on.
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
    """Bring a planned experiment's registry in step with the files.

    Returns:
        What has to run, and how many cells are in which final state.
    """
    states = take_stock(plan, evaluations, registry)
    name = plan.experiment.name
    registry.adopt({cell: state for cell, state in states.items() if is_done(state)}, name)
    # A file that was deleted or set aside is trained again, whatever the registry remembers.
    registry.adopt({cell: "planned" for cell, state in states.items() if state == "pending"}, name)
    # A driver may die after a cell has published its file, and before it notes so.
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
    """Record replicas that are to be trained; one that the registry calls done without a sound file is planned again.

    Args:
        replicas: What is asked for.
        experiment: On whose behalf; the registry knows it.
        evaluations: The files.
        registry: Where the replicas are recorded.
    """
    registry.join(experiment, replicas)
    # The registry first, as in `take_stock`.
    known = registry.states_of([cell.id for cell in replicas])
    done = [cell for cell in replicas if is_done(known.get(cell.id))]
    if gone := [cell.id for cell in done if evaluations.origin(cell) is None]:
        registry.adopt(dict.fromkeys(gone, "planned"), experiment)


def prepare(plan: Plan, data_dir: Path, elsewhere: Callable[[Callable[[], None]], None] | None = None) -> list[str]:
    """Find or download every dataset that is still needed, and count, so that nothing is missed hours later.

    Returns:
        What can be trained and may well fail to learn (`feasibility.cautions`).

    Args:
        plan: The cells that are left.
        data_dir: Folder that holds or receives the data.
        elsewhere: Does a piece of work on another machine, where data may be that are not here.

    Raises:
        RequestError: With everything that is missing, and all that cannot be trained.
    """
    problems: list[str] = []
    for data in {cell.recipe.dataset for cell in plan.cells}:
        try:
            _prepare(partial(data.prepare, data_dir), elsewhere)
        except MissingDataError as error:
            problems.append(str(error))
    counted = _counted(data_dir)
    problems += [each for each in checks.problems(plan, counted) if each not in problems]
    unknown = {cell.recipe.dataset.key for cell in plan.cells if not cell.data_known}
    if unknown and not problems:
        problems = [f"What the data of '{name}' hold could not be found out." for name in sorted(unknown)]
    if problems:
        raise RequestError("\n".join(problems))
    return checks.cautions(plan, counted)


def _counted(data_dir: Path) -> checks.Counted:
    """The labels of prepared datasets, loaded where they cannot be had otherwise."""
    here = checks.labels_here(data_dir)

    @cache
    def loaded(dataset: Dataset) -> Labels | None:
        try:
            return dataset.load(data_dir).labels
        except MissingDataError:  # which is said already
            return None

    def counted(dataset: Dataset) -> Labels | None:
        return loaded(dataset) if (labels := here(dataset)) is None else labels  # pyright: ignore[reportArgumentType]  # it hashes

    return counted


def _prepare(work: Callable[[], None], elsewhere: Callable[[Callable[[], None]], None] | None) -> None:
    try:
        work()
    except MissingDataError:
        if elsewhere is None:
            raise
        elsewhere(work)


def carry_out(
    queue: Queue, executor: Executor, registry: Registry, tracking: Tracking, watch: Callable[[Event], None]
) -> Counter[str]:
    """Run every cell of a queue.

    The worker has published a cell's file before its outcome arrives here, so whatever
    stops this process, nothing finished is lost.

    Args:
        queue: The cells, all of the experiment that is tracked.
        executor: Where to run them.
        registry: Told of every start and outcome.
        tracking: Where a run is closed when its own process could not.
        watch: Told of every event, after the registry.

    Raises:
        KeyboardInterrupt: The user stopped it at once.

    Returns:
        How many cells finished, collapsed, diverged and failed, under these names, and how many `replicas` are done.
    """
    tally: Counter[str] = Counter()
    experiment = tracking.experiment
    noted: dict[str, float] = {}

    def hear(event: Event) -> None:
        now = time.monotonic()
        match event:
            case Started(cell=cell, node=node, started=started):
                registry.started(cell, experiment, node=node, started=started)
            case Advanced(cell=cell, epoch=epoch):
                if now - noted.get(cell.id, 0.0) > NOTED:
                    registry.alive(cell, experiment, epoch)
                    noted[cell.id] = now
            case Alive(cell=cell):
                registry.alive(cell, experiment)
            case Adopted(cell=cell, state=state):
                tally[_tallied(cell, state)] += 1
            case Lost() | Stopped():
                registry.record(event, experiment)
            case _:
                registry.record(event, experiment)
                if isinstance(event, Failed):
                    tracking.settle(event)  # a process that was killed left its run RUNNING
                tally[_tallied(event.cell, type(event).__name__.lower())] += 1
                noted.pop(event.cell.id, None)
        watch(event)

    executor.run(queue, hear)
    return tally


def _tallied(cell: Cell, state: str) -> str:
    """Under what a cell's end is counted: a replica is no further cell, unless it failed."""
    return "replicas" if cell.environment and state != "failed" else state


def make_true(plan: Plan, lease: Lease, evaluations: Evaluations, registry: Registry, tracking: Tracking) -> None:
    """Let MLflow tell how cells stand that a dead launch left running, and what it missed while it was down.

    Raises:
        UnreachableError: The store does not answer.
    """
    if lease.left or tracking.waiting():
        from orchestrator.records.reconciliation import reconcile

        tracking.prepare()
        tracking.catch_up()
        reconcile(tracking, evaluations.with_replicas(plan).cells, evaluations, registry)


def note_rerun(cell: Cell, evaluations: Evaluations, verdict: Verdict | str) -> None:
    """Keep whether a cell gave the same numbers again: of imported ones that is all that speaks for them."""
    if not isinstance(verdict, str) and (seal := evaluations.footer(cell).seal):
        found = origin.identical if verdict.identical else origin.different
        found(evaluations.folder.parent).add([seal])


def repeat(cell: Cell, evaluations: Evaluations, worker: Worker, copies: Evaluations) -> Verdict | str:
    """Train a cell that is done once more, here, and compare what that leaves with its file.

    Args:
        cell: A cell whose file is in `evaluations`, of which nothing is changed.
        evaluations: The files.
        worker: Trains the cell, and records it in `copies`.
        copies: Another folder of files.

    Returns:
        How they compare, or why they cannot be compared.
    """
    try:
        then = Left.of(cell, evaluations)
    except DamagedFileError as error:
        return str(error)
    # With as many threads as then, because sums split among threads round differently.
    threads = then.account.provenance.get("threads") or cell.resources.cpus
    resources = cell.resources.model_copy(update={"cpus": threads})
    outcome = worker.run(replace(cell, resources=resources), lambda event: None)  # noqa: ARG005 - nobody watches
    if isinstance(outcome, (Failed, Lost)):
        return f"It failed: {outcome.error}"
    return compare(then, Left.of(cell, copies))
