"""Whether one threshold suffices is found on images that chose none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from orchestrator.decision.per_class import FEWEST, one_or_each
from orchestrator.thresholds.consequences import Samples
from trainers.metrics.uniform import accuracy_at, class_wise_accuracy


def drawn(seed: int, shifts: list[float], n: int = 2000) -> Samples:
    """Images whose scores all lie higher by the shift of the class that they show."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, len(shifts), n).astype(np.int32)
    scores = rng.normal(size=(n, len(shifts)))
    scores[np.arange(n), label] += 5
    scores += np.array(shifts)[label][:, None]
    ordered = np.sort(scores, axis=1)
    rivals = scores.copy()
    rivals[np.arange(n), label] = -np.inf
    prediction = scores.argmax(1).astype(np.int32)
    return Samples(label, prediction, ordered[:, -1], ordered[:, -2], scores[np.arange(n), label], rivals.max(1))


def test_where_all_classes_score_alike_one_threshold_is_enough() -> None:
    found = one_or_each(drawn(0, [0, 0, 0, 0]), drawn(1, [0, 0, 0, 0], 20_000), 4)
    assert found is not None
    assert found.is_enough is True
    assert found.differing == ()
    assert found.sparse == ()


def test_the_class_that_scores_higher_is_found_and_named() -> None:
    test = drawn(1, [0, 0, 3, 0])
    found = one_or_each(drawn(0, [0, 0, 3, 0]), test, 4)
    assert found is not None
    assert found.is_enough is False
    own = max(found.differing, key=lambda each: each.threshold)
    assert own.label == 2
    assert own.threshold > found.threshold + 1
    assert own.gained > own.lost
    assert found.gain.low > 0
    assert found.each - found.one == pytest.approx(found.gain.estimate)


def test_the_accuracies_are_those_of_the_definitions() -> None:
    test = drawn(1, [0, 1, 2, 3])
    found = one_or_each(drawn(0, [0, 1, 2, 3]), test, 4)
    assert found is not None
    assert found.one == accuracy_at(found.threshold, test.positive, test.rival)
    assert found.oracle == class_wise_accuracy(test.positive, test.rival, test.label)
    assert found.one < found.each <= found.oracle


def test_a_class_of_which_few_validation_images_are_right_keeps_the_one_threshold_and_is_named() -> None:
    validation = drawn(0, [0, 0, 3, 0])
    few = np.flatnonzero(validation.label == 2)[: FEWEST - 1]
    kept = np.sort(np.concatenate([np.flatnonzero(validation.label != 2), few]))
    thin = Samples(
        validation.label[kept],
        validation.prediction[kept],
        validation.top[kept],
        validation.second[kept],
        validation.positive[kept],
        validation.rival[kept],
    )
    found = one_or_each(thin, drawn(1, [0, 0, 3, 0]), 4)
    assert found is not None
    assert found.sparse == (2,)
    assert 2 not in {own.label for own in found.differing}


def test_few_test_images_cannot_tell() -> None:
    found = one_or_each(drawn(0, [0, 0, 0, 0.5]), drawn(1, [0, 0, 0, 0.5], 60), 4)
    assert found is not None
    assert found.is_enough is None


def test_without_a_right_validation_image_nothing_is_compared() -> None:
    validation = drawn(0, [0, 0])
    nothing = np.full(validation.label.size, math.nan)
    assert one_or_each(validation._replace(positive=nothing, rival=nothing), drawn(1, [0, 0]), 2) is None


def test_classes_are_named_by_chance_as_seldom_as_stated() -> None:
    named = 0
    for seed in range(200):
        found = one_or_each(drawn(2 * seed, [0, 0, 0, 0], 300), drawn(2 * seed + 1, [0, 0, 0, 0], 300), 4)
        named += found is not None and bool(found.differing)
    assert named / 200 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)
