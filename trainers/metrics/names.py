"""The measures of the results table by name: what each means, and what it is computed from."""

from __future__ import annotations

MEASURES = {
    "sample_wise_accuracy": "share of samples whose own class scores highest",
    "class_wise_accuracy": "share right with the best threshold of each class, on test scores",
    "uniform_accuracy": "share right with the best single threshold, on raw test scores",
    "unified_threshold": "that best single threshold: the midpoint of its interval",
    "threshold_low": "lower end of the interval of best thresholds",
    "threshold_high": "upper end of the interval of best thresholds",
    "learned_bias": "the bias the loss learnt (the mean of one per class)",
    "bias_gap": "bias, learnt or fixed, less unified threshold",
    "bias_distance": "distance of the bias to the interval of best thresholds",
    "relative_bias_gap": "size of bias_gap over the mean distance from rival to own score",
    "accuracy_at_bias": "share right with the bias, learnt or fixed, as the single threshold",
    "compactness": "mean cosine between features of one class, on test images",
    "distinctiveness": "1 minus the mean cosine between class means, on test images",
    "uniformity": "uniform over sample-wise accuracy",
    "validation_threshold": "best single threshold on the validation split",
    "accuracy_at_validation_threshold": "share of test samples right at that threshold",
    "threshold_spread": "standard deviation over classes of the best threshold of each",
    "temperature": "T of least negative log-likelihood of softmax(scores / T) on the validation split",
    "temperature_at_edge": "1 where an end of the grid of temperatures does as well, so that none was found; else 0",
    "uniform_accuracy_probability": "as uniform_accuracy, on softmax probabilities at T = 1",
    "uniform_accuracy_calibrated": "as uniform_accuracy, on softmax probabilities at the validation split's T",
    "uniform_accuracy_centred": "as uniform_accuracy, on scores minus the midpoint of a sample's two highest",
    "uniform_accuracy_sigmoid": "as uniform_accuracy, on scores minus the bias of each class, where these differ",
    "sample_wise_accuracy_sigmoid": "the same for sample_wise_accuracy",
    "accuracy_at_validation_probability": "share right at the best threshold on validation probabilities at that T",
    "macro_accuracy": "mean over classes of the share of their samples that is right sample-wise",
    "head_accuracy": "the same over classes of more than 100 training images",
    "medium_accuracy": "the same over classes of 20 to 100 training images",
    "tail_accuracy": "the same over classes of fewer than 20 training images",
    "training_accuracy": "share of training images right sample-wise: not augmented, labels as trained on",
    "calibration_error": "expected calibration error of softmax probabilities at T = 1, 15 bins",
    "calibration_error_calibrated": "the same at the validation split's T",
    "calibration_error_sigmoid": "the same of sigmoid(score - bias), where that is what the loss makes a probability",
    "negative_log_likelihood": "mean of -log of the own class's softmax probability at T = 1, in nats",
    "negative_log_likelihood_sigmoid": "mean of the sum over classes of -log of sigmoid probabilities, in nats",
    "brier_score": "mean squared distance of softmax probabilities at T = 1 from the label, summed over classes",
    "brier_score_sigmoid": "the same of sigmoid probabilities",
    "true_accept_rate_1": "share of own-class scores above the threshold that 1 % of samples' rivals exceed",
    "true_accept_rate_01": "share of own-class scores above the threshold that 0.1 % of samples' rivals exceed",
    "area_under_risk_coverage": "mean error among the samples at least as confident (top score); lower is better",
    "area_under_risk_coverage_probability": "the same for the top softmax probability at T = 1",
    "nc1": "neural collapse: variability of training features within classes against that between them",
    "nc2": "neural collapse: distance of the classifier's class weights from a simplex",
    "nc3": "neural collapse: distance of the classifier's alignment with the training class means from a simplex",
    "means_from_simplex": "distance of the test images' class means from a simplex (nc2 of means in place of weights)",
    "open_auroc": "chance that a known sample's top score is above an unknown one's",
    "open_auroc_probability": "the same for the top softmax probability at T = 1",
    "open_auroc_calibrated": "the same for the top softmax probability at the validation split's T",
    "open_auroc_energy": "the same for the logsumexp of the scores",
    "open_fpr95": "share of unknown samples accepted where 95 % of known ones are, by top score",
    "open_fpr95_probability": "the same by the top softmax probability at T = 1",
    "open_fpr95_energy": "the same by the logsumexp of the scores",
    "open_oscr": "area under correct classification over false positive rate, by top score",
    "open_oscr_probability": "the same by the top softmax probability at T = 1",
    "open_oscr_energy": "the same by the logsumexp of the scores",
    "unknown_rejected": "share of unknown samples below the validation split's threshold",
    "verification_accuracy": "mean over folds of the share of pairs right at the threshold best on the other folds",
    "verification_eer": "equal error rate of cosines of pairs: the dataset's own, or samples of held-out classes",
    "verification_eer_low": "lower end of its 95 % interval over identities",
    "verification_eer_high": "upper end of its 95 % interval over identities",
    "verification_tar_1": "share of genuine pairs accepted where 1 % of impostor pairs are",
    "verification_tar_1_low": "lower end of its 95 % interval over identities",
    "verification_tar_1_high": "upper end of its 95 % interval over identities",
    "verification_tar_01": "share of genuine pairs accepted where 0.1 % of impostor pairs are",
    "verification_tar_01_low": "lower end of its 95 % interval over identities",
    "verification_tar_01_high": "upper end of its 95 % interval over identities",
    "verification_tar_001": "share of genuine pairs accepted where 0.01 % of impostor pairs are",
    "verification_tar_001_low": "lower end of its 95 % interval over identities",
    "verification_tar_001_high": "upper end of its 95 % interval over identities",
    "shift_sample_wise_accuracy": "mean over shifted test sets",
    "shift_uniform_accuracy": "mean over shifted test sets, each with its own best threshold",
    "shift_accuracy_at_clean_threshold": "mean over shifted test sets of the share right at the clean test set's best",
    "shift_accuracy_at_validation_threshold": "mean over shifted test sets of the share right at validation's best",
}

