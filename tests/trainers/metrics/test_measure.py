"""`measure`: which values exist when, and what the bias is worth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.evaluation import Evaluation
from trainers.metrics import MEASURES, Observed
from trainers.metrics import measure as measure_observed
from trainers.metrics.features import Geometry
from trainers.metrics.traits import TRAITS, Trait

OF_THE_BIAS = {"learned_bias", "bias_gap", "relative_bias_gap", "bias_distance", "accuracy_at_bias"}
OF_VALIDATION = {
    "validation_threshold",
    "accuracy_at_validation_threshold",
    "accuracy_at_validation_probability",
    "temperature",
    "uniform_accuracy_calibrated",
    "calibration_error_calibrated",
}
OF_THE_THRESHOLD = {"unified_threshold", "threshold_low", "threshold_high", "uniformity", "threshold_spread"}

OF_OPEN_SETS = {name for name in MEASURES if name.startswith(("open_", "unknown_", "verification_"))}
OF_SHIFTS = {name for name in MEASURES if name.startswith("shift_")}


def _geometry(features: list[list[float]], labels: list[int]) -> Geometry:
    geometry = Geometry(2, 2)
    geometry.add(np.array(features), np.array(labels))
    return geometry


FEATURES = _geometry([[1, 0], [2, 0.1], [0, 3], [0.1, 4]], [0, 0, 1, 1])

T = 2.0

quarters = st.integers(-8, 8).map(lambda quarters: quarters / 4)
pairs = st.lists(st.tuples(quarters, quarters), min_size=1, max_size=10)


def _evaluation(positive: list[float], rival: list[float], label: list[int] | None = None) -> Evaluation:
    count = len(positive)
    return Evaluation(
        sample=np.arange(count, dtype=np.int32),
        label=np.asarray(label or [0] * count, np.int32),
        prediction=np.zeros(count, np.int32),
        positive=np.asarray(positive, np.float32),
        rival=np.asarray(rival, np.float32),
        logsumexp=np.logaddexp(positive, rival).astype(np.float32),
        logsumexp_tuned=np.logaddexp(np.asarray(positive) / T, np.asarray(rival) / T).astype(np.float32),
    )


def measure(
    evaluation: Evaluation, geometry: Geometry, bias: list[float], validation: Evaluation | None = None
) -> dict[str, float | None]:
    """All measures of a closed set without shifts, of two classes."""
    temperature = math.nan if validation is None else T
    found = Observed(evaluation, bias, validation, temperature, geometry, weight=np.eye(2))
    return measure_observed(found)


SEPARABLE = _evaluation([4, 5], [1, 2], [0, 1])
"""Right at every threshold between 2 and 4."""
HOPELESS = _evaluation([0, 0], [1, 0])


def _absent(measured: dict[str, float | None]) -> set[str]:
    """What does not exist of a closed set without shifts, though it might."""
    absent = {name for name, value in measured.items() if value is None}
    assert absent >= OF_OPEN_SETS | OF_SHIFTS
    return absent - OF_OPEN_SETS - OF_SHIFTS


@pytest.mark.parametrize("bias", [[], [1.0], [1.0, 2.0]])
@pytest.mark.parametrize("validation", [None, SEPARABLE])
@pytest.mark.parametrize("evaluation", [SEPARABLE, HOPELESS])
def test_the_names_are_those_of_the_results_table(
    evaluation: Evaluation, bias: list[float], validation: Evaluation | None
) -> None:
    measured = measure(evaluation, FEATURES, bias, validation)
    assert list(measured) == list(MEASURES)
    assert all(value is None or type(value) is float for value in measured.values())


def test_with_bias_and_validation_every_measure_exists() -> None:
    assert _absent(measure(SEPARABLE, FEATURES, [3.0], SEPARABLE)) == set()


def test_without_bias_its_measures_do_not_exist() -> None:
    assert _absent(measure(SEPARABLE, FEATURES, [], SEPARABLE)) == OF_THE_BIAS


def test_without_validation_its_measures_do_not_exist() -> None:
    assert _absent(measure(SEPARABLE, FEATURES, [3.0])) == OF_VALIDATION


def test_where_nothing_is_separable_there_is_no_threshold_nor_distance_to_it() -> None:
    measured = measure(HOPELESS, FEATURES, [3.0])
    assert _absent(measured) == OF_THE_THRESHOLD | OF_VALIDATION | {"bias_gap", "relative_bias_gap", "bias_distance"}
    assert measured["uniform_accuracy"] == measured["accuracy_at_bias"] == 0


def test_features_of_one_class_have_no_distinctiveness() -> None:
    one = _geometry([[1.0, 0.0]], [0])
    assert {"compactness", "distinctiveness"} <= _absent(measure(SEPARABLE, one, []))


@pytest.mark.parametrize(
    ("bias", "distance", "gap"),
    [(3.0, 0, 0), (2.5, 0, -0.5), (3.75, 0, 0.75), (1.5, 0.5, -1.5), (6.0, 2, 3), (-1.0, 3, -4)],
)
def test_the_bias_is_at_distance_0_inside_the_interval(bias: float, distance: float, gap: float) -> None:
    measured = measure(SEPARABLE, FEATURES, [bias])
    assert measured["bias_distance"] == distance
    assert measured["bias_gap"] == gap


def test_the_relative_bias_gap_is_in_units_of_the_distance_of_own_and_rival_scores() -> None:
    evaluation = _evaluation([5.0, 7.0, 2.0], [1.0, 1.0, 3.0])  # the best interval is (1, 5)
    measured = measure(evaluation, FEATURES, [2.0])
    assert measured["unified_threshold"] == 3.0
    assert measured["relative_bias_gap"] == pytest.approx(1 / 3)  # |2 - 3| / mean(4, 6, -1)
    scaled = measure(_evaluation([50.0, 70.0, 20.0], [10.0, 10.0, 30.0]), FEATURES, [20.0])
    assert scaled["relative_bias_gap"] == pytest.approx(1 / 3)


def test_where_rivals_score_as_high_there_is_no_relative_bias_gap() -> None:
    assert measure(_evaluation([2.0, 1.0], [1.0, 2.0]), FEATURES, [0.0])["relative_bias_gap"] is None


@given(pairs, quarters)
def test_accuracy_at_the_bias_counts_the_samples_it_separates(rows: list[tuple[float, float]], bias: float) -> None:
    positive, rival = map(list, zip(*rows, strict=True))
    measured = measure(_evaluation(positive, rival), FEATURES, [bias])
    assert measured["accuracy_at_bias"] == sum(r < bias < p for p, r in rows) / len(rows)


@given(pairs, quarters)
def test_a_bias_within_the_interval_loses_nothing(rows: list[tuple[float, float]], bias: float) -> None:
    measured = measure(_evaluation(*map(list, zip(*rows, strict=True))), FEATURES, [bias])
    low, high = measured["threshold_low"], measured["threshold_high"]
    if low is not None and high is not None and low < bias < high:
        assert measured["bias_distance"] == 0
        assert measured["accuracy_at_bias"] == measured["uniform_accuracy"]


def test_the_mean_stands_for_one_bias_per_class() -> None:
    diverse, unified = measure(SEPARABLE, FEATURES, [2.0, 5.0]), measure(SEPARABLE, FEATURES, [3.5])
    assert diverse == unified
    assert diverse["learned_bias"] == 3.5


def test_the_threshold_of_the_validation_split_is_applied_to_the_test_split() -> None:
    validation = _evaluation([10, 6], [4, 5])
    measured = measure(_evaluation([3, 2.5, 9, 5.75], [1, 0, 0, 5.25]), FEATURES, [], validation)
    assert measured["validation_threshold"] == 5.5
    assert measured["unified_threshold"] == 1.75
    assert measured["accuracy_at_validation_threshold"] == 2 / 4
    assert measured["uniform_accuracy"] == 3 / 4


def test_where_no_validation_sample_is_right_nothing_can_be_deployed() -> None:
    """The worst models must not leave the mean."""
    measured = measure(SEPARABLE, FEATURES, [], HOPELESS)
    assert measured["validation_threshold"] is None
    assert measured["accuracy_at_validation_threshold"] == 0
    assert measured["accuracy_at_validation_probability"] == 0
    assert measured["uniform_accuracy"] == 1


def test_every_measure_says_what_values_it_can_have() -> None:
    assert list(TRAITS) == list(MEASURES)


@given(pairs, pairs, quarters)
def test_values_lie_where_their_trait_says_in_its_steps(
    rows: list[tuple[float, float]], others: list[tuple[float, float]], bias: float
) -> None:
    (positive, rival), (own, other) = map(list, zip(*rows, strict=True)), map(list, zip(*others, strict=True))
    measured = measure(_evaluation(positive, rival), FEATURES, [bias], _evaluation(own, other))
    for name, value in measured.items():
        trait, step = TRAITS[name], TRAITS[name].step(len(rows))
        assert value is None or trait.low - 1e-9 <= value <= trait.high + 1e-9, name
        assert value is None or not step or value / step == pytest.approx(round(value / step), abs=1e-9), name


def test_the_bad_side_of_a_measure_is_where_it_ends() -> None:
    assert (TRAITS["uniform_accuracy"].worst, TRAITS["uniform_accuracy"].best) == (0, 1)
    assert (TRAITS["calibration_error"].worst, TRAITS["calibration_error"].best) == (1, 0)
    assert (TRAITS["nc2"].worst, TRAITS["nc2"].best) == (None, 0)
    assert (TRAITS["bias_gap"].worst, TRAITS["bias_gap"].best) == (None, None)
    assert TRAITS["uniform_accuracy"].step(797) == 1 / 797
    assert TRAITS["uniform_accuracy"].step(None) == TRAITS["bias_gap"].step(797) == 0


def test_a_step_is_what_one_sample_adds_at_most() -> None:
    macro, cost = Trait("higher", 0, 1, "classes"), Trait("lower", 0, counted="samples", weight=5)
    assert macro.step(1000, 10 * 20) == 1 / 200  # ten classes, twenty samples of the rarest
    assert macro.step(1000) == macro.step(None, None) == 0
    assert cost.step(1000, 200) == 5 / 1000


def test_class_wise_accuracy_is_a_share_of_all_samples_and_no_mean_of_the_classes_own() -> None:
    """One sample of three in one class, and the only one of another."""
    label = [0, 0, 0, 1]
    steps = {
        measure(_evaluation([3, 0, 0, own], [0, 1, 1, 1], label), FEATURES, [])["class_wise_accuracy"] for own in (0, 2)
    }
    assert steps == {1 / 4, 2 / 4}
    assert TRAITS["class_wise_accuracy"].step(4, 2 * 1) == 1 / 4


def test_class_wise_accuracy_uses_the_labels() -> None:
    evaluation = _evaluation([1, 9], [0, 8], [0, 1])
    measured = measure(evaluation, FEATURES, [])
    assert measured["class_wise_accuracy"] == 1
    assert measured["uniform_accuracy"] == measured["uniformity"] == 0.5


def test_probabilities_are_centred_scores_where_there_are_two_classes() -> None:
    # K = 2: softmax depends on the difference of the two scores alone (fact 6), at any temperature.
    evaluation = _evaluation([3, 9, 1, 2.5], [1, 8.5, 2, 2])
    measured = measure(evaluation, FEATURES, [], evaluation)
    for kind in ("probability", "calibrated", "centred"):
        assert measured[f"uniform_accuracy_{kind}"] == measured["sample_wise_accuracy"] == 0.75
    assert measured["uniform_accuracy"] == 0.5


def test_unknown_samples_are_judged_by_their_top_score() -> None:
    known, unknown = _evaluation([4, 5, 1], [1, 2, 3]), _evaluation([0, 3.5], [2, 0])
    found = Observed(known, validation=SEPARABLE, temperature=T, unknown=unknown)
    measured = measure_observed(found)
    assert measured["unknown_rejected"] == 0.5  # the validation split's threshold is 3
    assert measured["open_auroc"] == pytest.approx(5 / 6)
    assert measured["open_fpr95"] == 0.5
    assert measured["verification_eer"] is None


def test_pairs_are_verified_by_similarity() -> None:
    genuine = np.array([True, True, False, False])
    found = Observed(SEPARABLE, unknown=HOPELESS, similarity=np.array([0.9, 0.8, 0.1, 0.2]), genuine=genuine)
    measured = measure_observed(found)
    assert measured["verification_eer"] == 0
    assert measured["verification_tar_1"] == 1


def test_a_shift_is_judged_at_the_threshold_of_the_clean_test_set() -> None:
    shifted = {"fog-1": _evaluation([4, 2], [1, 1]), "fog-5": _evaluation([1, 0], [2, 3])}
    measured = measure_observed(Observed(SEPARABLE, shifted=shifted))
    assert measured["shift_sample_wise_accuracy"] == measured["shift_uniform_accuracy"] == 0.5
    assert measured["shift_accuracy_at_clean_threshold"] == 0.25
