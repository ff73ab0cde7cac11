"""The stages of a launch: each a plan that is carried out while people watch, the tuning before the final cells."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator import provenance
from orchestrator.adaptive.allocation import Allocation
from orchestrator.adaptive.trials import Trials
from orchestrator.errors import OutageError, RequestError
from orchestrator.execution.queue import Queue, TimeBudget
from orchestrator.execution.worker import Worker
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Cell, Plan
from orchestrator.launching import budget, old_cells
from orchestrator.launching.additions import note_additions
from orchestrator.launching.admission import Admission
from orchestrator.launching.budget import SpentBudget
from orchestrator.launching.compute import Compute
from orchestrator.launching.contents import contents
from orchestrator.launching.more_cells import MoreCells, others, spending
from orchestrator.launching.notes import Notes
from orchestrator.launching.outages import patiently
from orchestrator.launching.run_plan import carry_out, enlist, make_true, outstanding, prepare
from orchestrator.launching.stopping import stoppable
from orchestrator.launching.window import Window
from orchestrator.launching.writing import write_results
from orchestrator.outcome import Adopted, Ending, Event, Failed
from orchestrator.pairing.replicas import Pairing
from orchestrator.records.files.asked import keep
from orchestrator.records.files.earlier import difference
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.storage import Storage
from orchestrator.records.recorder import Recorder
from orchestrator.records.sql.leases import Lease, held
from orchestrator.records.tracking.runs import Untracked
from orchestrator.report.terminal import launch as told
from orchestrator.report.terminal.console import complain, say
from orchestrator.report.terminal.progress import LiveTable
from orchestrator.reproduction.anchors import admit
from orchestrator.reproduction.code_changes import codes_by_plugin
from orchestrator.reproduction.replicas_due import changes
from orchestrator.stores import Stores
from orchestrator.study import Study
from orchestrator.workspace.store_errors import StoreError

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.execution.command_scores import ReadScores
    from orchestrator.execution.placement import Placement
    from orchestrator.launching.webhook import Webhook
    from orchestrator.records.sql.registry import Registry
    from orchestrator.records.tracking.runs import Tracking


class StoppedLaunch(Exception):  # noqa: N818 - the user wished it
    """The user stopped the launch; everything finished so far is kept."""


@dataclass(frozen=True)
class Ended:
    """How a stage ended: how many cells are in which final state, and where runs are tracked if any ran."""

    study: Study
    plan: Plan
    tally: Counter[str]
    runs: Tracking | None
    is_tuning: bool
    """Whether the launch ended before the final cells, because some recipe is not found."""


@dataclass(frozen=True)
class Launch:
    """What the stages of one launch share: what is asked, where it runs, and where it is recorded."""

    study: Study
    compute: Compute
    console: Console
    hook: Webhook | None = None
    retry_failed: bool = False
    join: bool = False
    trust_old: bool = False
    """Pool cells of an older environment with new ones without a test."""
    rehash: bool = False
    """Read all data again, also where nothing says that they changed."""
    farewell: str = "Everything finished so far is kept; the same command goes on from there."
    """What becomes of the work when the user interrupts it."""
    until: float | None = None
    """When all cells should have ended, by `time.monotonic`."""
    begun: threading.Event = field(default_factory=threading.Event)
    """Set once a cell has begun: from then on, a service that goes away does not make the request wrong."""

    @property
    def stores(self) -> Stores:
        """Where everything is recorded."""
        return self.study.stores

    def run(self) -> Ended:
        """Run what of the experiment is missing, and record it.

        Returns:
            How its last stage ended: that of tuning, where not every recipe is found.

        Raises:
            StoppedLaunch: The user stopped it.
        """
        keep(self.study.filed, self.stores.place.experiment(self.study.filed.name))
        try:
            known = contents(self.study, self.compute, rehash=self.rehash)
            return replace(self, study=replace(self.study, known=known)).run_stages()
        except KeyboardInterrupt:
            self.console.print(f"Interrupted. {self.farewell}")
            raise StoppedLaunch from None
        except (RequestError, StoreError) as error:
            if not self.begun.is_set():
                raise
            raise OutageError(f"{error} Everything finished so far is kept; the same command goes on.") from error

    def run_stages(self) -> Ended:
        """Run the tuning stage, where there is one, and then the final cells; what the data hold is known by now.

        Raises:
            StoppedLaunch: The budget is spent.
        """
        try:
            return self._stages()
        except SpentBudget:
            study = self.study.reread()
            done = write_results(study, self._complain)
            for sentence in budget.told(study, len(done.missing)):
                self._say(sentence)
            self.console.print(self.farewell)
            raise StoppedLaunch from None

    def _stages(self) -> Ended:
        trials = self.study.trials
        if trials and not trials.over:
            trials.recall_through(partial(patiently, say=self._say))
            ended = self._stage(trials.plan, trials)
            write_results(self.study, self._complain, trials.plan)
            if not trials.over:
                unfinished = (
                    "Not every recipe is found, so no final cell was begun: --retry-failed runs again what failed."
                )
                self._complain(unfinished)
                return ended
        return self._stage(self.study.plan)

    def _stage(self, plan: Plan, trials: Trials | None = None) -> Ended:
        """Run what of a plan is missing; of a tuning stage, `trials` ask for more of it."""
        evaluations = self.stores.evaluations
        if not plan.is_told:  # this says why, before cells without ids are written down
            self._prepare(plan)
        full = evaluations.with_replicas(plan)
        everything, is_all = self._everything(full, trials)
        # Beside another launch, cells that only that one adds stay the experiment's.
        taken = partial(held, join=self.join, asked=everything, forget=is_all and not self.join, say=self._say)
        with self.stores.registry() as records, taken(records, full) as lease:
            notes = Notes(lease, evaluations, self.stores.spool, self._say)
            notes.take_over()
            waiting, tally = outstanding(plan, evaluations, records, retry_failed=self.retry_failed)
            self.console.print(told.left(plan, waiting, tally))
            for sentence in self.study.data(plan).told():
                self._say(sentence)
            places, pairing, again = (None, None, []) if trials else self._pairing(plan, lease)
            runs = self.stores.tracking(plan.experiment.name)
            if lease.left or runs.waiting():
                self._window(runs).open(
                    partial(make_true, plan, evaluations, records, runs), has_begun=self.begun.is_set()
                )
            seeds = spending(self.study, plan, waiting, self.compute, self._say)
            rule = trials or seeds
            if isinstance(seeds, Allocation) and (upcoming := seeds.upcoming()):
                self._say(upcoming.sentence)
            cells = waiting.cells if seeds is None else tuple(seeds.first())
            if cells or again:
                for sentence in self._prepare(Plan(plan.experiment, (*waiting.cells, *again))):
                    self._complain(sentence)
                cells = (*cells, *again)
                more = MoreCells(self.study, plan, rule, pairing, places, notes, self._say)
                tally += self._train(cells, more, runs)
            else:
                self._keep(records, plan.experiment.name)
            if self.trust_old and not trials:
                old_cells.trust(self.study, plan, self._say)
            for sentence in rule.sentences() if rule else ():
                self.console.print(sentence, markup=False, emoji=False)
        return Ended(self.study.reread(), plan, tally, runs if cells else None, is_tuning=trials is not None)

    def _everything(self, plan: Plan, trials: Trials | None) -> tuple[Plan, bool]:
        """All cells that stay asked, also where options narrow this launch; and whether all of them are known."""
        whole = self.study.unchanged
        if whole is self.study:
            return plan, True
        if trials:
            return plan, False
        with suppress(RequestError):  # of what options leave out, some recipe is not found yet
            known = {cell.id: cell for cell in whole.plan.cells if cell.data_known}
            # Those of another recipe, where `--set` asks for them.
            known |= {cell.id: cell for cell in plan.cells if cell.data_known and not cell.environment}
            asked = replace(whole.plan, cells=tuple(known.values()))
            return self.stores.evaluations.with_replicas(asked), whole.plan.is_told
        return plan, False

    def _keep(self, records: Registry, known: str) -> None:
        """Write down what this launch adds, now that nothing can refuse it any longer.

        Args:
            records: The registry.
            known: The name by which it knows this stage.
        """
        news = self.study.news
        if not news.is_empty:
            note_additions(self.stores, records, self.study.kept.name, news, known)

    def _prepare(self, plan: Plan) -> list[str]:
        """Find the data of a plan, here or on the cluster; raises as `prepare` does."""
        elsewhere = self.compute.call if self.compute.address else None
        return prepare(plan, self.study.data_dir.resolve(), elsewhere)

    def _pairing(self, plan: Plan, lease: Lease) -> tuple[Placement, Pairing, list[Cell]]:
        """Where cells run beside those that are done, what asks for replicas, and those that it asks for at once."""
        found = old_cells.environments(self.study, plan)
        places = self.compute.placement(plan, found)
        if self.join:
            places.others = partial(others, plan, lease)
        pairing = Pairing(plan, found, places.can, self._environment)
        again = pairing.first()
        if again:
            evaluations = self.stores.evaluations
            enlist(again, plan.experiment.name, evaluations, lease.registry)
            why = "" if self.compute.address else changes(again, found, plan, evaluations)
            self.console.print(told.again(again, why), soft_wrap=True)
        return places, pairing, again

    def _environment(self, cell: Cell) -> str | None:
        """What trained a cell that is done, as soon as the storage says."""
        return patiently(partial(self.stores.evaluations.environment, cell), self._say)

    def _train(self, cells: Sequence[Cell], more: MoreCells, runs: Tracking) -> Counter[str]:
        """Run cells, and those that are asked for after them, while people watch.

        Raises:
            KeyboardInterrupt: The user stopped it, politely or not.
            SpentBudget: No further cell would end in time.
            OutageError: A service stayed away.
        """
        experiment = more.plan.experiment
        lease = more.notes.lease
        states = self.stores.checkpoints(experiment, lease.owner)
        code = {**provenance.code(), "stated": self.study.stated}
        kept = experiment.log_models and not more.is_tuning
        models = self.stores.models if experiment.operation and not more.is_tuning else None
        recorder = replace(self._recorder(runs, code, kept), models=models)
        worker = self._worker(recorder, experiment, self.stores)
        runner = self.compute.executor(replace(worker, checkpoints=states, rehash=self.rehash))
        table = self._table(cells)
        with table, runner.starting():
            self._window(runs).open(lambda _: runs.prepare(), has_begun=self.begun.is_set())
            if not more.is_tuning:
                self._admit([*cells, *more.possible(cells)], more, lease.owner)
            self._keep(lease.registry, experiment.name)
            admission = Admission(more.notes, self.stores.place, states, self._say)
            queue = Queue(
                cells,
                claim=admission.claim,
                durations=lease.registry.durations(experiment.name),
                most=self.compute.most,
                places=more.places,
                more=partial(_expected, table, more),
                budget=self._budget(cells),
            )
            admission.admit(queue)
            carry = partial(carry_out, queue, runner, more.notes, runs, self._watch(table, admission))
            tally = stoppable(carry, queue, states, runs, until=self.until, console=self.console)
            admission.close()
        if queue.ran_out:
            raise SpentBudget
        if queue.is_closed:
            raise KeyboardInterrupt
        return tally

    def _budget(self, cells: Sequence[Cell]) -> TimeBudget | None:
        """The time in which cells have to end; of a cluster, only cells that ended there tell how long others take."""
        if self.until is None:
            return None
        guess = (lambda _: None) if self.compute.address else budget.guesses(self.study, cells)
        return TimeBudget(self.until, guess)

    def _table(self, cells: Sequence[Cell]) -> LiveTable:
        """Where people watch these cells."""
        return LiveTable(cells, self.console)

    def _recorder(self, runs: Tracking, code: Mapping[str, Any], keeps_models: bool) -> Recorder:
        """What records the cells of the experiment."""
        return Recorder(self.stores.evaluations, runs, code, keeps_models)

    def _worker(self, recorder: Recorder, experiment: Experiment, stores: Stores) -> Worker:
        """What trains the cells of an experiment."""
        return Worker(
            recorder,
            self.study.data_dir.resolve(),
            differs=partial(difference, stores.history),
            planned=codes_by_plugin(experiment),
            read_scores=_reader(experiment),
            raises=self.compute.raises,
        )

    def _admit(self, cells: Sequence[Cell], more: MoreCells, owner: str) -> None:
        """Let cells stand beside old ones of another environment, if anchors, or the user, say so."""
        plan = old_cells.poolable(self.study, more.plan)
        admit(
            plan,
            cells,
            self.stores.evaluations,
            self.stores.ledger(plan.experiment.name),
            here=partial(self.compute.origins, places=more.places),
            retrain=partial(self._retrained, self.stores.anchors(owner), plan.experiment, more.places),
            say=self._say,
            trust=self.trust_old,
        )

    def _window(self, runs: Tracking) -> Window:
        return Window(runs, self._complain)

    def _say(self, sentence: str) -> None:
        say(self.console, sentence)

    def _complain(self, sentence: str) -> None:
        complain(self.console, sentence)

    @contextmanager
    def _retrained(
        self, scratch: Stores, experiment: Experiment, places: Placement | None, cells: Sequence[Cell]
    ) -> Generator[Evaluations]:
        """Retrain cells in a scratch workspace, which is not tracked and is deleted afterwards."""
        recorder = Recorder(scratch.evaluations, Untracked(), provenance.code())
        runner = self.compute.executor(self._worker(recorder, experiment, scratch))
        table = LiveTable(cells, self.console)
        failed = list[Failed]()

        def hear(event: Event) -> None:
            table(event)
            if isinstance(event, Failed):
                failed.append(event)

        try:
            with table:
                runner.run(Queue(cells, most=self.compute.most, places=places), hear)
            if failed:
                raise RequestError(
                    f"{failed[0].cell.name}, trained again before new cells may stand beside it, failed: "
                    f"{failed[0].error}. Mend what fails, or pool old and new without a test by --trust-old."
                )
            yield scratch.evaluations
        finally:
            storage = Storage(scratch.place.root.parent)
            for file in list(storage.list(scratch.place.root.name)):
                storage.delete(file.name)

    def _watch(self, table: Callable[[Event], None], admission: Admission) -> Callable[[Event], None]:
        """Show every event, and tell the webhook of the first failure."""

        def watch(event: Event) -> None:
            self.begun.set()
            admission.heard(event)
            table(event)
            if self.hook and (complaint := self.hook.heard(event)):
                self._complain(complaint)

        return watch


def _reader(experiment: Experiment) -> ReadScores | None:
    """What reads the scores of commands; None where no command trains."""
    if experiment.trainer is None:
        return None
    from orchestrator.judging.cell_scores import read

    return read


def _expected(table: LiveTable, more: MoreCells, event: Ending | Adopted) -> list[Cell]:
    """The cells that are asked for after an event, which the table shows from now on."""
    found = more.asked_after(event)
    table.expect(found)
    return found
