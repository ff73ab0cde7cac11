"""Measures of one model, under the names of the results table.

`MEASURES` says what each one means, `traits` what values it can have; experiment files state claims about these names.
Every uniform accuracy says in its name what is compared with the threshold: raw scores
where nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.metrics import calibration, openset, operating_points, verification
from trainers.metrics.collapse import nc1, nc2, nc3
from trainers.metrics.features import Geometry, compactness, distinctiveness
from trainers.metrics.score_kinds import centred, log_probabilities
from trainers.metrics.uniform import accuracy_at, class_wise_accuracy, sample_wise_accuracy, uniform_accuracy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trainers.evaluation import Evaluation

Values = Mapping[str, float | None]

MEASURES = {
    "sample_wise_accuracy": "share of samples whose own class scores highest",
    "class_wise_accuracy": "share right with the best threshold of each class, on test scores",
    "uniform_accuracy": "share right with the best single threshold, on raw test scores",
    "unified_threshold": "that best single threshold: the midpoint of its interval",
    "threshold_low": "lower end of the interval of best thresholds",
    "threshold_high": "upper end of the interval of best thresholds",
    "learned_bias": "the bias the loss learnt (the mean of one per class)",
    "bias_gap": "learned bias less unified threshold",
    "bias_distance": "distance of the learned bias to the interval of best thresholds",
    "relative_bias_gap": "size of bias_gap over the mean distance from rival to own score",
    "accuracy_at_bias": "share right with the learned bias as the single threshold",
    "compactness": "mean cosine between features of one class",
    "distinctiveness": "1 less the mean cosine between class means",
    "uniformity": "uniform over sample-wise accuracy",
    "validation_threshold": "best single threshold on the validation split",
    "accuracy_at_validation_threshold": "share of test samples right at that threshold",
    "threshold_spread": "standard deviation over classes of the best threshold of each",
    "temperature": "T of least negative log-likelihood of softmax(scores / T) on the validation split",
    "uniform_accuracy_probability": "as uniform_accuracy, on softmax probabilities at T = 1",
    "uniform_accuracy_calibrated": "as uniform_accuracy, on softmax probabilities at the validation split's T",
    "uniform_accuracy_centred": "as uniform_accuracy, on scores less the midpoint of a sample's two highest",
    "accuracy_at_validation_probability": "share right at the best threshold on validation probabilities at that T",
    "calibration_error": "expected calibration error of softmax probabilities at T = 1, 15 bins",
    "calibration_error_calibrated": "the same at the validation split's T",
    "true_accept_rate_1": "share of own-class scores above the threshold that 1 % of samples' rivals exceed",
    "true_accept_rate_01": "share of own-class scores above the threshold that 0.1 % of samples' rivals exceed",
    "area_under_risk_coverage": "mean error among the samples at least as confident (top score); lower is better",
    "nc1": "neural collapse: variability within classes against that between them",
    "nc2": "neural collapse: distance of the class means from a simplex",
    "nc3": "neural collapse: distance of the classifier's alignment with the class means from a simplex",
    "open_auroc": "chance that a known sample's top score is above an unknown one's",
    "open_auroc_probability": "the same for the top softmax probability at T = 1",
    "open_auroc_energy": "the same for the logsumexp of the scores",
    "open_fpr95": "share of unknown samples accepted where 95 % of known ones are, by top score",
    "open_oscr": "area under correct classification over false positive rate, by top score",
    "unknown_rejected": "share of unknown samples below the validation split's threshold",
    "verification_eer": "equal error rate of cosines of pairs: the dataset's own, or samples of held-out classes",
    "verification_tar_1": "share of genuine pairs accepted where 1 % of impostor pairs are",
    "shift_sample_wise_accuracy": "mean over shifted test sets",
    "shift_uniform_accuracy": "mean over shifted test sets, each with its own best threshold",
    "shift_accuracy_at_clean_threshold": "mean over shifted test sets of the share right at the clean test set's best",
}

ON_VALIDATION = frozenset(
    {
        "validation_threshold",
        "accuracy_at_validation_threshold",
        "temperature",
        "uniform_accuracy_calibrated",
        "accuracy_at_validation_probability",
        "calibration_error_calibrated",
        "unknown_rejected",
    }
)
"""Measures that do not exist without validation images."""

STATED = frozenset(
    {
        *("learned_bias", "temperature", "compactness", "distinctiveness", "nc1", "nc2", "nc3"),
        *("open_auroc", "open_auroc_probability", "open_auroc_energy", "open_fpr95", "open_oscr", "unknown_rejected"),
        *("verification_eer", "verification_tar_1"),
        *("shift_sample_wise_accuracy", "shift_uniform_accuracy", "shift_accuracy_at_clean_threshold"),
    }
)
"""Measures that no test or validation row determines: of parameters, features, unknown and shifted samples."""


@dataclass(frozen=True, eq=False)
class Observed:
    """All that measures are computed from. What was not asked for is None or empty."""

    test: Evaluation
    learned_bias: Sequence[float] = ()
    """No bias, one, or one per class; its mean stands for it, since a single threshold has to decide."""
    validation: Evaluation | None = None
    """Held-out samples on which a threshold is chosen, at the temperature chosen there."""
    temperature: float = math.nan
    geometry: Geometry | None = None
    weight: NDArray[np.float64] | None = None
    """Class weights (K, d)."""
    unknown: Evaluation | None = None
    """Test samples of held-out classes, labelled 0: only their top scores mean anything."""
    similarity: NDArray[np.float64] | None = None
    """Cosines of pairs of samples of held-out classes (m,)."""
    genuine: NDArray[np.bool_] | None = None
    """Whether both of a pair are of one class (m,)."""
    shifted: Mapping[str, Evaluation] | None = None
    """The test samples under each shift."""


def measure(observed: Observed) -> dict[str, float | None]:
    """All of `MEASURES`; None where one does not exist (not asked for, no bias, 0/0)."""
    values: dict[str, float | None] = dict.fromkeys(MEASURES)
    parts = (
        _accuracies,
        _bias,
        _deployable,
        _score_kinds,
        _operating_points,
        _features,
        _open_set,
        _verification,
        _shifts,
    )
    for part in parts:
        values |= part(observed)
    return {name: None if value is None or not math.isfinite(value) else float(value) for name, value in values.items()}


def from_rows(
    test: Evaluation, validation: Evaluation | None, learned_bias: Sequence[float], temperature: float
) -> dict[str, float | None]:
    """The measures that rows determine, beside the learnt bias and the temperature, which they do not."""
    values = measure(Observed(test, learned_bias, validation, temperature))
    return {name: value for name, value in values.items() if name not in STATED}


def under_shift(evaluation: Evaluation, threshold: float) -> dict[str, float]:
    """What one shift does: the accuracies, and the accuracy at a threshold from elsewhere."""
    positive, rival = evaluation.positive, evaluation.rival
    return {
        "sample_wise_accuracy": sample_wise_accuracy(positive, rival),
        "uniform_accuracy": uniform_accuracy(positive, rival).accuracy,
        "accuracy_at_clean_threshold": accuracy_at(threshold, positive, rival),
    }


def _accuracies(observed: Observed) -> Values:
    positive, rival, label = observed.test.positive, observed.test.rival, observed.test.label
    best, sample_wise = uniform_accuracy(positive, rival), sample_wise_accuracy(positive, rival)
    return {
        "sample_wise_accuracy": sample_wise,
        "class_wise_accuracy": class_wise_accuracy(positive, rival, label),
        "uniform_accuracy": best.accuracy,
        "unified_threshold": best.threshold,
        "threshold_low": best.low,
        "threshold_high": best.high,
        "uniformity": best.accuracy / sample_wise if sample_wise else None,
        "threshold_spread": operating_points.threshold_spread(positive, rival, label),
    }


def _bias(observed: Observed) -> Values:
    if not observed.learned_bias:
        return {}
    positive, rival = observed.test.positive, observed.test.rival
    bias = math.fsum(observed.learned_bias) / len(observed.learned_bias)
    best = uniform_accuracy(positive, rival)
    distance = float(np.mean(np.subtract(positive, rival, dtype=np.float64)))
    return {
        "learned_bias": bias,
        "bias_gap": bias - best.threshold,
        "relative_bias_gap": abs(bias - best.threshold) / distance if distance > 0 else None,
        "bias_distance": max(best.low - bias, bias - best.high, 0.0),
        "accuracy_at_bias": accuracy_at(bias, positive, rival),
    }


def _deployable(observed: Observed) -> Values:
    validation, test = observed.validation, observed.test
    if validation is None:
        return {}
    threshold = uniform_accuracy(validation.positive, validation.rival).threshold
    probability = uniform_accuracy(*_tuned(validation, observed.temperature)).threshold
    unknown = observed.unknown
    return {
        "validation_threshold": threshold,
        "accuracy_at_validation_threshold": _accuracy_at(threshold, test.positive, test.rival),
        "accuracy_at_validation_probability": _accuracy_at(probability, *_tuned(test, observed.temperature)),
        "unknown_rejected": None if unknown is None else float(np.mean(_top(unknown) < threshold)),
    }


def _accuracy_at(threshold: float, positive: NDArray[Any], rival: NDArray[Any]) -> float:
    """Nothing is right at no threshold: where none separates a validation sample, nothing can be deployed."""
    return 0.0 if math.isnan(threshold) else accuracy_at(threshold, positive, rival)


def _tuned(evaluation: Evaluation, temperature: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log-probabilities of softmax(scores / T), positive and rival."""
    positive, rival = (
        np.asarray(scores, np.float64) / temperature for scores in (evaluation.positive, evaluation.rival)
    )
    return log_probabilities(positive, rival, evaluation.logsumexp_tuned)


