"""MLflow, a window on the results: one run a cell, however many attempts the cell took.

The driver prepares the store once; then each worker process writes the run of its own
cell. What MLflow says is a copy, so a store that fails costs a cell its window and
never its result. With `mlflow_store` and `mlflow_ui` the only door to mlflow, opened when
first used: importing it takes seconds, which listing or planning must not pay.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from orchestrator.outcome import Diverged, Failed, Finished, Outcome
from orchestrator.plan import PROTOCOL, Cell
from orchestrator.records.mlflow_store import SHOWN, actionable, anchored, connect, masked, probe, sentence

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Metric, RunTag
    from mlflow.entities import Run as StoredRun
    from mlflow.tracking import MlflowClient

Terminal = Literal["FINISHED", "FAILED", "KILLED"]

_REST = 20
"""After a call that failed, rest this many times as long: a dead store costs a cell 5 % at most."""

_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""What the UI goes by to show runs and their metrics first, rather than an LLM's traces."""

_PAGE = 1_000
"""Runs a request for a list of them."""

_log = logging.getLogger("orchestrator.tracking")


@dataclass(frozen=True)
class RunSummary:
    """What the store says of one run: `RUNNING` or how it ended, and the latest value of each metric."""

    cell_id: str
    run_id: str
    name: str
    status: str
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Tracking:
    """Where runs are written; a plain value, so that it crosses to worker processes."""

    uri: str = field(repr=False)  # it may hold a password
    """`sqlite:///FILE`, another database, or the address of an MLflow server."""
    experiment: str
    artifacts: str | None = None
    """Where a new experiment keeps its artefacts; a server chooses for itself."""

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
        run = Run(self, cell)
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

    def settle(self, outcome: Outcome, commit: str | None = None, history: Sequence[Mapping[str, float]] = ()) -> None:
        """Make the cell's run tell its outcome, where its own process could not.

        For cells whose process was killed, and to rebuild the store from the files.

        Args:
            outcome: What came of the cell.
            commit: The git commit that the cell was run from.
            history: The figures of each epoch that the run does not have yet.

        """
        with self.run(outcome.cell, commit) as run:
            for epoch, figures in enumerate(history, start=1):
                run.epoch(epoch, figures)
            match outcome:
                case Finished(metrics=metrics):
                    run.finish(metrics)
                case Diverged(epoch=epoch):
                    run.diverged(epoch)
                case Failed(error=error):
                    run.fail(error)

    def interrupt(self, cells: Collection[str]) -> None:
        """End as KILLED the runs of these cells that claim to be running.

        Args:
            cells: Ids of cells of which no process is left.

        Raises:
            UnreachableError: The store does not answer.

        """
        for run in self.runs("attributes.status = 'RUNNING'"):
            if run.cell_id in cells:
                with actionable(self.uri):
                    connect(self.uri).set_terminated(run.run_id, "KILLED")

    def runs(self, where: str = "") -> list[RunSummary]:
        """The experiment's runs of cells, oldest first; none if there is no such experiment.

        Args:
            where: A filter in MLflow's search syntax.

        Raises:
            UnreachableError: The store does not answer.

        """
        with actionable(self.uri):
            client = connect(self.uri)
            experiment = client.get_experiment_by_name(self.experiment)
            found = _pages(client, experiment, where) if experiment else []
            return [_summary(run) for run in found if "cell_id" in run.data.tags]


@dataclass(frozen=True)
class Untracked(Tracking):
    """Tracks nothing: its runs are never opened, so they tell nobody."""

    uri: str = ""
    experiment: str = ""

    @contextmanager
    def run(self, cell: Cell, commit: str | None = None) -> Generator[Run]:
        """A run that is nowhere."""
        del commit
        yield Run(self, cell)


