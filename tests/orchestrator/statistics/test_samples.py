"""Within a seed and over seeds: is it the seeds or the test set?"""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from orchestrator.statistics.samples import mcnemar, paired_sample_interval, two_way_interval

UNHURRIED = settings(deadline=None)

answers = arrays(bool, (2, 40))
Bools = NDArray[np.bool_]


def of_table(both: int, gained: int, lost: int, neither: int) -> tuple[Bools, Bools]:
    """Answers of challenger and baseline with these counts."""
    counts = [both, gained, lost, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def simulated(
    rng: np.random.Generator, seeds: int, samples: int, of_seed: float, of_sample: float
) -> tuple[Bools, Bools]:
    """Two equally good models; accuracy varies with the seed, agreement with the sample."""
    ease = rng.normal(2, 1.5, samples)
    preference = rng.normal(0, of_sample, samples)
    challenger, baseline = (
        ease + side * preference + rng.normal(0, of_seed, (seeds, 1)) + rng.normal(0, 0.3, (seeds, samples)) > 0
        for side in (1, -1)
    )
    return challenger, baseline


def test_a_published_table() -> None:
    challenger, baseline = of_table(1, 1, 7, 12)  # Bentur et al. 2009, in Fagerland, Lydersen & Laake 2013
    assert mcnemar(challenger, baseline) == pytest.approx(0.070, abs=5e-4)
    interval = paired_sample_interval(challenger, baseline)
    assert interval.estimate == pytest.approx(-6 / 21)
    assert (interval.low, interval.high) == pytest.approx((-0.508, -0.013), abs=1e-3)
    assert interval.n == 21


@UNHURRIED
@given(answers)
def test_mcnemar_is_that_of_statsmodels(pair: Bools) -> None:
    challenger, baseline = pair
    table = [[int((challenger & baseline).sum()), int((challenger & ~baseline).sum())]]
    table.append([int((~challenger & baseline).sum()), int((~challenger & ~baseline).sum())])
    expected = statsmodels_mcnemar(table, exact=True).pvalue if table[0][1] + table[1][0] else 1.0
    assert mcnemar(challenger, baseline) == pytest.approx(min(1.0, expected))


@UNHURRIED
@given(answers, st.permutations(range(40)))
def test_swapping_the_two_flips_the_sign_and_their_order_says_nothing(pair: Bools, order: list[int]) -> None:
    challenger, baseline = pair
    forth = paired_sample_interval(challenger, baseline)
    back = paired_sample_interval(baseline, challenger)
    assert (back.estimate, back.low, back.high) == pytest.approx((-forth.estimate, -forth.high, -forth.low))
    assert -1 <= forth.low <= forth.estimate <= forth.high <= 1
    assert paired_sample_interval(challenger[order], baseline[order]) == forth
    assert mcnemar(challenger, baseline) == mcnemar(baseline, challenger) == mcnemar(challenger[order], baseline[order])


def test_agreement_on_every_sample_keeps_a_width() -> None:
    interval = paired_sample_interval([True] * 50, [True] * 50)
    assert interval.low < 0 < interval.high
    assert mcnemar([True] * 50, [True] * 50) == 1


def test_without_samples_there_is_nothing() -> None:
    assert np.isnan(paired_sample_interval([], [])[:3]).all()


@pytest.mark.parametrize(("gain", "loss"), [(0.1, 0.05), (0.02, 0.0), (0.01, 0.01)])
def test_the_interval_over_samples_covers_and_mcnemar_keeps_its_level(gain: float, loss: float) -> None:
    n = 300
    runs = 2000
    counts = np.random.default_rng(0).multinomial(n, [0.8, gain, loss, 0.2 - gain - loss], size=runs)
    intervals = [paired_sample_interval(*of_table(*map(int, row))) for row in counts]
    rate = np.mean([low <= gain - loss <= high for _, low, high, _ in intervals])
    print(f"{gain}, {loss}: {rate:.3f}")
    assert rate > 0.95 - 4 * math.sqrt(0.95 * 0.05 / runs)
    if gain == loss:
        assert np.mean([mcnemar(*of_table(*map(int, row))) <= 0.05 for row in counts]) <= 0.05


@pytest.mark.parametrize(
    ("seeds", "of_seed", "of_sample"), [(5, 0.3, 0.05), (5, 0.05, 0.3), (5, 0.1, 0.2), (10, 0.2, 0.2)]
)
def test_the_two_way_interval_covers_whichever_noise_prevails(seeds: int, of_seed: float, of_sample: float) -> None:
    rng = np.random.default_rng(seeds)
    runs = 150
    held = [
        low <= 0 <= high
        for _, low, high, *_ in (
            two_way_interval(*simulated(rng, seeds, 500, of_seed, of_sample), rng, draws=1000) for _ in range(runs)
        )
    ]
    print(f"{seeds} seeds, {of_seed}, {of_sample}: {np.mean(held):.3f}")
    assert np.mean(held) > 0.95 - 4 * math.sqrt(0.95 * 0.05 / runs)


def test_the_variance_components_are_found() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        scores = rng.normal(0, 0.3, (8, 1)) + rng.normal(0, 0.5, 60) + rng.normal(0, 0.7, (8, 60))
        found.append(two_way_interval(scores, np.zeros((8, 60)), rng, draws=10)[3:])
    np.testing.assert_allclose(np.mean(found, axis=0), (0.09, 0.25, 0.49), rtol=0.07)


def test_the_two_way_interval_is_as_wide_as_students_of_the_variance_components() -> None:
    """With seeds that differ little and a normal bootstrap; the degrees of freedom are Satterthwaite's (1946)."""
    rng = np.random.default_rng(1)
    seeds = 4
    samples = 80
    scores = rng.normal(0, 0.02, (seeds, 1)) + rng.normal(0, 0.3, samples) + rng.normal(0, 0.1, (seeds, samples))
    found = two_way_interval(scores, np.zeros_like(scores), rng, draws=20_000)
    of_seeds = samples * scores.mean(axis=1).var(ddof=1)
    of_samples = seeds * scores.mean(axis=0).var(ddof=1)
    rest = (scores - scores.mean(axis=0) - scores.mean(axis=1, keepdims=True) + scores.mean()).ravel()
    residual = float(rest @ rest) / ((seeds - 1) * (samples - 1))
    mean_square = of_seeds + of_samples - residual
    weights = of_seeds**2 / (seeds - 1) + of_samples**2 / (samples - 1) + residual**2 / (seeds - 1) / (samples - 1)
    half = stats.t(mean_square**2 / weights).ppf(0.975) * math.sqrt(mean_square / scores.size)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.03)
    assert (found.high + found.low) / 2 == pytest.approx(scores.mean(), abs=0.05 * half)


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_the_two_way_interval_scales_with_the_scores(scale: float) -> None:
    scores = np.random.default_rng(2).normal(size=(5, 60)) + np.random.default_rng(3).normal(size=60)
    one, other = (two_way_interval(f * scores, 0 * scores, np.random.default_rng(0), 500) for f in (1.0, scale))
    assert other[:3] == pytest.approx([scale * each for each in one[:3]])
    assert other[3:] == pytest.approx([scale**2 * each for each in one[3:]])


