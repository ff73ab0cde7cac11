"""A benchmark orchestrator: from an experiment file to a verdict.

In a notebook: `from orchestrator import results; results("runs", "quickstart")`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.study import results

__all__ = ["results"]


def __getattr__(name: str) -> Any:
    """The notebook's door, opened when asked for: the command line starts without what it imports."""
    if name == "results":
        from orchestrator.study import results

        return results
    raise AttributeError(f"module 'orchestrator' has no attribute '{name}'")
