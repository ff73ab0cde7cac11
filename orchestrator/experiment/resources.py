"""The resources that cells need. They are never part of a cell's identity."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from orchestrator.sentences import counted
from trainers.plugin import Frozen


def _whole_above_one(gpus: float) -> float:
    if gpus > 1 and not gpus.is_integer():
        raise ValueError(f"'gpus' above 1 must be a whole number, because only one GPU can be shared; found {gpus:g}")
    return gpus


class Resources(Frozen):
    """What one cell occupies while it runs."""

    cpus: int = Field(default=1, ge=1)
    """CPU cores; also the number of threads that torch may use."""
    gpus: Annotated[float, AfterValidator(_whole_above_one)] = Field(default=0, ge=0)
    """GPUs; with a fraction below 1, several cells share one."""
    devices: int = Field(default=1, ge=1)
    """Devices that train the cell together, each with this many CPUs and GPUs."""


def shortage(wanted: Iterable[Resources], nodes: Sequence[Mapping[str, float]]) -> str | None:
    """The problem and its remedy if some cell would wait for ever for a machine that is large enough; else None.

    Args:
        wanted: The resources of each cell.
        nodes: Ray's counts of `CPU` and `GPU` on each machine.
    """
    for need in set(wanted):
        if need.devices > 1:
            if problem := _too_few(need, nodes):
                return problem
        elif not any(node.get("CPU", 0) >= need.cpus and node.get("GPU", 0) >= need.gpus for node in nodes):
            most = [max((node.get(kind, 0) for node in nodes), default=0) for kind in ("CPU", "GPU")]
            return (
                f"A cell needs {_shown(need)}, but no Ray node has both (at most "
                f"{most[0]:g} and {most[1]:g}). Lower 'resources' in the experiment file, or join a larger cluster "
                f"with --address."
            )
    return None


def _shown(need: Resources) -> str:
    return f"{counted(need.cpus, 'CPU')} and {counted(float(need.gpus), 'GPU')}"


def _too_few(need: Resources, nodes: Sequence[Mapping[str, float]]) -> str | None:
    """The problem and its remedy if the devices of one cell would never be free together; else None."""
    there = sum(
        int(min(node.get("CPU", 0) // need.cpus, node.get("GPU", 0) // need.gpus if need.gpus else math.inf))
        for node in nodes
    )
    if there >= need.devices:
        return None
    return (
        f"A cell needs {need.devices} devices with {_shown(need)} each, but Ray has room for "
        f"{there}. Lower 'resources' in the experiment file, or join a larger cluster with --address."
    )
