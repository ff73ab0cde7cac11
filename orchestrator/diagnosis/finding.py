"""What one check found."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.experiment.plan import SHOWN
from orchestrator.sentences import counted

State = Literal["ok", "warning", "problem"]

FEW = 3
"""How many names a list shows before it says how many more there are."""


@dataclass(frozen=True)
class CheckResult:
    """One line of a diagnosis."""

    subject: str
    state: State
    found: str
    remedy: str = ""
    """What to do; empty if all is well."""


def refused(subject: str, error: Exception | str, remedy: str) -> CheckResult:
    """A problem, from an error's message.

    Args:
        subject: What was checked.
        error: A message of the form `PROBLEM (REASON): REMEDY.`, as errors about services have.
        remedy: The remedy if the message has another form.
    """
    parts = re.fullmatch(r"(.+\))[:.] (.+)", str(error), re.DOTALL)
    found, advice = parts.groups() if parts else (str(error), remedy)
    return CheckResult(subject, "problem", found, advice)


def few(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return ", ".join(names[:FEW]) + more


def several(ids: Sequence[str]) -> str:
    """`2 cells (0123456789abcdef, fedcba9876543210)`."""
    return f"{counted(len(ids), 'cell')} ({few([cell[:SHOWN] for cell in ids])})"
