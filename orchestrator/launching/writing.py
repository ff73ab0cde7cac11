"""What a study leaves in its workspace: the results table, the report, and word of both in the registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestrator.errors import RequestError
from orchestrator.study import Study
from orchestrator.workspace import Location

# Imported where it is used, as in the study.
if TYPE_CHECKING:
    from orchestrator.experiment.plan import Plan
    from orchestrator.records.files.results import Results


def write_results(study: Study, complain: Callable[[str], None], plan: Plan | None = None) -> Results:
    """Write the results table of all that stays asked; what is damaged is renamed and said.

    Args:
        study: Whose results.
        complain: Takes what is wrong, in sentences.
        plan: That of the tuning stage, where it is the table of this.

    Returns:
        The results of what this command asks.
    """
    from orchestrator.records.files import results

    study.stores.prepare()
    found = study.results if plan is None else study.results_of(plan)
    for sentence in found.complaints():
        complain(sentence)
    asked = plan or study.plan
    table, is_certain = _table(study, asked, found)
    place = study.place.results(asked.experiment.name)
    if is_certain or results.holds(table, place):  # else what an earlier table tells is worth more
        results.write(table, place)
    return found


def _table(study: Study, plan: Plan, found: Results) -> tuple[Results, bool]:
    """The results of all that stays asked, whatever options change; and whether it is known which cells these are.

    Args:
        study: Whose results.
        plan: What this command asks.
        found: Its results.
    """
    whole = study.unchanged
    if whole is study:
        return found, plan.is_told
    if (trials := whole.trials) and plan.experiment.name == trials.plan.experiment.name:
        return whole.results_of(trials.plan), trials.plan.is_told
    try:
        return whole.results, whole.plan.is_told
    except RequestError:  # of what options leave out, some recipe is not found yet
        return found, False


def write_report(study: Study) -> Location:
    """Write the report and what lies beside it; returns where the page is."""
    from orchestrator.records.files.storage import Storage
    from orchestrator.report.document import document
    from orchestrator.report.web import page

    view = study.view
    place = study.place.report(study.plan.experiment.name)
    said = document(study.comparison, view.overall, view.curves, view.sampled)
    for name, content in page.written(view, study.decided, said).items():
        Storage(place.parent).write(name, content.encode())
    note_documents(study, study.plan.experiment.name)
    return place


def note_documents(study: Study, experiment: str) -> None:
    """Let the registry, if it knows the experiment, know where its table and its report are."""
    with study.stores.registry_if_any() as records:
        if records and experiment in records.experiments():
            from orchestrator.records.inventory import documents

            records.note_artefacts(documents(study.place, experiment))


def note_inventory(study: Study) -> None:
    """Let the registry know what the experiment and its cells have left, and where."""
    from orchestrator.records.inventory import take_inventory

    with study.stores.registry() as records:
        take_inventory(records, study.plan, study.place, study.results.runs())
