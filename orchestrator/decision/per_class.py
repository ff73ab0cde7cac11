"""When is one threshold not enough? One for all classes against one per predicted class, on the same test images.

Both are chosen on validation images. An image is right if its class is predicted, its highest score lies above the
threshold, and all its other scores lie below; with one threshold that is the uniform accuracy.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orchestrator.statistics.intervals import Interval
from orchestrator.statistics.multiplicity import holm
from orchestrator.statistics.samples import mcnemar, paired_sample_interval
from orchestrator.thresholds.consequences import Flags, Floats, Samples
from trainers.evaluation import Evaluation
from trainers.metrics.uniform import class_wise_accuracy, uniform_accuracy

FEWEST = 20
"""With fewer validation images that are predicted as a class and right, a threshold of its own is a guess."""

MARGIN = 0.005
"""A gain in accuracy that does not matter: half a percentage point."""

SIGNIFICANT = 0.05


class OwnThreshold(NamedTuple):
    """A class that predicts better with a threshold of its own."""

    label: int
    threshold: float
    gained: int
    """Test images that are right only with it."""
    lost: int
    """Test images that are right only with the one for all."""
    p: float
    """Exact, corrected by Holm over the classes."""


class OneOrEach(NamedTuple):
    """What a threshold per predicted class gains over one for all."""

    threshold: float
    """The one for all."""
    one: float
    """Share of test images that are right with it."""
    each: float
    """Share that are right with a threshold per class."""
    gain: Interval
    """`each` - `one`, for another test set of this size."""
    oracle: float
    """The class-wise accuracy: thresholds per true class, chosen on the test images. No deployment can have it."""
    differing: tuple[OwnThreshold, ...]
    """Classes whose own threshold makes a difference that is not chance."""
    sparse: tuple[int, ...]
    """Classes with too few validation images for a threshold of their own; they keep the one for all."""

    @property
    def is_enough(self) -> bool | None:
        """Whether one threshold suffices; None if the test images cannot tell."""
        if self.gain.high <= MARGIN:
            return True
        return False if self.gain.low > 0 or self.differing else None


def one_or_each(validation: Samples, test: Samples, classes: int) -> OneOrEach | None:
    """Compare them; None if no validation image has its own class on top.

    Args:
        validation: On which both are chosen.
        test: On which both are compared.
        classes: Their number.
    """
    one = uniform_accuracy(validation.positive, validation.rival).threshold
    if not np.isfinite(one):
        return None
    own, sparse = _own(validation, one, classes)
    right = _right(test, np.full(classes, one))
    right_each = _right(test, own)
    return OneOrEach(
        one,
        float(right.mean()),
        float(right_each.mean()),
        paired_sample_interval(right_each, right),
        class_wise_accuracy(test.positive, test.rival, test.label),
        tuple(_differing(test, own, right, right_each)),
        sparse,
    )


def calibrated(rows: Evaluation, temperature: float) -> Samples | None:
    """The samples with logarithms of calibrated probabilities as scores; None if the rows do not hold what it takes.

    Args:
        rows: Of a cell's file, with raw scores.
        temperature: The one chosen on validation images.
    """
    if rows.runner_up_score is None or not np.isfinite(temperature):
        return None
    positive, rival, second = (
        np.asarray(scores, np.float64) / temperature - rows.logsumexp_tuned
        for scores in (rows.positive, rows.rival, rows.runner_up_score)
    )
    return Samples(rows.label, rows.prediction, np.maximum(positive, rival), second, positive, rival)


def calibration_gain(raw: tuple[Samples, Samples], probable: tuple[Samples, Samples]) -> Interval:
    """What one threshold on calibrated probabilities gains over one on scores, for another test set of this size.

    Args:
        raw: Validation and test images with raw scores.
        probable: The same images with logarithms of calibrated probabilities.
    """
    probably, plainly = (
        accurate_at(uniform_accuracy(validation.positive, validation.rival).threshold, test)
        for validation, test in (probable, raw)
    )
    return paired_sample_interval(probably, plainly)


def accurate_at(threshold: float, samples: Samples) -> Flags:
    """Whether each image is right with one threshold (n,)."""
    return (samples.rival < threshold) & (threshold < samples.positive)


def _own(validation: Samples, one: float, classes: int) -> tuple[Floats, tuple[int, ...]]:
    """A threshold per class (K,), and the classes that keep the one for all."""
    thresholds = np.full(classes, one)
    sparse = list[int]()
    is_right = validation.prediction == validation.label
    for label in range(classes):
        mine = is_right & (validation.prediction == label)
        if np.count_nonzero(mine) < FEWEST:
            sparse.append(label)
        else:
            thresholds[label] = uniform_accuracy(validation.top[mine], validation.second[mine]).threshold
    return thresholds, tuple(sparse)


def _right(samples: Samples, thresholds: Floats) -> Flags:
    """Whether each image is right with the threshold of its predicted class (n,)."""
    t = thresholds[samples.prediction]
    return (samples.prediction == samples.label) & (samples.second < t) & (t < samples.top)


def _differing(test: Samples, own: Floats, right: Flags, right_each: Flags) -> list[OwnThreshold]:
    labels = np.unique(test.prediction)
    parts = [test.prediction == label for label in labels]
    p = holm([mcnemar(right_each[part], right[part]) for part in parts])
    found = [
        OwnThreshold(
            int(label),
            float(own[label]),
            int(np.count_nonzero(right_each[part] & ~right[part])),
            int(np.count_nonzero(right[part] & ~right_each[part])),
            float(adjusted),
        )
        for label, part, adjusted in zip(labels, parts, p, strict=True)
    ]
    return [each for each in found if each.p <= SIGNIFICANT and each.gained > each.lost]
