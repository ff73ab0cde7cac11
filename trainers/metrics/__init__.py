"""The measures of one model, by their names in the results table.

`MEASURES` says what each one means, `traits` what values it can have; experiment files use these names in claims.
The suffix of a uniform accuracy says what is compared with the threshold. Without a suffix it is the score, raw
unless the loss sets `decide_by`. Measures that rank samples by a probability use its log-odds, because
probabilities close to 1 round to 1 and would tie.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.metrics import calibration, openset, operating_points, verification
from trainers.metrics.claimed import Claimed, Sigmoid, claimed
from trainers.metrics.collapse import means_from_simplex, nc1, nc2, nc3
from trainers.metrics.features import Geometry, compactness, distinctiveness
from trainers.metrics.names import AT_TEMPERATURE, FALSE_ACCEPTS, MEASURES, NEEDED, OF_ALL_SCORES, ON_VALIDATION, STATED
from trainers.metrics.over_identities import intervals
from trainers.metrics.recalls import by_shots, macro_accuracy
from trainers.metrics.score_kinds import centred, level, log_odds, log_probabilities
from trainers.metrics.uniform import accuracy_at, class_wise_accuracy, sample_wise_accuracy, uniform_accuracy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trainers.evaluation import DecideBy, Evaluation
    from trainers.metrics.collapse import Moments

__all__ = ["AT_TEMPERATURE", "MEASURES", "NEEDED", "ON_VALIDATION", "STATED", "Observed", "from_rows", "measure"]

Values = Mapping[str, float | None]


@dataclass(frozen=True, eq=False)
class Observed:
    """Everything that measures are computed from. What the recipe does not ask for is None or empty."""

    test: Evaluation
    learned_bias: Sequence[float] = ()
    """None, one, or one per class."""
    bias: Sequence[float] = ()
    """The bias, learnt or fixed, on the scale of the rows' scores: none, one, or one per class. With one per class,
    measures use the mean, because they compare it with a single threshold."""
    sigmoid: bool = False
    """Whether sigmoid(score - bias) is a probability under this loss."""
    decide_by: DecideBy = "raw"
    """The kind of scores in the rows."""
    validation: Evaluation | None = None
    """Held-out samples, on which the threshold and the temperature are chosen."""
    temperature: float = math.nan
    is_at_edge: bool = False
    """Whether an end of the temperature grid is as good as this temperature."""
    claimed: Claimed | None = None
    """Probabilities on the test samples; if None, computed from their scores where all are kept."""
    geometry: Geometry | None = None
    """Features of the test images."""
    trained: Moments | None = None
    """Features of the training images, by the labels used in training."""
    training_accuracy: float | None = None
    weight: NDArray[np.float64] | None = None
    """Class weights (K, d)."""
    unknown: Evaluation | None = None
    """Test samples of held-out classes, labelled 0: only their highest scores are meaningful."""
    similarity: NDArray[np.float64] | None = None
    """Cosines of pairs of samples from held-out classes (m,)."""
    genuine: NDArray[np.bool_] | None = None
    """Whether the two samples of each pair are of one class (m,)."""
    identities: NDArray[np.int64] | None = None
    """Identities of the two samples of each pair (m, 2)."""
    fold: NDArray[np.int64] | None = None
    """The fold of each pair (m,), if the dataset defines folds."""
    shifted: Mapping[str, Evaluation] | None = None
    """The test samples under each shift."""

    @property
    def is_by_probability(self) -> bool:
        """Whether the scores are logarithms of softmax probabilities."""
        return self.decide_by in {"probability", "calibrated"}

    @property
    def row_temperature(self) -> float:
        """The divisor of the rows' scores for calibrated probabilities."""
        return 1.0 if self.decide_by == "calibrated" else self.temperature


def measure(observed: Observed) -> dict[str, float | None]:
    """All of `MEASURES`; None if one is undefined (not asked for, no bias, 0/0, fewer samples than `NEEDED`)."""
    values: dict[str, float | None] = dict.fromkeys(MEASURES)
    parts = (
        _accuracies,
        _bias,
        _deployable,
        _score_kinds,
        _probabilities,
        _sigmoid,
        _operating_points,
        _features,
        _training,
        _open_set,
        _verification,
        _shifts,
    )
    for part in parts:
        values |= part(observed)
    return {name: None if value is None or not math.isfinite(value) else float(value) for name, value in values.items()}


