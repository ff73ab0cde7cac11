"""Intervals of verification rates over identities, against a bootstrap that copies people."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from trainers.metrics.over_identities import FEWEST, RESAMPLES, intervals
from trainers.metrics.verification import equal_error_rate, true_accept_rate_at

RATES = {"tar_1": 0.01, "tar_10": 0.1}


def _faces(
    people: int, each: int = 4, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """All pairs of drawn faces: features near a direction of each person, some people blurred."""
    draw = np.random.RandomState(seed)
    label = np.repeat(np.arange(people), each)
    centre = draw.standard_normal((people, 8))
    blur = draw.uniform(0.3, 2.5, people)
    features = centre[label] + blur[label, None] * draw.standard_normal((len(label), 8))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    pairs = np.array(list(combinations(range(len(label)), 2)))
    similarity = (features[pairs[:, 0]] * features[pairs[:, 1]]).sum(axis=1)
    who = label[pairs]
    return similarity, who[:, 0] == who[:, 1], who


def _by_copies(
    similarity: NDArray[np.float64], genuine: NDArray[np.bool_], who: NDArray[np.int64]
) -> list[list[float]]:
    """The same draws, each pair written down as often as it counts."""
    people = len(np.unique(who))
    draw = np.random.RandomState(0)
    found: list[list[float]] = []
    for _ in range(RESAMPLES):
        times = np.bincount(draw.randint(0, people, people), minlength=people)
        count = np.where(genuine, times[who[:, 0]], times[who[:, 0]] * times[who[:, 1]])
        many = np.repeat(similarity, count)
        kind = np.repeat(genuine, count)
        found.append(
            [equal_error_rate(many, kind), *(true_accept_rate_at(many, kind, rate) for rate in RATES.values())]
        )
    return found


@pytest.mark.parametrize("digits", [16, 1])
def test_they_are_percentiles_over_drawn_people(digits: int) -> None:
    similarity, genuine, who = _faces(12)
    similarity = similarity.round(digits)  # with ties, too
    expected = np.percentile(_by_copies(similarity, genuine, who), [2.5, 97.5], axis=0).T
    found = intervals(similarity, genuine, who, RATES)
    assert list(found) == ["eer", *RATES]
    np.testing.assert_allclose(list(found.values()), expected, atol=1e-12)


def test_names_of_people_need_not_be_numbered_through() -> None:
    similarity, genuine, who = _faces(12)
    assert intervals(similarity, genuine, 7 * who + 3, RATES) == intervals(similarity, genuine, who, RATES)


def test_they_cover_the_rate_of_all_people_as_often_as_promised() -> None:
    similarity, genuine, _ = _faces(200, each=3, seed=99)
    truth = equal_error_rate(similarity, genuine)
    covered = 0
    for seed in range(30):
        interval = intervals(*_faces(40, each=3, seed=seed), {})["eer"]
        covered += interval.low <= truth <= interval.high
    assert covered >= 25  # 28 or 29 expected


def test_resampling_pairs_would_promise_too_much() -> None:
    similarity, genuine, who = _faces(40, each=6)
    ours = intervals(similarity, genuine, who, {})["eer"]
    draw = np.random.RandomState(1)
    rows = [draw.randint(0, len(genuine), len(genuine)) for _ in range(100)]
    naive = np.percentile([equal_error_rate(similarity[each], genuine[each]) for each in rows], [2.5, 97.5])
    assert ours.high - ours.low > 1.5 * (naive[1] - naive[0])


def test_of_few_people_or_one_kind_of_pair_nothing_is_promised() -> None:
    assert intervals(*_faces(FEWEST - 1), RATES) == {}
    assert intervals(*_faces(FEWEST), RATES) != {}
    similarity, genuine, who = _faces(FEWEST)
    for kind in (genuine, ~genuine):
        assert intervals(similarity[kind], genuine[kind], who[kind], RATES) == {}


def test_nan_is_an_error_of_either_kind() -> None:
    similarity, genuine, who = _faces(12)
    broken = np.where(np.arange(len(similarity)) % 2, similarity, np.nan)
    assert intervals(broken, genuine, who, {})["eer"].low > intervals(similarity, genuine, who, {})["eer"].high
