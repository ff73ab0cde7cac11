"""Properties of each measure: which direction is better, its bounds, and its step size."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple


class Trait(NamedTuple):
    """Properties of one measure."""

    better: Literal["higher", "lower"] | None = None
    """None if neither direction is better."""
    low: float = -math.inf
    high: float = math.inf
    counted: Literal["samples", "classes"] | None = None
    """If the measure moves in steps: whether it is a mean over all samples, or a mean over classes of means over each
    class's samples (a macro average)."""
    weight: float = 1.0
    """The largest contribution of one sample: 1 for an accuracy, the highest price for a cost."""

    @property
    def worst(self) -> float | None:
        """The bound in the worse direction; None if there is none."""
        return _bound({"higher": self.low, "lower": self.high}.get(self.better or ""))

    @property
    def best(self) -> float | None:
        """The bound in the better direction; None if there is none."""
        return _bound({"higher": self.high, "lower": self.low}.get(self.better or ""))

    def step(self, samples: int | None, balanced: int | None = None) -> float:
        """The largest change by one sample; 0 if the measure has no steps, or an unknown one.

        Args:
            samples: Number of test samples.
            balanced: Number of test samples if every class were as small as the rarest one.
        """
        count = {"samples": samples, "classes": balanced}.get(self.counted or "")
        return self.weight / count if count else 0.0


def _bound(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


ACCURACY = Trait("higher", 0.0, 1.0, counted="samples")
SHARE = Trait("higher", 0.0, 1.0)
ERROR = Trait("lower", 0.0, 1.0)
DISTANCE = Trait("lower", 0.0)
PLACE = Trait()

TRAITS = {
    "sample_wise_accuracy": ACCURACY,
    "class_wise_accuracy": ACCURACY,
    "uniform_accuracy": ACCURACY,
    "unified_threshold": PLACE,
    "threshold_low": PLACE,
    "threshold_high": PLACE,
    "learned_bias": PLACE,
    "bias_gap": PLACE,
    "bias_distance": DISTANCE,
    "relative_bias_gap": DISTANCE,
    "accuracy_at_bias": ACCURACY,
    "compactness": Trait("higher", -1.0, 1.0),
    "distinctiveness": Trait("higher", 0.0, 2.0),
    "uniformity": SHARE,
    "validation_threshold": PLACE,
    "accuracy_at_validation_threshold": ACCURACY,
    "threshold_spread": DISTANCE,
    "temperature": PLACE,
    "temperature_at_edge": ERROR,
    "uniform_accuracy_probability": ACCURACY,
    "uniform_accuracy_calibrated": ACCURACY,
    "uniform_accuracy_centred": ACCURACY,
    "uniform_accuracy_sigmoid": ACCURACY,
    "sample_wise_accuracy_sigmoid": ACCURACY,
    "accuracy_at_validation_probability": ACCURACY,
    "macro_accuracy": SHARE,
    "head_accuracy": SHARE,
    "medium_accuracy": SHARE,
    "tail_accuracy": SHARE,
    "training_accuracy": SHARE,
    "calibration_error": ERROR,
    "calibration_error_calibrated": ERROR,
    "calibration_error_sigmoid": ERROR,
    "negative_log_likelihood": DISTANCE,
    "negative_log_likelihood_sigmoid": DISTANCE,
    "brier_score": Trait("lower", 0.0, 2.0),
    "brier_score_sigmoid": DISTANCE,
    "true_accept_rate_1": ACCURACY,
    "true_accept_rate_01": ACCURACY,
    "area_under_risk_coverage": ERROR,
    "area_under_risk_coverage_probability": ERROR,
    "nc1": DISTANCE,
    "nc2": DISTANCE,
    "nc3": DISTANCE,
    "means_from_simplex": DISTANCE,
    "open_auroc": SHARE,
    "open_auroc_probability": SHARE,
    "open_auroc_calibrated": SHARE,
    "open_auroc_energy": SHARE,
    "open_fpr95": ERROR,
    "open_fpr95_probability": ERROR,
    "open_fpr95_energy": ERROR,
    "open_oscr": SHARE,
    "open_oscr_probability": SHARE,
    "open_oscr_energy": SHARE,
    "unknown_rejected": SHARE,
    "verification_accuracy": SHARE,
    "verification_eer": ERROR,
    "verification_eer_low": ERROR,
    "verification_eer_high": ERROR,
    "verification_tar_1": SHARE,
    "verification_tar_1_low": SHARE,
    "verification_tar_1_high": SHARE,
    "verification_tar_01": SHARE,
    "verification_tar_01_low": SHARE,
    "verification_tar_01_high": SHARE,
    "verification_tar_001": SHARE,
    "verification_tar_001_low": SHARE,
    "verification_tar_001_high": SHARE,
    "shift_sample_wise_accuracy": ACCURACY,
    "shift_uniform_accuracy": ACCURACY,
    "shift_accuracy_at_clean_threshold": ACCURACY,
    "shift_accuracy_at_validation_threshold": ACCURACY,
}
"""The traits of all `MEASURES`, by name. A mean over shifts moves in smaller steps than 1/n, so its step is an upper
bound. Shares of unknown samples, pairs or single classes have no step, because they are not shares of test samples."""
