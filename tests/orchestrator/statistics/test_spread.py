"""How small a spread may be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from orchestrator.statistics.spread import spread

values = arrays(float, st.tuples(st.integers(1, 4), st.integers(2, 8)), elements=st.integers(-9, 9).map(float))


@given(values, st.floats(0.0, 3.0))
def test_it_is_the_standard_deviation_or_half_a_step(drawn: NDArray[np.float64], step: float) -> None:
    expected = np.maximum(drawn.std(axis=1, ddof=1), step / 2)
    np.testing.assert_allclose(spread(drawn, step), np.where(expected > 0, expected, np.nan))


@given(values, st.integers(0, 99))
def test_what_is_missing_is_left_out_of_its_own_line(drawn: NDArray[np.float64], seed: int) -> None:
    drawn[np.random.default_rng(seed).random(drawn.shape) < 0.3] = np.nan
    alone = [float(spread(line[~np.isnan(line)], 0.5)) for line in drawn]
    np.testing.assert_allclose(spread(drawn, 0.5), alone)


@pytest.mark.parametrize("line", [[], [0.4], [0.4, math.nan]])
def test_fewer_than_two_values_have_none_whatever_the_step(line: list[float]) -> None:
    assert math.isnan(float(spread(line, 0.1)))


def test_what_differs_by_rounding_alone_is_equal() -> None:
    assert math.isnan(float(spread([0.3, 0.1 + 0.2, 0.3])))
    assert float(spread([0.3, 0.1 + 0.2, 0.3], 0.01)) == 0.005
    assert float(spread([0.3, 0.3 + 1e-9, 0.3])) > 0


def test_each_line_may_have_a_step_of_its_own() -> None:
    np.testing.assert_allclose(spread([[1.0, 1.0]] * 2, [0.2, 0.02]), [0.1, 0.01])
