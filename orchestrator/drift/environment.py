"""What may change a result though its recipe is the same, as the cells' files tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

from orchestrator.errors import DamagedFileError
from orchestrator.plan import Cell
from orchestrator.records.evaluations import Evaluations
from orchestrator.records.storage import in_parallel

SOME_GPU = "a GPU"
"""The device of cells that will run on a GPU of which only the machine that runs them knows the name."""

Setting = tuple[str, str]
"""Dataset and backbone, as the experiment labels them."""


@dataclass(frozen=True)
class Environment:
    """What may change a result though the recipe is the same."""

    torch: str | None
    code: str
    """What the trainers' source hashes to; of files that do not say so, the commit, which then equals none other's."""
    device: str | None
    """The GPU; None where there was none, or the file is older than the entry."""
    revision: str = field(compare=False)
    """What people call the code: a commit may change, and no result with it."""

    @classmethod
    def of(cls, provenance: Mapping[str, Any]) -> Self:
        """The environment that a cell recorded, in its provenance or in its row of the results table."""
        source, commit = provenance.get("trainers_sha256"), provenance.get("git_commit")
        named = commit[:7] if commit else provenance.get("loss-orchestrator_version") or "unknown"
        if source and (provenance.get("git_dirty") or not commit):
            named += f"+{source[:6]}"
        device = provenance.get("device")
        return cls(
            torch=provenance.get("torch_version"),
            code=source or f"{commit or named}{'+' if provenance.get('git_dirty') else ''}",
            device=None if device == "cpu" else device,
            revision=named,
        )

    def __str__(self) -> str:
        on = f" on {self.device}" if self.device else ""
        return f"torch {self.torch or 'unknown'} with code {self.revision}{on}"


def gpu(nvml: Any) -> str:
    """The GPU of this machine by the name that torch has for it, where NVML tells of one kind."""
    count = nvml.nvmlDeviceGetCount() if nvml else 0
    names = {nvml.nvmlDeviceGetName(nvml.nvmlDeviceGetHandleByIndex(index)) for index in range(count)}
    return names.pop() if len(names) == 1 else SOME_GPU


def change(old: Environment, new: Environment) -> str:
    """What is not the same: `torch 2.13.0 → 2.14.0`."""
    torches, devices = (old.torch or "unknown", new.torch or "unknown"), (old.device or "CPU", new.device or "CPU")
    told = [f"{name} {then} → {now}" for name, (then, now) in (("torch", torches), ("device", devices)) if then != now]
    return ", ".join([*told, f"code {old.revision} → {new.revision}"] if old.code != new.code else told)


@dataclass(frozen=True)
class Past:
    """A finished cell, and what its file says of how it came about."""

    cell: Cell
    environment: Environment
    seconds: float

    @property
    def setting(self) -> Setting:
        """Where it meets others."""
        return self.cell.dataset, self.cell.backbone


def finished(cells: Sequence[Cell], evaluations: Evaluations) -> list[Past]:
    """Those of the cells that are finished, from their files; damaged ones are passed over."""
    told = in_parallel(partial(_past, evaluations), cells, evaluations.storage.readers)
    return [past for past in told if past]


def _past(evaluations: Evaluations, cell: Cell) -> Past | None:
    try:
        content = evaluations.content(cell)
    except (FileNotFoundError, DamagedFileError):
        return None
    if content["state"] != "finished":
        return None
    return Past(cell, Environment.of(content["provenance"]), content["seconds"])
