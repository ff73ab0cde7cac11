"""Feature measures from class sums against all pairs of features, one by one."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trainers.metrics.features import compactness, distinctiveness


def _unit(features: NDArray[np.float64]) -> NDArray[np.float64]:
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def _sums(
    features: NDArray[np.float64], labels: NDArray[np.int64], classes: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    own = np.arange(classes)[:, None] == labels
    return own @ features, own.sum(axis=1)


def _mean_cosine_within(features: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    means = []
    for own in np.unique(labels):
        cosines = [float(first @ second) for first, second in combinations(features[labels == own], 2)]
        means += [np.mean(cosines)] if cosines else []
    return float(np.mean(means))


def _one_less_mean_cosine_between(features: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    means = _unit(np.array([features[labels == own].mean(axis=0) for own in np.unique(labels)]))
    return 1 - float(np.mean([first @ second for first, second in combinations(means, 2)]))


def _simplex(classes: int) -> NDArray[np.float64]:
    return _unit(np.eye(classes) - 1 / classes)


@given(st.integers(0, 2**32 - 1), st.integers(4, 40), st.integers(2, 5), st.integers(2, 6))
def test_both_measures_equal_the_mean_over_all_pairs(seed: int, samples: int, classes: int, width: int) -> None:
    draw = np.random.default_rng(seed)
    labels = np.concatenate([[0, 0, 1, 1], draw.integers(0, classes, samples - 4)])
    features = _unit(draw.normal(size=(samples, width)))
    sums, counts = _sums(features, labels, classes)
    assert compactness(sums, counts) == pytest.approx(_mean_cosine_within(features, labels), abs=1e-9)
    expected = _one_less_mean_cosine_between(features, labels)
    assert distinctiveness(sums, counts) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("classes", [2, 3, 10, 100])
def test_a_simplex_of_points_is_perfectly_compact_and_distinct(classes: int) -> None:
    counts = np.arange(classes) + 2
    sums = _simplex(classes) * counts[:, None]
    assert compactness(sums, counts) == pytest.approx(1)
    assert distinctiveness(sums, counts) == pytest.approx(1 + 1 / (classes - 1))


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_classes_on_one_point_are_not_distinct(classes: int) -> None:
    counts = np.full(classes, 3)
    sums = np.tile([0.0, 3.0], (classes, 1))
    assert compactness(sums, counts) == pytest.approx(1)
    assert distinctiveness(sums, counts) == pytest.approx(0)


def test_orthogonal_classes_have_distinctiveness_1() -> None:
    assert distinctiveness(np.eye(4), np.ones(4, np.int64)) == pytest.approx(1)


def test_opposite_features_of_one_class_have_compactness_minus_1() -> None:
    assert compactness(np.zeros((1, 3)), np.array([2])) == pytest.approx(-1)


def test_a_class_with_one_sample_says_nothing_of_compactness() -> None:
    sums = np.array([[2.0, 0.0], [0.0, 1.0]])
    assert compactness(sums, np.array([2, 1])) == pytest.approx(1)


def test_an_absent_class_counts_for_nothing() -> None:
    sums = np.array([[2.0, 0.0], [0.0, 2.0]])
    counts = np.array([2, 2])
    padded = np.insert(sums, 1, 0, axis=0), np.insert(counts, 1, 0)
    assert compactness(*padded) == compactness(sums, counts)
    assert distinctiveness(*padded) == distinctiveness(sums, counts)


def test_without_two_samples_of_a_class_compactness_is_nan() -> None:
    assert np.isnan(compactness(np.eye(3), np.array([1, 1, 1])))
    assert np.isnan(compactness(np.zeros((2, 3)), np.array([0, 0])))


def test_with_fewer_than_two_classes_distinctiveness_is_nan() -> None:
    assert np.isnan(distinctiveness(np.array([[1.0, 0.0]]), np.array([1])))
    assert np.isnan(distinctiveness(np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([5, 0])))
    assert np.isnan(distinctiveness(np.zeros((2, 2)), np.array([0, 0])))


def test_a_class_mean_of_zero_has_cosine_0_with_every_other() -> None:
    sums = np.array([[0.0, 0.0], [2.0, 0.0]])
    assert distinctiveness(sums, np.array([2, 2])) == 1
