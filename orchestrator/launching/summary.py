"""What MLflow shows of an experiment as a whole, where a team looks for results: comparison, report, description."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from orchestrator.analysis.comparison import Comparison
from orchestrator.errors import RequestError, UnreachableError
from orchestrator.launching.outages import patiently
from orchestrator.launching.window import Window
from orchestrator.records.tracking.experiment_page import ExperimentPage
from orchestrator.records.tracking.mlflow_store import is_there
from orchestrator.records.tracking.names import key
from orchestrator.records.tracking.runs import Tracking
from orchestrator.records.tracking.saved_view import saved
from orchestrator.report.document import document
from orchestrator.report.markdown import description, markdown
from orchestrator.study import Study


def write_summary(study: Study, runs: Tracking, say: Callable[[str], None], *, has_trained: bool) -> None:
    """Let MLflow know comparison, report and description of all that stays asked, and what else it missed.

    Args:
        study: What was launched, which may be less.
        runs: Its runs.
        say: Shows what MLflow does not take.
        has_trained: Whether the launch has run any cell. If not, MLflow is asked nothing unless it lacks something.
    """
    study = _whole(study)
    comparison = study.comparison
    overall = study.overall
    numbers = markdown(comparison, overall)
    machine = json.dumps(document(comparison, overall), indent=2, allow_nan=False)
    losses = [loss.label for loss in study.experiment.losses]
    told = [numbers, machine, description(comparison, ""), saved(losses, when=0)]
    digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()
    if not (has_trained or _is_owed(runs, digest)):
        return
    texts = {"comparison.md": numbers, "comparison.json": machine, "report.html": patiently(lambda: study.page, say)}

    def tell() -> None:
        runs.note_summary("")  # whatever ends this process now, the next launch finds it unfinished
        runs.prepare()
        runs.catch_up()
        page = ExperimentPage(runs.uri, runs.experiment)
        run = page.write_comparison(numbers, _verdicts(comparison), texts)
        page.describe(description(comparison, run))
        page.save_view(losses)
        runs.note_summary(digest)

    Window(runs, say).close(tell)


def _whole(study: Study) -> Study:
    """The study of all that stays asked, where its cells are known."""
    try:
        study.unchanged.plan  # noqa: B018  # it raises
    except RequestError:  # of what options leave out, some recipe is not found yet
        return study
    return study.unchanged


def _is_owed(runs: Tracking, digest: str) -> bool:
    """Whether a store that is there does not have what is told under this digest."""
    try:
        return runs.summary != digest and is_there(runs.uri)
    except UnreachableError:
        return True


def _verdicts(comparison: Comparison) -> dict[str, str]:
    return {
        key(*filter(None, (finding.claim.id, finding.backbone, finding.dataset))): finding.marked
        for finding in comparison.findings
    }
