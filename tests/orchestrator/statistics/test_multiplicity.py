"""Adjusted p-values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control
from statsmodels.stats.multitest import multipletests

from orchestrator.statistics.multiplicity import benjamini_hochberg, gated, holm

UNHURRIED = settings(deadline=None)

probabilities = st.lists(st.one_of(st.floats(0, 1), st.just(math.nan)), max_size=20)

BENJAMINI_HOCHBERG = [
    0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0
]  # fmt: skip
"""Their example of 1995: 15 comparisons in a trial on thrombolysis."""


def test_the_example_of_benjamini_and_hochberg() -> None:
    assert (benjamini_hochberg(BENJAMINI_HOCHBERG) <= 0.05).sum() == 4
    assert (holm(BENJAMINI_HOCHBERG) <= 0.05).sum() == 3


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
@UNHURRIED
@given(p=probabilities)
def test_adjusting_keeps_the_order_raises_p_and_counts_what_is_missing(adjust: object, p: list[float]) -> None:
    assert callable(adjust)
    raw = np.array(p)
    adjusted = adjust(p)
    made = ~np.isnan(raw)
    np.testing.assert_array_equal(np.isnan(adjusted), ~made)
    assert (adjusted[made] >= raw[made] - 1e-12).all()
    assert (adjusted[made] <= 1).all()
    assert (np.diff(adjusted[made][np.argsort(raw[made])]) >= 0).all()
    np.testing.assert_allclose(adjusted[made], adjust([*raw[made], *[1.0] * (~made).sum()])[: made.sum()])


@UNHURRIED
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_each_is_what_its_definition_says(p: list[float]) -> None:
    left = [sum(other >= mine for other in p) for mine in p]
    stepped = [min(1, max(m * other for m, other in zip(left, p, strict=True) if other <= mine)) for mine in p]
    np.testing.assert_allclose(holm(p), stepped)
    np.testing.assert_allclose(benjamini_hochberg(p), false_discovery_control(p))


def test_both_are_those_of_statsmodels() -> None:
    np.testing.assert_allclose(holm(BENJAMINI_HOCHBERG), multipletests(BENJAMINI_HOCHBERG, method="holm")[1])
    np.testing.assert_allclose(
        benjamini_hochberg(BENJAMINI_HOCHBERG), multipletests(BENJAMINI_HOCHBERG, method="fdr_bh")[1]
    )


def test_a_table_keeps_its_shape() -> None:
    table = np.array([[0.01, 0.5], [0.04, 0.03]])
    np.testing.assert_allclose(holm(table), [[0.04, 0.5], [0.09, 0.09]])


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_questions_without_an_answer_yet_count(adjust: object) -> None:
    """Or the first of 12 settings to finish would be judged by itself."""
    assert callable(adjust)
    assert adjust([0.0141, *[math.nan] * 11])[0] == pytest.approx(12 * 0.0141)


def test_among_true_hypotheses_holm_rejects_any_in_5_of_100() -> None:
    p = np.random.default_rng(0).uniform(size=(2000, 10))
    rate = np.mean([holm(row).min() <= 0.05 for row in p])
    assert rate == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / 2000))


def test_a_later_family_waits_for_every_test_before_it() -> None:
    first, second = gated([[0.01, 0.02], [0.001, 0.04]])
    assert first == pytest.approx([0.02, 0.02])
    assert second == pytest.approx([0.02, 0.04])
    assert (gated([[0.01, 0.06], [0.001]])[1] > 0.05).all()


def test_a_test_that_could_not_be_made_keeps_the_gate_shut() -> None:
    assert gated([[0.001, math.nan], [0.001]])[1] == pytest.approx([1.0])


@UNHURRIED
@given(p=probabilities)
def test_the_first_family_is_tested_as_if_alone(p: list[float]) -> None:
    first, second = gated([p, [0.5]])
    np.testing.assert_array_equal(first, holm(p))
    assert gated([[], p])[1] == pytest.approx(holm(p), nan_ok=True)
    assert second[0] >= 0.5


def test_over_both_families_any_true_hypothesis_is_rejected_at_most_at_alpha() -> None:
    """One of two primary hypotheses is true, or none, and all secondary ones are."""
    rng = np.random.default_rng(0)
    runs = 4000
    for false in (1, 2):
        wrong = 0
        for _ in range(runs):
            primary = np.where(np.arange(2) < false, rng.beta(0.1, 20, 2), rng.random(2))
            first, second = gated([primary, rng.random(6)])
            wrong += bool((first[false:] <= 0.05).any() or (second <= 0.05).any())
        assert wrong / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)


def test_a_family_without_tests_leaves_the_gate_as_it_is() -> None:
    assert [list(each) for each in gated([[0.2], [], [0.001]])] == [[0.2], [], [0.2]]
    assert [list(each) for each in gated([[], [0.001]])] == [[], [0.001]]