FALSE_ACCEPTS = {"tar_1": 0.01, "tar_01": 0.001, "tar_001": 0.0001}
"""False accept rates by the suffix of the true accept rate that is measured at them."""

ON_VALIDATION = frozenset(
    {
        "validation_threshold",
        "accuracy_at_validation_threshold",
        "temperature",
        "temperature_at_edge",
        "uniform_accuracy_calibrated",
        "accuracy_at_validation_probability",
        "calibration_error_calibrated",
        "open_auroc_calibrated",
        "unknown_rejected",
        "shift_accuracy_at_validation_threshold",
    }
)
"""Measures that need validation images."""

AT_TEMPERATURE = frozenset(
    {
        "temperature",
        "uniform_accuracy_calibrated",
        "accuracy_at_validation_probability",
        "calibration_error_calibrated",
        "open_auroc_calibrated",
    }
)
"""Measures at the temperature found on validation images; no other measure depends on it."""

STATED = frozenset(
    {
        *("learned_bias", "temperature", "temperature_at_edge"),
        *("head_accuracy", "medium_accuracy", "tail_accuracy", "training_accuracy"),
        *("compactness", "distinctiveness", "nc1", "nc2", "nc3", "means_from_simplex"),
        *("open_auroc", "open_auroc_probability", "open_auroc_calibrated", "open_auroc_energy"),
        *("open_fpr95", "open_fpr95_probability", "open_fpr95_energy"),
        *("open_oscr", "open_oscr_probability", "open_oscr_energy", "unknown_rejected"),
        "verification_accuracy",
        *(f"verification_{rate}{end}" for rate in ("eer", *FALSE_ACCEPTS) for end in ("", "_low", "_high")),
        *("shift_sample_wise_accuracy", "shift_uniform_accuracy"),
        *("shift_accuracy_at_clean_threshold", "shift_accuracy_at_validation_threshold"),
    }
)
"""Measures that do not follow from test and validation rows: those of parameters, features, training images, and
unknown or shifted samples."""

OF_ALL_SCORES = frozenset(
    {
        *("uniform_accuracy_sigmoid", "sample_wise_accuracy_sigmoid", "calibration_error_sigmoid"),
        *("negative_log_likelihood_sigmoid", "brier_score", "brier_score_sigmoid"),
    }
)
"""Measures that follow from rows only if these keep the scores of all classes."""

NEEDED = {
    "true_accept_rate_1": 100,
    "true_accept_rate_01": 1000,
    **{
        f"verification_{rate}{end}": round(1 / share)
        for rate, share in FALSE_ACCEPTS.items()
        for end in ("", "_low", "_high")
    },
}
"""Test images, or impostor pairs, that a rate needs: with fewer, its error limit is below one error."""
