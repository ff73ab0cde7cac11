"""Makes an attempt's entries true of its cell's run in MLflow; repeating it changes nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from orchestrator.records.tracking.mlflow_store import connect
from orchestrator.records.tracking.spool import Attached, Described, Entry, Figures, Modelled, Opened, RunEnded

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Metric, RunTag
    from mlflow.entities import Run as StoredRun
    from mlflow.tracking import MlflowClient

Point = tuple[str, int]
"""A metric and a step: a place on a curve, which has one point, or a second, final one."""

MODEL = "model"
"""Where a run keeps its model: `mlflow.pytorch.load_model("runs:/ID/model")` loads it."""

_SINCE = "attempt_since"
"""The tag of a run that a later attempt goes on with, until it ends: when that began, in milliseconds since 1970."""

_PASSING = ("error", "outcome", "diverged_epoch", "collapse")
"""Tags of how an attempt ended, which the next one must not keep."""

_FINAL = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
"""What the store will never take, however often it is told; it must not hold up what comes after."""

_PAGE = 1_000
"""Runs a request for a list of them."""


class Delivery:
    """The way of one attempt's entries to one run.

    Attributes:
        run_id: MLflow's id, or None while there is no run.
        refused: The first error for which an entry was given up.

    """

    def __init__(self, uri: str, experiment: str, *, late: bool = False) -> None:
        """Nothing is asked of the store yet.

        Args:
            uri: The store.
            experiment: Its name; it must exist.
            late: The attempt is over, and a later one may have told more of the cell. If so, only
                points that are missing are delivered.

        """
        self.run_id: str | None = None
        self.refused: Exception | None = None
        self._uri = uri
        self._experiment = experiment
        self._late = late
        self._began = 0
        self._drawn: defaultdict[Point, list[float]] = defaultdict(list)
        self._described = self._outdated = self._reopened = False

    def deliver(self, entries: Sequence[Entry]) -> None:
        """Tell the store; the first entries that a delivery is given begin with an opening.

        Raises:
            Exception: Whatever MLflow or a driver raises. Giving the same entries again is right then.

        """
        client = connect(self._uri)
        for entry in entries:
            if isinstance(entry, Opened) and self.run_id is None:
                self._open(client, entry)
        run_id = self.run_id or ""
        figures = [entry for entry in entries if isinstance(entry, Figures)]
        described = [] if self._described else [entry for entry in entries if isinstance(entry, Described)]
        attached = [entry for entry in entries if isinstance(entry, Attached) and not self._outdated]
        if texts := {name: text for entry in [*described, *attached] for name, text in entry.texts.items()}:
            self._tell(lambda: attach(client, run_id, texts))
        for entry in entries:
            if isinstance(entry, Modelled) and not self._outdated:
                self._keep(client, Path(entry.folder))
        # Parameters after the recipe, because their presence says that it is there.
        params = {name: value for entry in described for name, value in entry.params.items()}
        self._tell(lambda: self._log(client, params, figures))
        self._described = self._described or bool(described)
        for entry in entries:
            if isinstance(entry, RunEnded) and not self._outdated:
                self._end(client, entry)

    def _open(self, client: MlflowClient, opened: Opened) -> None:
        experiment = client.get_experiment_by_name(self._experiment)
        if experiment is None:
            raise LookupError(f"there is no MLflow experiment '{self._experiment}'")
        self._began = opened.time
        found = pages(client, experiment, f"tags.cell_id = '{opened.cell_id}'")
        if found:
            self._reopen(client, found, opened)
        else:
            tags = {"cell_id": opened.cell_id, **opened.tags}
            run = client.create_run(experiment.experiment_id, opened.time, tags, opened.name)
            self.run_id = run.info.run_id

    def _reopen(self, client: MlflowClient, found: list[StoredRun], opened: Opened) -> None:
        first, *surplus = found
        run_id = first.info.run_id
        told = first.data.tags
        self._described = bool(first.data.params)
        self._drawn = drawn(client, first)
        self._outdated = self._late and _since(first) > opened.time
        self._reopened = not self._outdated
        if self._reopened:
            client.update_run(run_id, status="RUNNING", name=opened.name)
            client.log_batch(run_id, tags=run_tags({**opened.tags, _SINCE: str(opened.time)}))
            for tag in _PASSING:
                if tag in told:
                    client.delete_tag(run_id, tag)
        for run in surplus:  # created twice by a request that was repeated after its answer was lost
            client.delete_run(run.info.run_id)
        self.run_id = run_id

    def _log(self, client: MlflowClient, params: Mapping[str, str], figures: Iterable[Figures]) -> None:
        from mlflow.entities import Param

        points = self._missing(figures)
        # MLflow itself knows a point that it is told twice by its time, should the answer to this be lost.
        client.log_batch(self.run_id or "", points, [Param(*pair) for pair in params.items()])
        for point in points:
            self._drawn[point.key, point.step].append(point.value)

    def _missing(self, figures: Iterable[Figures]) -> list[Metric]:
        """The points that are not drawn yet, by an attempt before or by this one."""
        from mlflow.entities import Metric

        new: defaultdict[Point, list[float]] = defaultdict(list)
        points: list[Metric] = []
        for entry in figures:
            for name, value in entry.metrics.items():
                there = self._drawn.get((name, entry.step), []) + new[name, entry.step]
                # A final value may differ from the last epoch's, and then stands beside it.
                if not there or (entry.final and value not in there):
                    new[name, entry.step].append(value)
                    points.append(Metric(name, value, entry.time, entry.step))
        return points

    def _keep(self, client: MlflowClient, folder: Path) -> None:
        if folder.is_dir():
            # As files of the run and no "logged model", of which MLflow would make a new one each time it is told.
            self._tell(lambda: client.log_artifacts(self.run_id or "", str(folder), MODEL))
        else:
            self.refused = self.refused or FileNotFoundError(f"the model in {folder} is gone")

    def _end(self, client: MlflowClient, ended: RunEnded) -> None:
        run_id = self.run_id or ""
        run = client.get_run(run_id) if self._reopened or ended.status != "FINISHED" else None
        if run and ended.status != "FINISHED" and self._is_overtaken(run):
            return
        if ended.tags:
            self._tell(lambda: client.log_batch(run_id, tags=run_tags(ended.tags)))
        if run and self._reopened and _SINCE in run.data.tags:
            client.delete_tag(run_id, _SINCE)
        self._tell(lambda: client.set_terminated(run_id, ended.status, ended.time))

    def _is_overtaken(self, run: StoredRun) -> bool:
        """Whether another attempt, which began later, goes on with the run or has finished it."""
        return run.info.status == "FINISHED" or int(run.data.tags.get(_SINCE, 0)) > self._began

    def _tell(self, action: Callable[[], object]) -> None:
        from mlflow.exceptions import MlflowException

        try:
            action()
        except MlflowException as error:
            if error.error_code not in _FINAL:
                raise
            self.refused = self.refused or error


def _since(run: StoredRun) -> int:
    """From when on attempts are later than what the run tells, in milliseconds since 1970."""
    return max(run.info.start_time or 0, run.info.end_time or 0, int(run.data.tags.get(_SINCE, 0)))


def attach(client: MlflowClient, run_id: str, texts: Mapping[str, str]) -> None:
    """Keep texts with a run, by file name; together, because each call makes a folder and asks where to."""
    with TemporaryDirectory() as folder:
        for name, text in texts.items():
            Path(folder, name).write_text(text, encoding="utf-8")
        client.log_artifacts(run_id, folder)


def drawn(client: MlflowClient, run: StoredRun) -> defaultdict[Point, list[float]]:
    """The points of all curves of a run; each a list, because a place may have been drawn twice."""
    points: defaultdict[Point, list[float]] = defaultdict(list)
    for name in run.data.metrics:
        for point in client.get_metric_history(run.info.run_id, name):
            points[name, point.step].append(point.value)
    return points


def pages(client: MlflowClient, experiment: Experiment, where: str) -> list[StoredRun]:
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


def run_tags(tags: Mapping[str, str]) -> list[RunTag]:
    """As MLflow takes them."""
    from mlflow.entities import RunTag

    return [RunTag(*pair) for pair in tags.items()]
