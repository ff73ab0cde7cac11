"""What came of a cell: finished, diverged, or failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.plan import Cell


@dataclass(frozen=True)
class Attempt:
    """One run of one cell: where, when (seconds since 1970, UTC) and for how long."""

    node: str
    started: float
    seconds: float


@dataclass(frozen=True)
class Finished:
    """The model is trained and its file published."""

    cell: Cell
    attempt: Attempt
    metrics: Mapping[str, float | None]


@dataclass(frozen=True)
class Diverged:
    """The loss became NaN or infinite: a result, recorded and counted."""

    cell: Cell
    attempt: Attempt
    epoch: int


@dataclass(frozen=True)
class Failed:
    """Something broke; `error` is one sentence, `traceback` the whole story."""

    cell: Cell
    attempt: Attempt
    error: str
    traceback: str


Outcome = Finished | Diverged | Failed


@dataclass(frozen=True)
class Started:
    """A cell has begun."""

    cell: Cell
    node: str
    started: float


@dataclass(frozen=True)
class Advanced:
    """A cell has completed `epoch` of its epochs."""

    cell: Cell
    epoch: int
    figures: Mapping[str, float]


Event = Started | Advanced | Outcome
"""What a cell tells: that it starts, that it advances, and once what came of it."""