def _score_kinds(observed: Observed) -> Values:
    test = observed.test
    values = {
        "uniform_accuracy_probability": uniform_accuracy(
            *log_probabilities(test.positive, test.rival, test.logsumexp)
        ).accuracy,
        "uniform_accuracy_centred": uniform_accuracy(*centred(test.positive, test.rival)).accuracy,
        "calibration_error": _calibration_error(test.positive, test.rival, test.logsumexp),
    }
    if math.isnan(observed.temperature):
        return values
    positive, rival = (scores / observed.temperature for scores in (test.positive, test.rival))
    return {
        **values,
        "temperature": observed.temperature,
        "uniform_accuracy_calibrated": uniform_accuracy(*_tuned(test, observed.temperature)).accuracy,
        "calibration_error_calibrated": _calibration_error(positive, rival, test.logsumexp_tuned),
    }


def _calibration_error(
    positive: NDArray[np.float32], rival: NDArray[np.float32], logsumexp: NDArray[np.float32]
) -> float:
    return calibration.expected_calibration_error(*calibration.from_scores(positive, rival, logsumexp))


def _operating_points(observed: Observed) -> Values:
    positive, rival = observed.test.positive, observed.test.rival
    return {
        "true_accept_rate_1": operating_points.true_accept_rate(positive, rival, 0.01),
        "true_accept_rate_01": operating_points.true_accept_rate(positive, rival, 0.001),
        "area_under_risk_coverage": operating_points.area_under_risk_coverage(positive, rival),
    }


