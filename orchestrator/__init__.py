"""A benchmark orchestrator: from an experiment file to a verdict.

In a notebook: `from orchestrator import results; results("runs", "quickstart")`, or for scores from anywhere
`from orchestrator import judge; judge("scores.csv")`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.judging.judgement import judge
    from orchestrator.notebook import results

__all__ = ["judge", "results"]


def __getattr__(name: str) -> Any:
    """The notebook's doors, opened when asked for: the command line starts without what it imports."""
    if name == "results":
        from orchestrator.notebook import results

        return results
    if name == "judge":
        from orchestrator.judging.judgement import judge

        return judge
    raise AttributeError(f"module 'orchestrator' has no attribute '{name}'")
