"""Under what a cell will be trained, as far as this machine knows before it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator import extras, provenance
from orchestrator.experiment.plan import Cell
from orchestrator.provenance import fingerprints, processor
from orchestrator.provenance.environment import SOME_GPU, Environment, gpu

if TYPE_CHECKING:
    from orchestrator.execution.placement import Placement


def can_be_told() -> bool:
    """Whether this machine can train: else nobody knows under what a cell would be trained."""
    return not extras.missing("torch")


def origin(cell: Cell, address: str | None = None) -> dict[str, Any]:
    """What a cell will record of its environment and code, here or on the cluster at the address.

    What only the machine that trains knows is unknown: its instruction set, and the name of its GPU.
    """
    here = not address
    device = (gpu(provenance.nvml()) if here else SOME_GPU) if cell.resources.gpus else None
    return {
        **provenance.machine(),
        **provenance.code(),
        **fingerprints.recorded(cell.recipe),
        "device": device,
        "instruction_set": processor.instruction_set() if here else None,
        "onednn_isa": processor.onednn_isa() if here else None,
        "threads": cell.resources.cpus,
        "devices": cell.resources.devices,
    }


def origins(cell: Cell, places: Placement | None = None, address: str | None = None) -> list[dict[str, Any]]:
    """What a cell will record, by each kind of machine on which it can be trained now; one, where none is known."""
    expected = origin(cell, address)
    kinds = places.kinds(cell) if places and address else []
    return [{**expected, **kind} for kind in kinds] or [expected]


def environment(cell: Cell, address: str | None = None) -> Environment:
    """The environment that `origin` tells."""
    return Environment.of(origin(cell, address))