def test_the_resamples_vary_as_owen_says() -> None:
    from orchestrator.statistics.samples import _pigeonhole

    rng = np.random.default_rng(0)
    values = rng.integers(-1, 2, (5, 400)).astype(float) + rng.normal(size=(5, 1))
    brute = [values[rng.integers(5, size=5)][:, rng.integers(400, size=400)].mean() for _ in range(4000)]
    resampled = _pigeonhole(values, rng, 4000)
    assert resampled.mean() == pytest.approx(values.mean(), abs=5 * np.std(brute) / math.sqrt(4000))
    assert resampled.std() == pytest.approx(np.std(brute), rel=0.06)


def test_one_seed_leaves_the_two_way_interval_open() -> None:
    found = two_way_interval([[True, False, True]], [[False, False, True]], np.random.default_rng(0))
    assert found.estimate == pytest.approx(1 / 3)
    assert np.isnan(found[1:]).all()


def test_equal_answers_have_no_spread() -> None:
    correct = np.random.default_rng(0).random((5, 100)) < 0.9
    estimate, low, high, *variances = two_way_interval(correct, correct, np.random.default_rng(0))
    assert (estimate, *variances) == (0, 0, 0, 0)
    assert math.isnan(low)
    assert math.isnan(high)


def test_the_time_grows_no_faster_than_the_test_set() -> None:
    rng = np.random.default_rng(0)

    def seconds(samples: int) -> float:
        pair = simulated(rng, 5, samples, 0.1, 0.2)
        start = time.process_time()
        two_way_interval(*pair, rng, draws=200)
        return time.process_time() - start

    small = min(seconds(2500) for _ in range(3))
    assert min(seconds(20_000) for _ in range(3)) < 24 * small, "8 times in proportion, 64 times with the square"
