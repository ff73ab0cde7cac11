"""What trials of two losses say of other trials, and how seldom they name one of two that are equal."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from benchmarks.searches import NOISES, rates
from orchestrator.statistics.budget import expected_best, mean_best
from orchestrator.statistics.intervals import Interval
from orchestrator.statistics.searches import leads, share_won, standing


@pytest.mark.parametrize("name", list(NOISES))
@pytest.mark.parametrize("seeds", [1, 3, 6])
def test_equal_losses_are_seldom_told_apart(name: str, seeds: int) -> None:
    """With 400 runs, 5 % and three standard errors are 8.3 %."""
    found = rates(NOISES[name], seeds, 400)
    print(f"{name}, {seeds} seeds: ahead {found.ahead:.1%}, most {found.most:.1%}")
    assert found.ahead <= 0.083
    assert found.most <= 0.083
    assert found.most == 0 or seeds > 3
    assert found.ahead == 0 or seeds > 1


def test_a_loss_that_is_better_by_far_is_named() -> None:
    rng = np.random.default_rng(0)
    merit = rng.normal(size=(20, 1))
    mine = merit + 1 + 0.1 * rng.normal(size=(20, 6))
    theirs = merit + 0.1 * rng.normal(size=(20, 6))
    assert standing(leads(mine, theirs, (1, 5, 20))) == "ahead"
    assert standing(leads(theirs, mine, (1, 5, 20))) == "behind"
    assert share_won(mine > theirs).low > 0.5
    assert share_won(theirs > mine).high < 0.5


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ([(1, 2), (0.1, 3)], "ahead"),
        ([(1, 2), (-0.1, 3)], "open"),
        ([(-2, -1), (-3, -0.1)], "behind"),
        ([(1, 2), (-3, -1)], "turns"),
        ([(1, 2), (-3, 1)], "open"),
        ([(math.nan, math.nan)], "open"),
        ([(0, 2)], "open"),
    ],
)
def test_who_is_ahead_needs_every_interval_on_one_side(bounds: list[tuple[float, float]], expected: str) -> None:
    assert standing([Interval(sum(each) / 2, *each, 20) for each in bounds]) == expected


def test_a_lead_is_that_of_the_means_over_seeds() -> None:
    rng = np.random.default_rng(1)
    mine, theirs = rng.normal(size=(2, 8, 3))
    for found, count in zip(leads(mine, theirs, (1, 4)), (1, 4), strict=True):
        best = [expected_best(scores.mean(axis=1), [count]).mean[0] for scores in (mine, theirs)]
        assert found.estimate == pytest.approx(best[0] - best[1])
        assert found.low < found.estimate < found.high
        assert found.n == 8


def test_seeds_that_favour_a_loss_in_every_trial_widen_its_lead() -> None:
    """By Student's t of the three seeds' own leads, to which the trials add nothing: all are alike."""
    favour = np.array([0.0, 0.3, 0.6])
    mine = np.tile(favour, (10, 1))
    theirs = np.zeros((10, 3))
    (found,) = leads(mine, theirs, (5,))
    half = 4.30265 * 0.3 / 3**0.5
    assert (found.low, found.high) == pytest.approx((0.3 - half, 0.3 + half), rel=1e-5)


@pytest.mark.parametrize(("shape", "throws"), [((20, 6), 6), ((6, 20), 6), ((20, 1), 1)])
def test_a_share_is_as_uncertain_as_the_fewer_of_seeds_and_trials(shape: tuple[int, int], throws: int) -> None:
    """Of six that all win, (1/40)^(1/6) = 0.54 is the least that is not unlikely."""
    found = share_won(np.ones(shape))
    assert (found.estimate, found.high, found.n) == (1, 1, shape[0])
    assert found.low == pytest.approx((1 / 40) ** (1 / throws))


@pytest.mark.parametrize(("trials", "seeds"), [(20, 2), (20, 1), (2, 20)])
def test_few_seeds_or_trials_tell_little_of_others(trials: int, seeds: int) -> None:
    mine = np.ones((trials, seeds))
    theirs = np.zeros((trials, seeds))
    assert math.isnan(leads(mine, theirs, (1,))[0].low)
    assert share_won(mine).low < 0.5


def test_the_mean_best_of_many_searches_is_that_of_each() -> None:
    scores = np.random.default_rng(2).normal(size=(2, 3, 7))
    found = mean_best(scores, [1, 3])
    for i, j in itertools.product(range(2), range(3)):
        assert found[i, j] == pytest.approx(expected_best(scores[i, j], [1, 3]).mean)