def from_rows(
    test: Evaluation,
    validation: Evaluation | None,
    bias: Sequence[float],
    temperature: float,
    *,
    sigmoid: bool = False,
    decide_by: DecideBy = "raw",
) -> dict[str, float | None]:
    """The measures that follow from the rows, the bias and the temperature.

    Args:
        test: Rows of the test split.
        validation: Rows of the validation split.
        bias: As in `Observed`.
        temperature: From the validation split; NaN if there is none.
        sigmoid: As in `Observed`.
        decide_by: As in `Observed`.
    """
    observed = Observed(
        test, bias=bias, sigmoid=sigmoid, decide_by=decide_by, validation=validation, temperature=temperature
    )
    left_out = STATED if _has_all_scores(test) else STATED | OF_ALL_SCORES
    return {name: value for name, value in measure(observed).items() if name not in left_out}


def _has_all_scores(evaluation: Evaluation) -> bool:
    return evaluation.scores is not None and evaluation.classes is None


def under_shift(evaluation: Evaluation, threshold: float, chosen: float | None = None) -> dict[str, float]:
    """The accuracies under one shift.

    Args:
        evaluation: Of the shifted images.
        threshold: The best on clean test images.
        chosen: The one from validation images, if there are any; NaN if none is right.
    """
    positive = evaluation.positive
    rival = evaluation.rival
    found = {
        "sample_wise_accuracy": sample_wise_accuracy(positive, rival),
        "uniform_accuracy": uniform_accuracy(positive, rival).accuracy,
        "accuracy_at_clean_threshold": accuracy_at(threshold, positive, rival),
    }
    return (
        found if chosen is None else found | {"accuracy_at_validation_threshold": _accuracy_at(chosen, positive, rival)}
    )


def _accuracies(observed: Observed) -> Values:
    positive = observed.test.positive
    rival = observed.test.rival
    label = observed.test.label
    best = uniform_accuracy(positive, rival)
    sample_wise = sample_wise_accuracy(positive, rival)
    return {
        "sample_wise_accuracy": sample_wise,
        "class_wise_accuracy": class_wise_accuracy(positive, rival, label),
        "uniform_accuracy": best.accuracy,
        "unified_threshold": best.threshold,
        "threshold_low": best.low,
        "threshold_high": best.high,
        "uniformity": best.accuracy / sample_wise if sample_wise else None,
        "threshold_spread": operating_points.threshold_spread(positive, rival, label),
        "macro_accuracy": macro_accuracy(positive, rival, label),
    }


def _bias(observed: Observed) -> Values:
    learned = {"learned_bias": _mean(observed.learned_bias)}
    if (bias := _mean(observed.bias)) is None:
        return learned
    positive = observed.test.positive
    rival = observed.test.rival
    best = uniform_accuracy(positive, rival)
    distance = float(np.mean(np.subtract(positive, rival, dtype=np.float64)))
    return {
        **learned,
        "bias_gap": bias - best.threshold,
        "relative_bias_gap": abs(bias - best.threshold) / distance if distance > 0 else None,
        "bias_distance": max(best.low - bias, bias - best.high, 0.0),
        "accuracy_at_bias": accuracy_at(bias, positive, rival),
    }


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _deployable(observed: Observed) -> Values:
    validation = observed.validation
    test = observed.test
    if validation is None:
        return {}
    threshold = uniform_accuracy(validation.positive, validation.rival).threshold
    probability = uniform_accuracy(*_tuned(validation, observed)).threshold
    unknown = observed.unknown
    return {
        "validation_threshold": threshold,
        "accuracy_at_validation_threshold": _accuracy_at(threshold, test.positive, test.rival),
        "accuracy_at_validation_probability": _accuracy_at(probability, *_tuned(test, observed)),
        "unknown_rejected": None if unknown is None else float(np.mean(_top(unknown) < threshold)),
    }