class Run:
    """The run of one cell. Its methods never raise the store's errors; the first is kept in `trouble`.

    Attributes:
        run_id: MLflow's id, or None if the run could not be created.
        trouble: The first error of the store in one line, or None while all went well.
        ended: Whether an outcome was told.

    """

    def __init__(self, tracking: Tracking, cell: Cell) -> None:
        self.run_id: str | None = None
        self.trouble: str | None = None
        self.ended = False
        self._tracking = tracking
        self._cell = cell
        self._rests_until = 0.0
        self._described = False

    def open(self, commit: str | None) -> None:
        """Find the cell's run and mark it running, or create it."""
        self._tell(lambda: self._find_or_create(_tags(self._cell, commit)))
        self._tell(self._describe)

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Write the figures of one epoch; the trainer's observer."""
        if self.run_id is not None:
            self._tell(lambda: self._log(metrics, step=epoch))

    def finish(self, metrics: Mapping[str, float | None]) -> None:
        """The cell is finished; `metrics` are named as in the results table."""
        if self.run_id is not None:
            # At the last step: MLflow shows the value of the highest one, and the epochs share names.
            last = self._cell.recipe.training.epochs
            self._tell(lambda: self._log(metrics, step=last), insist=True)
        self._end("FINISHED")

    def diverged(self, epoch: int) -> None:
        """The loss became NaN or infinite, which is a result: the run is finished, with a tag."""
        self._end("FINISHED", outcome="diverged", diverged_epoch=str(epoch))

    def fail(self, error: BaseException | str) -> None:
        """The attempt broke."""
        said = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        self._end("FAILED", error=said[:SHOWN])

    def interrupt(self) -> None:
        """The attempt was stopped from outside."""
        self._end("KILLED")

    def _end(self, status: Terminal, **tags: str) -> None:
        self.ended = True
        if self.run_id is None:
            return
        run_id, client = self.run_id, connect(self._tracking.uri)
        if tags:
            self._tell(lambda: client.log_batch(run_id, tags=_run_tags(tags)), insist=True)
        self._tell(lambda: client.set_terminated(run_id, status), insist=True)

    def _tell(self, action: Callable[[], object], *, insist: bool = False) -> None:
        """Call the store. The one place where its errors end.

        A spool that catches up when the store is back would take the action here.

        Args:
            action: The call.
            insist: Call even a store that has just failed: how a run ended must not stay untold.

        """
        started = time.monotonic()
        if started < self._rests_until and not insist:
            return
        try:
            action()
        except Exception as error:  # noqa: BLE001  whatever MLflow or a driver raises, the cell goes on
            now = time.monotonic()
            self._rests_until = now + _REST * (now - started)
            self._note(error)

    def _note(self, error: Exception) -> None:
        if self.trouble is None:
            self.trouble = sentence(error)
            message = "MLflow's run of %s is incomplete (%s: %s); the cell itself goes on."
            _log.warning(message, self._cell.name, masked(self._tracking.uri), self.trouble)

    def _find_or_create(self, tags: Mapping[str, str]) -> None:
        client = connect(self._tracking.uri)
        experiment = client.get_experiment_by_name(self._tracking.experiment)
        if experiment is None:
            raise LookupError(f"there is no MLflow experiment '{self._tracking.experiment}'")
        where = f"tags.cell_id = '{self._cell.id}'"
        found = _pages(client, experiment, where)
        if found:
            self._reopen(client, found, tags)
        else:
            run = client.create_run(experiment.experiment_id, tags=dict(tags), run_name=self._cell.name)
            self.run_id = run.info.run_id

    def _reopen(self, client: MlflowClient, found: list[StoredRun], tags: Mapping[str, str]) -> None:
        first, *surplus = found
        self.run_id = run_id = first.info.run_id
        self._described = bool(first.data.params)
        client.update_run(run_id, status="RUNNING", name=self._cell.name)
        client.log_batch(run_id, tags=_run_tags(tags))
        for tag in ("error", "outcome", "diverged_epoch"):  # of the attempt before
            if tag in first.data.tags:
                client.delete_tag(run_id, tag)
        for run in surplus:  # created twice by a request that was repeated after its answer was lost
            client.delete_run(run.info.run_id)

    def _describe(self) -> None:
        """Parameters and recipe, unless an attempt before this one wrote them."""
        from mlflow.entities import Param

        if self.run_id is None or self._described:
            return
        client = connect(self._tracking.uri)
        recipe = self._cell.recipe.model_dump_json(indent=2)
        client.log_text(self.run_id, recipe, "recipe.json")
        # Last, because their presence says that all of this is done.
        client.log_batch(self.run_id, params=[Param(*pair) for pair in parameters(self._cell).items()])

    def _log(self, metrics: Mapping[str, float | None], step: int) -> None:
        if finite := _finite(metrics, step):
            connect(self._tracking.uri).log_batch(self.run_id or "", metrics=finite)


def parameters(cell: Cell) -> dict[str, str]:
    """A cell's parameters, by the names the UI groups runs by.

    The axes and the training fields have their plain names; a plug-in's parameter has
    its axis in front, as in `loss.bias_init`.
    """
    axes = {"loss": cell.loss, "backbone": cell.backbone, "dataset": cell.dataset, "seed": cell.seed}
    recipe = cell.recipe.model_dump(mode="json")
    plugins = {
        f"{axis}.{field}": value
        for axis in ("loss", "backbone", "dataset")
        for field, value in recipe[axis].items()
        if field != "name"  # said by the axis
    }
    values = {**axes, **recipe["training"], **plugins}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}


def _tags(cell: Cell, commit: str | None) -> dict[str, str]:
    tags = {"cell_id": cell.id, "protocol": str(PROTOCOL)}
    return tags if commit is None else {**tags, "git_commit": commit}


def _run_tags(tags: Mapping[str, str]) -> list[RunTag]:
    from mlflow.entities import RunTag

    return [RunTag(*pair) for pair in tags.items()]


def _finite(metrics: Mapping[str, float | None], step: int) -> list[Metric]:
    """As MLflow metrics, without the values that break its run page."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [
        Metric(name, float(value), now, step)
        for name, value in metrics.items()
        if value is not None and math.isfinite(value)
    ]


def _pages(client: MlflowClient, experiment: Experiment, where: str) -> list[StoredRun]:
    """All runs that match, oldest first."""
    found: list[StoredRun] = []
    token: str | None = None
    while True:
        page = client.search_runs(
            [experiment.experiment_id],
            where,
            max_results=_PAGE,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        found += page
        token = page.token
        if not token:
            return found


def _summary(run: StoredRun) -> RunSummary:
    info, data = run.info, run.data
    return RunSummary(data.tags["cell_id"], info.run_id, info.run_name or "", info.status, data.metrics)
