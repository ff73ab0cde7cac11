"""The stages of a launch: each a plan that is carried out while people watch, the tuning before the final cells."""

from __future__ import annotations

import signal
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from orchestrator import wiring
from orchestrator.adaptive.seeds import Spending
from orchestrator.adaptive.trials import Trials
from orchestrator.errors import RequestError
from orchestrator.execution.queue import Queue
from orchestrator.experiment.plan import Cell, Contents, Plan
from orchestrator.launching.run_plan import carry_out, enlist, make_true, outstanding, prepare
from orchestrator.outcome import Adopted, Ending, Event, Failed, is_done
from orchestrator.pairing.blocks import Group
from orchestrator.pairing.replicas import Pairing
from orchestrator.records.files.contents import History, examine
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.storage import Storage
from orchestrator.records.sql.leases import Lease, held
from orchestrator.records.tracking.runs import Untracked
from orchestrator.report.terminal import overview
from orchestrator.report.terminal.progress import LiveTable
from orchestrator.reproduction.anchor_log import Ledger
from orchestrator.reproduction.anchors import admit
from orchestrator.workspace import Workspace
from trainers.datasets import Dataset, MissingDataError
from trainers.datasets.content import Content
from trainers.datasets.hashes import forget

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.execution.placement import Placement
    from orchestrator.experiment.model import Experiment
    from orchestrator.launching.webhook import Webhook
    from orchestrator.records.files.checkpoints import Checkpoints
    from orchestrator.records.sql.registry import Registry
    from orchestrator.records.tracking.runs import Tracking


Result = TypeVar("Result")


class StoppedLaunch(Exception):  # noqa: N818 - the user wished it
    """The user stopped the launch; everything finished so far is kept."""


@dataclass(frozen=True)
class Ended:
    """How a stage ended: how many cells are in which final state, and where runs are tracked if any ran."""

    plan: Plan
    tally: Counter[str]
    runs: Tracking | None
    is_tuning: bool
    """Whether the launch ended before the final cells, because some recipe is not found."""


