"""The index of a workspace: one HTML page that lists its experiments, with their verdicts and their reports."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

from orchestrator.records.files import results
from orchestrator.records.files.storage import Storage
from orchestrator.report.web.templates import templates
from orchestrator.report.web.verdicts import VERDICTS
from orchestrator.workspace import Workspace


@dataclass(frozen=True)
class IndexRow:
    """What the index says of an experiment."""

    name: str
    question: str = ""
    finished: int = 0
    """Cells with a result."""
    changed: str = ""
    """When its results table was written, in UTC; empty if there is none."""
    link: str | None = None
    """The way to its report; None where none was written."""
    verdicts: Mapping[str, int] = field(default_factory=dict[str, int])
    """How many findings have each verdict, as its report says."""


def entries(place: Workspace) -> list[IndexRow]:
    """All experiments of a workspace that were launched or have results, by name."""
    return [_entry(place, name) for name in sorted(_names(place))]


def _names(place: Workspace) -> set[str]:
    tables = {each.name.removesuffix(".parquet") for each in Storage(place.results("x").parent).list()}
    asked = {each.name.removesuffix(".json") for each in Storage(place.experiment("x").parent).list()}
    replicas = {name for name in tables if name.removesuffix(".replicas") in tables - {name}}
    return {
        name for name in (tables - replicas) | asked if not name.endswith(".additions") and not name.startswith(".")
    }


def _entry(place: Workspace, name: str) -> IndexRow:
    table = place.results(name)
    stored = next((each for each in Storage(table.parent).list() if each.name == table.name), None)
    changed = f"{datetime.fromtimestamp(stored.modified, UTC):%Y-%m-%d %H:%M}" if stored else ""
    page = place.report(name)
    reports = Storage(page.parent)
    is_there = any(each.name == page.name for each in reports.list())
    link = f"{quote(name)}/{page.name}" if is_there else None
    finished = len(results.read(table)) if stored else 0
    return IndexRow(name, _question(place, name), finished, changed, link, _verdicts(reports))


def _question(place: Workspace, name: str) -> str:
    asked = place.experiment(name)
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(Storage(asked.parent).read(asked.name) or b"")["experiment"]["question"])
    return ""


def _verdicts(reports: Storage) -> dict[str, int]:
    with suppress(ValueError, KeyError, TypeError):
        found = json.loads(reports.read("comparison.json") or b"")["claims"]
        counts = Counter(each["verdict"] for each in found)
        return {verdict: counts[verdict] for verdict in VERDICTS if counts[verdict]}
    return {}


def index(found: Sequence[IndexRow], title: str) -> str:
    """The text of the page.

    Args:
        found: The experiments.
        title: The name of the workspace.
    """
    return templates(icons=VERDICTS).get_template("index.html.j2").render(entries=found, title=title)
