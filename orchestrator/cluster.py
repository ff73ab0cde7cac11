"""How and where cells run: resources and addresses. Never part of a cell's identity."""

from __future__ import annotations

from pydantic import Field

from trainers.plugin import Frozen


class Resources(Frozen):
    """What one cell occupies while it runs."""

    cpus: int = Field(default=1, ge=1)
    """CPU cores; also the number of threads torch may use."""
    gpus: float = Field(default=0, ge=0)
    """GPUs; a fraction packs several cells on one."""