@dataclass(frozen=True)
class Launch:
    """What the stages of one launch share: where they run, and where they are recorded."""

    place: Workspace
    registry: str | None
    tracking: str | None
    data_dir: Path
    executor: str
    address: str | None
    most: int | None
    """Cells to run at once."""
    retry_failed: bool
    join: bool
    trust_old: bool
    """Pool cells of an older environment with new ones without a test."""
    whole: Experiment
    """That of the file, with the axis values that options add: a launch may run a part of it."""
    stated: Mapping[str, Any]
    """What the experiment's file states before there are results (`wiring.stated`)."""
    rehash: bool
    """Read all data again, also where nothing says that they changed."""
    hook: Webhook | None
    console: Console
    debug: bool = False
    """Whether the inline executor raises the fault of a cell where it is."""

    def run(self, experiment: Experiment) -> Ended:
        """Run what of an experiment is missing, and record it.

        Returns:
            How its last stage ended: that of tuning, where not every recipe is found.

        Raises:
            StoppedLaunch: The user stopped it.
        """
        try:
            return self._stages(experiment)
        except KeyboardInterrupt:
            sentence = "Interrupted. Everything finished so far is kept; the same command goes on from there."
            self.console.print(sentence)
            raise StoppedLaunch from None

    def _stages(self, experiment: Experiment) -> Ended:
        known = self._contents(experiment)
        trials = wiring.trials(experiment, self.place, known)
        if trials and not trials.over:
            ended = self._stage(trials.plan, trials)
            wiring.aggregated(self.console, trials.plan, self.place)
            if not trials.over:
                unfinished = (
                    "Not every recipe is found, so no final cell was begun: --retry-failed runs again what failed."
                )
                wiring.complain(self.console, unfinished)
                return ended
        return self._stage(wiring.final(experiment, trials, known))

    def _contents(self, experiment: Experiment) -> Contents:
        """What the data sets hold now, which is recorded."""
        if self.rehash:
            forget(self.data_dir)
        missing = set[Dataset]()
        history = History(self.place.data)
        known = wiring.contents(experiment, self.place, self.data_dir, partial(self._ask, missing))
        for dataset, label in ((cast("Dataset", choice.plugin), choice.label) for choice in experiment.datasets):
            if dataset not in missing:
                history.see(dataset, known.get(label))
                history.put(dataset, self.data_dir)
        return known

    def _ask(self, missing: set[Dataset], dataset: Dataset, absent: MissingDataError | None) -> Content | None:
        """What a data set holds that is not here, or of which only the arrays tell, in a process that trains."""
        work = partial(examine, dataset, self.data_dir.resolve(), rehash=self.rehash)
        try:
            # What is not on this machine is not there for a Ray of this machine either, which takes seconds to start.
            return work() if absent and not self.address else self._elsewhere(work)
        except MissingDataError:  # `prepare` says so, together with whatever else is wrong
            missing.add(dataset)
            return None if dataset.is_published else Content(None)

    def _elsewhere(self, work: Callable[[], Result]) -> Result:
        """What a piece of work returns, or raises, where cells run."""
        if self.executor == "inline":
            return work()
        from orchestrator.execution import ray_tune

        return ray_tune.call(self.address or ray_tune.LOCAL, work)

    def _stage(self, plan: Plan, trials: Trials | None = None) -> Ended:
        """Run what of a plan is missing; of a tuning stage, `trials` ask for more of it."""
        evaluations = Evaluations(self.place.evaluations)
        elsewhere = self._elsewhere if self.address else None
        if not plan.is_told:  # this says why, before cells without ids are written down
            prepare(plan, self.data_dir.resolve(), elsewhere)
        full = evaluations.with_replicas(plan)
        with wiring.registry(self.place, self.registry) as records, held(records, full, join=self.join) as lease:
            waiting, tally = outstanding(plan, evaluations, records, retry_failed=self.retry_failed)
            self.console.print(overview.left(plan, waiting, tally))
            for sentence in wiring.data(plan, self.place).told():
                self.console.print(sentence, markup=False, emoji=False, soft_wrap=True)
            found = {} if trials else wiring.blocks(plan, self.place)
            places = None if trials else wiring.placement(plan, found, self.address)
            if places and self.join:
                places.others = partial(_others, plan, lease)
            pairing = Pairing(plan, found, places.can, evaluations.environment) if places else None
            if again := pairing.first() if pairing else []:
                enlist(again, plan.experiment.name, evaluations, records)
                why = "" if self.address else wiring.changes(again, found, plan, self.place)
                self.console.print(overview.again(again, why), soft_wrap=True)
            runs = wiring.tracking(self.place, self.tracking, plan.experiment.name)
            make_true(plan, lease, evaluations, records, runs)
            seeds = wiring.spending(plan, waiting, self.place, self.executor, self.address, self.most, self.whole)
            rule = trials or seeds
            cells = waiting.cells if seeds is None else tuple(seeds.first())
            if cells or again:
                for sentence in prepare(
                    Plan(plan.experiment, (*waiting.cells, *again)), self.data_dir.resolve(), elsewhere
                ):
                    wiring.complain(self.console, sentence)
                cells = (*cells, *again)
                tally += self._train(plan, cells, (rule, pairing), places, lease=lease, records=records, runs=runs)
            if self.trust_old and not trials:
                wiring.trust(wiring.whole(plan, self.whole, self.place, self.data_dir), self.place, self._say)
            for sentence in rule.sentences() if rule else ():
                self.console.print(sentence, markup=False, emoji=False)
        return Ended(plan, tally, runs if cells else None, is_tuning=trials is not None)

    def _train(
        self,
        plan: Plan,
        cells: Sequence[Cell],
        rules: tuple[Trials | Spending | None, Pairing | None],
        places: Placement | None,
        *,
        lease: Lease,
        records: Registry,
        runs: Tracking,
    ) -> Counter[str]:
        """Run cells, and those that the rules ask for after them, while people watch.

        Raises:
            KeyboardInterrupt: The user stopped it, politely or not.
        """
        is_tuning = isinstance(rules[0], Trials)
        states = wiring.checkpoints(self.place, plan.experiment, lease.owner)
        kept = plan.experiment.log_models and not is_tuning
        runner = wiring.executor(
            self.executor,
            self.address,
            self.place,
            runs,
            self.data_dir,
            states,
            plan.experiment,
            log_models=kept,
            stated=self.stated,
            rehash=self.rehash,
            debug=self.debug,
        )
        with runner.starting():
            runs.prepare()
            if not is_tuning:
                later = rules[1].possible({cell.id for cell in cells}) if rules[1] else []
                whole = wiring.whole(plan, self.whole, self.place, self.data_dir)
                self._admit(whole, [*cells, *later], places, lease.owner)
            table = LiveTable(cells, self.console)
            more = partial(_more, rules, plan, (records, self.place, places), table)
            durations = records.durations(plan.experiment.name)
            queue = Queue(cells, claim=lease.claim, durations=durations, most=self.most, places=places, more=more)
            with table:
                carry = partial(carry_out, queue, runner, records, runs, self._watch(table))
                tally = self._stoppable(carry, queue, states, runs)
        if queue.is_closed:
            raise KeyboardInterrupt
        return tally

    def _admit(self, plan: Plan, cells: Sequence[Cell], places: Placement | None, owner: str) -> None:
        """Let cells stand beside old ones of another environment, if anchors, or the user, say so."""
        admit(
            plan,
            cells,
            Evaluations(self.place.evaluations),
            Ledger(self.place.drift(plan.experiment.name)),
            here=partial(wiring.origins, places=places, address=self.address),
            retrain=partial(self._retrained, self.place.anchors(owner), plan.experiment, places),
            say=self._say,
            trust=self.trust_old,
        )

    def _say(self, sentence: str) -> None:
        self.console.print(sentence, markup=False, emoji=False, soft_wrap=True)

    @contextmanager
    def _retrained(
        self, place: Workspace, experiment: Experiment, places: Placement | None, cells: Sequence[Cell]
    ) -> Generator[Evaluations]:
        """Retrain cells in a scratch workspace, which is not tracked and is deleted afterwards."""
        runner = wiring.executor(self.executor, self.address, place, Untracked(), self.data_dir, None, experiment)
        table = LiveTable(cells, self.console)
        failed = list[Failed]()

        def hear(event: Event) -> None:
            table(event)
            if isinstance(event, Failed):
                failed.append(event)

        try:
            with table:
                runner.run(Queue(cells, most=self.most, places=places), hear)
            if failed:
                raise RequestError(
                    f"{failed[0].cell.name}, trained again before new cells may stand beside it, failed: "
                    f"{failed[0].error}. Mend what fails, or pool old and new without a test by --trust-old."
                )
            yield Evaluations(place.evaluations)
        finally:
            storage = Storage(place.root.parent)
            for file in list(storage.list(place.root.name)):
                storage.delete(file.name)

    def _watch(self, table: LiveTable) -> Callable[[Event], None]:
        """Show every event, and tell the webhook of the first failure."""

        def watch(event: Event) -> None:
            table(event)
            if self.hook and (complaint := self.hook.heard(event)):
                wiring.complain(self.console, complaint)

        return watch

    def _stoppable(
        self, carry: Callable[[], Counter[str]], queue: Queue, states: Checkpoints, runs: Tracking
    ) -> Counter[str]:
        """Carry out what waits; the first Ctrl-C lets running cells save their state, the second stops at once."""

        def stop() -> None:
            queue.close()
            states.ask_to_stop()
            self.console.print("Stopping: running cells save their state. Ctrl-C again stops at once.")

        tally: Counter[str] = Counter()
        try:
            with _politely(stop):
                tally = carry()
        except KeyboardInterrupt:
            queue.close()
            runs.interrupt(queue.running())
        finally:
            states.forget_stop()
        return tally