def _accuracy_at(threshold: float, positive: NDArray[Any], rival: NDArray[Any]) -> float:
    """Accuracy 0 for a NaN threshold: if no threshold is right for any validation sample, none can be deployed."""
    return 0.0 if math.isnan(threshold) else accuracy_at(threshold, positive, rival)


def _tuned(evaluation: Evaluation, observed: Observed) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log-probabilities under softmax(scores / T), positive and rival."""
    positive, rival = (
        np.asarray(scores, np.float64) / observed.row_temperature for scores in (evaluation.positive, evaluation.rival)
    )
    return log_probabilities(positive, rival, evaluation.logsumexp_tuned)


def _score_kinds(observed: Observed) -> Values:
    test = observed.test
    probabilities = log_probabilities(test.positive, test.rival, level(test))
    values = {
        "uniform_accuracy_probability": uniform_accuracy(*probabilities).accuracy,
        "uniform_accuracy_centred": uniform_accuracy(*centred(test.positive, test.rival)).accuracy,
        "calibration_error": _calibration_error(*probabilities),
    }
    if math.isnan(observed.temperature):
        return values
    tuned = _tuned(test, observed)
    return {
        **values,
        "temperature": observed.temperature,
        "temperature_at_edge": float(observed.is_at_edge),
        "uniform_accuracy_calibrated": uniform_accuracy(*tuned).accuracy,
        "calibration_error_calibrated": _calibration_error(*tuned),
    }


def _calibration_error(positive: NDArray[np.float64], rival: NDArray[np.float64]) -> float:
    return calibration.expected_calibration_error(*calibration.from_log_probabilities(positive, rival))


def _probabilities(observed: Observed) -> Values:
    test = observed.test
    found = _claimed(observed)
    own = log_probabilities(test.positive, test.rival, level(test))[0]
    return {
        "negative_log_likelihood": float(-own.mean()),
        "brier_score": None if found is None else float(found.brier.mean()),
    }


def _claimed(observed: Observed) -> Claimed | None:
    test = observed.test
    if observed.claimed is not None or test.scores is None or not _has_all_scores(test):
        return observed.claimed
    return claimed(test.scores, test.label, observed.bias)


def _sigmoid(observed: Observed) -> Values:
    found = _claimed(observed)
    if found is None or found.sigmoid is None:
        return {}
    values: Values = {}
    if len(set(observed.bias)) > 1:  # a bias shared by all classes changes neither accuracy
        best = uniform_accuracy(found.sigmoid.positive, found.sigmoid.rival)
        values = {
            "uniform_accuracy_sigmoid": best.accuracy,
            "sample_wise_accuracy_sigmoid": sample_wise_accuracy(found.sigmoid.positive, found.sigmoid.rival),
        }
    return {**values, **_of_sigmoids(found.sigmoid)} if observed.sigmoid else values


def _of_sigmoids(found: Sigmoid) -> Values:
    logits = (-np.logaddexp(0, -scores) for scores in (found.positive, found.rival))
    return {
        "calibration_error_sigmoid": _calibration_error(*logits),
        "negative_log_likelihood_sigmoid": float(found.likelihood.mean()),
        "brier_score_sigmoid": float(found.brier.mean()),
    }


def _operating_points(observed: Observed) -> Values:
    positive, rival = _ranking(observed)
    odds = log_odds(observed.test)
    return {
        "true_accept_rate_1": operating_points.true_accept_rate(positive, rival, 0.01),
        "true_accept_rate_01": operating_points.true_accept_rate(positive, rival, 0.001),
        "area_under_risk_coverage": operating_points.area_under_risk_coverage(positive, rival),
        "area_under_risk_coverage_probability": odds and operating_points.area_under_risk_coverage(*odds),
    } | dict.fromkeys(_out_of_reach(len(observed.test.sample), "true_accept_rate"))


def _ranking(observed: Observed) -> tuple[NDArray[Any], NDArray[Any]]:
    """Positive and rival for ranking samples: log-odds if a probability is compared with the threshold."""
    odds = log_odds(observed.test) if observed.is_by_probability else None
    return odds or (observed.test.positive, observed.test.rival)


def _out_of_reach(samples: int, kind: str) -> list[str]:
    """The rates of a kind that need more samples than these."""
    return [name for name, needed in NEEDED.items() if name.startswith(kind) and samples < needed]


def _features(observed: Observed) -> Values:
    geometry = observed.geometry
    if geometry is None:
        return {}
    moments = geometry.moments
    return {
        "compactness": compactness(geometry.unit_sums, moments.counts),
        "distinctiveness": distinctiveness(geometry.unit_sums, moments.counts),
        "means_from_simplex": means_from_simplex(moments.sums, moments.counts),
    }


def _training(observed: Observed) -> Values:
    values: Values = {
        "training_accuracy": observed.training_accuracy,
        "nc2": None if observed.weight is None else nc2(observed.weight),
    }
    moments = observed.trained
    test = observed.test
    if moments is None:
        return values
    return {
        **values,
        "nc1": nc1(moments),
        "nc3": None if observed.weight is None else nc3(moments, observed.weight),
        **by_shots(test.positive, test.rival, test.label, moments.counts),
    }


def _open_set(observed: Observed) -> Values:
    known = observed.test
    unknown = observed.unknown
    if unknown is None:
        return {}
    correct = np.less(known.rival, known.positive)
    ranks = {"": (_top_rank(known, observed), _top_rank(unknown, observed))}
    if not observed.is_by_probability:  # probabilities add up to 1, so the energy is lost
        ranks["_energy"] = known.logsumexp, unknown.logsumexp
    if known.log_odds is not None and unknown.log_odds is not None:
        ranks["_probability"] = known.log_odds, unknown.log_odds
    values: dict[str, float | None] = {}
    for kind, (inside, outside) in ranks.items():
        values[f"open_auroc{kind}"] = openset.auroc(inside, outside)
        values[f"open_fpr95{kind}"] = openset.fpr_at_tpr(inside, outside)
        values[f"open_oscr{kind}"] = openset.oscr(inside, correct, outside)
    if known.log_odds_tuned is not None and unknown.log_odds_tuned is not None and observed.temperature > 0:
        values["open_auroc_calibrated"] = openset.auroc(known.log_odds_tuned, unknown.log_odds_tuned)
    return values


def _top_rank(evaluation: Evaluation, observed: Observed) -> NDArray[Any]:
    """The score that ranks samples as known or unknown: the highest one, or its log-odds if it is a probability."""
    odds = evaluation.log_odds if observed.is_by_probability else None
    return _top(evaluation) if odds is None else odds


def _verification(observed: Observed) -> Values:
    similarity = observed.similarity
    genuine = observed.genuine
    identities = observed.identities
    if similarity is None or genuine is None:
        return {}
    fold = observed.fold
    found = {} if identities is None else intervals(similarity, genuine, identities, FALSE_ACCEPTS)
    return {
        "verification_accuracy": None if fold is None else verification.accuracy_over_folds(similarity, genuine, fold),
        "verification_eer": verification.equal_error_rate(similarity, genuine),
        **{
            f"verification_{name}": verification.true_accept_rate_at(similarity, genuine, rate)
            for name, rate in FALSE_ACCEPTS.items()
        },
        **{
            f"verification_{name}_{end}": value
            for name, interval in found.items()
            for end, value in interval._asdict().items()
        },
    } | dict.fromkeys(_out_of_reach(int((~genuine).sum()), "verification"))


def _top(evaluation: Evaluation) -> NDArray[np.float32]:
    return np.maximum(evaluation.positive, evaluation.rival)


def _shifts(observed: Observed) -> Values:
    if not observed.shifted:
        return {}
    clean = uniform_accuracy(observed.test.positive, observed.test.rival).threshold
    found = [under_shift(evaluation, clean) for evaluation in observed.shifted.values()]
    values: dict[str, float | None] = {
        f"shift_{name}": float(np.mean([values[name] for values in found])) for name in found[0]
    }
    if observed.validation is not None:
        chosen = uniform_accuracy(observed.validation.positive, observed.validation.rival).threshold
        at = [_accuracy_at(chosen, each.positive, each.rival) for each in observed.shifted.values()]
        values["shift_accuracy_at_validation_threshold"] = float(np.mean(at))
    return values
