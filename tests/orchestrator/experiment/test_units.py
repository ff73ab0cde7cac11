"""How differences are written."""

from __future__ import annotations

import math

import pytest

from orchestrator.experiment.units import amount, shown, size
from orchestrator.sentences import filled
from orchestrator.statistics.intervals import Interval


@pytest.mark.parametrize(
    ("size", "metrics", "text"),
    [
        (0.002, ["uniform_accuracy"], "0.2 points"),
        (0.01, ["uniform_accuracy"], "1 point"),
        (0.0, ["calibration_error"], "0 points"),
        (-0.05, ["open_auroc"], "-5 points"),
        (0.07, ["uniform_accuracy", "shift_uniform_accuracy"], "7 points"),  # 100 * 0.07 is no 7
        (0.1, ["relative_bias_gap"], "0.1"),
        (0.5, ["uniform_accuracy", "bias_gap"], "0.5"),
        (0.3, ["compactness"], "0.3"),
    ],
)
def test_sizes_of_shares_are_in_points_and_others_in_their_own_unit(size: float, metrics: list[str], text: str) -> None:
    assert filled(amount(size, metrics)) == text


def test_a_size_has_so_many_digits_as_are_asked_for_and_no_exponent() -> None:
    assert filled(amount(0.0123456, ["uniform_accuracy"], 2)) == "1.2 points"
    assert filled(amount(1.234, ["uniform_accuracy"], 2)) == "120 points"


def test_intervals_have_the_unit_once() -> None:
    found = Interval(0.0408, 0.0328, 0.0487, 2)
    assert filled(shown(found, ["uniform_accuracy"])) == "+4.08 [+3.28, +4.87] points"
    assert filled(shown(found, ["bias_gap"])) == "+0.0408 [+0.0328, +0.0487]"


def test_the_end_of_an_interval_has_its_digits() -> None:
    assert filled(size(0.0086712, ["uniform_accuracy"])) == "0.87 points"
    assert filled(size(0.0086712, ["nc2"])) == "0.0087"


def test_one_pair_has_no_interval() -> None:
    assert filled(shown(Interval(-0.5, math.nan, math.nan, 1), ["nc2"])) == "-0.5000"
    assert filled(shown(Interval(-0.5, math.nan, math.nan, 1), ["uniform_accuracy"])) == "-50.00 points"
