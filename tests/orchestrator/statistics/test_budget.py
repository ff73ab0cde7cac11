"""The best of k trials is what counting all draws says it is."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.statistics.budget import expected_best

UNHURRIED = settings(deadline=None)

scores = st.lists(st.floats(-1, 1).map(lambda value: round(value, 6)), min_size=1, max_size=30)


@pytest.mark.parametrize("made", [[0.3], [0.0, 0.9], [0.5, 0.5, 0.7], [0.1, 0.4, 0.2, 0.9]])
def test_it_is_the_mean_spread_and_quantile_over_all_draws_with_replacement(made: list[float]) -> None:
    for k in range(1, 6):
        draws = np.sort([max(draw) for draw in itertools.product(made, repeat=k)])
        found = expected_best(made, [k], confidence=0.6)
        assert found.mean[0] == pytest.approx(draws.mean())
        assert found.deviation[0] == pytest.approx(draws.std(), abs=1e-9)
        low, high = np.quantile(draws, (0.2, 0.8), method="inverted_cdf")
        assert (found.low[0], found.high[0]) == (low, high)


@UNHURRIED
@given(scores)
def test_more_trials_never_make_it_worse_and_it_stays_within_what_was_seen(made: list[float]) -> None:
    found = expected_best(made, np.arange(1, 41))
    for values in (found.mean, found.low, found.high):
        assert (np.diff(values) >= -1e-12).all()
        assert min(made) - 1e-9 <= values.min() <= values.max() <= max(made) + 1e-9
    assert (found.low <= found.high).all()


@UNHURRIED
@given(scores)
def test_one_trial_has_the_mean_of_all_and_very_many_have_the_best(made: list[float]) -> None:
    found = expected_best(made, [1, 10_000])
    assert found.mean[0] == pytest.approx(np.mean(made), abs=1e-12)
    assert found.deviation[0] == pytest.approx(np.std(made), abs=1e-9)
    assert found.mean[1] == pytest.approx(max(made))
    assert found.high[1] == max(made)


@UNHURRIED
@given(scores, st.floats(0.01, 10), st.floats(-5, 5))
def test_another_unit_changes_it_as_it_changes_the_scores(made: list[float], scale: float, shift: float) -> None:
    ours = expected_best(made, [1, 2, 7])
    theirs = expected_best(scale * np.array(made) + shift, [1, 2, 7])
    np.testing.assert_allclose(theirs.mean, scale * ours.mean + shift, atol=1e-9)
    np.testing.assert_allclose(theirs.deviation, scale * ours.deviation, atol=1e-6)


def test_a_trial_that_diverged_has_to_be_given_a_score() -> None:
    for made in ([], [0.5, -math.inf], [math.nan]):
        with pytest.raises(ValueError, match="must be finite"):
            expected_best(made, [1])
    assert expected_best([0.0, 0.8], [1]).mean[0] == pytest.approx(0.4)
