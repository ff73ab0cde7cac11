"""Looks: how often results were seen before somebody decided how many seeds there are.

A verdict at one fixed number of seeds is wrong in 5 % of experiments at most, and so is one under a rule that was
stated beforehand. Whoever sees results and then changes the number of seeds looks again, and each look may err. Every
cell records the seeds that were planned when it began; different plans among the cells of a question are looks.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from orchestrator.experiment.questions import Key
from orchestrator.statistics.verdicts import Verdict

if TYPE_CHECKING:
    from orchestrator.experiment.model import Experiment

ALPHA = 0.05
"""How often any verdict of one look may be wrong."""

Standing = Literal["planned", "exploratory", "unknown"]
"""Of a verdict: its number of seeds was planned; it was changed after results; or that is not known."""


def planned(file: Experiment, asked: Experiment) -> str:
    """The seeds that are planned, as a file would write them: `5`, `[0, 3, 7]`, `{min: 5, max: 30, until: decided}`.

    Args:
        file: The experiment of the file. Its seeds stay planned while flags leave some of them out.
        asked: The same as flags change it. Seeds that they add are planned from now on.
    """
    if set(asked.seeds) < set(file.seeds) or _written(asked) == _written(file):
        return _written(file)
    return _told(sorted({*file.seeds, *asked.seeds}))


def leaves_out(file: Experiment, asked: Experiment) -> bool:
    """Whether flags leave out seeds that the file plans."""
    return not set(file.seeds) <= set(asked.seeds)


def _written(experiment: Experiment) -> str:
    if rule := experiment.sequence:
        return f"{{min: {rule.min}, max: {rule.max}, until: {rule.until}}}"
    return _told(sorted(experiment.seeds))


def _told(seeds: Sequence[int]) -> str:
    return str(len(seeds)) if list(seeds) == list(range(len(seeds))) else str(list(seeds))


class Looks(NamedTuple):
    """The looks at one question."""

    plans: tuple[str, ...]
    """The plans of seeds under which its cells began, the oldest first, and last the present one where none did."""
    unknown: int
    """Cells of which that is not known: no record, another experiment's, or imported."""

    @property
    def number(self) -> int | None:
        """How many; None where that is not known."""
        return None if self.unknown or not self.plans else len(self.plans)

    @property
    def standing(self) -> Standing:
        """What they make of a verdict; what is not known is not read as good."""
        if len(self.plans) > 1:
            return "exploratory"
        return "planned" if self.number else "unknown"

    @property
    def error(self) -> float | None:
        """How often any verdict may be wrong; None where that is not known."""
        return None if self.number is None else min(1.0, self.number * ALPHA)

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {**self._asdict(), "number": self.number, "standing": self.standing, "error": self.error}


NOT_KNOWN = Looks((), 0)
"""Nothing tells."""

MARKS: Mapping[Standing, str] = {"planned": "", "exploratory": ", exploratory", "unknown": ", looks not known"}


def marked(verdict: Verdict, standing: Standing) -> str:
    """A verdict with what looks make of it: no verdict is shown without."""
    return verdict if verdict == "undecided" else f"{verdict}{MARKS[standing]}"


class Began(NamedTuple):
    """What a cell tells of the seeds that were planned when it began."""

    started: float
    """In seconds since 1970."""
    plan: str | None
    """None where it is not known."""


def began(experiment: str, started: float | None, record: Mapping[str, Any] | None, *, is_foreign: bool) -> Began:
    """What a cell tells an experiment of that name.

    Args:
        experiment: Of which it is a result.
        started: When it began; None where that is not known.
        record: What was stated then; None where nothing was recorded.
        is_foreign: Whether it was trained elsewhere.
    """
    own = record if record and record["experiment"] == experiment and not is_foreign else {}
    return Began(math.inf if started is None else started, own.get("plan"))


@dataclass(frozen=True)
class Looked:
    """What all cells of an experiment tell."""

    now: str
    """The seeds that are planned."""
    cells: Mapping[Key, list[Began]] = field(default_factory=lambda: defaultdict(list))
    """By dataset, backbone and loss; with those of seeds that are no longer planned."""

    def at(self, keys: Iterable[Key]) -> Looks:
        """The looks at a question that needs cells of these keys."""
        found = sorted((cell for key in set(keys) for cell in self.cells.get(key, ())), key=lambda cell: cell.started)
        plans = dict.fromkeys(cell.plan for cell in found if cell.plan is not None)
        return Looks(tuple(dict.fromkeys([*plans, self.now])), sum(cell.plan is None for cell in found))
