"""What a reader must know of a comparison whose scores come from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.sentences import Sentence, filled


@dataclass(frozen=True)
class Scored:
    """Scores of systems that were not trained here."""

    systems: int
    runs: int
    """Of all systems in all settings."""
    samples: int
    """Of the largest setting."""
    is_single: bool
    """Whether no system has more than one run in a setting, so that verdicts are over samples alone."""
    is_on_shared: bool = False
    """Whether samples that some system lacks were left out."""
    columns: tuple[str, ...] = ()
    """Which column was taken for which, a line per table."""

    def sentences(self) -> Iterator[Sentence]:
        """What to tell."""
        yield (
            "Conditions: unknown – these scores come from elsewhere, without a record of training, tuning or data.",
            {},
        )
        if self.is_single:
            text = "One run per system: verdicts are for other test samples like these, and for these very models. Training noise is unknown: another run may rank them differently."  # noqa: E501 - one key of words.json
            yield text, {}
        if self.is_on_shared:
            yield "Compared on the samples that all systems have; others are left out.", {}

    def told(self) -> list[str]:
        """The same in English."""
        return [filled(sentence) for sentence in self.sentences()]

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {"conditions": "unknown", **asdict(self)}
