"""Writes down what is added to an experiment or taken back: in its file, and in the registry that indexes it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.errors import ExperimentError
from orchestrator.experiment.additions import Additions, Entry
from orchestrator.experiment.reading import recalled
from orchestrator.stores import Stores
from orchestrator.study import Study

if TYPE_CHECKING:
    from orchestrator.analysis.added import Added
    from orchestrator.records.sql.registry import Registry
    from orchestrator.records.sql.status import Status


def note_additions(
    stores: Stores, records: Registry, experiment: str, entry: Entry, known: str | None = None
) -> Additions:
    """Append an entry to what was added to an experiment; two launches at once lose none.

    Args:
        stores: The workspace with the file.
        records: A registry that knows the experiment.
        experiment: Its name.
        entry: What was added or taken back.
        known: The name by which the registry knows it, if that is the one of its tuning stage.

    Raises:
        WorkspaceError: The file is damaged, or cannot be read or written.
    """
    from orchestrator.records.inventory import documents

    known = known or experiment
    with records.alone(known):
        before = stores.additions(experiment).read()
        after = stores.additions(experiment).append(entry)
    if after != before:
        what = after.entries[-1].said()
        if entry.action == "add":
            records.tell("added", f"{entry.by} adds to what is asked: {what}.", known)
        else:
            records.tell("taken_back", f"{entry.by} takes back: {what}.", known)
        records.note_artefacts(documents(stores.place, known))
    return after


def additions_of(
    found: Iterable[Status], study: Study | None, records: Registry | None, stores: Stores
) -> dict[str, Added | None]:
    """What is to be told of additions, by experiment; None if nothing, or if the experiment cannot be read here.

    Args:
        found: The experiments, as the registry knows them.
        study: The study of the experiment, if one was asked for.
        records: The registry.
        stores: The workspace.

    Raises:
        WorkspaceError: A file of additions is damaged, or cannot be read.
    """
    names = [status.experiment for status in found]
    return {name: study.added if study else _added(name, records, stores) for name in names}


def _added(experiment: str, records: Registry | None, stores: Stores) -> Added | None:
    with suppress(ExperimentError, KeyError, TypeError):
        if records and (document := records.document(experiment)):
            return Study.of_filed(recalled(document), stores).added
    return None
