"""Looks: how often results were seen before the number of seeds was decided.

With a fixed number of seeds, or a rule stated beforehand, a verdict is wrong in at most 5 % of experiments. To see
results and then change the number of seeds is another look, and each look may err. Every cell records the seeds that
were planned when it began; each distinct plan among the cells of a question is one look.
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
"""The probability that any verdict of one look is wrong."""

Standing = Literal["planned", "exploratory", "unknown"]
"""Whether the number of seeds behind a verdict was planned, was changed after results, or is not known."""


def planned(file: Experiment, asked: Experiment) -> str:
    """The planned seeds as a file would write them: `5`, `[0, 3, 7]`, `{min: 5, max: 30, until: decided}`.

    Args:
        file: The experiment in its file. Its seeds stay planned even if flags leave some of them out.
        asked: The experiment as changed by flags. Seeds that flags add are planned from now on.
    """
    if set(asked.seeds) < set(file.seeds) or _written(asked) == _written(file):
        return _written(file)
    return _told(sorted({*file.seeds, *asked.seeds}))


def leaves_out(file: Experiment, asked: Experiment) -> bool:
    """Whether flags leave out planned seeds."""
    return not set(file.seeds) <= set(asked.seeds)


def _written(experiment: Experiment) -> str:
    if rule := experiment.sequence:
        allocation = f", allocation: {rule.allocation}" if rule.allocation else ""
        return f"{{min: {rule.min}, max: {rule.max}, until: {rule.until}{allocation}}}"
    return _told(sorted(experiment.seeds))


def _told(seeds: Sequence[int]) -> str:
    return str(len(seeds)) if list(seeds) == list(range(len(seeds))) else str(list(seeds))


class Looks(NamedTuple):
    """The looks at one question."""

    plans: tuple[str, ...]
    """The distinct seed plans under which its cells began, oldest first; the present plan is always among them."""
    unknown: int
    """Cells whose plan is not known: without a record, of another experiment, or imported."""
    taken_back: tuple[str, ...] = ()
    """The axis values that were added and, after results, taken back: `backbone resnet18`; one look each time."""

    @property
    def least(self) -> int:
        """The number of looks that are known of."""
        return len(self.plans) + len(self.taken_back)

    @property
    def number(self) -> int | None:
        """The number of looks; None if it is not known."""
        return None if self.unknown or not self.plans else self.least

    @property
    def standing(self) -> Standing:
        """What the looks mean for a verdict; an unknown number is never read as one."""
        if len(self.plans) > 1 or self.taken_back:
            return "exploratory"
        return "planned" if self.number else "unknown"

    @property
    def error(self) -> float | None:
        """The probability that any verdict is wrong, at most; None if it is not known."""
        return None if self.number is None else min(1.0, self.number * ALPHA)

    def to_json(self) -> dict[str, Any]:
        """All fields and derived values."""
        return {**self._asdict(), "number": self.number, "standing": self.standing, "error": self.error}


NOT_KNOWN = Looks((), 0)
"""The looks at a question of which nothing is recorded."""

MARKS: Mapping[Standing, str] = {"planned": "", "exploratory": ", exploratory", "unknown": ", looks not known"}


def marked(verdict: Verdict, standing: Standing) -> str:
    """A verdict with its standing, without which no verdict is shown."""
    return verdict if verdict == "undecided" else f"{verdict}{MARKS[standing]}"


class Began(NamedTuple):
    """The seed plan that a cell recorded when it began."""

    started: float
    """Seconds since 1970."""
    plan: str | None
    """None if it is not known."""


def began(experiment: str, started: float | None, record: Mapping[str, Any] | None, *, is_foreign: bool) -> Began:
    """The seed plan that a cell recorded for an experiment of this name.

    Args:
        experiment: The name of the experiment that uses the cell.
        started: When the cell began; None if that is not known.
        record: The statement recorded then; None if nothing was recorded.
        is_foreign: Whether the cell was trained elsewhere.
    """
    own = record if record and record["experiment"] == experiment and not is_foreign else {}
    return Began(math.inf if started is None else started, own.get("plan"))


@dataclass(frozen=True)
class Looked:
    """The recorded seed plans of all cells of an experiment."""

    now: str
    """The seeds that are planned now."""
    cells: Mapping[Key, list[Began]] = field(default_factory=lambda: defaultdict(list))
    """By dataset, backbone and loss; including cells of seeds that are no longer planned."""
    before: tuple[str, ...] = ()
    """Plans of seeds that stood until, after results, seeds were taken back; their cells may be gone."""
    taken_back: tuple[str, ...] = ()
    """As in `Looks`."""

    def at(self, keys: Iterable[Key]) -> Looks:
        """The looks at a question that depends on cells with these keys."""
        found = sorted((cell for key in set(keys) for cell in self.cells.get(key, ())), key=lambda cell: cell.started)
        plans = dict.fromkeys(cell.plan for cell in found if cell.plan is not None)
        every = dict.fromkeys([*plans, *self.before, self.now])
        return Looks(tuple(every), sum(cell.plan is None for cell in found), self.taken_back)
