"""What one check found."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.experiment.plan import SHOWN

State = Literal["ok", "warning", "problem"]

FEW = 3
"""Things named where there are many."""


@dataclass(frozen=True)
class Finding:
    """One line of a diagnosis."""

    subject: str
    state: State
    found: str
    remedy: str = ""
    """What to do; empty where all is well."""


def refused(subject: str, error: Exception | str, remedy: str) -> Finding:
    """A problem in the words of one of our errors.

    Args:
        subject: What was checked.
        error: Of the form `PROBLEM (REASON): REMEDY.`, as those about services are.
        remedy: For an error of another form.
    """
    parts = re.fullmatch(r"(.+\))[:.] (.+)", str(error), re.DOTALL)
    found, advice = parts.groups() if parts else (str(error), remedy)
    return Finding(subject, "problem", found, advice)


def few(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return ", ".join(names[:FEW]) + more


def several(ids: Sequence[str]) -> str:
    """`2 cells (0123456789abcdef, fedcba9876543210)`."""
    plural = "" if len(ids) == 1 else "s"
    return f"{len(ids)} cell{plural} ({few([cell[:SHOWN] for cell in ids])})"
