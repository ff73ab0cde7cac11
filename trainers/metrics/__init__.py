"""Measures of one model, under the names of the results table.

`MEASURES` says what each one means; experiment files state claims about these names.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from trainers.metrics.features import compactness, distinctiveness
from trainers.metrics.uniform import accuracy_at, class_wise_accuracy, sample_wise_accuracy, uniform_accuracy

if TYPE_CHECKING:
    from trainers.evaluation import Evaluation, FeatureSums

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
    "accuracy_at_bias": "share right with the learned bias as the single threshold",
    "validation_threshold": "best single threshold on the validation split",
    "accuracy_at_validation_threshold": "share of test samples right at that threshold",
    "compactness": "mean cosine between features of one class",
    "distinctiveness": "1 less the mean cosine between class means",
    "uniformity": "uniform over sample-wise accuracy",
}


def measure(
    evaluation: Evaluation,
    features: FeatureSums,
    learned_bias: list[float],
    validation: Evaluation | None = None,
) -> dict[str, float | None]:
    """All of `MEASURES`; None where one does not exist (no bias, no validation split, 0/0).

    Args:
        evaluation: The test samples, or those to measure.
        features: Class sums of the same samples.
        learned_bias: No bias, one, or one per class; its mean stands for it, since a
            single threshold has to decide.
        validation: Held-out samples on which to choose a threshold.
    """
    positive, rival = evaluation.positive, evaluation.rival
    best = uniform_accuracy(positive, rival)
    sample_wise = sample_wise_accuracy(positive, rival)
    values: dict[str, float | None] = dict.fromkeys(MEASURES)
    values |= {
        "sample_wise_accuracy": sample_wise,
        "class_wise_accuracy": class_wise_accuracy(positive, rival, evaluation.label),
        "uniform_accuracy": best.accuracy,
        "unified_threshold": best.threshold,
        "threshold_low": best.low,
        "threshold_high": best.high,
        "compactness": compactness(features.sums, features.counts),
        "distinctiveness": distinctiveness(features.sums, features.counts),
        "uniformity": best.accuracy / sample_wise if sample_wise else None,
    }
    if learned_bias:
        bias = math.fsum(learned_bias) / len(learned_bias)
        values |= {
            "learned_bias": bias,
            "bias_gap": bias - best.threshold,
            "bias_distance": max(best.low - bias, bias - best.high, 0.0),
            "accuracy_at_bias": accuracy_at(bias, positive, rival),
        }
    if validation is not None:
        threshold = uniform_accuracy(validation.positive, validation.rival).threshold
        values["validation_threshold"] = threshold
        values["accuracy_at_validation_threshold"] = accuracy_at(threshold, positive, rival)
    return {name: None if value is None or math.isnan(value) else value for name, value in values.items()}
