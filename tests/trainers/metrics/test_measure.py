"""`measure`: which values exist when, and what the bias is worth."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trainers.evaluation import Evaluation
from trainers.metrics import AT_TEMPERATURE, MEASURES, NEEDED, ON_VALIDATION, STATED, Observed, from_rows
from trainers.metrics import measure as measure_observed
from trainers.metrics.claimed import claimed
from trainers.metrics.features import Geometry
from trainers.metrics.names import OF_ALL_SCORES
from trainers.metrics.traits import TRAITS, Trait

OF_SIGMOIDS = {"calibration_error_sigmoid", "negative_log_likelihood_sigmoid", "brier_score_sigmoid"}
OF_THE_BIAS = {"learned_bias", "bias_gap", "relative_bias_gap", "bias_distance", "accuracy_at_bias"}
OF_MANY_BIASES = {"uniform_accuracy_sigmoid", "sample_wise_accuracy_sigmoid"}
RARE = {"true_accept_rate_1", "true_accept_rate_01", "head_accuracy", "medium_accuracy"}
"""What a few samples, or a few training images a class, do not have."""
OF_VALIDATION = {
    "validation_threshold",
    "accuracy_at_validation_threshold",
    "accuracy_at_validation_probability",
    "temperature",
    "temperature_at_edge",
    "uniform_accuracy_calibrated",
    "calibration_error_calibrated",
}
OF_THE_THRESHOLD = {"unified_threshold", "threshold_low", "threshold_high", "uniformity", "threshold_spread"}

OF_OPEN_SETS = {name for name in MEASURES if name.startswith(("open_", "unknown_", "verification_"))}
OF_SHIFTS = {name for name in MEASURES if name.startswith("shift_")}


Floats = NDArray[np.float64]


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
        prediction=np.where(np.less(rival, positive), label or 0, 1 - np.asarray(label or 0)).astype(np.int32),
        positive=np.asarray(positive, np.float32),
        rival=np.asarray(rival, np.float32),
        logsumexp=np.logaddexp(positive, rival).astype(np.float32),
        logsumexp_tuned=np.logaddexp(np.asarray(positive) / T, np.asarray(rival) / T).astype(np.float32),
        **_ranked(np.asarray(positive, np.float64), np.asarray(rival, np.float64), np.asarray(label or [0] * count)),
    )


def _ranked(positive: Floats, rival: Floats, label: NDArray[np.int64]) -> dict[str, Any]:
    """The columns of two classes, of which one is right."""
    gap = np.abs(positive - rival)
    own = label[:, None] == np.arange(2)
    scores = np.where(own, positive[:, None], rival[:, None]).astype(np.float32)
    return {"log_odds": gap, "log_odds_tuned": gap / T, "scores": scores}


def measure(
    evaluation: Evaluation, geometry: Geometry, bias: list[float], validation: Evaluation | None = None
) -> dict[str, float | None]:
    """All measures of a closed set without shifts, of two classes."""
    temperature = math.nan if validation is None else T
    found = Observed(
        evaluation,
        learned_bias=bias,
        bias=bias,
        sigmoid=True,
        validation=validation,
        temperature=temperature,
        geometry=geometry,
        trained=geometry.moments,
        training_accuracy=0.75,
        weight=np.eye(2),
    )
    return measure_observed(found)


SEPARABLE = _evaluation([4, 5], [1, 2], [0, 1])
"""Right at every threshold between 2 and 4."""
HOPELESS = _evaluation([0, 0], [1, 0])


def _absent(measured: dict[str, float | None]) -> set[str]:
    """What does not exist of a closed set without shifts, though it might."""
    absent = {name for name, value in measured.items() if value is None}
    assert absent >= OF_OPEN_SETS | OF_SHIFTS
    return absent - OF_OPEN_SETS - OF_SHIFTS - RARE


@pytest.mark.parametrize("bias", [[], [1.0], [1.0, 2.0]])
@pytest.mark.parametrize("validation", [None, SEPARABLE])
@pytest.mark.parametrize("evaluation", [SEPARABLE, HOPELESS])
def test_the_names_are_those_of_the_results_table(
    evaluation: Evaluation, bias: list[float], validation: Evaluation | None
) -> None:
    measured = measure(evaluation, FEATURES, bias, validation)
    assert list(measured) == list(MEASURES)
    assert len(measured) == len(set(measured))
    assert all(value is None or type(value) is float for value in measured.values())


def test_with_bias_and_validation_every_measure_exists() -> None:
    assert _absent(measure(SEPARABLE, FEATURES, [3.0, 2.0], SEPARABLE)) == set()
    assert _absent(measure(SEPARABLE, FEATURES, [3.0, 3.0], SEPARABLE)) == OF_MANY_BIASES


def test_without_bias_its_measures_do_not_exist() -> None:
    assert _absent(measure(SEPARABLE, FEATURES, [], SEPARABLE)) == OF_THE_BIAS | OF_SIGMOIDS | OF_MANY_BIASES


def test_without_validation_its_measures_do_not_exist() -> None:
    assert _absent(measure(SEPARABLE, FEATURES, [3.0, 2.0])) == OF_VALIDATION


def test_where_nothing_is_separable_there_is_no_threshold_nor_distance_to_it() -> None:
    measured = measure(HOPELESS, FEATURES, [3.0, 3.0 + 1e-9])
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
    low = measured["threshold_low"]
    high = measured["threshold_high"]
    if low is not None and high is not None and low < bias < high:
        assert measured["bias_distance"] == 0
        assert measured["accuracy_at_bias"] == measured["uniform_accuracy"]


def test_the_mean_stands_for_one_bias_per_class() -> None:
    diverse = measure(SEPARABLE, FEATURES, [2.0, 5.0])
    unified = measure(SEPARABLE, FEATURES, [3.5])
    assert {name for name in diverse if diverse[name] != unified[name]} == OF_SIGMOIDS | OF_MANY_BIASES
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
    (positive, rival) = map(list, zip(*rows, strict=True))
    (own, other) = map(list, zip(*others, strict=True))
    measured = measure(_evaluation(positive, rival), FEATURES, [bias], _evaluation(own, other))
    for name, value in measured.items():
        trait = TRAITS[name]
        step = TRAITS[name].step(len(rows))
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
    macro = Trait("higher", 0, 1, "classes")
    cost = Trait("lower", 0, counted="samples", weight=5)
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
    known = _evaluation([4, 5, 1], [1, 2, 3])
    unknown = _evaluation([0, 3.5], [2, 0])
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
    assert measured["verification_tar_1"] is None
    many = replace(found, similarity=np.linspace(1, 0, 202), genuine=np.arange(202) < 102)
    assert measure_observed(many)["verification_tar_1"] == 1
    fewer = replace(found, similarity=np.linspace(1, 0, 201), genuine=np.arange(201) < 102)
    assert measure_observed(fewer)["verification_tar_1"] is None


def test_a_shift_is_judged_at_the_threshold_of_the_clean_test_set() -> None:
    shifted = {"fog-1": _evaluation([4, 2], [1, 1]), "fog-5": _evaluation([1, 0], [2, 3])}
    measured = measure_observed(Observed(SEPARABLE, shifted=shifted))
    assert measured["shift_sample_wise_accuracy"] == measured["shift_uniform_accuracy"] == 0.5
    assert measured["shift_accuracy_at_clean_threshold"] == 0.25
    assert measured["shift_accuracy_at_validation_threshold"] is None
    for validation, expected in ((_evaluation([2], [1]), 0.5), (HOPELESS, 0)):
        found = Observed(SEPARABLE, validation=validation, temperature=T, shifted=shifted)
        assert measure_observed(found)["shift_accuracy_at_validation_threshold"] == expected


def test_every_set_of_measures_is_of_measures() -> None:
    assert {*ON_VALIDATION, *STATED, *OF_ALL_SCORES, *NEEDED} <= set(MEASURES)
    assert AT_TEMPERATURE <= ON_VALIDATION


class TestByProbability:
    """Saturated scores, as of a low temperature: float32 probabilities are all 1, and rank nothing."""

    @staticmethod
    def _rows(scores: Floats, label: NDArray[np.int64], *, as_probabilities: bool) -> Evaluation:
        """The rows of scores (n, K), or of log-probabilities in float32 in place of them."""
        each = np.arange(len(label))
        highest = scores.argmax(axis=1)
        level = np.logaddexp.reduce(scores, axis=1)
        others = np.where(np.arange(scores.shape[1]) == highest[:, None], -np.inf, scores)
        odds = scores[each, highest] - np.logaddexp.reduce(others, axis=1)
        kept = (scores - level[:, None] if as_probabilities else scores).astype(np.float32)
        own = np.arange(scores.shape[1]) == label[:, None]
        return Evaluation(
            sample=each.astype(np.int32),
            label=label.astype(np.int32),
            prediction=highest.astype(np.int32),
            positive=kept[own],
            rival=np.where(own, -np.inf, kept).max(axis=1),
            logsumexp=(0 * level if as_probabilities else level).astype(np.float32),
            logsumexp_tuned=(0 * level if as_probabilities else level).astype(np.float32),
            log_odds=odds,
            log_odds_tuned=odds,
            scores=kept,
        )

    @staticmethod
    def _exact(scores: Floats, k: NDArray[np.int64]) -> list[int]:
        """Dense ranks of the probability of a class of each sample, found with sixty digits."""
        with mpmath.workdps(400):
            rows = [[mpmath.exp(mpmath.mpf(score)) for score in row] for row in scores.tolist()]
            odds = [
                row[own] / mpmath.fsum(row[:own] + row[own + 1 :]) for row, own in zip(rows, k.tolist(), strict=True)
            ]
            order = sorted(set(odds))
            return [order.index(each) for each in odds]

    @pytest.fixture
    def scores(self) -> tuple[Floats, NDArray[np.int64], Floats]:
        """Of 200 known samples, 20 of them confidently wrong, and of 60 unknown ones, of small and large gaps."""
        draw = np.random.default_rng(7)
        label = draw.integers(0, 4, 200)
        known = 8 * draw.normal(size=(200, 4)) + 60 * np.eye(4)[np.where(np.arange(200) < 20, (label + 1) % 4, label)]
        unknown = 12 * draw.normal(size=(60, 4)) + 30 * np.eye(4)[draw.integers(0, 4, 60)]
        return (*(np.float32(part).astype(np.float64) for part in (known, unknown)), label)  # pyright: ignore[reportReturnType]

    @pytest.mark.parametrize("as_probabilities", [True, False])
    def test_every_rank_is_that_of_sixty_digits(self, scores: Any, *, as_probabilities: bool) -> None:
        known, unknown, label = scores
        rows, outside = (
            self._rows(part, of, as_probabilities=as_probabilities)
            for part, of in ((known, label), (unknown, np.zeros(60, np.int64)))
        )
        assert not as_probabilities or len(np.unique(np.maximum(rows.positive, rows.rival))) < 40
        found = Observed(rows, decide_by="calibrated" if as_probabilities else "raw", unknown=outside, temperature=1.0)
        measured = measure_observed(found)
        together = np.concatenate([known, unknown])
        places = np.array(self._exact(together, together.argmax(axis=1)))
        top = places[:200]
        above = places[200:]
        right = known.argmax(axis=1) == label
        pairs = (top[:, None] > above) + 0.5 * (top[:, None] == above)
        expected = {
            "open_auroc": pairs.mean(),
            "open_oscr": (pairs * right[:, None]).mean(),
            "open_fpr95": np.mean(above >= np.sort(top)[10]),
            "area_under_risk_coverage": np.mean([1 - right[top >= each].mean() for each in top]),
        }
        for name, value in expected.items():
            assert measured[f"{name}_probability"] == pytest.approx(value, abs=1e-12), name
            if as_probabilities:
                assert measured[name] == pytest.approx(value, abs=1e-12), name
        assert measured["open_auroc_calibrated"] == measured["open_auroc_probability"]
        for name in ("auroc", "fpr95", "oscr"):
            assert (measured[f"open_{name}_energy"] is None) == as_probabilities
        if as_probabilities:
            others = np.where(np.arange(4) == label[:, None], -np.inf, known).argmax(axis=1)
            both = np.array(self._exact(np.concatenate([known, known]), np.concatenate([label, others])))
            threshold = np.sort(both[200:])[-3]  # 1 % of 200 may lie above
            assert measured["true_accept_rate_1"] == np.mean(both[:200] > threshold)
            assert measured["true_accept_rate_1"] > 0.1  # by log-probabilities in float32 it is 0

    def test_without_kept_odds_no_rank_by_probability_exists(self, scores: Any) -> None:
        known, unknown, label = scores
        rows = replace(self._rows(known, label, as_probabilities=False), log_odds=None)
        outside = self._rows(unknown, np.zeros(60, np.int64), as_probabilities=False)
        measured = measure_observed(Observed(rows, unknown=outside))
        assert measured["open_auroc"] is not None
        assert {name for name, value in measured.items() if value is None} >= {
            "area_under_risk_coverage_probability",
            *(f"open_{name}_probability" for name in ("auroc", "fpr95", "oscr")),
        }


class TestClaimed:
    """Against loops over classes."""

    @staticmethod
    def _drawn(classes: int) -> tuple[Floats, NDArray[np.int64], list[float]]:
        draw = np.random.default_rng(classes)
        return 4 * draw.normal(size=(40, classes)), draw.integers(0, classes, 40), draw.normal(size=classes).tolist()

    @pytest.mark.parametrize("classes", [2, 5])
    @pytest.mark.parametrize("biases", [0, 1, None])
    def test_probabilities_are_those_of_loops(self, classes: int, biases: int | None) -> None:
        scores, label, bias = self._drawn(classes)
        bias = bias[:biases]
        found = claimed(scores, label, bias)
        softmax = [[math.exp(s - max(row)) for s in row] for row in scores.tolist()]
        softmax = [[p / sum(row) for p in row] for row in softmax]
        assert found.brier.tolist() == pytest.approx(
            [sum((p - (k == own)) ** 2 for k, p in enumerate(row)) for row, own in zip(softmax, label, strict=True)]
        )
        if not bias:
            assert found.sigmoid is None
            return
        assert found.sigmoid is not None
        logits = [[s - (bias * classes)[k] for k, s in enumerate(row)] for row in scores.tolist()]
        yes = [[1 / (1 + math.exp(-z)) for z in row] for row in logits]
        assert found.sigmoid.positive.tolist() == [row[own] for row, own in zip(logits, label, strict=True)]
        assert found.sigmoid.rival.tolist() == [
            max(z for k, z in enumerate(row) if k != own) for row, own in zip(logits, label, strict=True)
        ]
        assert found.sigmoid.likelihood.tolist() == pytest.approx(
            [
                -sum(math.log(p if k == own else 1 - p) for k, p in enumerate(row))
                for row, own in zip(yes, label, strict=True)
            ]
        )
        assert found.sigmoid.brier.tolist() == pytest.approx(
            [sum((p - (k == own)) ** 2 for k, p in enumerate(row)) for row, own in zip(yes, label, strict=True)]
        )

    def test_huge_scores_are_safe(self) -> None:
        found = claimed([[1e4, -1e4], [1e4, -1e4]], np.array([0, 1]), [0.0])
        assert found.brier.tolist() == [0, 2]
        assert found.sigmoid is not None
        assert found.sigmoid.likelihood.tolist() == [0, 2e4]
        assert found.sigmoid.brier.tolist() == [0, 2]

    def test_infinite_scores_are_nan_without_a_warning(self) -> None:
        assert np.isnan(claimed([[np.inf, 0.0]], np.array([0]), [0.0]).brier).all()


def test_sigmoid_figures_are_of_the_probability_that_the_loss_claims() -> None:
    rows = _evaluation([3, 1, 0.5], [1, 2, 0], [0, 1, 0])
    bias = [0.5, 1.5]
    measured = measure(rows, FEATURES, bias)
    logits = np.array([[2.5, -0.5], [1.5, -0.5], [0, -1.5]])
    confidence = 1 / (1 + np.exp(-logits.max(axis=1)))
    right = np.array([1, 0, 1])
    assert measured["calibration_error_sigmoid"] == pytest.approx(np.abs(confidence - right).mean())
    assert measured["sample_wise_accuracy_sigmoid"] == pytest.approx(2 / 3)
    assert measured["uniform_accuracy_sigmoid"] == pytest.approx(2 / 3)
    plain = np.exp(np.array([3, 1, 0.5])) / (np.exp(np.array([3, 1, 0.5])) + np.exp(np.array([1, 2, 0])))
    assert measured["negative_log_likelihood"] == pytest.approx(-np.log(plain).mean())
    assert measured["brier_score"] == pytest.approx((2 * (1 - plain) ** 2).mean())


def test_the_likelihood_of_sure_samples_is_not_the_rounding_of_float32() -> None:
    rows = _evaluation([30.0, 40.0], [0.0, 0.0])
    assert measure(rows, FEATURES, [])["negative_log_likelihood"] == pytest.approx(math.exp(-30) / 2, rel=1e-4)


def test_macro_accuracy_weighs_classes_alike_and_groups_them_by_their_training_images() -> None:
    own = np.array([1.0] * 12)
    other = np.array([0.0] * 6 + [2.0, 0.0, 2.0, 2.0, 0.0, 0.0])
    label = [0] * 6 + [1] * 2 + [2] * 2 + [3] * 2
    rows = replace(_evaluation([*own], [*other]), label=np.array(label, np.int32), log_odds=None, scores=None)
    geometry = Geometry(6, 2)
    counts = np.array([101, 100, 20, 19, 0, 500])
    geometry.moments.counts = counts
    measured = measure_observed(Observed(rows, trained=geometry.moments))
    assert measured["macro_accuracy"] == pytest.approx((1 + 0.5 + 0 + 1) / 4)
    assert measured["head_accuracy"] == 1  # the sixth class has no test image
    assert measured["medium_accuracy"] == 0.25
    assert measured["tail_accuracy"] == 1


@pytest.mark.parametrize(("samples", "absent"), [(99, set(NEEDED)), (100, {"01"}), (797, {"01"}), (1000, set())])
def test_a_rate_that_the_samples_cannot_carry_does_not_exist(samples: int, absent: set[str]) -> None:
    rows = _evaluation([2.0] * samples, [1.0] * samples)
    measured = measure(rows, FEATURES, [])
    for name in ("true_accept_rate_1", "true_accept_rate_01"):
        assert (measured[name] is None) == (name in absent or name.removeprefix("true_accept_rate_") in absent)


def test_of_a_thousand_samples_ten_or_one_may_be_accepted_falsely() -> None:
    """The highest rivals but ten and but one are 989 and 998; 11 and 2 positives lie above."""
    rivals = np.arange(1000.0)
    measured = measure(_evaluation(list(rivals + 0.5), list(rivals)), FEATURES, [])
    assert measured["true_accept_rate_1"] == 0.011
    assert measured["true_accept_rate_01"] == 0.002


def test_a_fixed_bias_is_judged_as_a_learnt_one() -> None:
    fixed = measure_observed(Observed(SEPARABLE, bias=[3.0]))
    assert fixed["learned_bias"] is None
    assert (fixed["accuracy_at_bias"], fixed["bias_gap"], fixed["bias_distance"]) == (1, 0, 0)
    assert measure_observed(Observed(SEPARABLE, learned_bias=[3.0]))["accuracy_at_bias"] is None
    assert measure_observed(Observed(HOPELESS, bias=[3.0]))["accuracy_at_bias"] == 0


def test_of_the_ten_highest_scores_only_what_they_determine_is_recomputed() -> None:
    rows = _evaluation([3, 1], [1, 2], [0, 1])
    whole = from_rows(rows, None, [0.0, 1.0], math.nan, sigmoid=True)
    part = from_rows(replace(rows, classes=np.zeros((2, 2), np.int32)), None, [0.0, 1.0], math.nan, sigmoid=True)
    assert whole.keys() - part.keys() == OF_ALL_SCORES
    assert not whole.keys() & STATED
    assert all(whole[name] is not None for name in OF_ALL_SCORES)
