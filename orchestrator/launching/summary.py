"""The run of an experiment's own in MLflow: its comparison and report, where a team looks for results."""

from __future__ import annotations

import re
from collections.abc import Callable

from orchestrator.launching.window import Window
from orchestrator.records.tracking.runs import Tracking
from orchestrator.report.markdown import markdown
from orchestrator.study import Study


def write_summary(study: Study, runs: Tracking, say: Callable[[str], None]) -> None:
    """Keep the comparison and the report of a study as a run, and tell MLflow what it missed.

    Args:
        study: What was launched.
        runs: Its runs.
        say: Shows what MLflow does not take.
    """
    comparison = study.comparison
    metrics = {
        re.sub(r"[^\w\-. :/]", "_", f"{line.loss}/{line.backbone}/{line.dataset}/{name}"): interval.estimate
        for line in comparison.lines
        for name, interval in line.means.items()
    }
    verdicts = {
        "/".join(filter(None, (each.claim.id, each.backbone, each.dataset))): each.marked
        for each in comparison.findings
    }
    texts = {"comparison.md": markdown(comparison, study.overall), "report.html": study.page}

    def tell() -> None:
        runs.prepare()
        runs.catch_up()
        runs.summarise("comparison", metrics, verdicts, texts)

    Window(runs, say).close(tell)
