"""Finished cells, each with the environment that it was trained in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from orchestrator.environment import SOME_GPU, Environment, change, gpu
from orchestrator.errors import DamagedFileError
from orchestrator.outcome import has_figures
from orchestrator.plan import Cell
from orchestrator.records.evaluations import Evaluations
from orchestrator.records.storage import in_parallel

__all__ = ["SOME_GPU", "Environment", "Past", "Setting", "change", "finished", "gpu"]

Setting = tuple[str, str]
"""Dataset and backbone, as the experiment labels them."""


@dataclass(frozen=True)
class Past:
    """A cell with figures, and what its file says of how it came about."""

    cell: Cell
    environment: Environment
    seconds: float

    @property
    def setting(self) -> Setting:
        """Where it meets others."""
        return self.cell.dataset, self.cell.backbone


def finished(cells: Sequence[Cell], evaluations: Evaluations) -> list[Past]:
    """Those of the cells that have figures, from their files; damaged ones are passed over."""
    told = in_parallel(partial(_past, evaluations), cells, evaluations.storage.readers)
    return [past for past in told if past]


def _past(evaluations: Evaluations, cell: Cell) -> Past | None:
    try:
        content = evaluations.content(cell)
    except (FileNotFoundError, DamagedFileError):
        return None
    if not has_figures(content["state"]):
        return None
    return Past(cell, Environment.of(content["provenance"]), content["seconds"])
