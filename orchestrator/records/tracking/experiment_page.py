"""What MLflow shows of an experiment as a whole: its description, a saved view, and the run of its comparison.

The run has no metrics: each would be a chart with a single bar, before those of the cells.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.errors import UnreachableError
from orchestrator.records.tracking import saved_view
from orchestrator.records.tracking.mlflow_store import actionable, connect
from orchestrator.records.tracking.run_writer import attach, pages

if TYPE_CHECKING:
    from mlflow.entities import Experiment
    from mlflow.entities import Run as StoredRun

COMPARISON = "comparison"
"""The name of the run."""

_KIND = "summary"
_CONTENT = "summary_sha256"
"""Tags of the run: that it is about the whole experiment, and the hash of what it says."""

_NOTE = "mlflow.note.content"
_WRITTEN = "description_sha256"
"""Tags of the experiment: its description, and the hash of the one that was written last."""

_MOST_OF_RUN = 8_000
_MOST_OF_EXPERIMENT = 20_000
"""Characters that a tag holds."""


class ExperimentPage:
    """The page of one experiment in MLflow, which must exist there."""

    def __init__(self, uri: str, experiment: str) -> None:
        """Nothing is asked of the store yet.

        Args:
            uri: The store.
            experiment: The experiment's name.
        """
        self._uri = uri
        self._name = experiment

    def write_comparison(self, note: str, tags: Mapping[str, str], texts: Mapping[str, str]) -> str:
        """Keep the run of the comparison, in place of the one before.

        Args:
            note: Its description, in Markdown; cut off where MLflow does not take all of it.
            tags: Words to show.
            texts: Artefacts by file name.

        Returns:
            The link to its page, without the address of the UI. The run stays the same if there is nothing new to tell.

        Raises:
            UnreachableError: The store does not answer.
        """
        told = {**tags, _NOTE: _cut(note, _MOST_OF_RUN), _KIND: COMPARISON}
        told[_CONTENT] = _sha256(json.dumps([told, dict(texts)], sort_keys=True))
        with actionable(self._uri):
            experiment = self._experiment()
            found = self._comparisons(experiment)
            same = [
                run for run in found if run.data.tags.get(_CONTENT) == told[_CONTENT] and run.info.status == "FINISHED"
            ]
            run_id = same[-1].info.run_id if same else self._create(experiment, told, texts)
            for run in found:
                if run.info.run_id != run_id:
                    self._remove(run)
        return f"#/experiments/{experiment.experiment_id}/runs/{run_id}"

    def unfinished(self) -> list[str]:
        """The runs of comparisons that claim to be running: their launch writes them now, or was killed meanwhile.

        Raises:
            UnreachableError: The store does not answer.
        """
        with actionable(self._uri):
            experiment = connect(self._uri).get_experiment_by_name(self._name)
            left = self._comparisons(experiment, "attributes.status = 'RUNNING'") if experiment else []
        return [run.info.run_id for run in left]

    def end_unfinished(self) -> int:
        """End those runs; returns how many. Only right if no launch is under way.

        Raises:
            UnreachableError: The store does not answer.
        """
        left = self.unfinished()
        with actionable(self._uri):
            for run_id in left:
                connect(self._uri).set_terminated(run_id, "KILLED")
        return len(left)

    def describe(self, text: str) -> None:
        """Write the experiment's description, in Markdown, unless somebody else has written one.

        Raises:
            UnreachableError: The store does not answer.
        """
        text = _cut(text, _MOST_OF_EXPERIMENT)
        with actionable(self._uri):
            experiment = self._experiment()
            there = experiment.tags.get(_NOTE)
            if there == text or (there and _sha256(there) != experiment.tags.get(_WRITTEN)):
                return
            client = connect(self._uri)
            client.set_experiment_tag(experiment.experiment_id, _WRITTEN, _sha256(text))
            client.set_experiment_tag(experiment.experiment_id, _NOTE, text)

    def save_view(self, losses: Iterable[str]) -> None:
        """Save the view that the link of `ui` opens; views that people save in MLflow's UI are others.

        Args:
            losses: The labels of the experiment's losses.

        Raises:
            UnreachableError: The store does not answer.
        """
        view = saved_view.saved(losses, int(time.time() * 1000))
        with actionable(self._uri):
            experiment = self._experiment()
            there = experiment.tags.get(saved_view.TAG)
            if there is None or _state(there) != _state(view):
                connect(self._uri).set_experiment_tag(experiment.experiment_id, saved_view.TAG, view)

    def _experiment(self) -> Experiment:
        found = connect(self._uri).get_experiment_by_name(self._name)
        if found is None:
            raise LookupError(f"there is no MLflow experiment '{self._name}'")
        return found

    def _comparisons(self, experiment: Experiment, where: str = "") -> list[StoredRun]:
        own = " and ".join(filter(None, [f"tags.{_KIND} = '{COMPARISON}'", where]))
        return pages(connect(self._uri), experiment, own)

    def _create(self, experiment: Experiment, tags: Mapping[str, str], texts: Mapping[str, str]) -> str:
        client = connect(self._uri)
        run_id = client.create_run(experiment.experiment_id, tags=dict(tags), run_name=COMPARISON).info.run_id
        try:
            attach(client, run_id, texts)
        except BaseException:
            with suppress(UnreachableError), actionable(self._uri):
                client.set_terminated(run_id, "FAILED")
            raise
        client.set_terminated(run_id, "FINISHED")
        return run_id

    def _remove(self, run: StoredRun) -> None:
        client = connect(self._uri)
        if run.info.status == "RUNNING":
            client.set_terminated(run.info.run_id, "KILLED")
        client.delete_run(run.info.run_id)


def _state(view: str) -> object:
    try:
        return saved_view.state_of(view)
    except (ValueError, KeyError, TypeError):
        return None


def _cut(text: str, most: int) -> str:
    """The text, without what MLflow would refuse it for: whole lines, and a mark where some are missing."""
    if len(text) <= most:
        return text
    return text[: text.rfind("\n", 0, most - 2) + 1] + "\n…"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
