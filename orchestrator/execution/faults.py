"""What is behind an exception: a fault of the machinery, after which a cell is retried, or its own; and the reason."""

from __future__ import annotations

import re

from orchestrator.outcome import Fault
from orchestrator.workspace.store_errors import StoreRefusedError, meaning


class InterruptionError(Exception):
    """Ends an attempt as if its process had died; a rehearsal raises it, to see how the next attempt goes on."""


def fault_of(error: BaseException) -> Fault | None:
    """The infrastructure fault behind an exception; None if the cell itself is at fault."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    # By name, because torch may not be imported here; CUDA's libraries report it in the message only.
    if kinds & {"MemoryError", "OutOfMemoryError"} or "out of memory" in str(error).lower():
        return "memory"
    if kinds & {"AcceleratorError", "CommandLostError"} or isinstance(error, InterruptionError):
        return "process"
    # A missing file or permission is the cell's own, since a retry would not help; but the workspace was let in before.
    refused = isinstance(error, StoreRefusedError) or isinstance(error.__cause__, StoreRefusedError)
    return "storage" if refused or meaning(error) in {"unreachable", "slow"} else None


_NAMED = re.compile(r"^\s*([\w.]*(?:Error|Exception)(?:: .*)?)$", re.MULTILINE)


def reason_in(story: str) -> str:
    """The last exception that a text with tracebacks names; its last line where it names none."""
    lines = [line.strip() for line in story.splitlines() if line.strip()]
    return (_NAMED.findall(story) or lines or ["no reason is known"])[-1]
