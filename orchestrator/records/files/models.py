"""Trained models, one safetensors file per cell, kept for `deploy`."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.records.files.storage import Storage
from orchestrator.workspace import Location

ENDING = ".safetensors"

LEFT_BY_COMMAND = ".onnx"
"""Of a model that a command left; its folder has the name of the folder of its cell's file."""


@dataclass(frozen=True)
class Models:
    """The models below one place of the workspace; a plain value, so that it crosses to worker processes."""

    place: Location

    def read(self, cell_id: str) -> bytes | None:
        """The model of a cell, as `trainers.deployment.packed` wrote it; None if none was kept."""
        return Storage(self.place).read(f"{cell_id}{ENDING}")

    def write(self, cell_id: str, content: bytes) -> None:
        """Keep a model, whole or not at all."""
        Storage(self.place).write(f"{cell_id}{ENDING}", content)
