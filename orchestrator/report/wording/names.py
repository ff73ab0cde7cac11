"""Names that stand in sentences: the terminal prints them as they are, a page writes them its own way."""

from __future__ import annotations

from dataclasses import dataclass


class MeasureName(str):
    """The name of a measure; a page has what people call it."""

    __slots__ = ()


class LossName(str):
    """The label of a loss; a page has it in bold."""

    __slots__ = ()


@dataclass(frozen=True)
class SameMeasure:
    """A measure that was named just before: `that` in English; Japanese repeats it."""

    name: MeasureName

    def __str__(self) -> str:
        return "that"


SHORT = {
    "sample_wise_accuracy": "sample-wise",
    "uniform_accuracy": "uniform",
    "accuracy_at_validation_threshold": "deployable",
    "accuracy_at_bias": "at the bias",
    "value": "value",
    "verification_eer": "EER",
    "verification_tar_1": "TAR at 1 %",
    "verification_tar_01": "TAR at 0.1 %",
}
"""The measures that every comparison may show, as the head of a column has them."""
