"""What flags add to an experiment after its file was written, and what was taken back: a list that only grows.

Axis values and seeds that a launch adds stay asked for. They are kept in the workspace, not in the experiment file, and
every later command applies them to the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, Self, cast

from pydantic import AwareDatetime

from orchestrator.errors import ExperimentError
from orchestrator.experiment.choices import AXES
from orchestrator.experiment.claims import Axis
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.revision import revise
from trainers.plugin import Frozen

NAMED: Sequence[Axis] = ("loss", "backbone", "dataset")
"""The axes whose values have names, in the order of messages."""


class Entry(Frozen):
    """What one command added or took back."""

    when: AwareDatetime
    by: str
    """The verb."""
    action: Literal["add", "remove"] = "add"
    loss: tuple[str, ...] = ()
    backbone: tuple[str, ...] = ()
    dataset: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    results: int | None = 0
    """Of a removal: the cells that had a result by then and are asked for no longer; None if that was not known."""
    plan: str | None = None
    """Of a removal of seeds: the seeds that were planned until then, as `looks.planned` writes them."""

    @classmethod
    def between(cls, by: str, before: Experiment, after: Experiment) -> Self:
        """What makes one experiment the other: labels and seeds that the second has and the first lacks."""
        old = {axis: labels(before, axis) for axis in NAMED}
        fresh: dict[str, Any] = {
            axis: tuple(each for each in labels(after, axis) if each not in old[axis]) for axis in NAMED
        }
        when = datetime.now(UTC).replace(microsecond=0)
        return cls(when=when, by=by, **fresh, seeds=tuple(sorted(set(after.seeds) - set(before.seeds))))

    @property
    def is_empty(self) -> bool:
        """Whether it names nothing."""
        return not any((self.loss, self.backbone, self.dataset, self.seeds))

    @property
    def is_look(self) -> bool:
        """Whether it took back something that had results; if that is not known, it counts as one that had."""
        return self.action == "remove" and self.results != 0

    def items(self) -> dict[str, list[str | int]]:
        """What it names, by axis; seeds are under `seeds`."""
        found = {axis: list(getattr(self, axis)) for axis in (*NAMED, "seeds")}
        return {axis: values for axis, values in found.items() if values}

    def said(self) -> str:
        """`backbone resnet18, seeds 5, 6`."""
        return described(self.items())


class Additions(NamedTuple):
    """All entries about an experiment, oldest first."""

    entries: tuple[Entry, ...] = ()

    def standing(self, axis: str) -> dict[str | int, Entry]:
        """What stands of an axis, or of `seeds`, each value with the entry that added it."""
        found: dict[str | int, Entry] = {}
        for entry in self.entries:
            for value in getattr(entry, axis):
                if entry.action == "add":
                    found.setdefault(value, entry)
                else:
                    found.pop(value, None)
        return found

    def pieces(self) -> list[Entry]:
        """The entries that added something, each with what of it still stands."""
        kept = {axis: self.standing(axis) for axis in (*NAMED, "seeds")}
        found = []
        for entry in self.entries:
            left = {axis: tuple(v for v in getattr(entry, axis) if kept[axis].get(v) is entry) for axis in kept}
            found.append(entry.model_copy(update=left))
        return [entry for entry in found if entry.action == "add" and not entry.is_empty]

    def taken_back(self) -> list[Entry]:
        """The removals that came after results: each is a look."""
        return [entry for entry in self.entries if entry.is_look]

    def looks(self) -> tuple[str, ...]:
        """The axis values that were taken back after results, one text per time."""
        named = (described({axis: getattr(entry, axis) for axis in NAMED}) for entry in self.taken_back())
        return tuple(filter(None, named))

    def earlier_plans(self) -> tuple[str, ...]:
        """The seeds that were planned until some were taken back after results, oldest first."""
        return tuple(entry.plan for entry in self.taken_back() if entry.plan)

    def news(self, entry: Entry) -> Entry:
        """An entry without what stands already, as another launch may have added it meanwhile."""
        stands = {axis: self.standing(axis) for axis in (*NAMED, "seeds")}
        return entry.model_copy(
            update={axis: tuple(v for v in getattr(entry, axis) if v not in stands[axis]) for axis in stands}
        )

    def applied(self, experiment: Experiment) -> Experiment:
        """An experiment with all that stands; values that it has already stay as they are.

        Raises:
            ExperimentError: Something does not fit the experiment, or is not in the catalogue here.
        """
        return widened(experiment, {axis: list(self.standing(axis)) for axis in (*NAMED, "seeds")})

    def with_dropped(self, experiment: Experiment) -> Experiment:
        """An experiment with what was taken back after results: its questions count among those that were asked.

        What no longer fits the experiment, or is not in the catalogue here, is left out.
        """
        dropped = ((axis, value) for entry in self.taken_back() for axis in NAMED for value in getattr(entry, axis))
        for axis, value in dropped:
            with suppress(ExperimentError):
                experiment = widened(experiment, {axis: [value]})
        return experiment

    def without(self, experiment: Experiment) -> Experiment:
        """An experiment without the axis values that stand: what it would ask if nothing had been added.

        Raises:
            ExperimentError: The file has changed since, and now cannot do without an addition.
        """
        left: dict[Axis, list[str]] = {
            axis: [each for each in labels(experiment, axis) if each not in self.standing(axis)] for axis in NAMED
        }
        return revise(experiment, left, only=True)


NO_ADDITIONS = Additions()
"""Those of an experiment to which nothing was added."""


def labels(experiment: Experiment, axis: Axis) -> list[str]:
    """The labels of an axis, in the order of the file."""
    return [choice.label for choice in getattr(experiment, AXES[axis])]


def widened(experiment: Experiment, added: Mapping[str, Sequence[str | int]]) -> Experiment:
    """An experiment with further axis values, and further `seeds`; the same object if it has all of them.

    Raises:
        ExperimentError: A name is unknown, or two cells would be the same.
    """
    named: dict[Axis, list[str]] = {
        axis: [str(value) for value in added.get(axis, ()) if value not in labels(experiment, axis)] for axis in NAMED
    }
    seeds = {int(seed) for seed in added.get("seeds", ())} - set(experiment.seeds)
    if not seeds and not any(named.values()):
        return experiment
    return revise(experiment, named, seeds=sorted({*experiment.seeds, *seeds}) if seeds else None)


def described(items: Mapping[str, Sequence[str | int]]) -> str:
    """Axis values and seeds for people: `loss focal; backbones resnet18, vit; seeds 5, 6`."""
    return "; ".join(_described(axis, values) for axis, values in items.items() if values)


def _described(axis: str, values: Sequence[str | int]) -> str:
    many = len(values) > 1
    noun = ("seeds" if many else "seed") if axis == "seeds" else AXES[cast("Axis", axis)] if many else axis
    return f"{noun} {', '.join(map(str, values))}"


def left_out(whole: Experiment, shown: Experiment) -> str:
    """What of an experiment another one leaves out, as `described` writes it; empty if nothing."""
    return described(Entry.between("", shown, whole).items())
