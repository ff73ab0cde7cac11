"""Which fault of the machinery is behind an exception, if any: a cell is retried after one, and not after its own."""

from __future__ import annotations

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
