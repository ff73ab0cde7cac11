"""When does the threshold of a model not hold: under shift, for rare classes, for the model of another seed?

Each rule says what was seen, and when that is too much: `BREAKS`, `RARE` and `MATTERS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from orchestrator.decision.per_class import accurate_at
from orchestrator.statistics.proportions import clopper_pearson
from orchestrator.thresholds.consequences import Samples, Use, consequences

BREAKS = 0.05
"""A corruption breaks a threshold if it costs more accuracy at it than this."""

RARE = 10
"""A class is rare if the most frequent one has at least this many times its training images."""

MATTERS = 0.1
"""Another seed's threshold matters if it costs more by this share."""

CORRUPTED = "accuracy_at_validation_threshold"


class Broken(NamedTuple):
    """What corrupted test images say of the threshold from validation images."""

    corruption: str | None
    """The one that breaks it first: at the lowest severity, and there most; None if none does."""
    severity: int
    accuracy: float
    """With that corruption, or the lowest of all if none breaks it."""
    clean: float
    tried: int
    """Corrupted test sets."""


class Tail(NamedTuple):
    """What one threshold does to rare classes."""

    classes: tuple[int, ...]
    rare: tuple[float, float, float]
    """Share of their test images that is right at the threshold, with its exact interval."""
    rest: tuple[float, float, float]
    n: int
    """Test images of rare classes."""

    @property
    def is_worse(self) -> bool:
        """Whether rare classes are shown to be right less often."""
        return self.rare[2] < self.rest[1]


class OtherSeeds(NamedTuple):
    """What the thresholds of other seeds would do to this model."""

    low: float
    high: float
    """Of all seeds' thresholds."""
    own: float
    """The expected cost on validation images at its own threshold."""
    worst: float
    """The highest at any of them."""
    seeds: int
    """How many others there are."""

    @property
    def matters(self) -> bool:
        """Whether a model trained again needs a threshold of its own."""
        return self.worst > (1 + MATTERS) * self.own


class Guideline(NamedTuple):
    """What is known of each; None where it cannot be asked."""

    shift: Broken | None
    tail: Tail | None
    seeds: OtherSeeds | None


def broken(content: Mapping[str, Any]) -> Broken | None:
    """What corruption does to a model's threshold, from the account of its cell."""
    clean = content["metrics"].get(CORRUPTED)
    found = [
        (int(severity), values[CORRUPTED], corruption)
        for name, values in content["shifts"].items()
        for corruption, _, severity in [name.rpartition("-")]
        if CORRUPTED in values
    ]
    if clean is None or not found:
        return None
    breaking = [each for each in found if clean - each[1] > BREAKS]
    if not breaking:
        return Broken(None, 0, min(accuracy for _, accuracy, _ in found), clean, len(found))
    severity, accuracy, corruption = min(breaking)
    return Broken(corruption, severity, accuracy, clean, len(found))


def tail(validation: Samples, test: Samples, threshold: float, classes: int) -> Tail | None:
    """What a threshold does to rare classes; None if there are none, or no test images of them.

    Args:
        validation: Of which each class has about the same share as of the training images.
        test: On which they are looked at.
        threshold: The one for all.
        classes: Their number.
    """
    counts = np.bincount(validation.label, minlength=classes)
    rare = np.flatnonzero(RARE * counts <= counts.max())
    is_rare = np.isin(test.label, rare)
    if not is_rare.any() or is_rare.all():
        return None
    right = accurate_at(threshold, test)
    return Tail(tuple(rare.tolist()), _share(right[is_rare]), _share(right[~is_rare]), int(is_rare.sum()))


def _share(right: np.ndarray) -> tuple[float, float, float]:
    return float(right.mean()), *clopper_pearson(int(right.sum()), right.size)


def other_seeds(validation: Samples, use: Use, own: float, others: Sequence[float]) -> OtherSeeds | None:
    """What the thresholds of other seeds would cost this model; None without other seeds.

    Args:
        validation: Of this model.
        use: The operation.
        own: Its threshold.
        others: Those of the same loss and backbone with other seeds.
    """
    if not others:
        return None
    thresholds = np.unique([own, *others])
    costs = dict(zip(thresholds.tolist(), consequences(validation, use, thresholds).costs().tolist(), strict=True))
    return OtherSeeds(float(thresholds[0]), float(thresholds[-1]), costs[own], max(costs.values()), len(others))
