"""MLflow, a window on the results: one run a cell, however many attempts the cell took.

The driver prepares the store once; then each worker process tells of its own cell, from a
thread that training does not wait for. What MLflow says is a copy, so a store that fails
costs a cell its window and never its result; and what it did not take waits in the spool.
Mlflow is imported when first used: it takes seconds, which listing or planning must not pay.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import UnreachableError
from orchestrator.experiment.plan import Cell
from orchestrator.outcome import Collapsed, Diverged, Failed, Finished, Outcome
from orchestrator.privacy import without_user
from orchestrator.records.tracking import spool
from orchestrator.records.tracking.mlflow_store import actionable, anchored, connect, probe, sentence
from orchestrator.records.tracking.run import Run
from orchestrator.records.tracking.run_writer import Delivery, pages
from orchestrator.records.tracking.spool import Entry, Figures, Opened, RunEnded

if TYPE_CHECKING:
    from mlflow.entities import Run as StoredRun

_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""What the UI goes by to show runs and their metrics first, rather than an LLM's traces."""

_GIVE_UP = 3
"""Files of the spool that the store may refuse in a row: more are left for another time."""

_log = logging.getLogger("orchestrator.tracking")


@dataclass(frozen=True)
class RunSummary:
    """What the store says of one run: `RUNNING` or how it ended, and the latest value of each metric."""

    cell_id: str
    run_id: str
    name: str
    status: str
    metrics: Mapping[str, float]
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CaughtUp:
    """What came of the spool: attempts told in full, files that still wait, and why."""

    told: int
    left: int
    troubles: tuple[str, ...]
    """A sentence for each file that could not be delivered, and for each that was set aside as damaged."""


