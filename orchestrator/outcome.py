"""The events of a cell: how an attempt proceeds and ends, and the outcome of the cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeGuard, get_args

from orchestrator.experiment.plan import Cell
from orchestrator.privacy import public

Result = Literal["finished", "collapsed", "diverged"]
"""The states of a cell that is done: it has a file and needs no further run."""

RESULTS: tuple[Result, ...] = get_args(Result)


def is_done(state: object) -> TypeGuard[Result]:
    """Whether a cell in this state has a result."""
    return state in RESULTS


def has_figures(state: object) -> bool:
    """Whether a cell in this state has measures and rows. Those of a collapsed cell count unchanged."""
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
    """The id of the environment that trained it, as recorded in its file."""


@dataclass(frozen=True)
class Collapsed(Finished):
    """Trained and published, but no better than chance on its own training images: a result, recorded and counted."""

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
    """An exception ended the cell; `error` is one sentence, `traceback` has the details, both without credentials."""

    cell: Cell
    attempt: Attempt
    error: str
    traceback: str

    def __post_init__(self) -> None:
        """Remove what must not leave the process in which it went wrong."""
        _publish(self)


def _publish(end: Failed | Lost) -> None:
    object.__setattr__(end, "error", public(end.error))
    object.__setattr__(end, "traceback", public(end.traceback))


Outcome = Finished | Collapsed | Diverged | Failed
"""How a cell ended."""

Fault = Literal["process", "node", "memory", "storage", "hang"]
"""What ended an attempt without any fault of the cell's code.

`process`: its process died. `node`: the machine failed or was taken away. `memory`: none was left.
`storage`: files or services did not answer. `hang`: it exceeded its time limit or froze.
"""


@dataclass(frozen=True)
class Lost:
    """An infrastructure fault ended the attempt; the cell is retried."""

    cell: Cell
    attempt: Attempt
    fault: Fault
    error: str
    traceback: str

    def __post_init__(self) -> None:
        """Remove what must not leave the process in which it went wrong."""
        _publish(self)


@dataclass(frozen=True)
class Stopped:
    """The user stopped the launch; the cell's state is saved, and the next launch continues from it."""

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
    """A cell has completed epoch number `epoch`, counted from 1."""

    cell: Cell
    epoch: int
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Alive:
    """A cell is still computing: sent every few seconds during long epochs."""

    cell: Cell


@dataclass(frozen=True)
class Adopted:
    """Another launch has completed the cell in the meantime."""

    cell: Cell
    state: Literal[Result, "failed"]


Event = Started | Advanced | Alive | Ending | Adopted
"""Everything that happens to a cell."""