def _features(observed: Observed) -> Values:
    geometry = observed.geometry
    if geometry is None:
        return {}
    moments = geometry.moments
    return {
        "compactness": compactness(geometry.unit_sums, moments.counts),
        "distinctiveness": distinctiveness(geometry.unit_sums, moments.counts),
        "nc1": nc1(moments.sums, moments.counts, moments.outer),
        "nc2": nc2(moments.sums, moments.counts),
        "nc3": None if observed.weight is None else nc3(moments.sums, moments.counts, observed.weight),
    }


def _open_set(observed: Observed) -> Values:
    known, unknown = observed.test, observed.unknown
    if unknown is None:
        return {}
    correct = np.less(known.rival, known.positive)
    probability = [_top(evaluation) - evaluation.logsumexp for evaluation in (known, unknown)]
    return {
        "open_auroc": openset.auroc(_top(known), _top(unknown)),
        "open_auroc_probability": openset.auroc(*probability),
        "open_auroc_energy": openset.auroc(known.logsumexp, unknown.logsumexp),
        "open_fpr95": openset.fpr_at_tpr(_top(known), _top(unknown)),
        "open_oscr": openset.oscr(_top(known), correct, _top(unknown)),
    }


def _verification(observed: Observed) -> Values:
    if observed.similarity is None or observed.genuine is None:
        return {}
    return {
        "verification_eer": verification.equal_error_rate(observed.similarity, observed.genuine),
        "verification_tar_1": verification.true_accept_rate_at(observed.similarity, observed.genuine, 0.01),
    }


def _top(evaluation: Evaluation) -> NDArray[np.float32]:
    return np.maximum(evaluation.positive, evaluation.rival)


def _shifts(observed: Observed) -> Values:
    if not observed.shifted:
        return {}
    clean = uniform_accuracy(observed.test.positive, observed.test.rival).threshold
    found = [under_shift(evaluation, clean) for evaluation in observed.shifted.values()]
    return {f"shift_{name}": float(np.mean([values[name] for values in found])) for name in found[0]}
