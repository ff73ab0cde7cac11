"""What a cell tells: how an attempt at it goes, how it ends, and what came of the cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeGuard, get_args

from orchestrator.experiment.plan import Cell

Result = Literal["finished", "collapsed", "diverged"]
"""The states of a cell that is done: it has a file, and nothing of it is left to run."""

RESULTS: tuple[Result, ...] = get_args(Result)


def is_done(state: object) -> TypeGuard[Result]:
    """Whether a cell in this state has a result."""
    return state in RESULTS


def has_figures(state: object) -> bool:
    """Whether a cell in this state has measures and rows; those of a collapsed one count as they are."""
    return state in {"finished", "collapsed"}


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
    environment: str | None = field(default=None, kw_only=True)
    """The id of what trained it, as its file says."""


@dataclass(frozen=True)
class Collapsed(Finished):
    """Trained and published, but no better than a guess on its own training images: a result with a name."""

    reason: str


@dataclass(frozen=True)
class Diverged:
    """The loss became NaN or infinite: a result, recorded and counted."""

    cell: Cell
    attempt: Attempt
    epoch: int
    environment: str | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Failed:
    """Something broke; `error` is one sentence, `traceback` the whole story."""

    cell: Cell
    attempt: Attempt
    error: str
    traceback: str


Outcome = Finished | Collapsed | Diverged | Failed
"""What came of a cell."""

Fault = Literal["process", "node", "memory", "storage", "hang"]
"""What ended an attempt through no fault of the cell's code.

`process`: its process died. `node`: the machine went, or was taken. `memory`: none was left.
`storage`: files or services did not answer. `hang`: it overran its time, or stood still.
"""


@dataclass(frozen=True)
class Lost:
    """The attempt ended by a fault of the machinery; the cell is tried again."""

    cell: Cell
    attempt: Attempt
    fault: Fault
    error: str
    traceback: str


@dataclass(frozen=True)
class Stopped:
    """The user stopped the launch; the cell's state is saved, and the next launch goes on from it."""

    cell: Cell
    attempt: Attempt


Ending = Outcome | Lost | Stopped
"""How one attempt ended."""


@dataclass(frozen=True)
class Started:
    """An attempt at a cell has begun."""

    cell: Cell
    node: str
    started: float


@dataclass(frozen=True)
class Advanced:
    """A cell has completed `epoch` of its epochs."""

    cell: Cell
    epoch: int
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Alive:
    """A cell computes: told every few seconds between epochs that take long."""

    cell: Cell


@dataclass(frozen=True)
class Adopted:
    """Another launch has meanwhile settled the cell."""

    cell: Cell
    state: Literal[Result, "failed"]


Event = Started | Advanced | Alive | Ending | Adopted
"""Everything that is told of a cell."""
