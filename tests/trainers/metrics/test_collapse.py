"""Neural collapse against its definition in two passes, with full matrices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trainers.metrics.collapse import Moments, means_from_simplex, nc1, nc2, nc3

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

seeds = st.integers(0, 2**32 - 1)
shapes = st.tuples(st.integers(2, 6), st.integers(1, 8))
"""Classes and width, with more classes than dimensions and fewer."""


def _sample(seed: int, classes: int, width: int, samples: int = 60) -> tuple[Floats, Labels]:
    draw = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), draw.integers(0, classes, samples - classes)])
    return draw.normal(size=(samples, width)) + 2 * draw.normal(size=(classes, width))[labels], labels


def _moments(features: Floats, labels: Labels, classes: int, batch: int = 17) -> Moments:
    moments = Moments(classes, features.shape[1])
    for start in range(0, len(labels), batch):
        moments.add(features[start : start + batch], labels[start : start + batch])
    return moments


def _measures(features: Floats, labels: Labels, weight: Floats) -> tuple[float, float, float]:
    moments = _moments(features, labels, len(weight))
    return nc1(moments), nc2(weight), nc3(moments, weight)


def _simplex(classes: int) -> Floats:
    return (np.eye(classes) - 1 / classes) / np.sqrt(classes - 1)


def _defined(features: Floats, labels: Labels, weight: Floats) -> tuple[float, float, float]:
    """NC1 to NC3 with every matrix written out."""
    classes = len(weight)
    means = np.array([features[labels == own].mean(axis=0) for own in range(classes)])
    residuals = features - means[labels]
    within = np.mean([np.outer(residual, residual) for residual in residuals], axis=0)
    centred = means - features.mean(axis=0)
    between = np.mean([np.outer(mean, mean) for mean in centred], axis=0)
    gram = weight @ weight.T
    product = weight @ centred.T
    return (
        float(np.trace(within @ np.linalg.pinv(between, rcond=1e-11)) / classes),
        float(np.linalg.norm(gram / np.linalg.norm(gram) - _simplex(classes))),
        float(np.linalg.norm(product / np.linalg.norm(product) - _simplex(classes))),
    )


@given(seeds, shapes)
def test_all_three_follow_their_definition(seed: int, shape: tuple[int, int]) -> None:
    features, labels = _sample(seed, *shape)
    weight = np.random.default_rng(seed).normal(size=shape)
    assert _measures(features, labels, weight) == pytest.approx(_defined(features, labels, weight), rel=1e-6)


@given(seeds, shapes, st.integers(1, 70))
def test_moments_in_batches_are_those_in_two_passes(seed: int, shape: tuple[int, int], batch: int) -> None:
    features, labels = _sample(seed, *shape)
    moments = _moments(features, labels, shape[0], batch)
    shifted = features - moments.shift
    own = np.arange(shape[0])[:, None] == labels
    np.testing.assert_allclose(moments.sums, own @ shifted, atol=1e-10)
    np.testing.assert_allclose(moments.outer, shifted.T @ shifted, atol=1e-10)
    np.testing.assert_array_equal(moments.counts, own.sum(axis=1))


@given(seeds, shapes)
def test_a_common_offset_of_10000_in_float32_does_no_harm(seed: int, shape: tuple[int, int]) -> None:
    features, labels = _sample(seed, *shape)
    weight = np.random.default_rng(seed).normal(size=shape)
    offset = (features + 1e4).astype(np.float32).astype(np.float64)
    expected = _measures(offset - 1e4, labels, weight)  # exact, so only the common mean differs
    assert _measures(offset.astype(np.float32), labels, weight) == pytest.approx(expected, rel=1e-6)


def test_moments_survive_an_offset_in_which_raw_sums_would_drown() -> None:
    features, labels = _sample(0, 3, 4)
    far = features + 1e9
    expected = _defined(far - 1e9, labels, np.eye(3, 4))
    assert _measures(far, labels, np.eye(3, 4)) == pytest.approx(expected, rel=1e-5)
    raw = np.array([far[labels == own].sum(axis=0) for own in range(3)])
    drowned = Moments(3, 4)
    drowned.sums = raw
    drowned.counts = np.bincount(labels)
    drowned.outer = far.T @ far
    assert nc1(drowned) != pytest.approx(expected[0], rel=0.1)


@given(seeds, st.permutations(range(60)))
def test_the_order_of_samples_is_irrelevant(seed: int, order: list[int]) -> None:
    features, labels = _sample(seed, 4, 5)
    weight = np.random.default_rng(seed).normal(size=(4, 5))
    assert _measures(features[order], labels[order], weight) == pytest.approx(_measures(features, labels, weight))


@given(seeds, st.floats(0.01, 100))
def test_rotation_and_scale_of_features_and_classifier_are_irrelevant(seed: int, scale: float) -> None:
    features, labels = _sample(seed, 4, 5)
    draw = np.random.default_rng(seed)
    weight = draw.normal(size=(4, 5))
    rotation, _ = np.linalg.qr(draw.normal(size=(5, 5)))
    turned = _measures(scale * features @ rotation, labels, weight @ rotation / scale)
    assert turned == pytest.approx(_measures(features, labels, weight), rel=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 10, 100])
def test_full_collapse_is_0_in_all_three(classes: int) -> None:
    labels = np.repeat(np.arange(classes), 5)
    means = 7 * _simplex(classes)
    assert _measures(means[labels], labels, 3 * means) == pytest.approx((0, 0, 0), abs=1e-9)


def test_the_spread_of_a_nearly_collapsed_class_is_still_seen() -> None:
    classes = 4
    spread = 1e-5
    labels = np.repeat(np.arange(classes), 2)
    signs = np.tile([spread, -spread], classes)[:, None]
    means = np.eye(classes)
    # Between: singular values 1 in K - 1 directions; within: spread^2 along (1, 1, 1, 1), outside of them.
    assert _measures(means[labels] + signs, labels, means)[0] == pytest.approx(0, abs=1e-15)
    along = signs * (means[0] - means[1])
    assert _measures(means[labels] + along, labels, means)[0] == pytest.approx(2 * spread**2, rel=1e-4)


def test_more_spread_within_classes_is_a_higher_nc1() -> None:
    features, labels = _sample(0, 4, 5)
    means = np.array([features[labels == own].mean(axis=0) for own in range(4)])[labels]
    tight, loose = (_measures(means + factor * (features - means), labels, np.eye(4, 5)) for factor in (1, 3))
    assert loose[0] == pytest.approx(9 * tight[0])
    assert loose[1:] == pytest.approx(tight[1:])


def test_a_direction_without_separation_is_left_out() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2])
    features = np.array([[0.0, 1], [0, -1], [1, 1], [1, -1], [2, 1], [2, -1]])
    assert _measures(features, labels, np.eye(3, 2))[0] == pytest.approx(0, abs=1e-12)


def test_an_absent_class_counts_for_nothing() -> None:
    features, labels = _sample(0, 4, 5)
    weight = np.random.default_rng(0).normal(size=(4, 5))
    padded = _measures(features, labels + (labels >= 2), np.insert(weight, 2, 99, axis=0))
    found = _measures(features, labels, weight)
    assert (padded[0], padded[2]) == pytest.approx((found[0], found[2]))


def test_a_frequent_class_pulls_the_centre_as_in_the_published_code_but_not_in_ours() -> None:
    features, labels = _sample(0, 3, 4)
    weight = np.random.default_rng(0).normal(size=(3, 4))
    head = labels == 0
    repeated = np.concatenate([features, features[head], features[head]])
    more = np.concatenate([labels, labels[head], labels[head]])
    assert _measures(repeated, more, weight) == pytest.approx(_defined(repeated, more, weight))
    assert _measures(repeated, more, weight)[2] != pytest.approx(_measures(features, labels, weight)[2], rel=1e-3)
    ours = [_ours(_moments(*found, 3)) for found in ((features, labels), (repeated, more))]
    assert ours[0] == pytest.approx(ours[1])


def _ours(moments: Moments) -> float:
    return means_from_simplex(moments.sums, moments.counts)


@given(seeds, shapes)
def test_ours_is_the_same_of_class_means_about_their_own_mean(seed: int, shape: tuple[int, int]) -> None:
    features, labels = _sample(seed, *shape)
    means = np.array([features[labels == own].mean(axis=0) for own in range(shape[0])])
    assert _ours(_moments(features, labels, shape[0])) == pytest.approx(nc2(means - means.mean(axis=0)))


PUBLISHED = [
    (4, 6, (10, 10, 10, 10), (0.589023914664407, 0.9284386275405861, 1.4948692557210281)),
    (4, 6, (20, 10, 5, 3), (0.18150990442845702, 0.764123407870627, 1.1973738470204778)),
    (6, 3, (8, 7, 6, 5, 4, 3), (0.2791123521653101, 1.092834556257668, 1.4376501045911227)),
]
"""What `validate_NC.py` of github.com/tding1/Neural-Collapse (04ef586), in float64, gives for these inputs."""


@pytest.mark.parametrize(("classes", "width", "sizes", "expected"), PUBLISHED)
def test_the_published_code_gives_the_same(
    classes: int, width: int, sizes: tuple[int, ...], expected: tuple[float, float, float]
) -> None:
    draw = np.random.RandomState(classes * width)
    labels = np.repeat(np.arange(classes), sizes)
    features = draw.standard_normal((len(labels), width))
    features += 2 * draw.standard_normal((classes, width))[labels]
    weight = draw.standard_normal((classes, width))
    assert _measures(features, labels, weight) == pytest.approx(expected, rel=1e-12)


def _of_means(features: Floats, labels: Labels, weight: Floats) -> tuple[float, ...]:
    """All but NC2, which is of the classifier alone."""
    one, _, three = _measures(features, labels, weight)
    return one, three, _ours(_moments(features, labels, len(weight)))


def test_without_two_classes_all_are_nan() -> None:
    for features, labels in [(np.empty((0, 2)), np.empty(0, np.int64)), (np.ones((3, 2)), np.zeros(3, np.int64))]:
        assert np.isnan(_of_means(features, labels, np.eye(2))).all()
    assert np.isnan(nc2(np.ones((1, 3))))


def test_means_that_coincide_are_nan() -> None:
    features = np.array([[1.0, 0], [-1, 0], [2, 0], [-2, 0]])
    assert np.isnan(_of_means(features, np.array([0, 0, 1, 1]), np.eye(2))).all()


def test_a_classifier_of_zeros_has_no_direction() -> None:
    features, labels = _sample(0, 2, 3)
    assert np.isnan(_measures(features, labels, np.zeros((2, 3)))[1:]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_give_nan(value: float) -> None:
    features, labels = _sample(0, 2, 3)
    assert np.isnan(_measures(features, labels, np.full((2, 3), value))[1:]).all()
    features[5] = value
    assert np.isnan(_of_means(features, labels, np.eye(2, 3))).all()


def test_an_empty_batch_changes_nothing() -> None:
    moments = Moments(2, 3)
    moments.add(np.empty((0, 3)), [])
    assert moments.shift is None
    moments.add(np.float32([[1e4, 0, 0]]), [1])
    assert list(moments.counts) == [0, 1]