@dataclass(frozen=True)
class Tracking:
    """Where runs are written; a plain value, so that it crosses to worker processes."""

    uri: str = field(repr=False)  # it may hold a password
    """`sqlite:///FILE`, another database, or the address of an MLflow server."""
    experiment: str
    artifacts: str | None = None
    """Where a new experiment keeps its artefacts; a server chooses for itself."""
    spool: Path | None = None
    """Where what the store did not take waits, whatever the store; without it, that is lost."""

    def __post_init__(self) -> None:
        """Worker processes have working directories of their own."""
        object.__setattr__(self, "uri", anchored(self.uri))

    def prepare(self) -> None:
        """Check the store, and create its tables and the experiment where they are missing.

        For the driver, before anything starts: workers doing this would race.

        Raises:
            UnreachableError: The store does not answer, refuses us, or is no MLflow store.

        """
        probe(self.uri)
        with actionable(self.uri):
            client = connect(self.uri)
            found = client.get_experiment_by_name(self.experiment)
            if found is None:
                client.create_experiment(self.experiment, artifact_location=self.artifacts, tags=_KIND)
                self.note_summary("")
            elif found.lifecycle_stage == "deleted":
                client.restore_experiment(found.experiment_id)

    @contextmanager
    def run(self, cell: Cell, commit: str | None = None) -> Generator[Run]:
        """The cell's one run, open for writing; for the process that trains.

        An exception leaves the run FAILED, an interruption KILLED. The store's own
        errors are never raised.

        Args:
            cell: Whose run; found by its id if there is one, otherwise created.
            commit: The git commit this attempt runs.

        """
        run = Run(cell, self.uri, self.experiment, self.outbox)
        try:
            run.open(commit)
            yield run
        except Exception as error:
            run.fail(error)
            raise
        except BaseException:
            run.interrupt()
            raise
        if not run.ended:
            run.fail("the attempt ended without an outcome")

    def settle(self, outcome: Outcome) -> None:
        """Make the run of a cell tell its outcome, where its own process could not."""
        with self.run(outcome.cell) as run:
            match outcome:
                case Collapsed(metrics=metrics, reason=reason):
                    run.finish(metrics, reason)
                case Finished(metrics=metrics):
                    run.finish(metrics)
                case Diverged(epoch=epoch):
                    run.diverge(epoch)
                case Failed(error=error):
                    run.fail(error)

    def interrupt(self, cells: Collection[str]) -> None:
        """End as KILLED the runs of these cells that claim to be running; a store that fails is only noted.

        Args:
            cells: Ids of cells of which no process is left.

        """
        try:
            for run in self.runs("attributes.status = 'RUNNING'"):
                if run.cell_id in cells:
                    with actionable(self.uri):
                        connect(self.uri).set_terminated(run.run_id, "KILLED")
        except UnreachableError as error:
            _log.warning("Runs that were interrupted may still claim to be running: %s", error)

    def catch_up(self) -> CaughtUp:
        """Tell the store what attempts that are over left in the spool; raises none of its errors."""
        told = 0
        failed = 0
        troubles = list[str]()
        for path in self.waiting():
            try:
                with spool.taken(path) as left:
                    if left:
                        told += self._late(path, left, troubles)
                        failed = 0
            except Exception as error:  # noqa: BLE001 - what cannot be told now stays
                failed += 1
                troubles.append(f"{path}: {sentence(error)}.")
            if failed == _GIVE_UP:
                break
        return CaughtUp(told, len(self.waiting()), tuple(troubles))

    def waiting(self) -> list[Path]:
        """The files of attempts that are over, and of which the store does not know everything."""
        return spool.waiting(self.outbox) if self.outbox else []

    @property
    def outbox(self) -> Path | None:
        """Where this experiment's share of the spool is."""
        return self.spool and spool.outbox(self.spool, without_user(self.uri), self.experiment)

    @property
    def summary(self) -> str:
        """The digest of what the store has been told of the whole experiment; empty where nobody knows."""
        return spool.summary(self.outbox) if self.outbox else ""

    def note_summary(self, digest: str) -> None:
        """Note the digest of what the store has been told of the whole experiment; an empty one forgets it."""
        if self.outbox:
            spool.note_summary(self.outbox, digest)

    def _late(self, path: Path, left: spool.Left, troubles: list[str]) -> bool:
        """Deliver a file of the spool; whether that was all there was."""
        if left.entries:
            delivery = Delivery(self.uri, self.experiment, late=True)
            delivery.deliver(_whole(left.entries))
            if delivery.refused:
                troubles.append(f"{path}: {sentence(delivery.refused)}.")
        if left.damage:
            troubles.append(f"{path}: {left.damage}; kept as {spool.set_aside(path).name}.")
        else:
            spool.remove(path)
        return left.damage is None

    def delete(self) -> None:
        """Delete the experiment with its runs, as MLflow does: its own `gc` removes them for good.

        Raises:
            UnreachableError: The store does not answer.

        """
        with actionable(self.uri):
            client = connect(self.uri)
            if experiment := client.get_experiment_by_name(self.experiment):
                client.delete_experiment(experiment.experiment_id)

    def runs(self, where: str = "") -> list[RunSummary]:
        """The experiment's runs of cells, oldest first; none if there is no such experiment.

        Args:
            where: A filter in MLflow's search syntax.

        Raises:
            UnreachableError: The store does not answer.

        """
        return [_summary(run) for run in self._found(where) if "cell_id" in run.data.tags]

    def _found(self, where: str) -> list[StoredRun]:
        with actionable(self.uri):
            client = connect(self.uri)
            experiment = client.get_experiment_by_name(self.experiment)
            return pages(client, experiment, where) if experiment else []


@dataclass(frozen=True)
class Untracked(Tracking):
    """Tracks nothing: its runs are never opened, so they tell nobody."""

    uri: str = ""
    experiment: str = ""

    @contextmanager
    def run(self, cell: Cell, commit: str | None = None) -> Generator[Run]:
        """A run that is nowhere."""
        del commit
        yield Run(cell, self.uri, self.experiment, self.outbox)


def _whole(entries: Sequence[Entry]) -> list[Entry]:
    """The entries of an attempt that is over, with an end where its process could tell none."""
    if isinstance(entries[-1], RunEnded):
        return [*entries]
    last = max(entry.time for entry in entries if isinstance(entry, (Opened, Figures)))
    return [*entries, RunEnded(last, "KILLED")]


def _summary(run: StoredRun) -> RunSummary:
    info = run.info
    data = run.data
    return RunSummary(
        data.tags["cell_id"], info.run_id, info.run_name or "", info.status, data.metrics, data.tags, data.params
    )