def _more(
    rules: tuple[Trials | Spending | None, Pairing | None],
    plan: Plan,
    kept: tuple[Registry, Workspace, Placement | None],
    table: LiveTable,
    event: Ending | Adopted,
) -> list[Cell]:
    """The cells that are asked for once it is known what came of another."""
    rule, pairing = rules
    records, place, places = kept
    if places and isinstance(event, Adopted) and is_done(event.state):
        places.ended(event.cell, Evaluations(place.evaluations).environment(event.cell))
    asked = rule.heard(event) if rule else []
    if asked and isinstance(rule, Trials):  # trials depend on the scores of others, so nobody knew of them before
        records.plan(Plan(plan.experiment, tuple(asked)))
    wanted = pairing.heard(event) if pairing else []
    # Others wait for the next launch, which asks anchors before it begins.
    again = [cell for cell in wanted if wiring.has_known_code(cell, place, plan.experiment)]
    if again:
        enlist(again, plan.experiment.name, Evaluations(place.evaluations), records)
    table.expect([*asked, *again])
    return [*asked, *again]


def _others(plan: Plan, lease: Lease) -> dict[Group, set[str]]:
    """The groups that other launches are at work on, and the machines of these."""
    running = lease.others()
    found = defaultdict[Group, set[str]](set)
    for cell in plan.cells:
        if host := running.get(cell.id):
            found[cell.dataset, cell.backbone, cell.seed].add(host)
    return found


@contextmanager
def _politely(stop: Callable[[], None]) -> Generator[None]:
    """Within: the first signal to end calls `stop`, the next raises KeyboardInterrupt."""

    def restore() -> None:
        for polite in (signal.SIGINT, signal.SIGTERM):
            signal.signal(polite, signal.default_int_handler)

    def hear(*_: object) -> None:
        restore()
        # In a thread, because a signal may come in the middle of a line that is being printed.
        threading.Thread(target=stop).start()

    for polite in (signal.SIGINT, signal.SIGTERM):
        signal.signal(polite, hear)
    try:
        yield
    finally:
        restore()
