"""What a reader must know of additions: what was added and when, and how many questions there are by it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from orchestrator.analysis.findings import FAMILIES
from orchestrator.analysis.settings import keys_of
from orchestrator.errors import ExperimentError
from orchestrator.experiment.additions import Additions, Entry
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.questions import verdicts
from orchestrator.sentences import Sentence, filled

NOUNS = {"loss": "loss", "backbone": "backbone", "dataset": "data set", "seeds": "seeds"}
"""Of each axis, what stands before the names."""


@dataclass(frozen=True)
class Family:
    """How many questions are judged together."""

    verdicts: int
    """On claims, primary and secondary ones."""
    differences: int
    """To the baseline, of each measure."""

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """That of an experiment."""
        differences = sum(loss != experiment.baseline for _, _, loss in keys_of(experiment))
        return cls(sum(verdicts(experiment, family) for family in FAMILIES), differences)


@dataclass(frozen=True)
class Added:
    """What was added to an experiment, and what of it was taken back after results."""

    pieces: tuple[Entry, ...]
    """The entries that added something, with what of it stands."""
    taken_back: tuple[Entry, ...]
    before: Family | None
    """Without additions; None if the file cannot do without them any longer."""
    after: Family
    """With all additions, those taken back after results among them."""

    @classmethod
    def of(cls, additions: Additions, experiment: Experiment) -> Self | None:
        """What is to be told of additions; None if there is nothing.

        Args:
            additions: All entries about the experiment.
            experiment: The experiment with what stands of them.
        """
        pieces = tuple(additions.pieces())
        taken_back = tuple(additions.taken_back())
        if not pieces and not taken_back:
            return None
        before = None
        with suppress(ExperimentError):
            before = Family.of(additions.without(experiment))
        return cls(pieces, taken_back, before, Family.of(additions.with_dropped(experiment)))

    def sentences(self) -> Iterator[Sentence]:
        """What was added when, how many questions there are by it, and what was taken back after results."""
        for entry in self.pieces:
            for axis, values in entry.items().items():
                yield "Added by {by} on {when} UTC: {axis} {names}.", _values(entry, axis, values)
        yield from self._grown()
        for entry in self.taken_back:
            for axis, values in entry.items().items():
                yield _taken_back(entry), _values(entry, axis, values)

    def _grown(self) -> Iterator[Sentence]:
        if self.before is None or self.before == self.after:
            text = "Questions judged together: verdicts {verdicts}, differences {differences}."
            yield text, vars(self.after)
        else:
            text = "Questions judged together, without additions and with them: verdicts {few} → {verdicts}, differences {some} → {differences}."  # noqa: E501 - one key of words.json
            few = {"few": self.before.verdicts, "some": self.before.differences}
            yield text, {**few, **vars(self.after)}

    def told(self) -> list[str]:
        """The sentences in English."""
        return [filled(sentence) for sentence in self.sentences()]

    def to_json(self) -> dict[str, Any]:
        """Entries and sizes for machines."""
        return {
            "added": [entry.model_dump(mode="json", exclude_defaults=True) for entry in self.pieces],
            "taken_back": [entry.model_dump(mode="json", exclude_defaults=True) for entry in self.taken_back],
            "before": self.before and vars(self.before),
            "after": vars(self.after),
        }


def _values(entry: Entry, axis: str, values: list[str | int]) -> dict[str, Any]:
    names = ", ".join(map(str, values))
    noun: Sentence = (NOUNS[axis], {})
    when = f"{entry.when:%Y-%m-%d %H:%M}"
    return {"by": entry.by, "when": when, "axis": noun, "names": names, "results": entry.results}


def _taken_back(entry: Entry) -> str:
    if entry.results is None:
        return "Taken back on {when} UTC, perhaps after results: {axis} {names}. That counts as a look: verdicts are exploratory, and its questions still count."  # noqa: E501 - one key of words.json
    return "Taken back on {when} UTC, when {results} of its cells had results: {axis} {names}. That is a look: verdicts are exploratory, and its questions still count."  # noqa: E501 - one key of words.json
