"""What the classes of data sets are called, as finished cells recorded it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.errors import DamagedFileError
from orchestrator.experiment.plan import Cell
from orchestrator.records.files.summaries import Summaries

Names = Mapping[str, tuple[str, ...]]
"""By the label of a data set, the names of its classes in the order of their numbers."""


def class_names(cells: Iterable[Cell], summaries: Summaries) -> Names:
    """The names of the classes by data set; without those of data sets whose classes are numbers only.

    One finished cell of each data set is asked, because all cells of a plan are of one state of the data.
    """
    found: dict[str, tuple[str, ...]] = {}
    for cell in cells:
        if cell.dataset in found:
            continue
        try:
            content = summaries.content(cell)
        except (FileNotFoundError, DamagedFileError):
            continue
        if content["state"] != "diverged":
            found[cell.dataset] = named(content)
    return {dataset: names for dataset, names in found.items() if names}


def named(content: Mapping[str, object]) -> tuple[str, ...]:
    """The names of the classes in a cell's account; empty where it has none, or another number of them."""
    provenance = content["provenance"]
    names = provenance.get("class_names") if isinstance(provenance, Mapping) else None
    return tuple(names) if isinstance(names, list) and len(names) == content["classes"] else ()


def called(content: Mapping[str, Any]) -> list[str]:
    """What to call the classes of a cell's account: their names, or their numbers where it has none."""
    return list(named(content)) or [str(number) for number in range(content["classes"])]
